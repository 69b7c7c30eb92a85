package persistencetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// patience is how long an answer may take before a test gives up. A machine may stand still
// for seconds, and servers elect leaders after that.
const patience = 90 * time.Second

// pause is how long a log is left alone that cannot be reached.
const pause = 5 * time.Millisecond

// late reports whether an error says that the log could not be reached, or not in time: on a
// busy machine that is nothing which a test is about.
func late(err error) bool {
	return errors.Is(err, holdfast.ErrUnavailable) || errors.Is(err, holdfast.ErrUncertain)
}

// patiently tries until the log can be reached, and gives the error of the last try.
func patiently(try func() error) error {
	deadline := time.Now().Add(patience)
	for {
		if err := try(); !late(err) || time.Now().After(deadline) {
			return err
		}
		<-time.After(pause)
	}
}

// change makes one with events that hold text.
func change(id string, events ...string) *messages.Change {
	ch := &messages.Change{CommandId: id, Command: "test.Do", CorrelationId: id, User: "ada"}
	for _, text := range events {
		ch.Events = append(ch.Events, &messages.Event{Type: "test.Done", Schema: messages.SchemaProtobuf, Data: []byte(text)})
	}
	return ch
}

// attempt appends and waits for the answer.
func attempt(t testing.TB, s persistence.Store, ref holdfast.Ref, after persistence.Head, changes ...*messages.Change) (persistence.Head, error) {
	t.Helper()
	a := begin(s, ref, after, changes...)(t)
	return a.head, a.err
}

// add appends, which must succeed. Of what a busy machine leaves open it finds out as a writer
// does: the log has it, or it is appended again.
func add(t testing.TB, s persistence.Store, ref holdfast.Ref, after persistence.Head, changes ...*messages.Change) persistence.Head {
	t.Helper()
	h, err := attempt(t, s, ref, after, changes...)
	for deadline := time.Now().Add(patience); late(err) && time.Now().Before(deadline); {
		if now := load(t, s, ref, ""); holds(now, after, changes) {
			return now.Head
		}
		h, err = attempt(t, s, ref, after, changes...)
		if now := load(t, s, ref, ""); errors.Is(err, holdfast.ErrConflict) && holds(now, after, changes) {
			return now.Head // the first one has come meanwhile
		}
	}
	if err != nil {
		t.Fatalf("append to %s after %s: %v", ref, after.Position, err)
	}
	return h
}

// holds reports whether the log has one commit after a head, with these changes.
func holds(l persistence.Loaded, after persistence.Head, changes []*messages.Change) bool {
	if len(l.Commits) == 0 {
		return false
	}
	last := l.Commits[len(l.Commits)-1]
	return last.Previous == after.Position.Sequence() && slices.EqualFunc(last.Changes, changes, func(a, b *messages.Change) bool { return proto.Equal(a, b) })
}

// refuse appends what must be refused for good.
func refuse(t testing.TB, s persistence.Store, code holdfast.Code, ref holdfast.Ref, after persistence.Head, changes ...*messages.Change) {
	t.Helper()
	wantCode(t, patiently(func() error {
		_, err := attempt(t, s, ref, after, changes...)
		return err
	}), code)
}

// save saves a snapshot, which must succeed.
func save(t testing.TB, s persistence.Store, ref holdfast.Ref, snap persistence.Snapshot) {
	t.Helper()
	if err := patiently(func() error { return s.SaveSnapshot(t.Context(), ref, snap) }); err != nil {
		t.Fatal(err)
	}
}

// addMany appends n commits of one event each.
func addMany(t testing.TB, s persistence.Store, ref holdfast.Ref, after persistence.Head, n int) persistence.Head {
	t.Helper()
	for range n {
		id := fmt.Sprintf("c-%d", after.Version+1)
		after = add(t, s, ref, after, change(id, id))
	}
	return after
}

// load loads, which must succeed.
func load(t testing.TB, s persistence.Store, ref holdfast.Ref, fingerprint string) persistence.Loaded {
	t.Helper()
	var l persistence.Loaded
	err := patiently(func() (err error) {
		l, err = s.Load(t.Context(), ref, fingerprint)
		return err
	})
	if err != nil {
		t.Fatalf("load %s: %v", ref, err)
	}
	wantReplayed(t, s, ref, fingerprint, l)
	return l
}

// all reads every commit, oldest first.
func all(t testing.TB, s persistence.Store, ref holdfast.Ref) []persistence.Commit {
	t.Helper()
	return load(t, s, ref, "").Commits
}

// head is where the aggregate is now.
func head(t testing.TB, s persistence.Store, ref holdfast.Ref) persistence.Head {
	t.Helper()
	return load(t, s, ref, "").Head
}

func wantCode(t testing.TB, err error, code holdfast.Code) {
	t.Helper()
	if holdfast.CodeOf(err) != code {
		t.Fatalf("error is %v, want one of code %q", err, code)
	}
}

func wantHead(t testing.TB, got, want persistence.Head) {
	t.Helper()
	if !got.Equal(want) || !got.Time.Equal(want.Time) || fmt.Sprint(got.Before) != fmt.Sprint(want.Before) {
		t.Fatalf("head is\n%+v, want\n%+v", got, want)
	}
}

// wantSame checks that the commits are those, byte for byte.
func wantSame(t testing.TB, got, want []persistence.Commit) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d commits, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i].Position != want[i].Position || !bytes.Equal(got[i].Body, want[i].Body) || !proto.Equal(got[i].Commit, want[i].Commit) {
			t.Fatalf("commit %d is\n%v at %s, want\n%v at %s", i, got[i].Commit, got[i].Position, want[i].Commit, want[i].Position)
		}
	}
}

// wantIDs checks which commands are in the log, in order.
func wantIDs(t testing.TB, s persistence.Store, ref holdfast.Ref, want ...string) {
	t.Helper()
	var got []string
	for _, c := range all(t, s, ref) {
		for _, ch := range c.Changes {
			got = append(got, ch.CommandId)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("the log of %s has the commands %v, want %v", ref, got, want)
	}
}

// wantGrows appends n commits by one store, and wants them in what another reads.
func wantGrows(t testing.TB, writer, reader persistence.Store, ref holdfast.Ref, after persistence.Head, n int) {
	t.Helper()
	h := addMany(t, writer, ref, after, n)
	wantHead(t, head(t, reader, ref), h)
}
