package jetstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
)

// followed gives a follower of a log of some commits, what appends more, and where its
// consumers are made.
func followed(t *testing.T, commits int) (f *follower, more func(n int), js *making) {
	t.Helper()
	r, more := begun(t, "real.log.0.>", commits)
	js = &making{JetStream: r.store.js}
	r.store.js = js
	r.store.readTimeout = time.Second
	f = &follower{reader: reader{store: r.store, partition: r.partition, filter: r.filter, next: 1, patience: r.patience}}
	t.Cleanup(func() { f.finish(context.Background()) })
	return f, more, js
}

func (f *follower) mustRead(t *testing.T, want uint64) persistence.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	rec, err := f.read(ctx)
	if err != nil || rec.Position.Sequence() != want {
		t.Fatalf("read %s, %v, want record %d", rec.Position, err, want)
	}
	return rec
}

// making is a JetStream whose consumers can be changed when they are made.
type making struct {
	jetstream.JetStream
	mu     sync.Mutex
	made   []jetstream.Consumer
	change func(*jetstream.ConsumerConfig)
	then   func(jetstream.Consumer)
	mute   int           // how many are asked for in vain
	silent chan struct{} // when they are deleted nobody answers before it is closed
}

func (j *making) CreateConsumer(ctx context.Context, stream string, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	if j.change != nil {
		j.change(&cfg)
	}
	if j.mute > 0 {
		j.mute--
		<-ctx.Done()
		return nil, ctx.Err()
	}
	c, err := j.JetStream.CreateConsumer(ctx, stream, cfg)
	if err == nil {
		j.mu.Lock()
		j.made = append(j.made, c)
		j.mu.Unlock()
		if j.then != nil {
			j.then(c)
		}
	}
	return c, err
}

func (j *making) DeleteConsumer(ctx context.Context, stream, name string) error {
	if j.silent != nil {
		<-j.silent
	}
	return j.JetStream.DeleteConsumer(ctx, stream, name)
}

// TestFollowMissesTheLast messages on their way, so that no other shows that they are gone.
func TestFollowMissesTheLast(t *testing.T) {
	t.Parallel()
	f, _, js := followed(t, 3)
	untilQuick(t, func() error {
		f.close(t.Context())
		f.next, f.begun, js.made = 1, 0, nil
		js.then = func(c jetstream.Consumer) {
			js.then = nil
			stolen, err := c.FetchNoWait(3)
			if err != nil {
				t.Error(err)
				return
			}
			for range stolen.Messages() {
			}
		}
		begin := time.Now()
		for n := range uint64(3) {
			f.mustRead(t, n+1)
		}
		if took := time.Since(begin); len(js.made) != 2 || took > patience/4 {
			return fmt.Errorf("by %d consumers, in %s", len(js.made), took)
		}
		return nil
	})
}

