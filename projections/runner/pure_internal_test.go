package runner

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/projections"
)

// batchOf makes a batch of records at sequences, with so many events each, up to done.
func batchOf(done uint64, records ...[2]int) (b batch) {
	for _, r := range records {
		rec := persistence.Record{Position: holdfast.NewPosition(0, uint64(r[0])), Body: []byte("body")}
		for n := range r[1] {
			b.items = append(b.items, projections.Item{Event: projections.Event{ID: fmt.Sprintf("%d.%d", r[0], n), Position: rec.Position, Index: n}})
		}
		b.add(rec, r[1])
	}
	b.done = done
	return b
}

func (b batch) String() string {
	var ids []string
	for _, i := range b.items {
		ids = append(ids, i.ID)
	}
	return fmt.Sprintf("%s|%d to %d", strings.Join(ids, " "), len(b.records), b.done)
}

func TestCut(t *testing.T) {
	t.Parallel()
	whole := batchOf(9, [2]int{3, 2}, [2]int{5, 1}, [2]int{8, 2})
	for _, c := range []struct {
		after       uint64
		front, rest string
	}{
		{0, "|0 to 0", "3.0 3.1 5.0 8.0 8.1|3 to 9"},
		{2, "|0 to 2", "3.0 3.1 5.0 8.0 8.1|3 to 9"},
		{3, "3.0 3.1|1 to 3", "5.0 8.0 8.1|2 to 9"},
		{6, "3.0 3.1 5.0|2 to 6", "8.0 8.1|1 to 9"},
		{8, "3.0 3.1 5.0 8.0 8.1|3 to 8", "|0 to 9"},
		{9, "3.0 3.1 5.0 8.0 8.1|3 to 9", "|0 to 0"},
		{10, "3.0 3.1 5.0 8.0 8.1|3 to 9", "|0 to 0"},
	} {
		if front, rest := whole.cutAfter(c.after); front.String() != c.front || rest.String() != c.rest {
			t.Errorf("after %d it is cut into %s and %s", c.after, front, rest)
		}
	}
	for item, want := range []int{0, 0, 1, 2, 2} {
		if n := whole.recordOf(item); n != want {
			t.Errorf("item %d is of record %d", item, n)
		}
	}
}

func TestFull(t *testing.T) {
	t.Parallel()
	b := batchOf(2, [2]int{1, 3}, [2]int{2, 1})
	if b.full(5) || !b.full(4) {
		t.Error("4 events are not full at 4")
	}
	b.bytes = mostBytes
	if !b.full(100) {
		t.Error("so many bytes are not full")
	}
	if b.clear(); b.full(1) || b.done != 0 || len(b.records) > 0 {
		t.Errorf("cleared it is %v", b)
	}
}

func TestSizesAndWaits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ size, took, want int }{{500, 50, 1000}, {3000, 50, 4000}, {500, 200, 500}, {500, 500, 250}, {60, 500, 50}} {
		if got := nextSize(c.size, time.Duration(c.took)*time.Millisecond); got != c.want {
			t.Errorf("after %d ms for %d the next batch has %d", c.took, c.size, got)
		}
	}
	for _, c := range []struct {
		worked, want time.Duration
		ratio        float64
	}{{100 * time.Millisecond, 150 * time.Millisecond, 1.5}, {time.Minute, time.Second, 1.5}, {time.Minute, 0, -1}} {
		if got := rest(c.worked, c.ratio); got != c.want {
			t.Errorf("after %v it rests %v", c.worked, got)
		}
	}
	for failures, want := range map[int]time.Duration{1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 6: 3200 * time.Millisecond, 7: 5 * time.Second, 1000: 5 * time.Second} {
		if got := brokenWait(failures); got != want {
			t.Errorf("after %d failures it waits %v", failures, got)
		}
	}
	if refusedWait(1, 0) != 20*time.Millisecond || refusedWait(2, 0) != 80*time.Millisecond || refusedWait(3, 0) != 0 || refusedWait(1, patient) != 0 {
		t.Error("the pauses between tries are others")
	}
}

// A tape is a batch that writes down what is done in it.
type tape struct {
	projections.Batch
	done   []string
	broken error
}

func (b *tape) Broken() error { return b.broken }

func (b *tape) Park(p projections.Parked) error {
	b.done = append(b.done, fmt.Sprintf("park %s: %q after %d", p.Event.ID, p.Reason, p.Attempts))
	return nil
}

func (b *tape) Unpark(p projections.Parked, skipped string) error {
	b.done = append(b.done, fmt.Sprintf("unpark %s: %s", p.Event.ID, skipped))
	return nil
}

func (b *tape) Later(e projections.Effected) error {
	b.done = append(b.done, "later "+e.ID)
	return nil
}

func (b *tape) Change(key string, at projections.Place, _ func([]byte) ([]byte, error)) error {
	b.done = append(b.done, fmt.Sprintf("handle %d.%d", at.Sequence, at.Index))
	if key == "break" {
		b.broken = errors.New("the sink is broken")
		return b.broken
	}
	return nil
}

var numbersType = holdfast.Define("number",
	holdfast.Evolve(func(n int64, e *wrapperspb.Int64Value) int64 { return n + e.Value }),
	holdfast.Snapshot(func(n int64) *wrapperspb.Int64Value { return wrapperspb.Int64(n) }, func(p *wrapperspb.Int64Value) int64 { return p.Value }),
)

