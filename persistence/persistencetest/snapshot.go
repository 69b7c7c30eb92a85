package persistencetest

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
)

func snapshot(h persistence.Head, fingerprint string) persistence.Snapshot {
	return persistence.Snapshot{
		Head: h, Fingerprint: fingerprint, Recent: []uint32{1, 2, 3}, State: []byte(fmt.Sprintf("version %d", h.Version)),
	}
}

func wantSnapshot(t testing.TB, got *persistence.Snapshot, want persistence.Snapshot) {
	t.Helper()
	if got == nil {
		t.Fatal("the snapshot is not used")
	}
	wantHead(t, got.Head, want.Head)
	if got.Fingerprint != want.Fingerprint || !slices.Equal(got.Recent, want.Recent) || !bytes.Equal(got.State, want.State) {
		t.Fatalf("snapshot is %+v, want %+v", got, want)
	}
}

// loadUntil loads until the newest snapshot has arrived where it is read, which a store
// may take its time for. Until then, too, what is loaded must be right.
func loadUntil(t testing.TB, s persistence.Store, ref holdfast.Ref, want persistence.Head, arrived func(persistence.Loaded) bool) persistence.Loaded {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		got := load(t, s, ref, "f")
		wantHead(t, got.Head, want)
		if arrived(got) || time.Now().After(deadline) {
			return got
		}
	}
}

// isOf tells a load from the snapshot of one head.
func isOf(h persistence.Head) func(persistence.Loaded) bool {
	return func(l persistence.Loaded) bool { return l.Snapshot != nil && l.Snapshot.Head.Equal(h) }
}

func isIgnored(l persistence.Loaded) bool { return l.Ignored != nil }

func testSnapshots(t *testing.T, l *Log) {
	ref := holdfast.Ref{Type: "snapshots", ID: "a.1"}
	var h persistence.Head
	for n := range 60 {
		h = addMany(t, l.Store, ref, h, 1)
		if n%7 > 0 {
			continue
		}
		want := snapshot(h, "f")
		save(t, l.Store, ref, want)
		got := loadUntil(t, l.Store, ref, h, isOf(h))
		wantSnapshot(t, got.Snapshot, want)
		if len(got.Commits) != 0 || got.Ignored != nil {
			t.Fatalf("with a snapshot of now: %d commits, ignored %v", len(got.Commits), got.Ignored)
		}
		h = addMany(t, l.Store, ref, h, n%4)
		got = loadUntil(t, l.Store, ref, h, isOf(want.Head)) // it is stale now
		wantSnapshot(t, got.Snapshot, want)
		if len(got.Commits) != n%4 {
			t.Fatalf("%d commits since the snapshot, want %d", len(got.Commits), n%4)
		}
	}
	if got := load(t, l.Store, ref, ""); got.Snapshot != nil || len(got.Commits) != int(h.Version) {
		t.Fatalf("without a fingerprint: snapshot %v and %d commits, want none and %d", got.Snapshot, len(got.Commits), h.Version)
	} else if got.Ignored != nil {
		t.Fatalf("without a fingerprint: ignored %v", got.Ignored)
	}
	other := holdfast.Ref{Type: "snapshots", ID: "a-1"}
	add(t, l.Store, other, persistence.Head{}, change("c", "1"))
	none := func(l persistence.Loaded) bool { return l.Ignored == nil } // else the question got lost
	if got := loadUntil(t, l.Store, other, head(t, l.Store, other), none); got.Snapshot != nil || got.Ignored != nil {
		t.Fatalf("an aggregate without a snapshot has %v, ignored %v", got.Snapshot, got.Ignored)
	}
}