// TestFollowFindsWhatIsPassedOver by consumers, in the midst of the log and at its end.
func TestFollowFindsWhatIsPassedOver(t *testing.T) {
	t.Parallel()
	f, more, js := followed(t, 2)
	f.store.readTimeout = patience // it is told of them before it asks
	other := func(body string) {
		t.Helper()
		if err := f.store.publish.nc.Publish("real.log.0.other.a", []byte(body)); err != nil {
			t.Fatal(err)
		}
		if err := f.store.publish.nc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	js.change = func(cfg *jetstream.ConsumerConfig) { cfg.FilterSubject = "real.log.0.account.>" }
	other("third")
	more(1)
	other("fifth")
	begin := time.Now()
	for n := range uint64(2) {
		f.mustRead(t, n+1)
	}
	if rec := f.mustRead(t, 3); rec.Subject != "real.log.0.other.a" || string(rec.Body) != "third" || time.Since(rec.Time).Abs() > time.Hour {
		t.Errorf("the third record is %+v", rec)
	}
	f.mustRead(t, 4)
	if rec := f.mustRead(t, 5); string(rec.Body) != "fifth" {
		t.Errorf("the last record is %+v", rec)
	}
	more(1)
	f.mustRead(t, 6)
	if took := time.Since(begin); took > patience/3 {
		t.Errorf("it takes %s", took)
	}
}

// TestFollowLeavesAConsumerThatStands, although it shows that it is there.
func TestFollowLeavesAConsumerThatStands(t *testing.T) {
	t.Parallel()
	f, more, js := followed(t, 2)
	f.mustRead(t, 1)
	f.mustRead(t, 2)
	untilQuick(t, func() error {
		name, before := f.consumer.CachedInfo().Name, len(js.made)
		if _, err := f.store.js.PauseConsumer(t.Context(), f.partition.stream, name, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		more(1)
		f.mustRead(t, f.next)
		if n := len(js.made) - before; n != 1 {
			return fmt.Errorf("%d more consumers were made, want 1", n)
		}
		return nil
	})
}

// TestFollowMakesConsumersSlowly when they bring nothing.
func TestFollowMakesConsumersSlowly(t *testing.T) {
	t.Parallel()
	f, _, js := followed(t, 1)
	f.mustRead(t, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	js.then = func(c jetstream.Consumer) {
		if err := js.DeleteConsumer(t.Context(), f.partition.stream, c.CachedInfo().Name); err != nil {
			t.Error(err)
		}
		if len(js.made) > 5 {
			cancel()
		}
	}
	f.close(t.Context())
	js.made = nil
	before := f.store.clock.ticks()
	if _, err := f.read(ctx); !errors.Is(err, holdfast.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
	if ticks := f.store.clock.ticks() - before; len(js.made) > int(ticks)+2 || len(js.made) < 3 {
		t.Errorf("%d consumers were made in %d ticks", len(js.made), ticks)
	}
}

// TestFollowDoesNotWaitForAServerThatIsGone, with the last consumer, and is to have the next.
func TestFollowDoesNotWaitForAServerThatIsGone(t *testing.T) {
	t.Parallel()
	f, more, js := followed(t, 1)
	f.store.readTimeout, f.patience = patience/2, patience
	f.mustRead(t, 1)
	if err := js.DeleteConsumer(t.Context(), f.partition.stream, f.consumer.CachedInfo().Name); err != nil {
		t.Fatal(err)
	}
	js.silent = make(chan struct{})
	defer close(js.silent)
	js.mute = 2
	more(1)
	begin := time.Now()
	f.mustRead(t, 2)
	took := time.Since(begin)
	if t.Logf("after %s", took); took > patience/3 || f.slow > 0 {
		t.Errorf("it takes %s, and %d are still slow", took, f.slow)
	}
}

// TestFollowGoesWhereTheLeaderIs when it misses a record, and elsewhere before that.
func TestFollowGoesWhereTheLeaderIs(t *testing.T) {
	r, _ := beginOn(t, startThree(t), "real.log.0.>", 1, 3)
	leader := func() string {
		t.Helper()
		i, err := r.store.info(t.Context(), r.partition)
		if err != nil {
			t.Log(err)
		}
		return i.leader()
	}
	at := map[string]int{}
	for n := range 12 { // it would come to be there by chance once in half a million
		f := &follower{reader: reader{store: r.store, partition: r.partition, filter: r.filter, next: 1, patience: r.patience}}
		untilQuick(t, func() error {
			f.doubted, f.begun = 1, 0
			before := leader()
			err := f.resume(t.Context())
			if after := leader(); err != nil || before != after || before == "" { // a busy machine has elected another one
				return fmt.Errorf("it is on %s, %w, and the leader was %s and is %s", f.at, err, before, after)
			}
			if f.at != before {
				t.Errorf("it is on %s, want on %s", f.at, before)
			}
			return nil
		})
		if n < 10 {
			f.doubted, f.begun = 0, 0
			if err := f.resume(t.Context()); err != nil {
				t.Error(err)
			}
			at[f.at]++
		}
		f.finish(t.Context())
	}
	if len(at) < 2 {
		t.Errorf("without a need it is on %v", at)
	}
}

// TestFollowSaysThatARecordIsMissing when it is sure of that, and not sooner.
func TestFollowSaysThatARecordIsMissing(t *testing.T) {
	for name, c := range map[string]struct {
		last    string
		until   int // the question that is answered
		missing bool
	}{
		"for good":           {`{"state":{"last_seq":9}}`, 1000, true},
		"for now":            {`{"state":{"last_seq":9}}`, sure, false},
		"it is not there":    {`{"state":{"last_seq":2}}`, 1000, false},
		"nothing is missing": {`{"state":{"last_seq":2}}`, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newSite(t).fake(t)
			f.grow(1)
			asked := 0
			f.answer(map[string]odd{count: says(c.last), leaderAt: func(f *fake, m *nats.Msg) {
				if asked++; asked < c.until {
					f.respond(m, f.refusal(codeNoMessage))
					return
				}
				f.respond(m, `{"message":{"subject":"s","seq":3,"data":"aGVyZQ==","time":"2026-01-02T03:04:05Z"}}`)
			}})
			follower := &follower{reader: reader{store: f.store, partition: f.store.partitions[0], next: 3}}
			var rec persistence.Record
			results := make(chan result, 1)
			go func() {
				var err error
				rec, err = follower.mend(t.Context())
				results <- result{err: err}
			}()
			r := f.endTicking(results)
			switch found := string(rec.Body) == "here" && rec.Position.Sequence() == 3 && rec.Time.Year() == 2026; {
			case found != (c.until <= sure), found && r.err != nil, !found && r.err == nil:
				t.Errorf("found %+v, %v", rec, r.err)
			case c.missing != errors.Is(r.err, holdfast.ErrCorrupt), c.missing && !strings.Contains(r.err.Error(), "0-3 "):
				t.Errorf("it ends with %v", r.err)
			}
		})
	}
}

// TestFollowDoubtsALeader that does not know of a record: another one may.
func TestFollowDoubtsALeader(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		info  string
		ended bool
	}{
		"nobody leads":          {`{"state":{"last_seq":3},"cluster":{"replicas":[{"active":1000000},{"active":1000000}]}}`, false},
		"it leads nobody":       {`{"state":{"last_seq":3},"cluster":{"leader":"a","replicas":[{"active":90000000000},{"active":0}]}}`, false},
		"it leads":              {`{"state":{"last_seq":3},"cluster":{"leader":"a","replicas":[{"active":1000000},{"active":90000000000}]}}`, true},
		"it leads, and has all": {`{"state":{"last_seq":7},"cluster":{"leader":"a","replicas":[{"active":1000000},{"active":1000000}]}}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newSite(t).fake(t)
			p := f.store.partitions[0]
			p.replicated = true
			f.answer(map[string]odd{count: says(c.info)})
			follower := &follower{reader: reader{store: f.store, partition: p, next: 8}}
			limit := 2 * time.Second
			if c.ended {
				limit = patience
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			results := make(chan result, 1)
			go func() { results <- result{err: follower.check(ctx)} }()
			r := f.endTicking(results)
			switch all := strings.Contains(c.info, `:7}`); {
			case all && r.err != nil, c.ended != errors.Is(r.err, holdfast.ErrCorrupt), !all && r.err == nil:
				t.Errorf("it is checked with %v", r.err)
			}
		})
	}
}

// TestFollowWarnsOnce when the log has been away for long, and tells when it is back.
func TestFollowWarnsOnce(t *testing.T) {
	f := newSite(t).fake(t)
	var out bytes.Buffer
	f.store.log = slog.New(slog.NewTextHandler(&out, nil))
	follower := &follower{reader: reader{store: f.store, partition: f.store.partitions[0], next: 7}}
	away := func(ticks int) {
		for range ticks {
			f.ticks <- time.Time{}
		}
		follower.failed(errStill)
	}
	for range 2 {
		follower.failed(errStill)
		away(missed - 2)
		follower.heard()
		away(missed)
		if out.Len() > 0 {
			t.Fatalf("it says %q", out.String())
		}
		away(missed + 1)
		away(missed)
		follower.heard()
		follower.heard()
		if said := out.String(); strings.Count(said, "level=WARN") != 1 || strings.Count(said, "level=INFO") != 1 || !strings.Contains(said, "next=7") {
			t.Fatalf("it says %q", said)
		}
		out.Reset()
	}
}
