package sqlsink

import (
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// timeLayout is how SQLite has a time: as text that sorts, to the microsecond, as PostgreSQL
// keeps it.
const timeLayout = "2006-01-02T15:04:05.000000Z07:00"

// arguments gives parameters as the database takes them. The slice stays the caller's.
func (s *session) arguments(args []any) []any {
	copied := false
	for i, arg := range args {
		t, ok := asTime(arg)
		if !ok {
			continue
		}
		if !copied {
			args, copied = append([]any(nil), args...), true
		}
		args[i] = s.time(t.UTC().Truncate(time.Microsecond))
	}
	return args
}

func asTime(arg any) (t time.Time, ok bool) {
	switch a := arg.(type) {
	case int64, string, []byte, bool, float64, int, nil:
	case time.Time:
		return a, true
	case *time.Time:
		if a != nil {
			return *a, true
		}
	case sql.NullTime:
		return a.Time, a.Valid
	case driver.Valuer:
		if v, err := a.Value(); err == nil {
			t, ok = v.(time.Time)
		}
	}
	return t, ok
}

// destinations gives what a row is scanned into: a time may come as text.
func destinations(dest []any) []any {
	copied := false
	for i, d := range dest {
		var scan any
		switch d := d.(type) {
		case *time.Time:
			scan = &timeScan{set: func(t time.Time, _ bool) { *d = t }}
		case *sql.NullTime:
			scan = &timeScan{null: true, set: func(t time.Time, valid bool) { *d = sql.NullTime{Time: t, Valid: valid} }}
		default:
			continue
		}
		if !copied {
			dest, copied = append([]any(nil), dest...), true
		}
		dest[i] = scan
	}
	return dest
}

// timeScan reads a time.
type timeScan struct {
	null bool
	set  func(t time.Time, valid bool)
}

// Scan implements [sql.Scanner].
func (s *timeScan) Scan(v any) error {
	switch v := v.(type) {
	case time.Time:
		s.set(v.UTC(), true)
		return nil
	case string:
		t, err := time.Parse(time.RFC3339Nano, v)
		if err != nil {
			return fmt.Errorf("%q is no time as this package keeps it: want one like %s", v, timeLayout)
		}
		s.set(t.UTC(), true)
		return nil
	case nil:
		if s.null {
			s.set(time.Time{}, false)
			return nil
		}
		return fmt.Errorf("NULL is no time: read the column into a sql.NullTime")
	}
	return fmt.Errorf("%T is no time", v)
}

// odd begins what stands for text that PostgreSQL does not take as it is.
const odd = `\x`

// toText gives any bytes as text that both databases take: as they are, or, with a zero byte
// in them, or what is not UTF-8, in hexadecimal.
func toText(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 && !strings.HasPrefix(s, odd) {
		return s
	}
	return odd + hex.EncodeToString([]byte(s))
}

// fromText reads what toText gave.
func fromText(s string) string {
	if digits, ok := strings.CutPrefix(s, odd); ok {
		if raw, err := hex.DecodeString(digits); err == nil {
			return string(raw)
		}
	}
	return s
}

// text is any bytes within JSON.
type text string

// MarshalText implements encoding.TextMarshaler.
func (t text) MarshalText() ([]byte, error) { return []byte(toText(string(t))), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *text) UnmarshalText(b []byte) error {
	*t = text(fromText(string(b)))
	return nil
}

// micros gives a time as a number, 0 for none.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

// blob is never NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
