package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/messages"
)

func testLine(t *testing.T, number int, ref string) *line {
	t.Helper()
	typ, id, err := messages.ParseRef(ref)
	if err != nil {
		t.Fatal(err)
	}
	return &line{number: number, ref: ref, cmd: &command{typ: typ, id: id, name: "Deposit"}}
}

// TestScheduleGoesOnPastASlowLine: while the first line is tried again and again, the
// lines of another aggregate go on, also beyond what it may have off the record and
// after a rejection, at the price of a record.
func TestScheduleGoesOnPastASlowLine(t *testing.T) {
	t.Parallel()
	for name, rejection := range map[string]int{"no rejection": 0, "the first is rejected": 2, "a later one is rejected": 43} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			goPastASlowLine(t, rejection)
		})
	}
}

func goPastASlowLine(t *testing.T, rejection int) {
	t.Helper()
	const lines = 100
	s := newSchedule(limits{window: 1000, bytes: 1, loose: 10, stopped: 1}, true)
	s.take(testLine(t, 1, "account/slow"))
	slow := s.next()
	for n := 2; n <= lines; n++ {
		s.take(testLine(t, n, "account/busy"))
	}
	syncs := 0
	for settled := 1; settled < lines; {
		l := s.next()
		switch {
		case l != nil:
			settled++
			s.settle(l, accepted, settled != rejection)
		case !s.due():
			t.Fatalf("it stands still after %d lines", settled)
		default:
			s.synced(s.settled)
			syncs++
		}
	}
	if most := lines/10 + 1; syncs > most {
		t.Errorf("%d syncs for %d lines, want %d at the most", syncs, lines, most)
	}
	s.settle(slow, accepted, true)
	if !s.finished() {
		t.Errorf("all are settled up to line %d, want %d", s.passed, lines)
	}
}

// TestScheduleRemembersWhatHappenedDuringASync: a line that was rejected while a sync was
// under way is not durable by it, and holds its aggregate back.
func TestScheduleRemembersWhatHappenedDuringASync(t *testing.T) {
	t.Parallel()
	s := newSchedule(defaultLimits, true)
	s.take(testLine(t, 1, "account/a"))
	s.settle(s.next(), accepted, true)
	before := s.settled
	s.take(testLine(t, 2, "account/b"))
	s.settle(s.next(), rejected, false)
	s.synced(before)
	s.take(testLine(t, 3, "account/b"))
	if l := s.next(); l != nil || !s.due() {
		t.Fatalf("line %v may be sent, and a sync is due: %t; want the sync first", l, s.due())
	}
	s.synced(s.settled)
	if l := s.next(); l == nil || l.number != 3 {
		t.Errorf("with line 2 on record got %v, want line 3", l)
	}
}

// TestScheduleDoesNotOutrunALineThatWasLost: line 1 was sent again after a power loss
// that line 2 outlived. Until it is durable, its aggregate must not get further away.
func TestScheduleDoesNotOutrunALineThatWasLost(t *testing.T) {
	t.Parallel()
	s := newSchedule(defaultLimits, true)
	s.take(testLine(t, 1, "account/a"))
	s.skip(accepted, "account/a")
	s.take(testLine(t, 3, "account/a"))
	s.settle(s.next(), duplicate, true)
	if l := s.next(); l != nil || !s.due() {
		t.Fatalf("line %v may be sent, and a sync is due: %t; want the sync first", l, s.due())
	}
	s.synced(s.settled)
	if l := s.next(); l == nil || l.number != 3 {
		t.Errorf("with line 1 durable got %v, want line 3", l)
	}
}

// TestRunKeepsWhatItKnows: all is synced in the end, and a line that the file did not
// have before is neither sent nor kept.
func TestRunKeepsWhatItKnows(t *testing.T) {
	t.Parallel()
	sent, rec := 0, &testRecord{}
	r := &run{
		in:       strings.NewReader(strings.Repeat(`{"ref":"account/a","command":"Deposit"}`+"\n", 2)),
		begun:    noOutcomes(1),
		schedule: newSchedule(defaultLimits, true), workers: 1, record: rec,
		report: newReport(Config{Out: io.Discard}.withDefaults(), false, noOutcomes(1)),
		send: func(context.Context, *line, func()) (acceptance, error) {
			sent++
			return acceptance{Events: []string{"Deposited"}}, nil
		},
	}
	if err := r.apply(t.Context()); !errors.Is(err, errChanged) {
		t.Errorf("got %v, want %v", err, errChanged)
	}
	if sent > 1 || rec.marks[2] != 0 || rec.syncs != 1 {
		t.Errorf("sent %d lines, marked %v, synced %d times; want line 2 untouched and one sync", sent, rec.marks, rec.syncs)
	}
}

// A testRecord is a record of which a step may fail.
type testRecord struct {
	mu    sync.Mutex
	marks map[int]outcome
	syncs int
	fail  func(*testRecord) error
}

func (r *testRecord) mark(number int, o outcome) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.marks == nil {
		r.marks = map[int]outcome{}
	}
	r.marks[number] = o
	return r.failure()
}

func (r *testRecord) sync() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.syncs++
	return r.failure()
}

func (r *testRecord) failure() error {
	if r.fail == nil {
		return nil
	}
	return r.fail(r)
}

// hugeInput is a file that is made as it is read.
type hugeInput struct {
	lines int
	text  string
	rest  string
	made  atomic.Int64
}

func (h *hugeInput) Read(p []byte) (int, error) {
	if h.rest == "" {
		if h.made.Load() == int64(h.lines) {
			return 0, io.EOF
		}
		h.made.Add(1)
		h.rest = h.text
	}
	n := copy(p, h.rest)
	h.rest = h.rest[n:]
	return n, nil
}

