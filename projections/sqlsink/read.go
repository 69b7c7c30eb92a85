package sqlsink

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"math"
	"strings"
	"time"

	"github.com/holdfast-run/holdfast/projections"
)

// Document implements [projections.Sink].
func (s *Sink) Document(ctx context.Context, projection string, n uint64, key string) (body []byte, err error) {
	g, err := s.find(ctx, projection, n)
	if err != nil {
		return nil, err
	}
	err = g.view(ctx, g.readers, func(s *session) error {
		body, err = readDocument(ctx, s, key)
		return err
	})
	return body, ours(err)
}

// Query implements [projections.Sink].
func (s *Sink) Query(ctx context.Context, projection string, n uint64, do func(projections.Batch) error) error {
	g, err := s.find(ctx, projection, n)
	if err != nil {
		return err
	}
	if g.form != projections.FormRows {
		return errForm
	}
	return g.view(ctx, g.guests, func(ses *session) error {
		b := &batch{ctx: ctx, ses: ses, form: g.form, reads: true, free: true}
		if err := do(b); err != nil {
			return err
		}
		return b.broken
	})
}

// Dump implements [projections.Sink]. A row is an object of its columns, in the order of the
// table; its key is that of the primary key's column, a JSON array of several, or else the
// whole row. Bytes are shown in hexadecimal behind \x, and times in UTC.
func (s *Sink) Dump(ctx context.Context, projection string, n uint64, each func(table, key string, row []byte) error) error {
	g, err := s.find(ctx, projection, n)
	if err != nil {
		return err
	}
	return g.view(ctx, g.guests, func(s *session) error {
		err := s.rows(ctx, `SELECT key, body FROM holdfast_documents`, nil, func(rows *sql.Rows) (bool, error) {
			var key string
			var body []byte
			if err := rows.Scan(&key, &body); err != nil {
				return false, err
			}
			return true, each("", fromText(key), body)
		})
		if err != nil {
			return err
		}
		tables, err := s.strings(ctx, s.tables)
		for _, table := range tables {
			if err == nil {
				err = s.dump(ctx, table, each)
			}
		}
		return err
	})
}

func (s *session) strings(ctx context.Context, query string, args ...any) (all []string, err error) {
	err = s.rows(ctx, query, args, func(rows *sql.Rows) (bool, error) {
		var one string
		err := rows.Scan(&one)
		all = append(all, one)
		return true, err
	})
	return all, err
}

func (s *session) dump(ctx context.Context, table string, each func(table, key string, row []byte) error) error {
	primary, err := s.strings(ctx, s.key, table)
	if err != nil {
		return err
	}
	return s.rows(ctx, `SELECT * FROM `+quote(table), nil, func(rows *sql.Rows) (bool, error) {
		columns, values, err := scanRow(rows)
		if err != nil {
			return false, err
		}
		row, err := object(columns, values)
		if err != nil {
			return false, err
		}
		key, err := rowKey(primary, columns, values, row)
		if err != nil {
			return false, err
		}
		return true, each(table, key, row)
	})
}

func scanRow(rows *sql.Rows) (columns []string, values []any, err error) {
	types, err := rows.ColumnTypes()
	if err != nil {
		return nil, nil, err
	}
	values, dest := make([]any, len(types)), make([]any, len(types))
	for i := range values {
		dest[i] = &values[i]
	}
	if err := rows.Scan(dest...); err != nil {
		return nil, nil, err
	}
	for i, typ := range types {
		columns = append(columns, typ.Name())
		if n, ok := values[i].(int64); ok && strings.HasPrefix(strings.ToUpper(typ.DatabaseTypeName()), "BOOL") {
			values[i] = n != 0 // SQLite has no type for it
		}
	}
	return columns, values, nil
}

// object gives a row as JSON, its columns in their order.
func object(columns []string, values []any) ([]byte, error) {
	var b bytes.Buffer
	for i, column := range columns {
		name, err := json.Marshal(column)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(shown(values[i]))
		if err != nil {
			return nil, err
		}
		b.WriteByte("{,"[min(i, 1)])
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// shown is what JSON has for a value.
func shown(v any) any {
	switch v := v.(type) {
	case []byte:
		return odd + hex.EncodeToString(v)
	case string:
		return toText(v)
	case time.Time:
		return v.UTC().Format(timeLayout)
	case float64:
		switch {
		case math.IsNaN(v):
			return "NaN"
		case math.IsInf(v, 1):
			return "Infinity"
		case math.IsInf(v, -1):
			return "-Infinity"
		}
	}
	return v
}

func rowKey(primary, columns []string, values []any, row []byte) (string, error) {
	var parts []any
	for _, name := range primary {
		for i, column := range columns {
			if column == name {
				parts = append(parts, shown(values[i]))
			}
		}
	}
	switch len(parts) {
	case 0:
		return string(row), nil
	case 1:
		if s, ok := parts[0].(string); ok {
			return s, nil
		}
		text, err := json.Marshal(parts[0])
		return string(text), err
	default:
		text, err := json.Marshal(parts)
		return string(text), err
	}
}
