package kvsink_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/kvsink"
)

// TestWatched: anybody who watches the bucket sees documents, each with where it stands, and
// nothing else; and finds out which bucket is to be read.
func TestWatched(t *testing.T) {
	conn := connect(t, startServers(t, 1)[0])
	s := open(t, conn, 1)
	p := counter("balances")
	if err := errors.Join(s.Prepare(within(t), p, 1), s.Prepare(within(t), p, 2), s.Serve(within(t), p, 1), s.Serve(within(t), p, 2)); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	serving, err := js.KeyValue(within(t), kvsink.Serving("test"))
	if err != nil {
		t.Fatal(err)
	}
	if e, err := serving.Get(within(t), "balances"); err != nil || string(e.Value()) != `{"bucket":"test_view_balances_2","generation":2}` {
		t.Errorf("serving is %v, %v", e, err)
	}
	kv, err := js.KeyValue(within(t), "test_view_balances_1")
	if err != nil {
		t.Fatal(err)
	}
	watch, err := kv.WatchAll(within(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = watch.Stop() }()
	u := projections.Unit{Projection: "balances", Generation: 1, Partition: 2, Shard: 1}
	at := projections.Checkpoint{}
	commit := func(to projections.Checkpoint, do func(projections.Batch) error) {
		t.Helper()
		if err := s.Commit(within(t), u, at, to, do); err != nil {
			t.Fatal(err)
		}
		at = to
	}
	set := func(b projections.Batch, key string, at projections.Place, is string) error {
		return b.Change(key, at, func([]byte) ([]byte, error) {
			if is == "" {
				return nil, nil
			}
			return []byte(is), nil
		})
	}
	// One after the other: the bucket keeps no more than what is there now.
	sees := func(want string) {
		t.Helper()
		got := ""
		select {
		case e := <-watch.Updates():
			if e != nil {
				got = fmt.Sprintf("%s %s %s", e.Operation(), e.Key(), e.Value())
			}
		case <-within(t).Done():
		}
		if got != want {
			t.Errorf("one who watches sees %s, want %s", got, want)
		}
	}
	sees("")
	commit(projections.Checkpoint{Done: 8}, func(b projections.Batch) error {
		return errors.Join(set(b, "é", projections.Place{Sequence: 7}, `{"n":"<1>"}`), b.Park(park("k", 8)), b.Later(projections.Effected{ID: "e"}))
	})
	sees(`KeyValuePutOp =C3=A9 {"position":"2-7","after":{"2.1":"7"},"value":{"n":"<1>"}}`)
	commit(projections.Checkpoint{Done: 8}, func(b projections.Batch) error {
		return errors.Join(set(b, "é", projections.Place{Sequence: 8, Index: 1, Drained: true}, `2`), b.Unpark(park("k", 8), ""))
	})
	sees(`KeyValuePutOp =C3=A9 {"position":"2-8","after":{"2.1":"7"},"drained":["2.1/8.1.0"],"value":2}`)
	commit(projections.Checkpoint{Done: 4, Resets: 1}, func(projections.Batch) error { return nil })
	commit(projections.Checkpoint{Done: 5, Resets: 1}, func(b projections.Batch) error { return set(b, "é", projections.Place{Sequence: 5}, `3`) })
	sees(`KeyValuePutOp =C3=A9 {"position":"2-5","after":{"2.1":"1:5"},"drained":["2.1/8.1.0"],"value":3}`)
	commit(projections.Checkpoint{Done: 6, Resets: 1}, func(b projections.Batch) error { return set(b, "é", projections.Place{Sequence: 6}, "") })
	sees(`KeyValueDeleteOp =C3=A9 {"position":"2-6","after":{"2.1":"1:6"},"drained":["2.1/8.1.0"],"value":null}`)
}

// TestRepeat: when the checkpoint is lost, and with it what is parked, documents still know
// what they have had.
func TestRepeat(t *testing.T) {
	conn := connect(t, startServers(t, 1)[0])
	s := open(t, conn, 1)
	p := newPlay(t, s, "repeated")
	p.goOn(t, s)
	want := dump(t, s, p.u)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(within(t), "KV_test_view_repeated_1")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(within(t), jetstream.WithPurgeSubject("$VIEW.test_view_repeated_1.>")); err != nil {
		t.Fatal(err)
	}
	other := open(t, conn, 1)
	err = other.Commit(within(t), p.u, projections.Checkpoint{}, p.from(), func(b projections.Batch) error {
		return errors.Join(b.Park(park("late", 1)), b.Park(park("late", 2)), b.Park(park("late", 3)))
	})
	if err != nil {
		t.Fatal(err)
	}
	p.goOn(t, other) // which drains, too
	if got := dump(t, other, p.u); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("documents have changed: %v", got)
	}
}