// awaitRest returns when no more is being read.
func (h *hugeInput) awaitRest() {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for still, made := 0, int64(0); still < 20; still++ {
		<-tick.C
		if now := h.made.Load(); now != made {
			still, made = 0, now
		}
	}
}

// TestRunHoldsLittleOfABigFile: the memory in use does not grow with the file, even
// when all lines wait for one another.
func TestRunHoldsLittleOfABigFile(t *testing.T) {
	const lines, size, bound = 1200, 64 << 10, 32 << 20
	data := strings.Repeat("x", size)
	in := &hugeInput{lines: lines, text: `{"ref":"account/a","command":"Deposit","data":{"text":"` + data + `"}}` + "\n"}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, most := heap(), uint64(0)
	r := &run{
		in: in, schedule: newSchedule(defaultLimits, false), workers: 8,
		report: newReport(Config{Out: io.Discard}.withDefaults(), false, nil),
		send: func(_ context.Context, l *line, _ func()) (acceptance, error) {
			if l.number%400 == 1 { // no other is under way: they are all of one aggregate
				in.awaitRest()
				most = max(most, heap())
			}
			return acceptance{Events: []string{"Deposited"}}, nil
		},
	}
	if err := r.apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.report.counts.Accepted != lines {
		t.Errorf("%d lines accepted, want %d", r.report.counts.Accepted, lines)
	}
	used := most - before
	t.Logf("a file of %d MiB takes %d MiB", lines*size>>20, used>>20)
	if used > bound {
		t.Errorf("a file of %d MiB takes %d MiB, want %d at the most", lines*size>>20, used>>20, bound>>20)
	}
}

func TestRunStopsWhenProgressCannotBeKept(t *testing.T) {
	t.Parallel()
	full := errors.New("the disk is full")
	for name, fail := range map[string]func(*testRecord) error{
		"sync": func(r *testRecord) error {
			if r.syncs == 3 {
				return full
			}
			return nil
		},
		"mark": func(r *testRecord) error {
			if len(r.marks) == 1000 {
				return full
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sent, rec := 0, &testRecord{fail: fail}
			r := &run{
				in:       strings.NewReader(strings.Repeat(`{"ref":"account/a","command":"Deposit"}`+"\n", 5000)),
				schedule: newSchedule(defaultLimits, true), workers: 1, record: rec,
				report: newReport(Config{Out: io.Discard}.withDefaults(), false, nil),
				send: func(context.Context, *line, func()) (acceptance, error) {
					sent++
					return acceptance{Events: []string{"Deposited"}}, nil
				},
			}
			if err := r.apply(t.Context()); !errors.Is(err, full) {
				t.Errorf("got %v, want %v", err, full)
			}
			if rec.syncs > 4 || sent > 4*defaultLimits.loose {
				t.Errorf("%d syncs and %d lines sent, want few after the failure", rec.syncs, sent)
			}
		})
	}
}

func TestRunStopsWhenTooManyAggregatesFail(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for n := range 500 {
		fmt.Fprintf(&text, `{"ref":"account/a-%d","command":"Deposit"}`+"\n", n)
	}
	l := defaultLimits
	l.stopped = 20
	sent := 0
	r := &run{
		in: strings.NewReader(text.String()), schedule: newSchedule(l, true), workers: 1,
		report: newReport(Config{Out: io.Discard}.withDefaults(), false, nil),
		send: func(context.Context, *line, func()) (acceptance, error) {
			sent++
			return acceptance{}, &callError{Status: statusInternal, Code: "internal"}
		},
		record: &testRecord{},
	}
	if err := r.apply(t.Context()); err == nil || !strings.Contains(err.Error(), "20 aggregates have failed") {
		t.Errorf("got %v, want the reason", err)
	}
	if sent > 25 {
		t.Errorf("%d lines were sent, want about 20", sent)
	}
}

func TestLongLinesAreRefusedAndTheRestGoesOn(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxLine+3)
	fits := strings.Repeat("y", maxLine)
	in := newLineReader(strings.NewReader(long + "\n" + fits + "\r\n" + long + "\nlast"))
	for i, want := range []struct {
		text string
		err  error
	}{{"", errLongLine}, {fits, nil}, {"", errLongLine}, {"last", nil}, {"", io.EOF}, {"", io.EOF}} {
		raw, err := in.next()
		if string(raw) != want.text || !errors.Is(err, want.err) {
			t.Errorf("line %d: %d bytes and %v, want %d and %v", i+1, len(raw), err, len(want.text), want.err)
		}
		if want.err == nil && in.number != i+1 {
			t.Errorf("line %d has the number %d", i+1, in.number)
		}
	}
	if got, err := in.next(); err == nil {
		t.Errorf("after the end: %q", got)
	}
}

func TestDerivedIDs(t *testing.T) {
	t.Parallel()
	raw := []byte(`{"ref":"account/a","command":"Deposit"}`)
	seen := map[string]string{}
	for name, id := range map[string]string{
		"line 1":       format{}.deriveID(1, raw),
		"line 2":       format{}.deriveID(2, raw),
		"another text": format{}.deriveID(1, append(slices.Clip(raw), ' ')),
		"a batch":      format{batch: "b"}.deriveID(1, raw),
	} {
		if other, ok := seen[id]; ok {
			t.Errorf("%s and %s have the same id %s", name, other, id)
		}
		seen[id] = name
		if err := messages.CheckCommandID(id); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A change of this id breaks the promise for whoever runs a file again with a newer release.
	if got, want := (format{}).deriveID(1, raw), "line-1-4bbd5d9047bf9fad58b0c4f84e6a059b"; got != want {
		t.Errorf("line 1 has the id %s, want %s", got, want)
	}
}