// unusable gives snapshots that must not be used for an aggregate with these heads, one
// a commit.
func unusable(t testing.TB, heads []persistence.Head, other persistence.Head) map[string][]byte {
	t.Helper()
	encode := func(s persistence.Snapshot) []byte {
		body, err := persistence.EncodeSnapshot(s)
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	move := func(h persistence.Head, version, sequence int, digest byte) persistence.Head {
		h.Version += holdfast.Version(version)
		h.Position = holdfast.NewPosition(h.Position.Partition(), uint64(int(h.Position.Sequence())+sequence))
		h.Digest[5] ^= digest
		return h
	}
	last := heads[len(heads)-1]
	good := encode(snapshot(last, "f"))
	all := map[string][]byte{
		"empty":                  {},
		"no snapshot":            []byte("no snapshot"),
		"cut off":                good[:len(good)-1],
		"of another fingerprint": encode(snapshot(last, "g")),
		"of another aggregate":   encode(snapshot(other, "f")),
		"ahead":                  encode(snapshot(move(last, 3, 3, 0), "f")),
		"far ahead":              encode(snapshot(move(last, 1000, 1_000_000, 0), "f")),
	}
	for i := 0; i < len(good); i += 5 {
		damaged := bytes.Clone(good)
		damaged[i] ^= 4
		all[fmt.Sprintf("byte %d flipped", i)] = damaged
	}
	for back, i := range []int{44, 43, 11, 10, 1} {
		at := heads[i]
		all[fmt.Sprintf("another version at %d", back)] = encode(snapshot(move(at, 1, 0, 0), "f"))
		all[fmt.Sprintf("another digest at %d", back)] = encode(snapshot(move(at, 0, 0, 1), "f"))
		all[fmt.Sprintf("the place of another aggregate after %d", back)] = encode(snapshot(move(at, 0, 1, 0), "f"))
	}
	return all
}

// testUnusableSnapshots puts snapshots that must not be used: the load says why, and
// reads everything.
func testUnusableSnapshots(t *testing.T, l *Log) {
	ref := holdfast.Ref{Type: "unusable", ID: "a-1"}
	var heads []persistence.Head
	var h, other persistence.Head
	for range 45 {
		h = addMany(t, l.Store, ref, h, 1)
		heads = append(heads, h)
		other = addMany(t, l.Store, neighbour(t, l, ref), other, 1)
	}
	want := all(t, l.Store, ref)
	good := func() {
		t.Helper()
		save(t, l.Store, ref, snapshot(h, "f"))
		wantSnapshot(t, loadUntil(t, l.Store, ref, h, isOf(h)).Snapshot, snapshot(h, "f"))
	}
	for name, body := range unusable(t, heads, other) {
		good()
		l.PutSnapshot(t, ref, body)
		got := loadUntil(t, l.Store, ref, h, isIgnored)
		if got.Snapshot != nil || got.Ignored == nil {
			t.Fatalf("a snapshot %s: it is used as %v, ignored %v", name, got.Snapshot, got.Ignored)
		}
		wantSame(t, got.Commits, want)
	}
	good()

	nothing := holdfast.Ref{Type: "unusable", ID: "nothing"}
	body, err := persistence.EncodeSnapshot(snapshot(h, "f"))
	if err != nil {
		t.Fatal(err)
	}
	l.PutSnapshot(t, nothing, body)
	if got := loadUntil(t, l.Store, nothing, head(t, l.Store, nothing), isIgnored); got.Snapshot != nil || got.Ignored == nil || got.Head.Version != 0 {
		t.Fatalf("a snapshot of an aggregate that has nothing: loaded %+v", got)
	}
	nothing.ID = "nothing either"
	l.PutSnapshot(t, nothing, []byte("no snapshot"))
	if got := loadUntil(t, l.Store, nothing, head(t, l.Store, nothing), isIgnored); got.Snapshot != nil || got.Ignored == nil || got.Head.Version != 0 {
		t.Fatalf("a damaged snapshot of an aggregate that has nothing: loaded %+v", got)
	}
}

func testSnapshotSize(t *testing.T, l *Log) {
	ref := holdfast.Ref{Type: "snapshotsize", ID: "a-1"}
	h := addMany(t, l.Store, ref, persistence.Head{}, 40)
	s := snapshot(h, "f")
	s.Recent = make([]uint32, 1024)
	s.State = bytes.Repeat([]byte("s"), l.Store.Limit()-8<<10)
	save(t, l.Store, ref, s)
	wantSnapshot(t, loadUntil(t, l.Store, ref, h, isOf(h)).Snapshot, s)
	big := s
	big.State = bytes.Repeat([]byte("s"), l.Store.Limit()+1)
	wantCode(t, l.Store.SaveSnapshot(t.Context(), ref, big), holdfast.CodeTooLarge)
	wantSnapshot(t, loadUntil(t, l.Store, ref, h, isOf(h)).Snapshot, s)
}
