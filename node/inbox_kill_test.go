package node_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/internal/natsd"
)

// asClient does something on a connection to a node that may be killed at any time.
func asClient(ctx context.Context, data string, do func(context.Context, jetstream.JetStream) error) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	admin, err := natsd.ReadAdmin(data)
	if err != nil {
		return err
	}
	nc, err := natsd.Dial(admin.URL, nats.NoReconnect(), nats.IgnoreDiscoveredServers())
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	return do(ctx, js)
}

// What was acknowledged takes effect once, however often the process is killed while commands
// come and are executed.
func TestInboxKilled(t *testing.T) {
	c := config(t)
	b := startBand(t, c)
	ctx := within(t, 4*time.Minute)
	const commands, kills, refused = 90, 3, 5
	for i := range commands {
		id, command, body := fmt.Sprint("c-", i), "Deposit", `{"amount":1}`
		switch {
		case i == 0:
			command, body = "OpenAccount", `{"owner":"Ada"}`
		case i%refused == 0:
			command, body = "Withdraw", `{"amount":1000000}`
		}
		if i%(commands/kills) == commands/kills/2 {
			b.mortals[0].kill()
		}
		for {
			b.connect(0) // which starts it again
			err := asClient(ctx, c.Data, func(ctx context.Context, js jetstream.JetStream) error {
				_, err := js.Publish(ctx, "demo.inbox.account.ada."+command, []byte(body), jetstream.WithMsgID(id))
				return err
			})
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				t.Fatal(err)
			}
		}
	}
	b.mortals[0].kill()
	n := startAll(t, c)[0]
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		told, err := outcomes(ctx, c.Data)
		if err == nil && len(told) == commands {
			for i := range commands {
				want := ""
				if i > 0 && i%refused == 0 {
					want = "422"
				}
				if got := told[fmt.Sprint("demo.outcome.c-", i)]; len(got) != 1 || got[0] != want {
					t.Errorf("the outcomes of command %d are %q, want %q", i, got, want)
				}
			}
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%d of %d have an outcome: %v", len(told), commands, err)
		}
	}
	balance(t, n, commands-commands/refused)
}

// outcomes gives the statuses of all that there are, by their subjects.
func outcomes(ctx context.Context, data string) (told map[string][]string, err error) {
	told = map[string][]string{}
	err = asClient(ctx, data, func(ctx context.Context, js jetstream.JetStream) error {
		s, err := js.Stream(ctx, "DEMO_OUTCOMES")
		if err != nil {
			return err
		}
		for seq := range s.CachedInfo().State.Msgs { // of which none is removed
			m, err := s.GetMsg(ctx, seq+1)
			if err != nil {
				return err
			}
			told[m.Subject] = append(told[m.Subject], m.Header.Get("Nats-Service-Error-Code"))
		}
		return nil
	})
	return told, err
}
