package natsd_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
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
	patient = 2 * time.Minute
	attempt = 5 * time.Second // until a request is taken for lost
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

// complaints are what is logged, without that a busy machine is slow.
func (j *journal) complaints() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(slices.DeleteFunc(slices.Clone(j.lines), func(line string) bool {
		return strings.Contains(line, "Readloop processing time") || strings.Contains(line, "took too long")
	}), "\n")
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

// dialTCP connects as a client does. A handshake that a busy machine has cut short is tried
// again.
func dialTCP(t *testing.T, url string, opts ...nats.Option) (*nats.Conn, error) {
	t.Helper()
	opts = append(opts, nats.Timeout(patient))
	nc, err := nats.Connect(url, opts...)
	for range 10 {
		if err == nil || !strings.Contains(err.Error(), "expected 'PONG'") && !errors.Is(err, nats.ErrTimeout) && !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		nc, err = nats.Connect(url, opts...)
	}
	return nc, err
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
		limited, cancel := context.WithTimeout(ctx, attempt)
		log, err := stream(t, nc).CreateStream(limited, jetstream.StreamConfig{
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
	return logInfo(t, nc).State.Msgs
}

// logInfo is what the log's leader says of it. While there is none, nobody may answer.
func logInfo(t *testing.T, nc *nats.Conn) (info *jetstream.StreamInfo) {
	t.Helper()
	js := stream(t, nc)
	eventually(t, "look up log", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), attempt)
		defer cancel()
		log, err := js.Stream(ctx, logName)
		if err == nil {
			info = log.CachedInfo()
		}
		return err
	})
	return info
}

// appendTo appends, each message once, also when its answer gets lost.
func appendTo(t *testing.T, nc *nats.Conn, n int) {
	t.Helper()
	js := stream(t, nc)
	for i := range n {
		id := jetstream.WithMsgID(rand.Text())
		eventually(t, "append", func() error {
			ctx, cancel := context.WithTimeout(t.Context(), attempt)
			defer cancel()
			_, err := js.Publish(ctx, fmt.Sprintf("%s.log.0.account.a-%d", demo, i), []byte("event"), id)
			return err
		})
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
