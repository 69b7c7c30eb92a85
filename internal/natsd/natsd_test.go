package natsd_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/internal/leaktest"
	"github.com/holdfast-run/holdfast/internal/natsd"
)

const (
	demo    = "demo"
	logName = "DEMO_LOG_0"
	patient = 60 * time.Second
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childFolder); dir != "" {
		os.Exit(child(dir))
	}
	leaktest.Main(m)
}

// journal keeps what is logged at warning level and above.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }
func (j *journal) WithAttrs([]slog.Attr) slog.Handler               { return j }
func (j *journal) WithGroup(string) slog.Handler                    { return j }
func (j *journal) Handle(_ context.Context, r slog.Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, r.Level.String()+" "+r.Message)
	return nil
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines, "\n")
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// config is a server that listens at a random port, on a folder of its own.
func config(t *testing.T) natsd.Config {
	t.Helper()
	return natsd.Config{DataDir: t.TempDir(), Listen: "127.0.0.1:0", Context: demo, Logger: quiet()}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	t.Cleanup(cancel)
	return ctx
}

func start(t *testing.T, cfg natsd.Config) *natsd.Server {
	t.Helper()
	s, err := natsd.Start(within(t), cfg)
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	t.Cleanup(s.Stop)
	return s
}

// refused expects Start to fail and to leave the folder free.
func refused(t *testing.T, ctx context.Context, cfg natsd.Config) error {
	t.Helper()
	s, err := natsd.Start(ctx, cfg)
	if err == nil {
		s.Stop()
		t.Fatal("Start succeeded")
	}
	return err
}

func connect(t *testing.T, s *natsd.Server, role natsd.Role, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := s.Connect(role, opts...)
	if err != nil {
		t.Fatalf("Connect(%s): %v", role, err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func stream(t *testing.T, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// makeLog creates a stream such as the log is.
func makeLog(t *testing.T, nc *nats.Conn, replicas int) jetstream.Stream {
	t.Helper()
	ctx := within(t)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		log, err := stream(t, nc).CreateStream(attempt, jetstream.StreamConfig{
			Name: logName, Subjects: []string{demo + ".log.0.>"}, Replicas: replicas,
		})
		cancel()
		if err == nil {
			return log
		}
		// On a busy machine a server may seem offline to the one that places the replicas.
		const noPeers = 10005
		// An answer gets lost when JetStream has a new leader.
		api, ok := errors.AsType[*jetstream.APIError](err)
		if lost := errors.Is(err, context.DeadlineExceeded); !lost && (!ok || api.ErrorCode != noPeers) || ctx.Err() != nil {
			t.Fatalf("create log: %v", err)
		}
		<-again.C
	}
}

// count returns the number of messages in the log.
func count(t *testing.T, nc *nats.Conn) uint64 {
	t.Helper()
	log, err := stream(t, nc).Stream(within(t), logName)
	if err != nil {
		t.Fatalf("look up log: %v", err)
	}
	return log.CachedInfo().State.Msgs
}

func appendTo(t *testing.T, nc *nats.Conn, n int) {
	t.Helper()
	js := stream(t, nc)
	for i := range n {
		if _, err := js.Publish(within(t), fmt.Sprintf("%s.log.0.account.a-%d", demo, i), []byte("event")); err != nil {
			t.Fatalf("append: %v", err)
		}
	}
}

// eventually tries until it succeeds.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	ctx := within(t)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-tick.C:
		}
	}
}

// receive waits for one value.
func receive[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-within(t).Done():
		t.Fatalf("no %s within %v", what, patient)
		panic("unreachable")
	}
}

func wantText(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one that says %q", parts)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

func wantIs(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("error %v is not %v", err, target)
	}
}
