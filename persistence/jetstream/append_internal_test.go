package jetstream

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
)

// What may have become of an append when its answer is not for certain.
const (
	nothing    = "nothing" // yet
	mine       = "mine"
	mineDeep   = "mine, and many after it"
	others     = "another's"
	othersDeep = "many others"
	behind     = "less than before" // from one who lags behind
)

// TestAppendOutcomes tells of every answer that an append may get, and of every state of
// the log after it, what the caller hears.
func TestAppendOutcomes(t *testing.T) {
	const success = holdfast.Code("")
	const silence = 0
	on := newSite(t)
	uncertain := map[string]holdfast.Code{
		nothing: holdfast.CodeUncertain, mine: success, mineDeep: success,
		others: holdfast.CodeConflict, othersDeep: holdfast.CodeConflict, behind: holdfast.CodeUncertain,
	}
	conflict := map[string]holdfast.Code{
		nothing: holdfast.CodeConflict, mine: success, mineDeep: success,
		others: holdfast.CodeConflict, othersDeep: holdfast.CodeConflict, behind: holdfast.CodeConflict,
	}
	for code, outcomes := range map[int]map[string]holdfast.Code{
		silence: uncertain,
		10071:   conflict,
		10164:   conflict,
		10158:   uncertain,
		10201:   uncertain,
		10077:   uncertain,
		10008:   uncertain,
		99999:   uncertain,
		10002:   {nothing: holdfast.CodeUnavailable},
		10023:   {nothing: holdfast.CodeUnavailable},
		10167:   {nothing: holdfast.CodeUnavailable},
		10054:   {nothing: holdfast.CodeTooLarge},
		10097:   {nothing: holdfast.CodeTooLarge},
	} {
		for state, want := range outcomes {
			for _, before := range []int{0, 3} {
				if before == 0 && state == behind {
					continue
				}
				t.Run(fmt.Sprintf("%d/%s/after %d", code, state, before), func(t *testing.T) {
					f := on.fake(t)
					f.grow(before)
					f.publish = func(m *nats.Msg) {
						f.become(state, m.Data)
						if code != silence {
							f.respond(m, f.refusal(code))
						}
					}
					after := f.head()
					results := f.begin(after)
					if <-f.arrived; code == silence {
						f.pass()
					}
					end := f.end
					if code == codeRacing {
						end = f.endTicking // it is sent again with patience
					}
					r := end(results)
					if holdfast.CodeOf(r.err) != want {
						t.Fatalf("error is %v, want %q", r.err, want)
					}
					if want == success && (r.head.Version != after.Version+1 || r.head.Position.Sequence() != after.Position.Sequence()+3) {
						t.Fatalf("head is %+v after %+v", r.head, after)
					}
					if want != success && !r.head.Equal(after) {
						t.Fatalf("head is %+v beside an error, want the old one", r.head)
					}
				})
			}
		}
	}
}

// TestALoneWriterHasNoConflictWithItself has the stream hold the last write for under way
// although it has been acknowledged: the append is sent again, a few times.
func TestALoneWriterHasNoConflictWithItself(t *testing.T) {
	on := newSite(t)
	for refusals, want := range map[int]holdfast.Code{
		1: "", maxRaces: "", maxRaces + patientRaces: "", maxRaces + patientRaces + 1: holdfast.CodeConflict,
	} {
		f := on.fake(t)
		f.grow(3)
		sent := 0
		f.publish = func(m *nats.Msg) {
			if sent++; sent <= refusals {
				f.respond(m, f.refusal(codeRacing))
				return
			}
			f.accept(m)
		}
		end := f.end // with time standing still
		if refusals > maxRaces {
			end = f.endTicking
		}
		r := end(f.begin(f.head()))
		if holdfast.CodeOf(r.err) != want {
			t.Errorf("refused %d times: error is %v, want %q", refusals, r.err, want)
		}
	}
}

// become changes the log; the lock is held.
func (f *fake) become(state string, body []byte) {
	unlocked := func(n int) {
		f.mu.Unlock()
		f.grow(n)
		f.mu.Lock()
	}
	switch state {
	case mine:
		f.put(body)
	case mineDeep:
		f.put(body)
		unlocked(100)
	case others:
		unlocked(1)
	case othersDeep:
		unlocked(100)
	case behind:
		delete(f.bodies, f.last)
		f.last -= 3
	}
}

