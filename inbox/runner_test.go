package inbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/inbox"
)

const (
	open    = `{"owner":"Ada"}`
	deposit = `{"amount":100}`
)

// A command is acknowledged at once, whatever its aggregate does, and executed later.
func TestAcknowledgedAtOnce(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.serve()
	free := make(chan struct{})
	begun := make(chan struct{}, 1)
	w.clerk.hook(func(ctx context.Context, _ holdfast.Ref, _ holdfast.Command, _ holdfast.Delivery) error {
		begun <- struct{}{}
		<-free
		return nil
	}, nil)
	w.run()
	ack := w.left("account.a-1.OpenAccount", "c-1", open)
	<-begun
	ack.Duplicate = false // a slow server is asked again
	check(t, "ack", *ack, jetstream.PubAck{Stream: "BANK_INBOX", Sequence: 1})
	if all := w.outcomes("c-1"); len(all) > 0 {
		t.Errorf("there is an outcome already: %v", all)
	}
	close(free)
	check(t, "outcome", w.outcome("c-1"), told{Ref: "account/a-1", Version: 1})
	w.empty()
}

// Commands of one aggregate take effect in the order in which they came, and those of others
// do not wait for them.
func TestOrder(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.serve()
	free := make(chan struct{})
	w.clerk.hook(func(_ context.Context, to holdfast.Ref, _ holdfast.Command, d holdfast.Delivery) error {
		if to.ID == "a" {
			select {
			case <-free:
			default:
				return holdfast.Errorf(holdfast.CodeUnavailable, "not now")
			}
		}
		return nil
	}, nil)
	r := w.run(func(c *inbox.RunnerConfig) { c.InFlight = 2 })
	want := map[string][]string{}
	for i := range 20 {
		for _, account := range []string{"a", "b", "c"} {
			command, body := "Deposit", deposit
			if i == 0 {
				command, body = "OpenAccount", open
			}
			id := fmt.Sprintf("%s-%d", account, i)
			want[account] = append(want[account], id)
			w.left("account."+account+"."+command, id, body)
		}
	}
	w.outcome("b-19")
	w.outcome("c-19")
	check(t, "executed of a", len(w.clerk.did("a")), 0)
	s := r.Status()
	if !s.Holds || s.Waiting < 20 || s.Oldest <= 0 || s.Parked != 0 || s.Resting+s.InFlight < 1 {
		t.Errorf("status is %+v", s)
	}
	close(free)
	w.empty()
	for account, ids := range want {
		if did := w.clerk.did(account); !slices.Equal(did, ids) {
			t.Errorf("%s did %v", account, did)
		}
	}
	check(t, "version", w.outcome("a-19").Version, uint64(20))
	w.eventually(func() error {
		if s := r.Status(); s != (inbox.Status{Holds: true}) {
			return fmt.Errorf("status is %+v: %w", s, errNotYet)
		}
		return nil
	})
}

// What is not kept until its turn comes is read again.
func TestBodiesThatAreNotKept(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.serve()
	w.left("account.a.OpenAccount", "o", open)
	want := []string{"o"}
	for i := range 20 {
		id := fmt.Sprint("d-", i)
		w.left("account.a.Deposit", id, deposit)
		want = append(want, id)
	}
	w.run(func(c *inbox.RunnerConfig) { *c = c.WithKept(1) })
	w.empty()
	if did := w.clerk.did("a"); !slices.Equal(did, want) {
		t.Errorf("done is %v", did)
	}
}

// A refusal is an outcome, and final.
func TestRefusals(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.serve()
	w.run()
	w.left("account.a.Deposit", "early", deposit)
	o := w.outcome("early")
	if o.Status != "422" || o.Error.Code == "" || o.Error.Message == "" {
		t.Errorf("outcome of what the domain refuses is %+v", o)
	}
	m := message("account.a.OpenAccount", "late", open)
	m.Header.Set("Holdfast-Expected-Version", "7")
	if _, err := w.client.PublishMsg(within(t), m); err != nil {
		t.Fatal(err)
	}
	o = w.outcome("late")
	check(t, "status of a conflict", o.Status, "409")
	check(t, "code of a conflict", o.Error.Code, "conflict")
	w.empty()
	if list := w.parked(0); len(list) > 0 {
		t.Error("a refusal is parked")
	}
}

// The same id twice has one effect and one outcome, within JetStream's window and after it, and
// also when it is given to two aggregates, which are two commands.
func TestDuplicates(t *testing.T) {
	t.Parallel()
	w := setup(t, func(c *inbox.Config) { c.Window = 100 * time.Millisecond })
	w.serve()
	w.left("account.a.OpenAccount", "o", open)
	w.left("account.b.OpenAccount", "o", open)
	w.eventually(func() error { // until the window is over
		if ack := w.left("account.a.OpenAccount", "o", open); ack.Duplicate {
			return errNotYet
		}
		return nil
	})
	w.run()
	w.empty()
	refs := []string{}
	for _, o := range w.outcomes("o") {
		refs = append(refs, o.Ref+o.Status)
	}
	if slices.Sort(refs); !slices.Equal(refs, []string{"account/a", "account/b"}) {
		t.Errorf("outcomes are of %v", refs)
	}
	w.left("account.a.OpenAccount", "o", open) // after all is over
	w.left("account.b.OpenAccount", "o", open)
	w.empty()
	check(t, "outcomes in the end", len(w.outcomes("o")), 2)
	check(t, "effects", len(w.clerk.did("a"))+len(w.clerk.did("b")), 2)
}

// Within the stream's window a client hears that its command is there already, and that its id
// was used for another one.
func TestDuplicatesWithinTheWindow(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.serve()
	w.left("account.a.OpenAccount", "o", open)
	ack := w.left("account.a.OpenAccount", "o", open)
	check(t, "second ack", *ack, jetstream.PubAck{Stream: "BANK_INBOX", Sequence: 1, Duplicate: true})
	_, err := w.leave("account.a.Deposit", "o", deposit)
	if api, ok := errors.AsType[*jetstream.APIError](err); !ok || api.Code != 400 || api.ErrorCode != 50400 || !strings.Contains(api.Description, `"o" was used for OpenAccount before`) {
		t.Errorf("another command under the id is answered with %v", err)
	}
	check(t, "waiting", w.waiting(), 1)
}
