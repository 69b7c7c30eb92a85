package bench

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/bench/report"
)

// TestMeasured: a turn in which nothing was done, since the machine stood still, says nothing.
func TestMeasured(t *testing.T) {
	t.Parallel()
	turns := 0
	s, err := measured(t.Context(), func(context.Context, time.Duration) (report.Sample, error) {
		turns++
		return report.Sample{Ops: turns / 3, Took: time.Second}, nil
	}, time.Second)
	if err != nil || s.Ops != 1 || turns != 3 {
		t.Errorf("got %+v after %d turns, %v", s, turns, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := measured(ctx, func(context.Context, time.Duration) (report.Sample, error) { return report.Sample{}, nil }, time.Second); err != nil || s.Ops != 0 {
		t.Errorf("when it is ended: got %+v, %v", s, err)
	}
}

// TestHeld: what servers keep is told from what others do.
func TestHeld(t *testing.T) {
	t.Parallel()
	here := make([]uintptr, 16)
	if ofServer(here[:runtime.Callers(0, here)]) {
		t.Error("a test is a server")
	}
	var inServer []uintptr
	s, err := server.NewServer(&server.Options{DontListen: true, NoLog: true, NoSigs: true, CustomClientAuthentication: auth(func() {
		inServer = make([]uintptr, 64)
		inServer = inServer[:runtime.Callers(0, inServer)]
	})})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if !ofServer(inServer) {
		t.Error("what a server calls is not the server's")
	}
}

// auth is called by a server.
type auth func()

func (a auth) Check(server.ClientAuthentication) bool {
	a()
	return true
}