// TestAppendOddAnswers has answers that no server gives: they say nothing, so the log is
// asked.
func TestAppendOddAnswers(t *testing.T) {
	on := newSite(t)
	for _, text := range []string{
		``, ` `, `x`, `{}`, `null`, `[]`, `{"stream":"%s"}`, `{"stream":"%s","seq":0}`, `{"stream":"%s","seq":-1}`,
		`{"stream":"%s","seq":}`, `{"stream":"%s","seq":12345678901234567890123}`, `{"stream":"OTHER","seq":3}`, `+OK`,
		`{"stream":"%s","seq":3`, `{"stream":"%s","seq":34`, `{"stream":"%s","seq":18446744073709551619}`,
	} {
		for state, want := range map[string]holdfast.Code{nothing: holdfast.CodeUncertain, mine: ""} {
			f := on.fake(t)
			f.publish = func(m *nats.Msg) {
				f.become(state, m.Data)
				f.respond(m, strings.ReplaceAll(text, "%s", f.stream()))
			}
			if r := f.end(f.begin(f.head())); holdfast.CodeOf(r.err) != want {
				t.Errorf("answer %q with %s in the log: error is %v, want %q", text, state, r.err, want)
			}
		}
	}
}

func TestAppendUnusualAcks(t *testing.T) {
	on := newSite(t)
	for _, text := range []string{
		`{"stream":"%s","seq":3}`,
		`{"stream":"%s", "seq":3}`,
		`{"stream":"%s","seq":3,"duplicate": true}`,
		`{"stream":"%s","domain":"hub","seq":3}`,
	} {
		f := on.fake(t)
		f.publish = func(m *nats.Msg) {
			f.put(m.Data)
			f.respond(m, strings.ReplaceAll(text, "%s", f.stream()))
		}
		r := f.end(f.begin(f.head()))
		if r.err != nil || r.head.Position.Sequence() != 3 {
			t.Errorf("answer %q: %+v, %v", text, r.head, r.err)
		}
		if f.reads > 0 {
			t.Errorf("answer %q: the log was read", text)
		}
	}
}

// TestSettleWhileTheLogCannotBeRead: nothing is claimed that was not seen.
func TestSettleWhileTheLogCannotBeRead(t *testing.T) {
	on := newSite(t)
	for name, c := range map[string]struct {
		read func(*fake) func(*nats.Msg) bool
		want holdfast.Code
	}{
		"never":   {func(*fake) func(*nats.Msg) bool { return func(*nats.Msg) bool { return false } }, holdfast.CodeUncertain},
		"refused": {func(f *fake) func(*nats.Msg) bool { return f.answerReads(`{"error":{"code":503,"err_code":10008}}`) }, holdfast.CodeUncertain},
		"garbage": {func(f *fake) func(*nats.Msg) bool { return f.answerReads(`x`) }, holdfast.CodeUncertain},
		"at last": {func(f *fake) func(*nats.Msg) bool {
			refuse := f.answerReads(`{"error":{"code":503,"err_code":10008}}`)
			return func(m *nats.Msg) bool { return f.reads > 2 || refuse(m) }
		}, ""},
		"damaged": {func(f *fake) func(*nats.Msg) bool {
			return func(*nats.Msg) bool {
				f.bodies[f.last] = []byte("damaged")
				return true
			}
		}, holdfast.CodeUncertain},
	} {
		t.Run(name, func(t *testing.T) {
			f := on.fake(t)
			f.grow(1)
			after := f.head()
			f.publish = func(m *nats.Msg) {
				f.put(m.Data)
				f.respond(m, f.refusal(10158))
			}
			f.read = c.read(f)
			if r := f.endTicking(f.begin(after)); holdfast.CodeOf(r.err) != c.want {
				t.Fatalf("error is %v, want %q", r.err, c.want)
			}
		})
	}
}

func (f *fake) answerReads(text string) func(*nats.Msg) bool {
	return func(m *nats.Msg) bool {
		f.respond(m, text)
		return false
	}
}

func TestAppendWithoutAStream(t *testing.T) {
	on := newSite(t)
	f := on.fake(t)
	ref := holdfast.Ref{Type: "account", ID: "a-1"}
	f.store.context = "nowhere"
	results := make(chan result, 2)
	h := f.head()
	f.store.Append(ref, h, nil, func(_ persistence.Head, err error) { results <- result{err: err} })
	if r := f.end(results); !errors.Is(r.err, holdfast.ErrUnavailable) {
		t.Fatalf("error is %v, want unavailable", r.err)
	}
}

