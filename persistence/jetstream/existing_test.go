package jetstream_test

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
)

// openExisting opens what is there, as those do who look at a log.
func openExisting(t *testing.T, s *servers, c messages.Context) (*jetstream.Store, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	store, err := jetstream.Open(ctx, jetstream.Config{Context: c, Existing: true, Read: []*nats.Conn{s.connect(t, 0)}})
	if err == nil {
		t.Cleanup(store.Close)
	}
	return store, err
}

func names(t *testing.T, js natsjs.JetStream) []string {
	t.Helper()
	var all []string
	lister := js.StreamNames(t.Context())
	for name := range lister.Name() {
		all = append(all, name)
	}
	if err := lister.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestOpenExistingMakesNothing(t *testing.T) {
	s := startServers(t, 1)
	js := streams(t, s)
	if _, err := openExisting(t, s, "old"); !errors.Is(err, jetstream.ErrNoLog) {
		t.Errorf("without a log the error is %v", err)
	}
	ref := holdfast.Ref{Type: "t", ID: "1"}
	writer := s.open(t, jetstream.Config{Context: "old", Partitions: 2})
	h := mustAppend(t, writer, ref, persistence.Head{})
	if err := js.DeleteStream(t.Context(), "OLD_SNAPSHOTS"); err != nil {
		t.Fatal(err)
	}

	store, err := openExisting(t, s, "old")
	if err != nil {
		t.Fatal(err)
	}
	if l := mustLoad(t, store, ref); !l.Head.Equal(h) || store.Partitions() != 2 {
		t.Errorf("loaded %+v of %d partitions", l.Head, store.Partitions())
	}
	if _, err := tryAppend(t, store, ref, h); !errors.Is(err, holdfast.ErrUnavailable) {
		t.Errorf("an append by a store that has no connection for it: %v", err)
	}
	if err := store.SaveSnapshot(t.Context(), ref, persistence.Snapshot{Head: h, Fingerprint: "f"}); !errors.Is(err, holdfast.ErrUnavailable) {
		t.Errorf("a snapshot by a store that has no connection for it: %v", err)
	}
	if all := names(t, js); len(all) != 2 {
		t.Errorf("there are the streams %v", all)
	}
}

// Existing keeps the demands on what is there.
func TestOpenExistingRefuses(t *testing.T) {
	s := startServers(t, 1)
	js := streams(t, s)
	s.open(t, jetstream.Config{Context: "bad", Partitions: 2}).Close()
	cfg := liveConfig(t, js, "BAD_SNAPSHOTS")
	cfg.MaxMsgsPerSubject = 1
	if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	var weakness *jetstream.SettingError
	if _, err := openExisting(t, s, "bad"); !errors.As(err, &weakness) {
		t.Errorf("with weak snapshots the error is %v", err)
	}
	if err := js.DeleteStream(t.Context(), "BAD_LOG_1"); err != nil {
		t.Fatal(err)
	}
	if _, err := openExisting(t, s, "bad"); err == nil || errors.Is(err, jetstream.ErrNoLog) {
		t.Errorf("with a lost part the error is %v", err)
	}
}

// Snapshots that are made anew are spread as the log is, whoever makes them.
func TestSnapshotsHaveTheReplicasOfTheLog(t *testing.T) {
	s := startServers(t, 3)
	js := streams(t, s)
	s.open(t, jetstream.Config{Context: "spread", Replicas: 3}).Close()
	if err := js.DeleteStream(t.Context(), "SPREAD_SNAPSHOTS"); err != nil {
		t.Fatal(err)
	}
	s.open(t, jetstream.Config{Context: "spread", Replicas: 1}).Close()
	if n := liveConfig(t, js, "SPREAD_SNAPSHOTS").Replicas; n != 3 {
		t.Errorf("the snapshots have %d replicas, and the log 3", n)
	}
}
