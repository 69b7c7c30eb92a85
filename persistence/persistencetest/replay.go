package persistencetest

import (
	"bytes"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
)

// A taker keeps what a replay hands over, as it was at that moment.
type taker struct {
	begun    bool
	snapshot *persistence.Snapshot
	commits  []persistence.Commit
	most     int // refuses what comes beyond, if it is not 0
	refused  int
}

var errFull = errors.New("no more is taken")

func (r *taker) Begin(s *persistence.Snapshot) error {
	r.begun, r.snapshot, r.commits = true, s, nil
	return nil
}

func (r *taker) Add(c persistence.Commit) error {
	if !r.begun {
		return errors.New("a commit comes before the beginning")
	}
	if r.most > 0 && len(r.commits) == r.most {
		r.refused++
		return errFull
	}
	c.Commit, c.Body = proto.CloneOf(c.Commit), bytes.Clone(c.Body)
	r.commits = append(r.commits, c)
	return nil
}

// replay replays an aggregate, and gives what was handed over.
func replay(t testing.TB, s persistence.Store, ref holdfast.Ref, fingerprint string, most int) (got taker, l persistence.Loaded, err error) {
	t.Helper()
	err = patiently(func() error {
		got = taker{most: most}
		l, err = persistence.Replay(t.Context(), s, ref, fingerprint, &got)
		return err
	})
	if len(l.Commits) > 0 {
		t.Errorf("%s: a replay gives %d commits in the end", ref, len(l.Commits))
	}
	return got, l, err
}

// wantReplayed checks that what is handed over while it is read is what was loaded, unless
// there is more by then.
func wantReplayed(t testing.TB, s persistence.Store, ref holdfast.Ref, fingerprint string, want persistence.Loaded) {
	t.Helper()
	got, l, err := replay(t, s, ref, fingerprint, 0)
	if err != nil {
		t.Fatalf("replay %s: %v", ref, err)
	}
	if !l.Head.Equal(want.Head) || (l.Snapshot == nil) != (want.Snapshot == nil) || want.Snapshot != nil && !l.Snapshot.Head.Equal(want.Snapshot.Head) {
		return
	}
	if !got.begun || (got.snapshot == nil) != (want.Snapshot == nil) {
		t.Fatalf("%s: begun %v, with the snapshot %v, want %v", ref, got.begun, got.snapshot, want.Snapshot)
	}
	wantHead(t, l.Head, want.Head)
	wantSame(t, got.commits, want.Commits)
}

// testReplay has a replay refused by whom it is for, at the beginning, in the middle and at the end.
func testReplay(t *testing.T, l *Log) {
	ref := holdfast.Ref{Type: "replay", ID: "a-1"}
	addMany(t, l.Store, ref, persistence.Head{}, 100)
	want := all(t, l.Store, ref)
	for _, most := range []int{1, 50, 99} {
		got, _, err := replay(t, l.Store, ref, "", most)
		if !errors.Is(err, errFull) || got.refused != 1 {
			t.Fatalf("refused %d times after %d: error is %v", got.refused, most, err)
		}
		wantSame(t, got.commits, want[:most])
	}
	if got, _, err := replay(t, l.Store, ref, "", 100); err != nil || len(got.commits) != 100 {
		t.Fatalf("%d commits, %v", len(got.commits), err)
	}
	got, loaded, err := replay(t, l.Store, holdfast.Ref{Type: "replay", ID: "nothing"}, "f", 0)
	if err != nil || !got.begun || len(got.commits) > 0 || loaded.Head.Version != 0 {
		t.Fatalf("of nothing: begun %v, %d commits up to version %d, %v", got.begun, len(got.commits), loaded.Head.Version, err)
	}
}
