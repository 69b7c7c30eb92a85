package holdfast

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A Ref names one aggregate: the name of its type and its id within the type.
// The id may hold any bytes; the wire form (see package messages) escapes what
// needs escaping.
type Ref struct {
	Type string
	ID   string
}

// String gives the ref as "type/id", the id as it is.
func (r Ref) String() string { return r.Type + "/" + r.ID }

// ParseRef reads "type/id" and splits at the first slash. Neither part may be empty.
func ParseRef(s string) (Ref, error) {
	typ, id, ok := strings.Cut(s, "/")
	if !ok || typ == "" || id == "" {
		return Ref{}, fmt.Errorf("ref %q: want type/id, as in account/a-1", s)
	}
	return Ref{Type: typ, ID: id}, nil
}

// A Version says how many events an aggregate has: 1, 2, 3 … without gaps. 0 means
// that nothing has happened yet.
type Version uint64

// A Position is where a commit stands in the log: a partition and a sequence in it.
// It is opaque: compare two of the same partition, never count with one.
// The zero Position stands before everything.
type Position struct {
	partition uint32
	sequence  uint64
}

// NewPosition is for stores, which alone know what a position is made of.
func NewPosition(partition uint32, sequence uint64) Position {
	return Position{partition: partition, sequence: sequence}
}

// Partition is the number of the partition in which the commit stands.
func (p Position) Partition() uint32 { return p.partition }

// Sequence is the commit's sequence within its partition; 0 stands before the first.
func (p Position) Sequence() uint64 { return p.sequence }

// IsZero reports whether p stands before everything.
func (p Position) IsZero() bool { return p.sequence == 0 }

// Before reports whether p stands before q. Positions of two partitions have no
// order: then it is always false.
func (p Position) Before(q Position) bool {
	return p.partition == q.partition && p.sequence < q.sequence
}

// String gives the position in the form that [ParsePosition] reads, as "0-42".
func (p Position) String() string {
	return strconv.FormatUint(uint64(p.partition), 10) + "-" + strconv.FormatUint(p.sequence, 10)
}

var errPosition = errors.New(`want partition-sequence, as in "0-42"`)

// ParsePosition reads what [Position.String] gives, and nothing else.
func ParsePosition(s string) (Position, error) {
	left, right, ok := strings.Cut(s, "-")
	if !ok {
		return Position{}, fmt.Errorf("position %q: %w", s, errPosition)
	}
	partition, err1 := strconv.ParseUint(left, 10, 32)
	sequence, err2 := strconv.ParseUint(right, 10, 64)
	p := NewPosition(uint32(partition), sequence)
	if err1 != nil || err2 != nil || p.String() != s {
		return Position{}, fmt.Errorf("position %q: %w", s, errPosition)
	}
	return p, nil
}
