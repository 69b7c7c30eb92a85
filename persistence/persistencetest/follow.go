package persistencetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// A Following is what is given of one partition, for as long as a test follows it.
type Following struct {
	given chan persistence.Record
	over  chan struct{}
	err   error // with which it is over
	stop  context.CancelCauseFunc
	last  holdfast.Position
}

// errStopped is why a test follows no longer.
var errStopped = errors.New("the test follows no longer")

// Follow follows the log for a test, at the latest until that ends.
func Follow(t testing.TB, s persistence.Store, after holdfast.Position) *Following {
	t.Helper()
	ctx, stop := context.WithCancelCause(context.WithoutCancel(t.Context()))
	f := &Following{given: make(chan persistence.Record, 1<<16), over: make(chan struct{}), stop: stop, last: after}
	go func() {
		defer close(f.over)
		f.err = s.(persistence.Follower).Follow(ctx, after, func(r persistence.Record) error {
			select {
			case f.given <- r:
			case <-ctx.Done():
			}
			return nil
		})
	}()
	t.Cleanup(func() {
		stop(errStopped)
		<-f.over
	})
	return f
}

// Next waits for n records, which must be those that come next in the partition.
func (f *Following) Next(t testing.TB, n int) []persistence.Record {
	t.Helper()
	records := make([]persistence.Record, 0, n)
	late := time.NewTimer(patience)
	defer late.Stop()
	for len(records) < n {
		select {
		case r := <-f.given:
			if want := holdfast.NewPosition(f.last.Partition(), f.last.Sequence()+1); r.Position != want {
				t.Fatalf("the record at %s is given, want that at %s", r.Position, want)
			}
			f.last = r.Position
			records = append(records, r)
			late.Reset(patience)
		case <-f.over:
			if len(f.given) == 0 {
				t.Fatalf("%d of %d records are given after %s: %v", len(records), n, f.last, f.err)
			}
		case <-late.C:
			t.Fatalf("%d of %d records are given after %s", len(records), n, f.last)
		}
	}
	return records
}

// Until waits until the record at a position is given.
func (f *Following) Until(t testing.TB, at holdfast.Position) []persistence.Record {
	t.Helper()
	if at.Partition() != f.last.Partition() || at.Sequence() < f.last.Sequence() {
		t.Fatalf("the record at %s does not come after %s", at, f.last)
	}
	return f.Next(t, int(at.Sequence()-f.last.Sequence()))
}

// End waits for the error with which it ends by itself.
func (f *Following) End(t testing.TB) error {
	t.Helper()
	select {
	case <-f.over:
		if len(f.given) > 0 {
			t.Fatalf("the record at %s is given, want none", (<-f.given).Position)
		}
		return f.err
	case <-time.After(patience):
		t.Fatalf("it does not end after %s", f.last)
		panic("unreachable")
	}
}

// Stop ends it, and checks that it has given no more.
func (f *Following) Stop(t testing.TB) {
	t.Helper()
	f.stop(errStopped)
	if err := f.End(t); !errors.Is(err, holdfast.ErrUnavailable) || !errors.Is(err, errStopped) {
		t.Fatalf("it ends with %v, want one that is unavailable, since %v", err, errStopped)
	}
}

// testFollow follows an empty log while many append to it, and then from everywhere.
func testFollow(t *testing.T, l *Log) {
	const aggregates, commits = 24, 12
	partitions := l.partitions()
	var all []*Following
	for range 2 { // that know nothing of each other
		for p := range partitions {
			all = append(all, Follow(t, l.Store, holdfast.NewPosition(p, 0)))
		}
	}
	stores := append([]persistence.Store{l.Store}, l.Others...)
	heads := make([]persistence.Head, aggregates)
	ref := func(i int) holdfast.Ref { return holdfast.Ref{Type: "follow", ID: fmt.Sprint(i)} }
	var writers sync.WaitGroup
	for i := range aggregates {
		writers.Go(func() {
			heads[i] = addMany(errorOnly{t}, stores[i%len(stores)], ref(i), persistence.Head{}, commits)
		})
	}
	writers.Wait()
	ends := make([]holdfast.Position, partitions)
	for p := range partitions {
		ends[p] = holdfast.NewPosition(p, 0)
	}
	appended := map[holdfast.Ref][]persistence.Commit{}
	for i, h := range heads {
		appended[ref(i)] = load(t, l.Store, ref(i), "").Commits
		if p := h.Position.Partition(); ends[p].Before(h.Position) {
			ends[p] = h.Position
		}
	}
	for _, f := range all {
		wantFollowed(t, f.Until(t, ends[f.last.Partition()]), appended)
		f.Stop(t)
	}
	for _, end := range ends {
		testFollowFrom(t, l, end, appended)
	}
	testFollowEnds(t, l, ends)
}

// wantFollowed checks that the records are what was appended.
func wantFollowed(t testing.TB, got []persistence.Record, appended map[holdfast.Ref][]persistence.Commit) {
	t.Helper()
	given := 0
	for _, r := range got {
		wantRecord(t, r, appended)
	}
	for _, commits := range appended {
		for _, c := range commits {
			if len(got) > 0 && c.Position.Partition() == got[0].Position.Partition() {
				given++
			}
		}
	}
	if given != len(got) {
		t.Fatalf("%d records are given of %d", len(got), given)
	}
}

