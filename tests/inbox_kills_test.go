package tests

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	leftCommands = 1000
	leftAccounts = 10
	leftKills    = 4
)

// left is the command that is left in the inbox as one of many of an account.
func left(account, n int) (id, command, body string, refused bool) {
	id = fmt.Sprintf("left-%d-%d", account, n)
	switch {
	case n == 0:
		return id, "OpenAccount", `{"owner":"ada"}`, false
	case n%7 == 0:
		return id, "Withdraw", `{"amount":"1000000"}`, true
	}
	return id, "Deposit", `{"amount":"1"}`, false
}

// The node is killed while commands are left in the inbox, and executed, and their events
// published. Each has one outcome and took effect once, in the order in which it was left; and
// the feed has each event of the log once, in the order of its aggregate.
func TestInboxAndFeedKilled(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	p := startProcess(t, folder, "127.0.0.1:0", killFlags...)
	address, accepted := p.address(), new(atomic.Int64)
	var clients sync.WaitGroup
	for account := range leftAccounts {
		nc := dial(t, p.url)
		clients.Go(func() {
			for n := range leftCommands / leftAccounts {
				leave(t, nc, account, n)
				accepted.Add(1)
			}
		})
	}
	for i := range leftKills {
		due := int64((i + 1) * leftCommands / (leftKills + 1))
		waitFor(t, fmt.Sprint(due, " commands in the inbox"), func() bool { return accepted.Load() >= due })
		p.kill()
		p = startProcess(t, folder, address, killFlags...)
	}
	clients.Wait()
	nc := dial(t, p.url)
	told := outcomesOf(t, nc, leftCommands)
	log := map[string][]recordedEvent{}
	for account := range leftAccounts {
		ref := fmt.Sprint("account/l-", account)
		log[ref] = history(t, nc, fmt.Sprint("demo.history.account.l-", account))
		checkLeft(t, account, log[ref], told)
	}
	checkFeed(t, nc, log)
}

// leave leaves a command until it is acknowledged.
func leave(t *testing.T, nc *nats.Conn, account, n int) {
	id, command, body, _ := left(account, n)
	js, err := jetstream.New(nc)
	for deadline := time.Now().Add(2 * time.Minute); err == nil; {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, wrong := js.Publish(ctx, fmt.Sprintf("demo.inbox.account.l-%d.%s", account, command), []byte(body), jetstream.WithMsgID(id))
		cancel()
		var api *jetstream.APIError
		switch {
		case wrong == nil:
			return
		case errors.As(wrong, &api) && api.Code != 503 && api.Code != 504, time.Now().After(deadline):
			err = wrong
		}
	}
	t.Errorf("%s is not accepted: %v", id, err)
}

// outcomesOf waits until so many commands have one, and gives the statuses of all by id.
func outcomesOf(t *testing.T, nc *nats.Conn, n int) map[string][]string {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	told := map[string][]string{}
	var next uint64 = 1
	waitFor(t, fmt.Sprint(n, " outcomes"), func() bool {
		s, err := js.Stream(t.Context(), "DEMO_OUTCOMES")
		if err != nil {
			return false
		}
		for ; next <= s.CachedInfo().State.LastSeq; next++ { // of which none is removed
			m, err := s.GetMsg(t.Context(), next)
			if err != nil {
				return false
			}
			id := strings.TrimPrefix(m.Subject, "demo.outcome.")
			told[id] = append(told[id], m.Header.Get("Nats-Service-Error-Code"))
		}
		return len(told) >= n
	})
	return told
}

// checkLeft compares what became of an account's commands with what is in its log.
func checkLeft(t *testing.T, account int, log []recordedEvent, told map[string][]string) {
	t.Helper()
	var want, got []string
	for n := range leftCommands / leftAccounts {
		id, command, _, refused := left(account, n)
		status := ""
		if refused {
			status = "422"
		} else {
			want = append(want, command+" "+id)
		}
		if !slices.Equal(told[id], []string{status}) {
			t.Errorf("the outcomes of %s are %q, want %q", id, told[id], status)
		}
	}
	for _, e := range log {
		got = append(got, strings.TrimPrefix(e.Command, "bank.v1.")+" "+e.CommandID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the log of account %d has %q, want %q", account, got, want)
	}
}

// checkFeed reads the feed as a client does, and compares it with the log.
func checkFeed(t *testing.T, nc *nats.Conn, log map[string][]recordedEvent) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	var end uint64
	for ref := range log {
		r := mustAsk(t, nc, "demo.get."+strings.Replace(ref, "/", ".", 1), "", nil)
		_, sequence, _ := strings.Cut(r.Position, "-")
		n, _ := strconv.ParseUint(sequence, 10, 64)
		end = max(end, n)
	}
	var last uint64 // message of the feed
	waitFor(t, fmt.Sprint("the feed to have all up to ", end), func() bool {
		s, err := js.Stream(t.Context(), "DEMO_FEED")
		if err != nil {
			return false
		}
		m, err := s.GetLastMsgForSubject(t.Context(), "demo.fed.0")
		if err != nil {
			return false
		}
		var mark struct{ Done uint64 }
		last = m.Sequence
		return json.Unmarshal(m.Data, &mark) == nil && mark.Done >= end
	})
	got := fed(t, js, last)
	if !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(log))) {
		t.Errorf("the feed has %v, and the log %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(log)))
	}
	events := 0
	for ref, all := range log {
		events += len(all)
		if len(got[ref]) != len(all) {
			t.Errorf("the feed has %d events of %s, and the log %d", len(got[ref]), ref, len(all))
			continue
		}
		for i, e := range all {
			if g := got[ref][i]; g.ID != e.ID || g.Type != e.Type || !reflect.DeepEqual(g.Data, e.Data) {
				t.Errorf("event %d of %s is %+v in the feed, want %+v", i, ref, g, e)
			}
		}
	}
	t.Logf("%d events", events)
}

// fed gives what is in the feed up to one of its messages, by aggregate.
func fed(t *testing.T, js jetstream.JetStream, last uint64) map[string][]recordedEvent {
	t.Helper()
	got := map[string][]recordedEvent{}
	c, err := js.OrderedConsumer(t.Context(), "DEMO_FEED", jetstream.OrderedConsumerConfig{FilterSubjects: []string{"demo.evt.>"}})
	if err != nil {
		t.Fatal(err)
	}
	for {
		var m jetstream.Msg
		waitFor(t, "another message of the feed", func() bool {
			m, err = c.Next(jetstream.FetchMaxWait(10 * time.Second))
			return err == nil
		})
		e := recordedEvent{ID: m.Headers().Get("ce-id"), Type: m.Headers().Get("ce-type")}
		if err := json.Unmarshal(m.Data(), &e.Data); err != nil {
			t.Fatalf("%s: %v", e.ID, err)
		}
		ref := m.Headers().Get("ce-subject")
		got[ref] = append(got[ref], e)
		about, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		if about.NumPending == 0 || about.Sequence.Stream >= last {
			return got
		}
	}
}
