package persistence

import (
	"context"
	"time"

	"github.com/holdfast-run/holdfast"
)

// A Scanner reads the log as it stands, aggregate by aggregate or all of it, without an
// opinion on what it finds. A [Store] that can do so is one too.
type Scanner interface {
	// Describe says how much the log holds now, one entry a partition, in their order.
	// It returns ErrUnavailable.
	Describe(ctx context.Context) ([]Partition, error)

	// Scan calls each with every record that stood in the log when Scan was called and
	// matches, one partition after the other, each in the order of its log. What cannot
	// be read is left out, and unread says how many matching records those are at least.
	// The cost is that of reading the whole log, whatever the filter. The error is what
	// each returned, which ends the scan; else ErrUnavailable, also when ctx ends, and when
	// what is to be read cannot be reached, or stays behind the log.
	Scan(ctx context.Context, opts ScanOptions, each func(Record) error) (unread uint64, err error)
}

// ScanOptions say which records to read.
type ScanOptions struct {
	Filter
	// After are the positions, one a partition, after which to begin; a partition that
	// is not named is read from its beginning.
	After []holdfast.Position
	// Replica to read, by its name in [Partition.Replicas], and no other; empty: any one. A
	// partition that is not kept there is left out, and a name under which none is kept is
	// ErrMalformed. A replica may miss what others have; that it has not got it yet is no
	// reason: the scan waits for a replica that catches up, and fails when it does not.
	Replica string
}

// Start is the first sequence to read of a partition.
func (o ScanOptions) Start(partition uint32) uint64 {
	for _, p := range o.After {
		if p.Partition() == partition {
			return p.Sequence() + 1
		}
	}
	return 1
}

// A Filter selects aggregates: all of them, those of a type, or one.
type Filter struct {
	Type string // empty: every type
	ID   string // as the domain knows it; empty: every id. It needs a Type.
}

// All reports whether f selects every aggregate.
func (f Filter) All() bool { return f.Type == "" }

// Match reports whether f selects the aggregate.
func (f Filter) Match(ref holdfast.Ref) bool {
	return f.All() || f.Type == ref.Type && (f.ID == "" || f.ID == ref.ID)
}

// Check says what is wrong with f.
func (f Filter) Check() error {
	if f.ID != "" && f.Type == "" {
		return holdfast.Errorf(holdfast.CodeMalformed, "filter: the id %q is given without a type", f.ID)
	}
	return nil
}

// A Record is one message of the log as it stands there.
type Record struct {
	Position holdfast.Position
	// Subject under which it stands: <context>.log.<partition>.<type>.<id>, if all is well.
	Subject string
	Body    []byte
	// Time at which the log took it, by the log's clock.
	Time time.Time
}

// A Partition says how much one partition of the log holds.
type Partition struct {
	Number  uint32
	Commits uint64 // that are there
	Bytes   uint64 // that they take
	Last    uint64 // sequence of the last commit that ever was there; 0 when none was
	// Replicas are the servers that have a copy each, by name and in that order; none when
	// there is no name for the one that has it.
	Replicas []string
}
