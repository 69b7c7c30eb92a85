// Package sqlsink keeps projections in a SQL database: SQLite, in files of the node's own, or
// PostgreSQL, which nodes share.
package sqlsink

import (
	_ "github.com/jackc/pgx/v5/stdlib" // the driver of PostgreSQL
	_ "modernc.org/sqlite"             // the driver of SQLite
)
