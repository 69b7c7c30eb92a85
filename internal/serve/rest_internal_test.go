package serve

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/nats-io/nuid"
	"go.uber.org/goleak"

	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/internal/polltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patient = time.Minute

// started is a service that nobody asks over a connection, only the test.
func started(t *testing.T) *Service {
	t.Helper()
	server, err := natsd.Start(t.Context(), natsd.Config{DataDir: t.TempDir(), Context: "bank", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	nc, err := server.Connect(natsd.Gateway)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	s := New(Config{
		Context: "bank", Conn: nc, MaxInFlight: 1000, MaxInFlightBytes: 1 << 30, MaxBody: 1 << 30,
		Timeout: patient, Now: time.Now, NewID: nuid.Next, Logger: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestRestHoldsOnToNothing: a body that was answered takes no memory any more.
func TestRestHoldsOnToNothing(t *testing.T) {
	t.Parallel()
	s := started(t)
	body := make([]byte, 1<<20)
	held := weak.Make(&body[0])
	e := &Endpoint{Handle: func(context.Context, *Request) (Answer, error) { return Answer{}, nil }}
	s.Receive(e, Request{Subject: "x", Reply: "_INBOX.x", Body: body})
	polltest.Until(t, patient, func() error {
		if n, under := s.crew.Resting(), s.InFlight(); n == 0 || under > 0 {
			return fmt.Errorf("%d rest, and %d requests are under way", n, under)
		}
		return nil
	})
	polltest.Until(t, patient, func() error {
		runtime.GC()
		if held.Value() != nil {
			return fmt.Errorf("the body is still held on to")
		}
		return nil
	})
}