// testFollowFrom follows a partition that ends there, from its beginning, its middle and
// its end, and sees it grow.
func testFollowFrom(t *testing.T, l *Log, end holdfast.Position, appended map[holdfast.Ref][]persistence.Commit) {
	p, last := end.Partition(), end.Sequence()
	ref := inPartition(t, l, p, l.partitions(), "grows")
	var all []*Following
	for _, after := range []uint64{0, 1, last / 2, last - 1, last} {
		all = append(all, Follow(t, l.Store, holdfast.NewPosition(p, after)))
	}
	for _, f := range all {
		if got := f.Until(t, end); len(got) == int(last) {
			wantFollowed(t, got, appended)
		}
	}
	var h persistence.Head
	for range 3 { // each alone, so that it is not the next one that brings it
		h = addMany(t, l.Store, ref, h, 1)
		commits := map[holdfast.Ref][]persistence.Commit{ref: load(t, l.Store, ref, "").Commits}
		for _, f := range all {
			wantRecord(t, f.Until(t, h.Position)[0], commits)
		}
	}
	for _, f := range all {
		f.Stop(t)
	}
}

// testFollowEnds has it end in every way that is not that of the log.
func testFollowEnds(t *testing.T, l *Log, ends []holdfast.Position) {
	s := l.Store.(persistence.Follower)
	begin := holdfast.NewPosition(0, 0)
	enough, n := errors.New("enough"), 0
	for _, want := range []int{1, 3} {
		n = 0
		err := s.Follow(t.Context(), begin, func(persistence.Record) error {
			if n++; n == want {
				return enough
			}
			return nil
		})
		if err != enough || n != want { //nolint:errorlint // it is to be that error itself
			t.Fatalf("following that was to end after %d records gave %d, %v", want, n, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	n = 0
	each := func(persistence.Record) error {
		n++
		cancel()
		return nil
	}
	for range 2 { // in the midst of it, and before it begins
		if err := s.Follow(ctx, begin, each); !errors.Is(err, holdfast.ErrUnavailable) || !errors.Is(err, context.Canceled) || n != 1 {
			t.Fatalf("following whose context has ended after 1 record gave %d, %v", n, err)
		}
	}
	none := holdfast.NewPosition(l.partitions(), 0)
	wantCode(t, s.Follow(t.Context(), none, each), holdfast.CodeMalformed)
	wantCode(t, s.Follow(t.Context(), holdfast.NewPosition(0, math.MaxUint64), each), holdfast.CodeCorrupt)
	for _, end := range ends {
		beyond := holdfast.NewPosition(end.Partition(), end.Sequence()+4) // it has grown by 3
		wantCorruptAt(t, s.Follow(t.Context(), beyond, each), beyond)
	}
	if n != 1 {
		t.Fatalf("%d records are given, want none of what is not there", n-1)
	}
}

func wantCorruptAt(t testing.TB, err error, at holdfast.Position) {
	t.Helper()
	wantCode(t, err, holdfast.CodeCorrupt)
	if !strings.Contains(err.Error(), at.String()) {
		t.Fatalf("%v does not name %s", err, at)
	}
}

// testFollowLost loses a record in the midst of the log, and then the last.
func testFollowLost(t *testing.T, l *Log) {
	ref := holdfast.Ref{Type: "lost", ID: "a-1"}
	const commits, lost = 12, 5
	h := addMany(t, l.Store, ref, persistence.Head{}, commits)
	appended := load(t, l.Store, ref, "").Commits
	partition := h.Position.Partition()
	l.Lose(t, ref, appended[lost].Position)
	for _, after := range []holdfast.Position{holdfast.NewPosition(partition, 0), appended[lost-2].Position, appended[lost-1].Position} {
		f := Follow(t, l.Store, after)
		f.Until(t, appended[lost-1].Position)
		wantCorruptAt(t, f.End(t), appended[lost].Position)
	}
	f := Follow(t, l.Store, appended[lost].Position)
	for i, r := range f.Until(t, h.Position) {
		if want := appended[lost+1+i]; r.Position != want.Position || !bytes.Equal(r.Body, want.Body) {
			t.Fatalf("%s gives %q, want %q", r.Position, r.Body, want.Body)
		}
	}
	f.Stop(t)
	next := neighbour(t, l, ref)
	before := addMany(t, l.Store, next, persistence.Head{}, 1)
	last := addMany(t, l.Store, next, before, 1)
	l.Lose(t, next, last.Position)
	f = Follow(t, l.Store, appended[lost].Position)
	f.Until(t, before.Position)
	wantCorruptAt(t, f.End(t), last.Position)
}

// testFollowMany follows a long log, and what is appended to it meanwhile.
func testFollowMany(t *testing.T, l *Log) {
	const writers = 8
	ends := make(chan holdfast.Position, writers)
	ref := func(i int) holdfast.Ref {
		return inPartition(t, l, 0, l.partitions(), fmt.Sprintf("many-%d", i))
	}
	for i := range writers {
		go func() {
			ends <- addMany(errorOnly{t}, l.Store, ref(i), persistence.Head{}, l.Many/writers).Position
		}()
	}
	f := Follow(t, l.Store, holdfast.NewPosition(0, 0))
	f.Next(t, l.Many/2)
	late := Follow(t, l.Store, holdfast.NewPosition(0, 0)) // it has to catch up
	var end holdfast.Position
	for range writers {
		if e := <-ends; !e.Before(end) {
			end = e
		}
	}
	versions := map[string]uint64{}
	for _, r := range late.Until(t, end) {
		c, err := persistence.Open(r.Position, r.Body)
		if err != nil {
			t.Fatal(err)
		}
		if versions[r.Subject]++; c.FirstVersion != versions[r.Subject] {
			t.Fatalf("version %d of %s comes as the %d", c.FirstVersion, r.Subject, versions[r.Subject])
		}
		if sub, err := messages.ParseSubject(r.Subject); err != nil || sub.Kind != messages.KindLog {
			t.Fatalf("the record at %s stands under %q, %v", r.Position, r.Subject, err)
		}
	}
	f.Until(t, end)
}
