package persistence

import (
	"context"

	"github.com/holdfast-run/holdfast"
)

// A Follower reads the log as it grows. A [Store] that can do so is one too.
type Follower interface {
	// Follow calls each with every record of one partition after a position, in the order
	// of the log: those that are there, then those that come, each as soon as it is
	// durable, until ctx ends or each returns an error. It leaves none out and gives none
	// twice. Any number may follow at a time.
	//
	// after is a position that the log has given, or holdfast.NewPosition(p, 0), which
	// stands before the first record of partition p. Nothing is deleted from a log, so the
	// sequences of a partition have no gaps.
	//
	// each is called from the goroutine of Follow, and may block: only so many bytes are
	// read ahead of it. It may keep a record, and never writes to it. While the log cannot
	// be reached Follow waits, and then goes on where it was.
	//
	// The error is never nil: what each returned; ErrCorrupt, with the place, when a record
	// is missing or cannot be read, or when the log ends before after, so that it has lost
	// what stood there or is another one; ErrMalformed when there is no such partition;
	// else ErrUnavailable, when ctx ends, whose cause it wraps, or the store is closed.
	Follow(ctx context.Context, after holdfast.Position, each func(Record) error) error
}

// Missing says that the log should have a record at a position, and does not, or has one
// that cannot be read.
func Missing(at holdfast.Position) error {
	return holdfast.Errorf(holdfast.CodeCorrupt, "follow log: the record at %s is missing or cannot be read", at)
}

// Ended says that the log ends at last, although a position after that was given for it.
func Ended(last, after holdfast.Position) error {
	return holdfast.Errorf(holdfast.CodeCorrupt,
		"follow log: it ends at %s, before %s: it has lost what stood there, or is another log", last, after)
}
