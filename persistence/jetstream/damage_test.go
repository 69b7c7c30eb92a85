package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
)

// TestByteFlippedOnDisk changes one byte of a commit where it lies: the aggregate is
// refused and the place is named, whatever commit it is, and the others are well.
func TestByteFlippedOnDisk(t *testing.T) {
	t.Parallel()
	const commits = 40
	cfg := jetstream.Config{Context: "disk"}
	s := startServers(t, 1)
	store := s.open(t, cfg)
	good := holdfast.Ref{Type: "disk", ID: "good"}
	var goodHead persistence.Head
	refs := map[holdfast.Ref]int{} // which commit is damaged
	heads := map[holdfast.Ref]persistence.Head{}
	for _, i := range []int{0, 1, commits / 2, commits - 2, commits - 1} {
		refs[holdfast.Ref{Type: "disk", ID: fmt.Sprint(i)}] = i
	}
	for range commits {
		for ref := range refs {
			heads[ref] = mustAppend(t, store, ref, heads[ref])
		}
		goodHead = mustAppend(t, store, good, goodHead)
	}
	damaged := map[holdfast.Ref]persistence.Commit{}
	for ref, i := range refs {
		l, err := store.Load(t.Context(), ref, "")
		if err != nil {
			t.Fatal(err)
		}
		damaged[ref] = l.Commits[i]
	}
	store.Close()
	s.damage(t, 0, maps.Values(damaged))
	store = s.open(t, cfg)
	for ref, c := range damaged {
		last := refs[ref] == commits-1
		_, err := store.Load(t.Context(), ref, "")
		wantCorruptAt(t, err, ref, c, last)
		yielded := 0
		for b, e := range store.Backwards(t.Context(), ref, 0) {
			if err = e; e == nil {
				yielded++
				if b.FirstVersion <= c.FirstVersion {
					t.Errorf("%s: backwards yields version %d, at or before the damage", ref, b.FirstVersion)
				}
			}
		}
		wantCorruptAt(t, err, ref, c, last)
	}
	l, err := store.Load(t.Context(), good, "")
	if err != nil || !l.Head.Equal(goodHead) {
		t.Fatalf("the good one: %v, %v", l.Head, err)
	}
	mustAppend(t, store, good, goodHead)
	wantVerified(t, store, damaged, refs, commits)
}

func wantCorruptAt(t *testing.T, err error, ref holdfast.Ref, c persistence.Commit, last bool) {
	t.Helper()
	if !errors.Is(err, holdfast.ErrCorrupt) || !strings.Contains(err.Error(), ref.String()) {
		t.Fatalf("%s: error is %v, want corrupt", ref, err)
	}
	if !last && !strings.Contains(err.Error(), c.Position.String()) {
		t.Fatalf("%s: %v does not name %s", ref, err, c.Position)
	}
}

