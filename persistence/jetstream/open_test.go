package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
)

func streams(t testing.TB, s *servers) natsjs.JetStream {
	t.Helper()
	js, err := natsjs.New(s.connect(t, 0), natsjs.WithDefaultTimeout(patient))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// liveConfig gives the settings that Open makes a stream with.
func liveConfig(t testing.TB, js natsjs.JetStream, name string) natsjs.StreamConfig {
	t.Helper()
	stream, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().Config
}

// weaknesses are ways in which a live stream is not what Holdfast needs.
var weaknesses = []struct {
	setting string
	found   string
	weaken  func(*natsjs.StreamConfig)
}{
	{"subjects", "", func(c *natsjs.StreamConfig) { c.Subjects = append(c.Subjects, "more") }},
	{"retention", "interest", func(c *natsjs.StreamConfig) { c.Retention = natsjs.InterestPolicy }},
	{"storage", "memory", func(c *natsjs.StreamConfig) {
		c.Storage, c.PersistMode = natsjs.MemoryStorage, natsjs.DefaultPersistMode
	}},
	{"max_msgs", "1000000", func(c *natsjs.StreamConfig) { c.MaxMsgs = 1_000_000 }},
	{"max_bytes", "1000000000", func(c *natsjs.StreamConfig) { c.MaxBytes = 1_000_000_000 }},
	{"max_age", "3600000000000", func(c *natsjs.StreamConfig) { c.MaxAge = time.Hour }},
	{"max_msgs_per_subject", "1000", func(c *natsjs.StreamConfig) { c.MaxMsgsPerSubject = 1000 }},
	{"max_msg_size", "1000", func(c *natsjs.StreamConfig) { c.MaxMsgSize = 1000 }},
	{"discard", "old", func(c *natsjs.StreamConfig) { c.Discard = natsjs.DiscardOld }},
	{"persist_mode", "async", func(c *natsjs.StreamConfig) {
		c.PersistMode, c.AllowAtomicPublish = natsjs.AsyncPersistMode, false
	}},
	{"no_ack", "true", func(c *natsjs.StreamConfig) { c.NoAck, c.AllowAtomicPublish = true, false }},
	{"deny_delete", "false", func(c *natsjs.StreamConfig) { c.DenyDelete = false }},
	{"deny_purge", "false", func(c *natsjs.StreamConfig) { c.DenyPurge = false }},
	{"allow_direct", "false", func(c *natsjs.StreamConfig) { c.AllowDirect = false }},
	{"allow_atomic", "false", func(c *natsjs.StreamConfig) { c.AllowAtomicPublish = false }},
	{"allow_rollup_hdrs", "true", func(c *natsjs.StreamConfig) { c.AllowRollup, c.DenyPurge = true, false }},
	{"allow_msg_schedules", "true", func(c *natsjs.StreamConfig) {
		c.AllowMsgSchedules, c.AllowRollup, c.DenyPurge, c.Discard = true, true, false, natsjs.DiscardOld
	}},
	{"subject_delete_marker_ttl", "60000000000", func(c *natsjs.StreamConfig) {
		c.SubjectDeleteMarkerTTL, c.AllowMsgTTL, c.AllowRollup, c.DenyPurge = time.Minute, true, true, false
	}},
	{"allow_msg_ttl", "true", func(c *natsjs.StreamConfig) { c.AllowMsgTTL = true }},
	{"allow_msg_counter", "true", func(c *natsjs.StreamConfig) { c.AllowMsgCounter, c.Discard = true, natsjs.DiscardOld }},
	{"first_seq", "100", func(c *natsjs.StreamConfig) { c.FirstSeq = 100 }},
	{"subject_transform", "true", func(c *natsjs.StreamConfig) {
		c.SubjectTransform = &natsjs.SubjectTransformConfig{Source: c.Subjects[0], Destination: "elsewhere.>"}
	}},
	{"sources", "true", func(c *natsjs.StreamConfig) { c.Sources = []*natsjs.StreamSource{{Name: "OTHER"}} }},
	{"metadata holdfast-format", "missing", func(c *natsjs.StreamConfig) { delete(c.Metadata, "holdfast-format") }},
	{"metadata holdfast-format", "2", func(c *natsjs.StreamConfig) { c.Metadata["holdfast-format"] = "2" }},
	{"metadata holdfast-partitions", "missing", func(c *natsjs.StreamConfig) { delete(c.Metadata, "holdfast-partitions") }},
	{"metadata holdfast-partitions", "2", func(c *natsjs.StreamConfig) { c.Metadata["holdfast-partitions"] = "2" }},
}

// irrelevant are those that the snapshots may be weak in, since they may be lost.
var irrelevant = []string{
	"storage", "max_msgs", "max_bytes", "max_age", "discard", "persist_mode", "deny_delete", "deny_purge", "allow_atomic", "allow_rollup_hdrs",
	"allow_msg_ttl", "allow_msg_schedules", "subject_delete_marker_ttl", "first_seq", "metadata holdfast-partitions",
}

func TestOpenRefusesWeakSettings(t *testing.T) {
	s := startServers(t, 1)
	js := streams(t, s)
	s.open(t, jetstream.Config{Context: "weak"}).Close()
	good := map[string]natsjs.StreamConfig{"WEAK_LOG_0": liveConfig(t, js, "WEAK_LOG_0"), "WEAK_SNAPSHOTS": liveConfig(t, js, "WEAK_SNAPSHOTS")}
	remake := func(t *testing.T, c natsjs.StreamConfig) {
		t.Helper()
		if err := js.DeleteStream(t.Context(), c.Name); err != nil {
			t.Fatal(err)
		}
		if _, err := js.CreateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	for name, cfg := range good {
		for _, w := range weaknesses {
			t.Run(name+" "+w.setting+" "+w.found, func(t *testing.T) {
				weak := cfg
				weak.Subjects = append([]string(nil), cfg.Subjects...)
				weak.Metadata = map[string]string{}
				maps.Copy(weak.Metadata, cfg.Metadata)
				w.weaken(&weak)
				remake(t, weak)
				defer remake(t, cfg)
				store, err := s.tryOpen(t, jetstream.Config{Context: "weak", Partitions: 1})
				if name == "WEAK_SNAPSHOTS" && isOneOf(w.setting, irrelevant) {
					if err != nil {
						t.Fatalf("snapshots may be like that, but: %v", err)
					}
					store.Close()
					return
				}
				var weakness *jetstream.SettingError
				if !errors.As(err, &weakness) {
					t.Fatalf("error is %v, want a SettingError", err)
				}
				if weakness.Stream != name || weakness.Setting != w.setting || weakness.Wanted == "" || weakness.Wanted == weakness.Found {
					t.Fatalf("refused %+v", weakness)
				}
				if w.found != "" && weakness.Found != w.found {
					t.Fatalf("found is %q, want %q", weakness.Found, w.found)
				}
				for _, part := range []string{weakness.Stream, weakness.Setting, weakness.Found, weakness.Wanted} {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("%q does not name %q", err, part)
					}
				}
			})
		}
	}
	s.open(t, jetstream.Config{Context: "weak"}).Close() // all is well again
}

func isOneOf(s string, all []string) bool {
	return slices.Contains(all, s)
}

func TestOpenRefusesSealedStream(t *testing.T) {
	s := startServers(t, 1)
	js := streams(t, s)
	s.open(t, jetstream.Config{Context: "sealed"}).Close()
	cfg := liveConfig(t, js, "SEALED_LOG_0")
	cfg.Sealed = true
	if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	_, err := s.tryOpen(t, jetstream.Config{Context: "sealed"})
	var weakness *jetstream.SettingError
	if !errors.As(err, &weakness) || weakness.Setting != "sealed" {
		t.Fatalf("error is %v", err)
	}
}

func TestOpenTakesStrongerSettings(t *testing.T) {
	s := startServers(t, 1)
	js := streams(t, s)
	s.open(t, jetstream.Config{Context: "strong"}).Close()
	cfg := liveConfig(t, js, "STRONG_LOG_0")
	cfg.Duplicates = 2 * time.Minute
	cfg.MaxMsgsPerSubject = -1
	cfg.Description = "changed by an operator"
	cfg.Compression = natsjs.S2Compression
	cfg.Metadata["team"] = "blue"
	if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	s.open(t, jetstream.Config{Context: "strong"})
}

func TestOpenRefusesFewerReplicas(t *testing.T) {
	s := startServers(t, 1)
	s.open(t, jetstream.Config{Context: "replicas"}).Close()
	_, err := s.tryOpen(t, jetstream.Config{Context: "replicas", Replicas: 3})
	var weakness *jetstream.SettingError
	if !errors.As(err, &weakness) || weakness.Setting != "num_replicas" || weakness.Found != "1" || weakness.Wanted != "3" {
		t.Fatalf("error is %v", err)
	}
}

func TestPartitionsAreFixed(t *testing.T) {
	s := startServers(t, 1)
	for _, c := range []struct {
		context       messages.Context
		made, opened  uint32
		want          uint32
		found, wanted string
	}{
		{"p-a", 0, 0, 1, "", ""},
		{"p-b", 0, 1, 1, "", ""},
		{"p-c", 4, 0, 4, "", ""},
		{"p-d", 4, 4, 4, "", ""},
		{"p-e", 4, 5, 0, "4", "5"},
		{"p-f", 4, 1, 0, "4", "1"},
		{"p-g", 1, 2, 0, "1", "2"},
	} {
		s.open(t, jetstream.Config{Context: c.context, Partitions: c.made}).Close()
		store, err := s.tryOpen(t, jetstream.Config{Context: c.context, Partitions: c.opened})
		if c.want > 0 {
			if err != nil || store.Partitions() != c.want {
				t.Fatalf("%+v: %v", c, err)
			}
			continue
		}
		// The stream that is to be the last of more partitions is missing, or says otherwise.
		var weakness *jetstream.SettingError
		if errors.As(err, &weakness) && (weakness.Setting != "metadata holdfast-partitions" || weakness.Found != c.found || weakness.Wanted != c.wanted) || err == nil {
			t.Fatalf("%+v: error is %v", c, err)
		}
	}
}

func TestOpenRefusesALostPart(t *testing.T) {
	s := startServers(t, 1)
	js := streams(t, s)
	for _, c := range []struct{ context, lost, left string }{
		{"lost-a", "LOST-A_LOG_1", "LOST-A_LOG_0"},
		{"lost-b", "LOST-B_LOG_2", "LOST-B_LOG_0"},
		{"lost-c", "LOST-C_LOG_0", "LOST-C_LOG_"},
		{"lost-d", "LOST-D_LOG_0", "LOST-D_SNAPSHOTS"},
	} {
		cfg := jetstream.Config{Context: messages.Context(c.context), Partitions: 3}
		if c.context == "lost-d" {
			cfg.Partitions = 1
		}
		store := s.open(t, cfg)
		for _, id := range []string{"1", "2", "3", "4", "5", "6", "7", "8"} {
			ref := holdfast.Ref{Type: "t", ID: id}
			h := mustAppend(t, store, ref, persistence.Head{})
			if err := store.SaveSnapshot(t.Context(), ref, persistence.Snapshot{Head: h, Fingerprint: "f"}); err != nil {
				t.Fatal(err)
			}
		}
		store.Close()
		if err := js.DeleteStream(t.Context(), c.lost); err != nil {
			t.Fatal(err)
		}
		_, err := s.tryOpen(t, cfg)
		if err == nil || !strings.Contains(err.Error(), c.lost+" is missing") || !strings.Contains(err.Error(), c.left) {
			t.Fatalf("without %s: error is %v", c.lost, err)
		}
		if _, err := js.Stream(t.Context(), c.lost); !errors.Is(err, natsjs.ErrStreamNotFound) {
			t.Fatalf("%s is made anew: %v", c.lost, err)
		}
	}
}

func TestOpenCompletesWhatWasInterrupted(t *testing.T) {
	s := startServers(t, 1)
	js := streams(t, s)
	cfg := jetstream.Config{Context: "half", Partitions: 3}
	for _, left := range [][]string{{"HALF_LOG_1"}, {"HALF_LOG_1", "HALF_LOG_2"}, {"HALF_LOG_0", "HALF_LOG_1", "HALF_LOG_2"}} {
		s.open(t, cfg).Close()
		for _, name := range []string{"HALF_LOG_0", "HALF_LOG_1", "HALF_LOG_2", "HALF_SNAPSHOTS"} {
			if !isOneOf(name, left) {
				if err := js.DeleteStream(t.Context(), name); err != nil {
					t.Fatal(err)
				}
			}
		}
		if n := s.open(t, cfg).Partitions(); n != 3 {
			t.Fatalf("with %v left there are %d partitions", left, n)
		}
	}
}

func TestOpenTwiceAtOnce(t *testing.T) {
	s := startServers(t, 1)
	const openers = 6
	results := make(chan error, openers)
	for range openers {
		cfg := jetstream.Config{Context: "race", Partitions: 3, Publish: s.connect(t, 0), Read: []*nats.Conn{s.connect(t, 0)}}
		go func() {
			store, err := jetstream.Open(context.Background(), cfg)
			if err == nil {
				store.Close()
			}
			results <- err
		}()
	}
	for range openers {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

// TestOpenTwiceAtOnceDisagreeing has two nodes make one context differently: the one
// that comes second is told what does not fit.
func TestOpenTwiceAtOnceDisagreeing(t *testing.T) {
	s := startServers(t, 1)
	for round := range 20 {
		results := make(chan error, 2)
		for partitions := range uint32(2) {
			cfg := jetstream.Config{Context: messages.Context(fmt.Sprintf("race-%d", round)), Partitions: 2 + partitions, Publish: s.connect(t, 0), Read: []*nats.Conn{s.connect(t, 0)}}
			go func() {
				store, err := jetstream.Open(context.Background(), cfg)
				if err == nil {
					store.Close()
				}
				results <- err
			}()
		}
		opened := 0
		for range 2 {
			err := <-results
			var weakness *jetstream.SettingError
			switch {
			case err == nil:
				opened++
			case !errors.As(err, &weakness) || weakness.Setting != "metadata holdfast-partitions":
				t.Errorf("error is %v, want one about the partitions", err)
			}
		}
		if opened != 1 {
			t.Errorf("%d were opened", opened)
		}
	}
}

func TestSnapshotsNeedNoSync(t *testing.T) {
	s := startServers(t, 1)
	s.open(t, jetstream.Config{Context: "modes"})
	js := streams(t, s)
	if mode := liveConfig(t, js, "MODES_SNAPSHOTS").PersistMode; mode != natsjs.AsyncPersistMode {
		t.Errorf("the snapshots' persist mode is %s", mode)
	}
	if mode := liveConfig(t, js, "MODES_LOG_0").PersistMode; mode != natsjs.DefaultPersistMode {
		t.Errorf("the log's persist mode is %s", mode)
	}
}

func TestConfig(t *testing.T) {
	s := startServers(t, 1)
	publish, read := s.connect(t, 0), s.connect(t, 0)
	buffering, err := s.list[0].Connect(natsd.Node)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		cfg  jetstream.Config
		want string
	}{
		{jetstream.Config{Publish: publish, Read: []*nats.Conn{read}}, "Context"},
		{jetstream.Config{Context: "Shop", Publish: publish, Read: []*nats.Conn{read}}, "Context"},
		{jetstream.Config{Context: "shop", Read: []*nats.Conn{read}}, "Publish"},
		{jetstream.Config{Context: "shop", Existing: true}, "Read"},
		{jetstream.Config{Context: "shop", Existing: true, Read: []*nats.Conn{nil}}, "Read"},
		{jetstream.Config{Context: "shop", Publish: publish}, "Read"},
		{jetstream.Config{Context: "shop", Publish: publish, Read: []*nats.Conn{read, nil}}, "connections are needed"},
		{jetstream.Config{Context: "shop", Publish: publish, Read: []*nats.Conn{read, publish}}, "also in Read"},
		{jetstream.Config{Context: "shop", Publish: buffering, Read: []*nats.Conn{read}}, "ReconnectBufSize(-1)"},
		{jetstream.Config{Context: "shop", Publish: publish, Read: []*nats.Conn{read}, Partitions: 5000}, "Partitions"},
		{jetstream.Config{Context: "shop", Publish: publish, Read: []*nats.Conn{read}, Replicas: 2}, "Replicas"},
		{jetstream.Config{Context: "shop", Publish: publish, Read: []*nats.Conn{read}, AppendTimeout: -1}, "AppendTimeout"},
		{jetstream.Config{Context: "shop", Publish: publish, Read: []*nats.Conn{read}, ReadTimeout: 1}, "ReadTimeout"},
	} {
		_, err := jetstream.Open(t.Context(), c.cfg)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error is %v, want one about %s", err, c.want)
		}
	}
}

func TestOpenGivesUpWithItsContext(t *testing.T) {
	s := startServers(t, 1, func(c *natsd.Config) { c.Listen = "127.0.0.1:0" })
	publish, closed := s.connect(t, 0), s.connect(t, 0)
	closed.Close()
	client, err := nats.Connect(s.list[0].ClientURL(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // its account has no JetStream
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := jetstream.Open(t.Context(), jetstream.Config{Context: "shop", Publish: publish, Read: []*nats.Conn{closed}}); err == nil {
		t.Error("opened on a closed connection")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = jetstream.Open(ctx, jetstream.Config{Context: "shop", Publish: publish, Read: []*nats.Conn{s.connect(t, 0)}})
	if !errors.Is(err, holdfast.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want unavailable and canceled", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), quick)
	defer cancel()
	_, err = jetstream.Open(ctx, jetstream.Config{Context: "shop", Publish: publish, Read: []*nats.Conn{client}, ReadTimeout: 50 * time.Millisecond})
	if !errors.Is(err, holdfast.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v, want unavailable", err)
	}
}
