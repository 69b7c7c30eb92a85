package projections

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-run/holdfast/persistence"
)

// A Unit is a part of a projection that one node works on at a time: the events of one shard
// of one partition, in one generation.
type Unit struct {
	Projection string
	Generation uint64 // from 1 on
	Partition  uint32
	Shard      int
}

// String gives "orders.2/0.0": the projection, its generation, the partition, the shard.
func (u Unit) String() string {
	return fmt.Sprintf("%s.%d/%d.%d", u.Projection, u.Generation, u.Partition, u.Shard)
}

// A Checkpoint says how far a unit has come: all of its events up to Done have had their
// effect, or are parked.
type Checkpoint struct {
	Done uint64 // sequence in the partition; 0 when nothing has been done
	// Time of the last event up to there; zero when there was none.
	Time time.Time
	// Resets counts how often an operator has set Done otherwise.
	Resets uint64
}

// The errors of sinks, beside holdfast.ErrUnavailable.
var (
	// ErrFenced: the checkpoint is not where the caller believes: another node goes on.
	ErrFenced = errors.New("the checkpoint was moved by another one")
	// ErrForeign: what is there belongs to another context or another log, is of a newer
	// build, or was not made by a projection: nothing is touched.
	ErrForeign = errors.New("the read model is not this projection's")
)

// Parked is an event that is kept aside, in the order of its key. The sink keeps it.
type Parked struct {
	Key string
	// Event, without its data. With an Index of -1 it is a whole record that cannot be read.
	Event Event
	// Record is the one that holds it. The sink may leave out a body that is too large for it,
	// which is then nil: the log has it.
	Record persistence.Record
	// Reason is empty when the event waits for one of its key that could not be handled.
	Reason string
	// Since is when it was parked, and Attempts are how often it was tried.
	Since    time.Time
	Attempts int
}

// ParkedKey is a key with events that are parked.
type ParkedKey struct {
	Unit   Unit
	Key    string
	Events int
	First  Parked // without its record
}

// Effected is what a handler has put into the outbox.
type Effected struct {
	ID, Name string
	Payload  []byte
}

// A Sink keeps what projections make, their checkpoints, and what is parked. Its methods are
// safe for concurrent use. Those that take a context return ErrUnavailable when what they need
// cannot be reached, or the context ends: nothing has then happened, or all of it.
//
// A generation of a projection is a whole of its own: its tables or documents, checkpoints,
// parked events, outbox.
type Sink interface {
	// Takes reports whether the sink keeps what handlers of that form write.
	Takes(Form) bool
	// Local reports whether the sink is this node's own, so that each node works on all units.
	Local() bool

	// Prepare makes a generation, or finds that it is there. It returns ErrForeign when what
	// is there is not this projection's, with a sentence that says what it is.
	Prepare(ctx context.Context, p *Projection, generation uint64) error
	// Drop takes a generation away. That there is none is no error.
	Drop(ctx context.Context, projection string, generation uint64) error
	// Serve has those who read the sink itself see that generation, at once and as a whole.
	Serve(ctx context.Context, p *Projection, generation uint64) error

	// Checkpoint tells where a unit of a prepared generation stands; the zero Checkpoint when
	// it has not begun.
	Checkpoint(ctx context.Context, u Unit) (Checkpoint, error)
	// Commit calls do, once, with a batch in which events are handled, and then moves the
	// checkpoint: all of it or nothing; or, in a sink without transactions, so that what is
	// done again changes nothing. It returns ErrFenced when the checkpoint is not at from
	// (whose Time does not count), and what do returned, after which nothing has happened.
	// A batch holds whole records. Whoever begins, was fenced, or does not know how a commit has
	// ended, reads the checkpoint first, and then what is parked.
	Commit(ctx context.Context, u Unit, from, to Checkpoint, do func(Batch) error) error

	// ParkedKeys lists the keys of a generation with parked events, by the time of the first,
	// limit at the most.
	ParkedKeys(ctx context.Context, projection string, generation uint64, limit int) ([]ParkedKey, error)
	// Parked gives the first of a key's events that are parked, in order.
	Parked(ctx context.Context, u Unit, key string, limit int) ([]Parked, error)

	// Outbox gives what waits in the outbox of a unit, oldest first, and Carried takes out
	// what has been done.
	Outbox(ctx context.Context, u Unit, limit int) ([]Effected, error)
	Carried(ctx context.Context, u Unit, id string) error

	// Document reads a document; nil when there is none.
	Document(ctx context.Context, projection string, generation uint64, key string) ([]byte, error)
	// Query calls do with a batch that only reads.
	Query(ctx context.Context, projection string, generation uint64, do func(Batch) error) error
	// Dump calls each with every row or document of a generation, as JSON, in no certain order,
	// from one moment. key names the row within its table; the table of documents is "".
	Dump(ctx context.Context, projection string, generation uint64, each func(table, key string, row []byte) error) error
}

// A Batch is what events are handled in.
type Batch interface {
	// Exec, Get and Each are those of [Rows].
	Exec(query string, args []any) (int64, error)
	Get(query string, args, dest []any) (bool, error)
	Each(query string, args []any, f func() error, dest []any) error
	// Change is that of [Docs]: f gives what becomes of a document; nil stands for none. It is
	// not called when the document has had the event at that place already, and called again
	// when another unit has changed the document meanwhile.
	Change(key string, at Place, f func(old []byte) ([]byte, error)) error

	// Park keeps an event aside, behind those of its key that are. One that is there already
	// stays where it is, since when it was, and has the new reason and attempts.
	Park(Parked) error
	// Unpark takes one away that was handled just before, or, with a reason, was skipped.
	//
	// One that is to be taken away, or that the checkpoint has passed and is to be parked again,
	// and is not there, another node has had: the batch is broken, and Commit returns ErrFenced.
	Unpark(p Parked, skipped string) error
	// Later puts something into the outbox. That it is there already is no error.
	Later(Effected) error

	// Broken says why nothing more can be done in this batch, when that is the sink's fault
	// and not that of what was asked for; nil otherwise. Events are not refused for it.
	Broken() error
}

// Failing is a batch, of databases whose transaction a statement can spoil, that says which one
// has failed, for the event to be refused even if its handler goes on. Nothing can be done in
// it then.
type Failing interface {
	Batch
	Failed() error
}
