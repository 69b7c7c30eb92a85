package index_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/pgtest"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/index"
	"github.com/holdfast-run/holdfast/projections/sqlsink"
)

const (
	created = "20260314T092653.589793238Z"
	mega    = 1 << 20
)

var dawn = time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		pgtest.Stop()
		os.Exit(code)
	}))
}

// each tests on both databases.
func each(t *testing.T, test func(t *testing.T, x *indexed)) {
	t.Helper()
	t.Parallel()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		test(t, open(t, sqlsink.Config{Context: "shop", Log: created, Folder: t.TempDir()}))
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		test(t, open(t, sqlsink.Config{Context: "shop", Log: created, URL: pgtest.Database(t)}))
	})
}

// An indexed log has the index of what is recorded.
type indexed struct {
	t     testing.TB
	sink  *sqlsink.Sink
	heads map[holdfast.Ref]persistence.Head
	at    map[uint32]projections.Checkpoint // by partition
}

func open(t testing.TB, c sqlsink.Config) *indexed {
	t.Helper()
	sink, err := sqlsink.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sink.Close)
	x := &indexed{t: t, sink: sink, heads: map[holdfast.Ref]persistence.Head{}, at: map[uint32]projections.Checkpoint{}}
	if err := sink.Prepare(x.ctx(), index.Definition, 1); err != nil {
		t.Fatal(err)
	}
	return x
}

func (x *indexed) ctx() context.Context {
	ctx, cancel := context.WithTimeout(x.t.Context(), 3*time.Minute)
	x.t.Cleanup(cancel)
	return ctx
}

// record has a commit in the log of a partition, and in the index.
func (x *indexed) record(partition uint32, ref holdfast.Ref, changes ...*messages.Change) {
	x.t.Helper()
	h, ok := x.heads[ref]
	if !ok {
		var err error
		if h, err = persistence.NewHead("shop", ref); err != nil {
			x.t.Fatal(err)
		}
	}
	c, err := h.Seal("id", changes)
	if err != nil {
		x.t.Fatal(err)
	}
	id, err := messages.EncodeID(ref.ID)
	if err != nil {
		x.t.Fatal(err)
	}
	position := holdfast.NewPosition(partition, x.at[partition].Done+1)
	c.Position = position
	x.heads[ref] = c.Head()
	items := index.Definition.Read(persistence.Record{
		Position: position, Subject: "shop.log.0." + ref.Type + "." + id.String(), Body: c.Body,
	})
	x.commit(partition, func(b projections.Batch) error {
		for _, i := range items {
			if err := index.Definition.Handle(b, i); err != nil {
				return err
			}
		}
		return nil
	})
}

func (x *indexed) commit(partition uint32, do func(projections.Batch) error) {
	x.t.Helper()
	from := x.at[partition]
	to := projections.Checkpoint{Done: from.Done + 1}
	if err := x.sink.Commit(x.ctx(), projections.Unit{Projection: index.Name, Generation: 1, Partition: partition}, from, to, do); err != nil {
		x.t.Fatal(err)
	}
	x.at[partition] = to
}

// Query implements [index.Source].
func (x *indexed) Query(ctx context.Context, do func(projections.Batch) error) error {
	return x.sink.Query(ctx, index.Name, 1, do)
}

func (x *indexed) find(q index.Query, room int) (page index.Page, err error) {
	err = x.Query(x.ctx(), func(b projections.Batch) error {
		page, err = index.Find(projections.NewRows(b), q, room)
		return err
	})
	return page, err
}

func (x *indexed) explain(id string, room int) (story index.Story, err error) {
	err = x.Query(x.ctx(), func(b projections.Batch) error {
		story, err = index.Explain(projections.NewRows(b), id, room)
		return err
	})
	return story, err
}

// found are the ids of the events that a query finds.
func (x *indexed) found(q index.Query) string {
	x.t.Helper()
	page, err := x.find(q, mega)
	if err != nil {
		x.t.Fatal(err)
	}
	if page.Next != "" {
		x.t.Errorf("%+v has another page", q)
	}
	return ids(page.Events)
}

func ids(events []index.Event) string {
	var all []string
	for _, e := range events {
		all = append(all, e.ID)
	}
	return strings.Join(all, " ")
}

// of is what a command did: events of these names, so long after dawn.
func of(id, because string, after time.Duration, names ...string) *messages.Change {
	c := &messages.Change{CommandId: id, Command: "shop.v1.Do", CausationId: because, CorrelationId: "story", Time: dawn.Add(after).UnixNano()}
	for _, name := range names {
		c.Events = append(c.Events, &messages.Event{Type: name, Schema: messages.SchemaProtobuf, Data: []byte{255}})
	}
	return c
}

func order(id string) holdfast.Ref { return holdfast.Ref{Type: "order", ID: id} }

func refused(err error, code holdfast.Code, want string) bool {
	return err != nil && holdfast.CodeOf(err) == code && strings.Contains(err.Error(), want)
}
