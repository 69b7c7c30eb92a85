package jetstream_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/persistence/jetstream"
)

// TestStreamsAreMadeInOrder: the first log stream comes last of the log, since it says
// that all of it has been made.
func TestStreamsAreMadeInOrder(t *testing.T) {
	s := startServers(t, 1)
	s.open(t, jetstream.Config{Context: "order", Partitions: 3})
	js := streams(t, s)
	var before time.Time
	for _, name := range []string{"ORDER_LOG_1", "ORDER_LOG_2", "ORDER_LOG_0", "ORDER_SNAPSHOTS"} {
		stream, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		made := stream.CachedInfo().Created
		if made.Before(before) {
			t.Errorf("%s is made before the one that it must come after", name)
		}
		before = made
	}
}

// TestALogIsToldFromAnother by when it was made, whichever server is asked and however
// often they were started.
func TestALogIsToldFromAnother(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d servers", n), func(t *testing.T) {
			s := startServers(t, n)
			cfg := jetstream.Config{Context: "one", Partitions: 2}
			made := s.open(t, cfg).Created()
			info, err := streams(t, s).Stream(t.Context(), "ONE_LOG_0")
			if err != nil || made.IsZero() || !made.Equal(info.CachedInfo().Created) {
				t.Errorf("made at %s, and the stream: %v", made, err)
			}
			s.restart(t, func() {})
			for i := range n {
				cfg.Read = []*nats.Conn{s.connect(t, i)}
				if again := s.open(t, cfg).Created(); !again.Equal(made) {
					t.Errorf("server %d: made at %s, and before the restart at %s", i, again, made)
				}
			}
			if err := streams(t, s).DeleteStream(t.Context(), "ONE_LOG_1"); err != nil {
				t.Fatal(err)
			}
			if err := streams(t, s).DeleteStream(t.Context(), "ONE_LOG_0"); err != nil {
				t.Fatal(err)
			}
			if other := s.open(t, cfg).Created(); !other.After(made) {
				t.Errorf("the log that took its place was made at %s, and itself at %s", other, made)
			}
		})
	}
}

// TestStreamsAreMade as the settings say that Open does not insist on.
func TestStreamsAreMade(t *testing.T) {
	s := startServers(t, 1)
	s.open(t, jetstream.Config{Context: "made"})
	js := streams(t, s)
	log, snapshots := liveConfig(t, js, "MADE_LOG_0"), liveConfig(t, js, "MADE_SNAPSHOTS")
	if log.Duplicates != time.Second || snapshots.Duplicates != time.Second {
		t.Errorf("duplicates are looked for in %s and %s", log.Duplicates, snapshots.Duplicates)
	}
	if log.MaxMsgsPerSubject != 1<<40 {
		t.Errorf("an aggregate may have %d commits", log.MaxMsgsPerSubject)
	}
	if snapshots.MaxMsgsPerSubject != 2 || snapshots.Discard != natsjs.DiscardOld || snapshots.Storage != natsjs.FileStorage {
		t.Errorf("of snapshots, %d are kept, discarding the %s, in %s", snapshots.MaxMsgsPerSubject, snapshots.Discard, snapshots.Storage)
	}
}

// TestOpenRefusesAnOddCount has the log say what no number of partitions is.
func TestOpenRefusesAnOddCount(t *testing.T) {
	s := startServers(t, 1)
	js := streams(t, s)
	s.open(t, jetstream.Config{Context: "odd"}).Close()
	cfg := liveConfig(t, js, "ODD_LOG_0")
	for _, text := range []string{"0", "", "x", "-1", "1025", "4294967297"} {
		cfg.Metadata["holdfast-partitions"] = text
		if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		_, err := s.tryOpen(t, jetstream.Config{Context: "odd"})
		var weakness *jetstream.SettingError
		if !errors.As(err, &weakness) || weakness.Setting != "metadata holdfast-partitions" || weakness.Found != fmt.Sprintf("%q", text) {
			t.Errorf("%q partitions: error is %v", text, err)
		}
	}
}
