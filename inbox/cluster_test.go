package inbox_test

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/inbox"
	"github.com/holdfast-run/holdfast/internal/follow"
	"github.com/holdfast-run/holdfast/internal/natsd"
)

// setupThree gives the worlds of three nodes that share an inbox, with replicas.
func setupThree(t *testing.T) (worlds []*world, runners []*inbox.Runner) {
	t.Helper()
	servers, err := natsd.StartCluster(within(t), 3, natsd.Config{DataDir: t.TempDir(), Context: "bank", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	k := newClerk()
	for i, server := range servers {
		t.Cleanup(server.Stop)
		w := &world{t: t, server: server, clerk: k, attempt: 5 * time.Second} // a server that goes gives no answer
		w.core = w.connect(natsd.Node)
		w.inbox, err = inbox.Open(within(t), inbox.Config{
			Context: "bank", Core: w.core, Public: w.connect(natsd.Node), Types: []holdfast.Definition{bank.Account}, Replicas: 3,
			Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		if w.client, err = jetstream.New(w.connect(natsd.Node)); err != nil {
			t.Fatal(err)
		}
		seats, err := follow.Open(within(t), follow.Config{
			Context: "bank", Conn: w.core, Replicas: 3, Node: fmt.Sprint("n", i), Lease: 2 * time.Second, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		worlds, runners = append(worlds, w), append(runners, w.run(func(c *inbox.RunnerConfig) { c.Seats = seats }))
	}
	return worlds, runners
}

// leaveUntil leaves a command until it is accepted, as clients do.
func (w *world) leaveUntil(subject, id, body string) {
	w.t.Helper()
	w.eventually(func() error {
		_, err := w.leave(subject, id, body)
		return err
	})
}

// The node that executes is lost together with its server, and another goes on: in order, once,
// and with one outcome each.
func TestThreeNodes(t *testing.T) {
	worlds, runners := setupThree(t)
	holder := -1
	worlds[0].eventually(func() error {
		if holder = slices.IndexFunc(runners, func(r *inbox.Runner) bool { return r.Status().Holds }); holder < 0 {
			return errNotYet
		}
		return nil
	})
	w := worlds[(holder+1)%3]
	w.serve()
	worlds[(holder+2)%3].serve()
	var want []string
	leave := func(id, command, body string) {
		want = append(want, id)
		w.leaveUntil("account.a."+command, id, body)
	}
	leave("o", "OpenAccount", open)
	for i := range 60 {
		if i == 20 {
			worlds[holder].server.Stop()
		}
		leave(fmt.Sprint("d-", i), "Deposit", deposit)
	}
	for _, id := range want {
		w.outcome(id)
		check(t, "outcomes of "+id, len(w.outcomes(id)), 1)
	}
	if did := w.clerk.did("a"); !slices.Equal(did, want) {
		t.Errorf("done is %v", did)
	}
}
