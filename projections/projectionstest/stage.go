package projectionstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/projections"
)

// patience is how long anything may take on a machine that is busy.
const patience = 3 * time.Minute

// A stage is what one test plays on: a projection that counts under keys.
type stage struct {
	place  *Place
	sink   projections.Sink
	others []projections.Sink
	reopen func(t testing.TB) projections.Sink
	form   projections.Form
	p      *projections.Projection
}

// counted is the aggregate type with the only event that there is.
var counted = holdfast.Define("counted",
	holdfast.Decide(func(_ int64, c *wrapperspb.Int64Value) (holdfast.Events, error) {
		return holdfast.Events{wrapperspb.Int32(int32(c.Value))}, nil
	}),
	holdfast.Evolve(func(n int64, e *wrapperspb.Int32Value) int64 { return n + int64(e.Value) }),
)

// table is that of projections of rows.
const table = `CREATE TABLE counts (id TEXT NOT NULL PRIMARY KEY, n BIGINT NOT NULL)`

func newStage(p *Place, form projections.Form, i int) *stage {
	return &stage{
		place: p, sink: p.Sink, others: p.Others, reopen: p.Reopen, form: form,
		p: define(fmt.Sprintf("p%d_%s", i, form), form),
	}
}

func define(name string, form projections.Form) *projections.Projection {
	if form == projections.FormRows {
		return projections.Define(name, projections.From(counted), projections.Tables(table),
			projections.On(func(*projections.Rows, *wrapperspb.Int32Value, projections.Event) error { return nil }))
	}
	return projections.Define(name, projections.From(counted),
		projections.On(func(*projections.Docs[tally], *wrapperspb.Int32Value, projections.Event) error { return nil }))
}

// unit gives the first unit of the stage's projection.
func (s *stage) unit() projections.Unit {
	return projections.Unit{Projection: s.p.Name(), Generation: 1}
}

// tally is what a document holds.
type tally struct {
	N int64 `json:"n"`
}

// add counts n under a key, for the event at that place.
func (s *stage) add(b projections.Batch, key string, at projections.Place, n int64) error {
	if s.form == projections.FormRows {
		changed, err := b.Exec(`INSERT INTO counts (id, n) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET n = counts.n + excluded.n`, []any{key, n})
		if err == nil && changed != 1 {
			err = fmt.Errorf("%d rows were changed", changed)
		}
		return err
	}
	return b.Change(key, at, func(old []byte) ([]byte, error) {
		var t tally
		if old != nil {
			if err := json.Unmarshal(old, &t); err != nil {
				return nil, err
			}
		}
		t.N += n
		return json.Marshal(t)
	})
}

// counts gives all that is counted in a generation.
func counts(t testing.TB, s projections.Sink, u projections.Unit) map[string]int64 {
	t.Helper()
	ctx, cancel := within(t)
	defer cancel()
	got := map[string]int64{}
	err := s.Dump(ctx, u.Projection, u.Generation, func(table, key string, row []byte) error {
		var shown struct {
			ID *string `json:"id"`
			N  int64   `json:"n"`
		}
		if err := json.Unmarshal(row, &shown); err != nil {
			return fmt.Errorf("the row %q of %q is no JSON: %w", row, table, err)
		}
		if shown.ID != nil {
			key = *shown.ID
		}
		if _, twice := got[key]; twice {
			return fmt.Errorf("%q comes twice", key)
		}
		got[key] = shown.N
		return nil
	})
	if err != nil {
		t.Fatalf("dump %s: %v", u, err)
	}
	return got
}

func wantCounts(t testing.TB, s projections.Sink, u projections.Unit, want map[string]int64) {
	t.Helper()
	if got := counts(t, s, u); !maps.Equal(got, want) {
		t.Fatalf("%s has counted %v, want %v", u, got, want)
	}
}

func within(t testing.TB) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), patience)
}

func prepare(t testing.TB, s projections.Sink, p *projections.Projection, generation uint64) {
	t.Helper()
	ctx, cancel := within(t)
	defer cancel()
	if err := s.Prepare(ctx, p, generation); err != nil {
		t.Fatalf("prepare generation %d of %s: %v", generation, p.Name(), err)
	}
}

func checkpoint(t testing.TB, s projections.Sink, u projections.Unit) projections.Checkpoint {
	t.Helper()
	ctx, cancel := within(t)
	defer cancel()
	at, err := s.Checkpoint(ctx, u)
	if err != nil {
		t.Fatalf("checkpoint of %s: %v", u, err)
	}
	return at
}

func wantCheckpoint(t testing.TB, s projections.Sink, u projections.Unit, want projections.Checkpoint) {
	t.Helper()
	got := checkpoint(t, s, u)
	if got.Done != want.Done || got.Resets != want.Resets || !got.Time.Equal(want.Time) {
		t.Fatalf("%s is at %+v, want %+v", u, got, want)
	}
}

func attempt(t testing.TB, s projections.Sink, u projections.Unit, from, to projections.Checkpoint, do func(projections.Batch) error) error {
	t.Helper()
	ctx, cancel := within(t)
	defer cancel()
	return s.Commit(ctx, u, from, to, do)
}

// commit moves on from where the unit stands, to done.
func commit(t testing.TB, s projections.Sink, u projections.Unit, done uint64, do func(projections.Batch) error) projections.Checkpoint {
	t.Helper()
	from := checkpoint(t, s, u)
	to := at(done)
	to.Resets = from.Resets
	if err := attempt(t, s, u, from, to, do); err != nil {
		t.Fatalf("commit %s from %d to %d: %v", u, from.Done, to.Done, err)
	}
	return to
}

// again commits, and begins anew from the checkpoint for as long as the sink says that it
// could not, or that another one has moved it.
func (s *stage) again(t testing.TB, sink projections.Sink, u projections.Unit, done uint64, do func(projections.Batch) error) error {
	ctx, cancel := within(t)
	defer cancel()
	for {
		from, err := sink.Checkpoint(ctx, u)
		if err != nil {
			return err
		}
		if from.Done >= done {
			return nil
		}
		err = sink.Commit(ctx, u, from, at(done), do)
		if err == nil || !errors.Is(err, holdfast.ErrUnavailable) && !errors.Is(err, projections.ErrFenced) || ctx.Err() != nil {
			return err
		}
	}
}

// at is the checkpoint after the event of that sequence, none of which comes twice as late.
func at(done uint64) projections.Checkpoint {
	if done == 0 {
		return projections.Checkpoint{}
	}
	return projections.Checkpoint{Done: done, Time: moment(done)}
}

// moment is a time that all databases keep as it is.
func moment(n uint64) time.Time { return time.UnixMicro(1_700_000_000_123_456 + int64(n%1e9)).UTC() }

func place(sequence uint64) projections.Place { return projections.Place{Sequence: sequence} }

func wantFenced(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, projections.ErrFenced) {
		t.Fatalf("it returned %v, want ErrFenced", err)
	}
}
