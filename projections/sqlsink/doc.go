// Package sqlsink keeps projections in a SQL database: SQLite, in files of the node's own, or
// PostgreSQL, which nodes share. The checkpoint is in the transaction of the rows.
//
// A generation is a file (orders.2.db, with orders.db as a link to the one that serves) or a
// schema (shop_orders_2, with views of the one that serves in the schema shop_orders). In it,
// beside the projection's own tables, are holdfast_meta, which says whose it is,
// holdfast_checkpoints, holdfast_parked, holdfast_outbox, and holdfast_documents.
//
// # What handlers can count on
//
// Statements are written with plain names and with parameters $1, $2 … in both databases. They
// take and give int64, float64, bool, string, []byte, and time.Time, which is kept to the
// microsecond, in UTC: a column of TIMESTAMPTZ, which SQLite keeps as text that sorts. A column
// that may be NULL is read into sql.NullString and its like.
//
// Batches of one generation are executed one after the other, whichever node or partition they
// come from, so that what a handler has read is still so when it writes. PostgreSQL executes
// those of a projection of rows with Shards side by side: rows that several shards change are
// then changed in one statement, such as INSERT … ON CONFLICT … DO UPDATE SET n = n + 1.
//
// A statement that fails refuses the event, even when the handler goes on: PostgreSQL gives up
// the transaction then, and SQLite is made to do the same. Handlers begin and end no
// transactions.
package sqlsink
