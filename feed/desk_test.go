package feed_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/feed"
)

// ask asks as an operator, and gives the answer or "status sentence".
func (w *world) ask(body string, headers ...string) string {
	w.t.Helper()
	m := &nats.Msg{Subject: "shop.feed.status", Data: []byte(body), Header: nats.Header{}}
	for i := 0; i < len(headers); i += 2 {
		m.Header.Set(headers[i], headers[i+1])
	}
	reply, err := w.conn.RequestMsg(m, patience)
	if err != nil {
		w.t.Fatal(err)
	}
	if code := reply.Header.Get("Nats-Service-Error-Code"); code != "" {
		return code + " " + reply.Header.Get("Nats-Service-Error")
	}
	return string(reply.Data)
}

func (w *world) operators(f *feed.Feed) {
	w.t.Helper()
	d, err := f.ServeOperators(w.conn, 30*time.Second)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		for range 2 { // it bears repetition
			if err := d.Stop(w.t.Context()); err != nil && w.t.Context().Err() == nil {
				w.t.Error(err)
			}
		}
	})
}

// Operators are told how far the feed is and why it does not go on.
func TestDesk(t *testing.T) {
	w := newWorld(t)
	w.deposit("a", 1)
	w.deposit("a", 1)
	dead := &line{Conn: w.conn, fate: func(*nats.Msg, bool) fate { return refused }}
	f := w.start(w.config().Over(dead))
	w.operators(f)
	await(t, "it says why it does not go on", func() bool {
		got := w.ask("")
		return strings.HasPrefix(got, `{"partitions":[{"partition":0,"holder":"me","here":true,"position":"0-0","last":"0-2","behind":2,"late":`) &&
			strings.Contains(got, `"error":"publish message 1 of 3: `+nats.ErrReconnectBufExceeded.Error())
	})
	if got, want := w.ask(`{"partition":0}`), "400 body: partition: it is unknown"; !strings.HasPrefix(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := w.ask("", "Content-Type", "application/protobuf"), "400 header Content-Type: how the feed stands is told in application/json only"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := w.ask("", "Holdfast-Version", "1"), "400 header Holdfast-Version"; !strings.HasPrefix(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
	if _, err := f.ServeOperators(nil, time.Second); err == nil || !strings.Contains(err.Error(), "conn is nil, or timeout negative") {
		t.Errorf("without a connection: %v", err)
	}
}

// Operators are told when all is there.
func TestDeskUpToDate(t *testing.T) {
	w := newWorld(t)
	w.deposit("a", 1)
	f := w.start(w.config())
	w.operators(f)
	await(t, "it is up to date", func() bool {
		return w.ask("{}") == `{"partitions":[{"partition":0,"holder":"me","here":true,"position":"0-1","last":"0-1","behind":0,"late":0,"unread":0}]}`
	})
}