// TestBrokenConnectionIsNoticedAtOnce has time stand still: what was under way when the
// connection broke is looked up without waiting for a timeout.
func TestBrokenConnectionIsNoticedAtOnce(t *testing.T) {
	on := newSite(t)
	for state, want := range map[string]holdfast.Code{nothing: holdfast.CodeUncertain, mine: ""} {
		f := on.fake(t)
		f.publish = func(m *nats.Msg) { f.become(state, m.Data) }
		results := f.begin(f.head())
		<-f.arrived
		if err := f.store.publish.nc.ForceReconnect(); err != nil {
			t.Fatal(err)
		}
		if r := f.end(results); holdfast.CodeOf(r.err) != want {
			t.Errorf("with %s in the log: error is %v, want %q", state, r.err, want)
		}
	}
}

func TestAppendHeaders(t *testing.T) {
	on := newSite(t)
	f := on.fake(t)
	f.grow(2)
	var got nats.Header
	f.publish = func(m *nats.Msg) {
		got = m.Header
		f.accept(m)
	}
	f.end(f.begin(f.head()))
	want := nats.Header{"Nats-Msg-Id": {fmt.Sprintf("id-%d", f.ids)}, "Nats-Expected-Last-Subject-Sequence": {"6"}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("headers are %v, want %v and no others", got, want)
	}
}

func TestAppendWithABadHead(t *testing.T) {
	on := newSite(t)
	f := on.fake(t)
	f.grow(40)
	elsewhere, crooked := f.head(), f.head()
	elsewhere.Position = holdfast.NewPosition(1, elsewhere.Position.Sequence())
	crooked.Before = append([]uint64{crooked.Position.Sequence()}, crooked.Before...)
	for _, h := range []persistence.Head{elsewhere, crooked} {
		if r := f.end(f.begin(h)); !errors.Is(r.err, holdfast.ErrInternal) {
			t.Errorf("error is %v, want internal", r.err)
		}
	}
	if len(f.bodies) != 40 {
		t.Errorf("the log has %d commits, want 40", len(f.bodies))
	}
}

// TestCloseWhileAnswersCome closes a store to which everything happens at once: every
// append is answered, and none after Close has returned.
func TestCloseWhileAnswersCome(t *testing.T) {
	on := newSite(t)
	for range 20 {
		f := on.fake(t)
		f.publish = func(m *nats.Msg) { f.respond(m, f.refusal([]int{10158, 10167}[len(f.arrived)%2])) }
		after := f.head()
		const appends = 50
		var answered atomic.Int64
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				select {
				case f.ticks <- time.Time{}:
				case <-stop:
					return
				}
			}
		}()
		for range appends {
			f.store.Append(fakeRef, after, nil, func(persistence.Head, error) { answered.Add(1) })
		}
		f.store.Close()
		if n := answered.Load(); n != appends {
			t.Errorf("%d of %d appends are answered when Close returns", n, appends)
		}
		close(stop)
		<-stopped
	}
}

func TestClose(t *testing.T) {
	on := newSite(t)
	f := on.fake(t)
	f.grow(1)
	const appends = 100
	f.publish = func(m *nats.Msg) { // half wait for their answer, half for what the log says
		if f.last++; f.last%2 == 0 {
			f.respond(m, f.refusal(10158))
		}
	}
	f.read = func(*nats.Msg) bool { return false }
	after := f.head()
	var all []chan result
	for range appends {
		all = append(all, f.begin(after))
	}
	for range 3 {
		f.store.Close()
	}
	for _, results := range all {
		if r := f.end(results); !errors.Is(r.err, holdfast.ErrUncertain) {
			t.Errorf("error is %v, want uncertain", r.err)
		}
		if len(results) > 0 {
			t.Error("answered twice")
		}
	}
	if r := f.end(f.begin(after)); !errors.Is(r.err, holdfast.ErrUnavailable) {
		t.Errorf("error after close is %v, want unavailable", r.err)
	}
	if _, err := f.store.Load(t.Context(), fakeRef, ""); !errors.Is(err, holdfast.ErrUnavailable) {
		t.Errorf("load after close: %v, want unavailable", err)
	}
}