// What becomes of the events of a batch, one attempt each.
func TestAttempt(t *testing.T) {
	t.Parallel()
	p := projections.Define("numbers", projections.From(numbersType), projections.On(func(d *projections.Docs[int64], e *wrapperspb.Int64Value, at projections.Event) error {
		if at.User == "bad" {
			return errors.New("no")
		}
		_ = d.Later("mail", e)
		return d.Change(at.Ref.ID, func(n int64) int64 { return n })
	}), projections.Effect("mail", nothing))
	for _, c := range []struct {
		name  string
		a     attempt
		marks string // of each event: key, and what it is: . good, ! refused, ? unread, x breaks
		want  []string
		fails string
		added map[string]int
	}{
		{"all good", attempt{}, "a. b.", []string{"later 1/mail", "handle 1.0", "later 2/mail", "handle 2.0"}, "", nil},
		{"quiet", attempt{quiet: true}, "a. b.", []string{"handle 1.0", "handle 2.0"}, "", nil},
		{"refused", attempt{}, "a. b! c.", []string{"later 1/mail", "handle 1.0"}, "item 1: no", nil},
		{"refused thrice", attempt{tried: map[string]tried{"2": {3, "no"}}}, "a. b! a. b. b!", []string{
			"later 1/mail", "handle 1.0", `park 2: "no" after 3`, "later 3/mail", "handle 3.0", `park 4: "" after 0`, `park 5: "" after 0`,
		}, "", map[string]int{"b": 3}},
		{"refused twice", attempt{tried: map[string]tried{"1": {2, "no"}}}, "a!", nil, "item 0: no", nil},
		{"parked before", attempt{parked: map[string]int{"a": 1}}, "a. b. a!", []string{`park 1: "" after 0`, "later 2/mail", "handle 2.0", `park 3: "" after 0`}, "", map[string]int{"a": 2}},
		{"unread", attempt{}, "a? a.", []string{`park 1: "unread" after 1`, `park 2: "" after 0`}, "", map[string]int{"a": 2}},
		{"skipped", attempt{skips: map[string]string{"1": "why not"}}, "a! a.", []string{`park 1: "to be skipped: why not" after 0`, `park 2: "" after 0`}, "", map[string]int{"a": 2}},
		{"broken", attempt{}, "break. b.", []string{"later 1/mail", "handle 1.0"}, "at 1: the sink is broken", nil},
	} {
		b, tape := batch{}, &tape{}
		for n, mark := range strings.Fields(c.marks) {
			key, kind := mark[:len(mark)-1], mark[len(mark)-1]
			at := projections.Event{ID: fmt.Sprint(n + 1), Ref: holdfast.Ref{Type: "number", ID: key}, Position: holdfast.NewPosition(0, uint64(n+1)), Name: "google.protobuf.Int64Value"}
			i := projections.Item{Event: at, Key: key, Message: wrapperspb.Int64(1)}
			switch kind {
			case '!':
				i.User = "bad"
			case '?':
				i.Unread = errors.New("unread")
			}
			b.items = append(b.items, i)
			b.add(persistence.Record{Position: at.Position}, 1)
		}
		c.a.projection, c.a.at = p, new(atomic.Int64)
		err := c.a.run(tape, b)
		said := ""
		if no, ok := errors.AsType[*refusal](err); ok {
			said = fmt.Sprintf("item %d: %v", no.item, no)
		} else if broken, ok := errors.AsType[*breakage](err); ok {
			said = fmt.Sprintf("at %s: %v", broken.event, broken)
		}
		if !slices.Equal(tape.done, c.want) || said != c.fails {
			t.Errorf("%s: done is %q, %q", c.name, tape.done, said)
		}
		if err == nil && fmt.Sprint(c.a.added) != fmt.Sprint(c.added) {
			t.Errorf("%s: parked are %v", c.name, c.a.added)
		}
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	var w watch
	for n, c := range []struct {
		inside bool
		steps  uint64
		item   int64
		want   int
	}{{false, 1, 0, 0}, {true, 2, 5, 0}, {true, 2, 5, 1}, {true, 2, 5, 2}, {true, 2, 6, 0}, {true, 2, 6, 1}, {true, 3, 6, 0}, {true, 3, 6, 1}, {false, 3, 6, 0}, {true, 3, 6, 1}} {
		if got := w.see(c.inside, c.steps, c.item); got != c.want {
			t.Errorf("look %d sees the same %d times", n, got)
		}
	}
}

func TestMeter(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1000, 0)
	var m meter
	for _, c := range []struct {
		at                float64 // seconds
		done, end, before uint64
		rate, left        float64
		live              bool
	}{
		{0, 0, 1000, 1000, 0, 0, false},
		{0.5, 50, 1000, 1000, 0, 0, false}, // too early to tell
		{1, 100, 1000, 1000, 100, 9, false},
		{2, 300, 1000, 1000, 150, 700.0 / 150, false},
		{3, 400, 1200, 1000, 125, 0, false}, // the log grows faster
		{4, 1000, 1200, 1000, 362.5, 200 / 362.5, true},
		{5, 10, 1200, 1200, 0, 0, false}, // a reset
		{6, 20, 1200, 1200, 10, 118, false},
	} {
		m.read(begin.Add(time.Duration(c.at*float64(time.Second))), c.done, c.end, c.before)
		if m.rate != c.rate || m.left != c.left || m.live != c.live {
			t.Errorf("after %v s the rate is %v, %v s are left, live %v", c.at, m.rate, m.left, m.live)
		}
	}
}

// A batch whose transaction is spoiled says so in a generation that does not serve, too.
func TestQuietFails(t *testing.T) {
	t.Parallel()
	if err := (quiet{&tape{}}).Failed(); err != nil {
		t.Errorf("one that cannot fail does with %v", err)
	}
	if err := (quiet{spoiled{&tape{}}}).Failed(); !errors.Is(err, errFound) {
		t.Errorf("it fails with %v", err)
	}
}

type spoiled struct{ *tape }

func (spoiled) Failed() error { return errFound }