func wantVerified(t *testing.T, store *jetstream.Store, damaged map[holdfast.Ref]persistence.Commit, refs map[holdfast.Ref]int, commits int) {
	t.Helper()
	found := map[holdfast.Position]persistence.Finding{}
	_, err := persistence.Verify(t.Context(), store, persistence.VerifyConfig{
		Context: "disk",
		Report:  func(f persistence.Finding) { found[f.Position] = f },
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != len(damaged) {
		t.Errorf("%d findings %v, want %d", len(found), found, len(damaged))
	}
	for ref, c := range damaged {
		f, ok := found[c.Position]
		if known := refs[ref] < commits-1; !ok || f.Fault != persistence.FaultMissing || known && f.Ref != ref {
			t.Errorf("the damage of %s at %s is found as %+v", ref, c.Position, f)
		}
		alone := 0
		_, err := persistence.Verify(t.Context(), store, persistence.VerifyConfig{
			Context: "disk", Filter: persistence.Filter(ref),
			Report: func(persistence.Finding) { alone++ },
		})
		if err != nil || alone != 1 {
			t.Errorf("%s alone has %d findings, %v", ref, alone, err)
		}
	}
}

func TestScanLeavesNoConsumers(t *testing.T) {
	s := startServers(t, 1)
	store := s.open(t, jetstream.Config{Context: "scans"})
	ref := holdfast.Ref{Type: "t", ID: "a"}
	h := mustAppend(t, store, ref, persistence.Head{})
	mustAppend(t, store, ref, h)
	enough := errors.New("enough")
	leavesNone(t, s, "SCANS_LOG_0", func() {
		for _, end := range []error{nil, enough} {
			_, err := store.Scan(t.Context(), persistence.ScanOptions{}, func(persistence.Record) error { return end })
			if !errors.Is(err, end) {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		_, err := store.Scan(ctx, persistence.ScanOptions{}, func(persistence.Record) error {
			cancel()
			return nil
		})
		if cancel(); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	})
}

// TestScanRefusesWhatIsNoType: it would be another subject than is meant.
func TestScanRefusesWhatIsNoType(t *testing.T) {
	s := startServers(t, 1)
	store := s.open(t, jetstream.Config{Context: "types"})
	mustAppend(t, store, holdfast.Ref{Type: "t", ID: "a"}, persistence.Head{})
	for _, filter := range []persistence.Filter{{Type: "*"}, {Type: ">"}, {Type: "t.a"}, {Type: "T"}, {Type: "*", ID: "a"}} {
		_, err := store.Scan(t.Context(), persistence.ScanOptions{Filter: filter}, func(r persistence.Record) error {
			t.Errorf("%+v gives a record of %s", filter, r.Subject)
			return nil
		})
		if !errors.Is(err, holdfast.ErrMalformed) {
			t.Errorf("%+v: error is %v, want malformed", filter, err)
		}
	}
}

// onThree are tests that share three servers, which are slow to start.
var onThree = []struct {
	name string
	test func(*testing.T, *servers)
}{
	{"both codes of a conflict", testBothCodes},
	{"one replica is damaged", testOneReplicaDamaged},
	{"fresh loads", testFreshLoads},
	{"without a quorum", testWithoutQuorum},
}

// testBothCodes races writers until JetStream has refused with each of its two codes.
func testBothCodes(t *testing.T, s *servers) {
	cfg := jetstream.Config{Context: "codes"}
	one := s.open(t, cfg)
	cfg.Publish = s.connect(t, 1)
	two := s.open(t, cfg)
	seen := map[int]uint64{}
	ref := holdfast.Ref{Type: "codes", ID: "a"}
	var h persistence.Head
	for round := 0; seen[10071] == 0 || seen[10164] == 0; round++ {
		if round == 500 {
			t.Fatalf("in %d rounds JetStream refused with %v", round, seen)
		}
		next, known := raceForOne(t, []*jetstream.Store{one, two}, ref, h)
		if !known { // a busy machine has elected a leader
			h = mustLoad(t, two, ref).Head
			continue
		}
		err := patiently(func() error {
			_, err := tryAppend(t, two, ref, h)
			return err
		})
		if !errors.Is(err, holdfast.ErrConflict) { // it is stale for certain
			t.Fatalf("error is %v", err)
		}
		h = next
		for _, store := range []*jetstream.Store{one, two} {
			for code, n := range store.Stats().Refused {
				seen[code] += n
			}
		}
	}
	for code := range seen {
		if code != 10071 && code != 10164 {
			t.Errorf("JetStream refused with %v", seen)
		}
	}
}

// raceForOne has writers append after the same head, of whom one wins, and tells whether all
// know that.
func raceForOne(t *testing.T, stores []*jetstream.Store, ref holdfast.Ref, h persistence.Head) (next persistence.Head, known bool) {
	t.Helper()
	type answer struct {
		head persistence.Head
		err  error
	}
	const writers = 6
	answers := make(chan answer, writers)
	for w := range writers {
		go stores[w%2].Append(ref, h, nil, func(h persistence.Head, err error) { answers <- answer{h, err} })
	}
	won := 0
	known = true
	for range writers {
		switch a := <-answers; {
		case a.err == nil:
			won++
			next = a.head
		case late(a.err):
			known = false
		case !errors.Is(a.err, holdfast.ErrConflict):
			t.Fatalf("a loser hears %v", a.err)
		}
	}
	if won > 1 || known && won == 0 {
		t.Fatalf("%d writers won", won)
	}
	return next, known
}

// testFreshLoads reads through another server right after each append, as of a log that
// needs no copies but has them.
func testFreshLoads(t *testing.T, s *servers) {
	writer := s.open(t, jetstream.Config{Context: "fresh", Publish: s.connect(t, 0)})
	var readers []*jetstream.Store
	for i := range s.list {
		readers = append(readers, s.open(t, jetstream.Config{Context: "fresh", Replicas: 1, Read: []*nats.Conn{s.connect(t, i)}}))
	}
	ref := holdfast.Ref{Type: "fresh", ID: "a"}
	var h persistence.Head
	for n := range 150 {
		h = mustAppend(t, writer, ref, h)
		if l := mustLoad(t, readers[n%len(readers)], ref); !l.Head.Equal(h) {
			t.Fatalf("right after version %d: loaded version %d", h.Version, l.Head.Version)
		}
	}
}

// testOneReplicaDamaged flips a byte on one server of three: the others have it.
func testOneReplicaDamaged(t *testing.T, s *servers) {
	cfg := jetstream.Config{Context: "replica"}
	store := s.open(t, cfg)
	ref := holdfast.Ref{Type: "replica", ID: "a"}
	var h persistence.Head
	for range 20 {
		h = mustAppend(t, store, ref, h)
	}
	l := mustLoad(t, store, ref)
	store.Close()
	var damaged string
	s.awaitOnDisk(t, 1, l.Commits[10].Body)
	s.restart(t, func() {
		damaged = s.list[1].Config().DataDir
		flip(t, damaged, l.Commits[10].Body)
	})
	js := streams(t, s)
	lead(t, s, js, cfg.Context.LogStream(0), damaged)
	for i := range s.list {
		cfg.Read = []*nats.Conn{s.connect(t, i)}
		store := s.open(t, cfg)
		for range 20 { // a read is answered by any replica
			if l := mustLoad(t, store, ref); !l.Head.Equal(h) {
				t.Fatalf("by server %d: loaded version %d", i, l.Head.Version)
			}
		}
	}
}

// lead has the first server whose folder is another one lead the stream.
func lead(t *testing.T, s *servers, js natsjs.JetStream, stream, not string) {
	t.Helper()
	wanted := s.list[0].Config().Name
	if s.list[0].Config().DataDir == not {
		wanted = s.list[1].Config().Name
	}
	nc := s.connect(t, 0)
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	pause := time.NewTicker(250 * time.Millisecond) // an election takes its time
	defer pause.Stop()
	for ctx.Err() == nil {
		info, err := streamInfo(ctx, js, stream)
		if err == nil && info.Cluster != nil {
			switch leader := info.Cluster.Leader; {
			case leader == wanted:
				return
			case leader != "":
				// Asked again if it is of no use.
				_, _ = nc.Request("$JS.API.STREAM.LEADER.STEPDOWN."+stream, []byte(`{"placement":{"preferred":"`+wanted+`"}}`), time.Second)
			}
		}
		<-pause.C
	}
	t.Fatalf("%s is not led by %s in time", stream, wanted)
}

// streamInfo asks with a deadline of its own: while there is no leader, nobody answers.
func streamInfo(ctx context.Context, js natsjs.JetStream, stream string) (*natsjs.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	return s.CachedInfo(), nil
}

// testWithoutQuorum stops two of three servers: nothing is claimed to be recorded, and a
// store that is opened then works once they are back. The one that is left may take some
// seconds to see that it leads nobody, so Open need not wait for them.
func testWithoutQuorum(t *testing.T, s *servers) {
	cfg := jetstream.Config{Context: "quorum", AppendTimeout: quick, ReadTimeout: quick}
	ref := holdfast.Ref{Type: "quorum", ID: "a"}
	h := mustAppend(t, s.open(t, jetstream.Config{Context: "quorum"}), ref, persistence.Head{})
	store := s.open(t, cfg)
	for _, one := range s.list[1:] {
		one.Stop()
	}
	cfg.Publish, cfg.Read = s.connect(t, 0), []*nats.Conn{s.connect(t, 0)}
	opened := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 2*long)
	defer cancel()
	go func() {
		store, err := jetstream.Open(ctx, cfg)
		if err == nil {
			defer store.Close()
			for _, err = store.Load(ctx, ref, ""); errors.Is(err, holdfast.ErrUnavailable) && ctx.Err() == nil; {
				_, err = store.Load(ctx, ref, "") // the stream may not have a leader yet
			}
		}
		opened <- err
	}()
	_, err := tryAppend(t, store, ref, h)
	if !errors.Is(err, holdfast.ErrUncertain) && !errors.Is(err, holdfast.ErrUnavailable) {
		t.Errorf("append without a quorum: %v", err)
	}
	for i, one := range s.list[1:] {
		back, err := startAgain(t, one)
		if err != nil {
			t.Fatal(err)
		}
		s.list[i+1] = back
	}
	if err := <-opened; err != nil {
		t.Errorf("open when the servers are back: %v", err)
	}
}

// damage starts the servers anew, with a byte of each of these commits flipped on one's disk.
func (s *servers) damage(t *testing.T, server int, commits iter.Seq[persistence.Commit]) {
	t.Helper()
	for c := range commits {
		s.awaitOnDisk(t, server, c.Body)
	}
	s.restart(t, func() {
		for c := range commits {
			flip(t, s.list[server].Config().DataDir, c.Body)
		}
	})
}
