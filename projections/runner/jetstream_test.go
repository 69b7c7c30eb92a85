package runner_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/memory"
	"github.com/holdfast-run/holdfast/projections/runner"
)

func connect(t *testing.T) *nats.Conn {
	t.Helper()
	conn, err := server.Connect(natsd.Node, nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// On the log in JetStream, in several partitions and shards, on two nodes of which one dies.
func TestOnJetStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sink = shared{memory.New()}
	log, err := jetstream.Open(w.ctx(), jetstream.Config{
		Context: w.context, Partitions: 3, Publish: connect(t), Read: []*nats.Conn{connect(t)}, AppendTimeout: deadline,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(log.Close)
	heads := map[string]persistence.Head{}
	record := func(id string, n int64) holdfast.Position {
		t.Helper()
		e, err := persistence.EncodeEvent(wrapperspb.Int64(n))
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		log.Append(holdfast.Ref{Type: "number", ID: id}, heads[id], []*messages.Change{{CommandId: fmt.Sprint(n), Time: n, Events: []*messages.Event{e}}}, func(h persistence.Head, err error) {
			heads[id] = h
			done <- err
		})
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		return heads[id].Position
	}
	p := numbers(add, projections.Shards(2))
	adapt := func(c *runner.Config) { c.Log, c.Alone = log, false }
	a, b := w.start("n1", adapt, p), w.start("n2", adapt, p)
	var last []holdfast.Position
	var partitions []uint32
	for n := range int64(20) {
		last = nil
		for id := range 10 {
			at := record(fmt.Sprint(id), n+1)
			last = append(last, at)
			partitions = append(partitions, at.Partition())
		}
		if n == 10 {
			a.conn.Close()
			a.stop()
		}
	}
	if slices.Sort(partitions); len(slices.Compact(partitions)) != 3 {
		t.Fatalf("the numbers are in the partitions %v", partitions)
	}
	for id, at := range last {
		b.await(at)
		b.has(fmt.Sprint(id), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20)
	}
	b.status("all units are live", func(s runner.Status) bool {
		return s.State == runner.Live && len(s.Generations[0].Units) == 6 && len(s.Generations[0].Positions) == 3
	})
	if _, positions, err := b.Answer(w.ctx(), "numbers", "1"); err != nil || len(positions) != 3 {
		t.Errorf("it is answered from %v, %v", positions, err)
	}
}