// TestForeign: what is another one's is not touched, and whose it is is said.
func TestForeign(t *testing.T) {
	conn := connect(t, startServers(t, 1)[0])
	s := open(t, conn, 1)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	p := counter("owned")
	if err := s.Prepare(within(t), p, 1); err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(within(t), "KV_test_view_owned_1")
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	for want, change := range map[string]func(*jetstream.StreamConfig){
		"was not made by a projection":             func(c *jetstream.StreamConfig) { c.Metadata = nil },
		`is of the format "2", and this build`:     func(c *jetstream.StreamConfig) { c.Metadata["holdfast-view"] = "2" },
		`belongs to the log "20200101T`:            func(c *jetstream.StreamConfig) { c.Metadata["holdfast-log"] = "20200101T000000.000000000Z" },
		`is that of the projection "other"`:        func(c *jetstream.StreamConfig) { c.Metadata["holdfast-projection"] = "other" },
		"settings of the stream KV_test_view_owne": func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
	} {
		c := config
		c.Metadata = map[string]string{}
		for k, v := range config.Metadata {
			if !strings.HasPrefix(k, "_nats") {
				c.Metadata[k] = v
			}
		}
		change(&c)
		if _, err := js.UpdateStream(within(t), c); err != nil {
			t.Fatal(err)
		}
		for what, err := range map[string]error{"prepare": s.Prepare(within(t), p, 1), "drop": s.Drop(within(t), "owned", 1)} {
			if !errors.Is(err, projections.ErrForeign) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: it said %v, want %s", what, err, want)
			}
		}
	}
	if _, err := js.UpdateStream(within(t), config); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Prepare(within(t), p, 1), s.Drop(within(t), "owned", 1)); err != nil {
		t.Errorf("one's own: %v", err)
	}
}

// TestLimits: what does not fit into NATS KV refuses the event, and is no fault of the sink.
func TestLimits(t *testing.T) {
	s := open(t, connect(t, startServers(t, 1)[0]), 1)
	if err := s.Prepare(within(t), counter("limits"), 1); err != nil {
		t.Fatal(err)
	}
	u := projections.Unit{Projection: "limits", Generation: 1}
	change := func(b projections.Batch, key, is string) error {
		return b.Change(key, projections.Place{Sequence: 1}, func([]byte) ([]byte, error) { return []byte(is), nil })
	}
	for want, do := range map[string]func(projections.Batch) error{
		"the document takes 1048576 bytes": func(b projections.Batch) error { return change(b, "a", `"`+strings.Repeat("x", 1<<20-2)+`"`) },
		"the document is not JSON":         func(b projections.Batch) error { return change(b, "a", "{") },
		`the key "" of a document`:         func(b projections.Batch) error { return change(b, "", "{}") },
		"more than 500 documents": func(b projections.Batch) error {
			for n := range 501 {
				if err := change(b, fmt.Sprint(n), "{}"); err != nil {
					return err
				}
			}
			return nil
		},
		"what is put into the outbox takes": func(b projections.Batch) error {
			return b.Later(projections.Effected{ID: "e", Payload: make([]byte, 1<<20)})
		},
	} {
		err := s.Commit(within(t), u, projections.Checkpoint{}, projections.Checkpoint{Done: 1}, func(b projections.Batch) error {
			err := do(b)
			if b.Broken() != nil {
				t.Errorf("%s: the batch is broken: %v", want, b.Broken())
			}
			return err
		})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("it said %v, want %s", err, want)
		}
	}
}

func TestConfig(t *testing.T) {
	conn := connect(t, startServers(t, 1)[0])
	for want, c := range map[string]kvsink.Config{
		"Conn is missing":  {Context: "test", Log: logName},
		"Context: context": {Conn: conn, Context: "Test", Log: logName},
		"Log is missing":   {Conn: conn, Context: "test"},
		"Replicas is -1":   {Conn: conn, Context: "test", Log: logName, Replicas: -1},
	} {
		if s, err := kvsink.New(c); s != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("it said %v, want %s", err, want)
		}
	}
}

// TestGone: without servers, or without the bucket, it says so, within the time that it has.
func TestGone(t *testing.T) {
	server := startServers(t, 1)[0]
	conn := connect(t, server)
	s := open(t, conn, 1)
	u := projections.Unit{Projection: "gone", Generation: 1}
	_, err := s.Checkpoint(within(t), u)
	if !errors.Is(err, holdfast.ErrUnavailable) || !strings.Contains(err.Error(), "there is no bucket test_view_gone_1: prepare the generation") {
		t.Errorf("without a bucket it said %v", err)
	}
	if err := s.Prepare(within(t), counter("gone"), 1); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	_, err = s.Checkpoint(within(t), u)
	if !errors.Is(err, holdfast.ErrUnavailable) {
		t.Errorf("without a connection it said %v", err)
	}
	for _, err := range []error{s.Prepare(within(t), counter("gone"), 1), s.Drop(within(t), "gone", 1), s.Carried(within(t), u, "e")} {
		if !errors.Is(err, holdfast.ErrUnavailable) {
			t.Errorf("without a connection it said %v", err)
		}
	}
}
