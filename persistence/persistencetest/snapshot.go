package persistencetest

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

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

func testSnapshots(t *testing.T, l *Log) {
	ref := holdfast.Ref{Type: "snapshots", ID: "a.1"}
	var h persistence.Head
	for n := range 60 {
		h = addMany(t, l.Store, ref, h, 1)
		if n%7 > 0 {
			continue
		}
		want := snapshot(h, "f")
		if err := l.Store.SaveSnapshot(t.Context(), ref, want); err != nil {
			t.Fatal(err)
		}
		got := load(t, l.Store, ref, "f")
		wantSnapshot(t, got.Snapshot, want)
		wantHead(t, got.Head, h)
		if len(got.Commits) != 0 || got.Ignored != nil {
			t.Fatalf("with a snapshot of now: %d commits, ignored %v", len(got.Commits), got.Ignored)
		}
		h = addMany(t, l.Store, ref, h, n%4)
		got = load(t, l.Store, ref, "f") // it is stale now
		wantSnapshot(t, got.Snapshot, want)
		wantHead(t, got.Head, h)
		if len(got.Commits) != n%4 {
			t.Fatalf("%d commits since the snapshot, want %d", len(got.Commits), n%4)
		}
	}
	if got := load(t, l.Store, ref, ""); got.Snapshot != nil || len(got.Commits) != int(h.Version) {
		t.Fatalf("without a fingerprint: snapshot %v and %d commits, want none and %d", got.Snapshot, len(got.Commits), h.Version)
	}
	other := holdfast.Ref{Type: "snapshots", ID: "a-1"}
	add(t, l.Store, other, persistence.Head{}, change("c", "1"))
	if got := load(t, l.Store, other, "f"); got.Snapshot != nil || got.Ignored != nil {
		t.Fatalf("an aggregate without a snapshot has %v, ignored %v", got.Snapshot, got.Ignored)
	}
}

// testUnusableSnapshots puts snapshots that must not be used: the load says why, and
// reads everything.
func testUnusableSnapshots(t *testing.T, l *Log) {
	ref := holdfast.Ref{Type: "unusable", ID: "a-1"}
	var heads []persistence.Head
	var h persistence.Head
	var other persistence.Head
	for range 45 {
		h = addMany(t, l.Store, ref, h, 1)
		heads = append(heads, h)
		other = addMany(t, l.Store, neighbour(t, l, ref), other, 1)
	}
	want := all(t, l.Store, ref)
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
	good := encode(snapshot(h, "f"))
	cases := map[string][]byte{
		"empty":                  {},
		"no snapshot":            []byte("no snapshot"),
		"cut off":                good[:len(good)-1],
		"of another fingerprint": encode(snapshot(h, "g")),
		"of another aggregate":   encode(snapshot(other, "f")),
		"ahead":                  encode(snapshot(move(h, 3, 3, 0), "f")),
		"far ahead":              encode(snapshot(move(h, 1000, 1_000_000, 0), "f")),
	}
	for i := 0; i < len(good); i += 5 {
		damaged := bytes.Clone(good)
		damaged[i] ^= 4
		cases[fmt.Sprintf("byte %d flipped", i)] = damaged
	}
	for _, i := range []int{44, 43, 11, 10, 1} {
		at := heads[i]
		cases[fmt.Sprintf("another version at %d", i)] = encode(snapshot(move(at, 1, 0, 0), "f"))
		cases[fmt.Sprintf("another digest at %d", i)] = encode(snapshot(move(at, 0, 0, 1), "f"))
		cases[fmt.Sprintf("the place of another aggregate after %d", i)] = encode(snapshot(move(at, 0, 1, 0), "f"))
	}
	for name, body := range cases {
		l.PutSnapshot(t, ref, body)
		got := load(t, l.Store, ref, "f")
		if got.Snapshot != nil || got.Ignored == nil {
			t.Fatalf("a snapshot %s: it is used as %v, ignored %v", name, got.Snapshot, got.Ignored)
		}
		wantSame(t, got.Commits, want)
		wantHead(t, got.Head, h)
	}
	nothing := holdfast.Ref{Type: "unusable", ID: "nothing"}
	l.PutSnapshot(t, nothing, good)
	if got := load(t, l.Store, nothing, "f"); got.Snapshot != nil || got.Ignored == nil || got.Head.Version != 0 {
		t.Fatalf("a snapshot of an aggregate that has nothing: loaded %+v", got)
	}
	if err := l.Store.SaveSnapshot(t.Context(), ref, snapshot(h, "f")); err != nil {
		t.Fatal(err)
	}
	wantSnapshot(t, load(t, l.Store, ref, "f").Snapshot, snapshot(h, "f"))
}

func testSnapshotSize(t *testing.T, l *Log) {
	ref := holdfast.Ref{Type: "snapshotsize", ID: "a-1"}
	h := addMany(t, l.Store, ref, persistence.Head{}, 40)
	s := snapshot(h, "f")
	s.Recent = make([]uint32, 1024)
	s.State = bytes.Repeat([]byte("s"), l.Store.Limit()-8<<10)
	if err := l.Store.SaveSnapshot(t.Context(), ref, s); err != nil {
		t.Fatal(err)
	}
	wantSnapshot(t, load(t, l.Store, ref, "f").Snapshot, s)
	big := s
	big.State = bytes.Repeat([]byte("s"), l.Store.Limit()+1)
	wantCode(t, l.Store.SaveSnapshot(t.Context(), ref, big), holdfast.CodeTooLarge)
	wantSnapshot(t, load(t, l.Store, ref, "f").Snapshot, s)
}
