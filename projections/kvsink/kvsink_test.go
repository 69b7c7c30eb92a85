// Package kvsink_test tests the sink of NATS KV on servers of its own.
package kvsink_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/kvsink"
	"github.com/holdfast-run/holdfast/projections/projectionstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var logName = messages.NewLogName(time.Unix(1_700_000_000, 0))

func startServers(t testing.TB, n int) []*natsd.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	list, err := natsd.StartCluster(ctx, n, natsd.Config{DataDir: t.TempDir(), Context: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, s := range list {
			s.Stop()
		}
	})
	return list
}

func connect(t testing.TB, s *natsd.Server) *nats.Conn {
	t.Helper()
	conn, err := s.Connect(natsd.Node)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

func open(t testing.TB, conn *nats.Conn, replicas int) *kvsink.Sink {
	t.Helper()
	s, err := kvsink.New(kvsink.Config{Conn: conn, Context: "test", Log: logName, Replicas: replicas})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	server := startServers(t, 1)[0]
	projectionstest.Run(t, func(t testing.TB) *projectionstest.Place {
		return &projectionstest.Place{
			Sink:   open(t, connect(t, server), 1),
			Others: []projections.Sink{open(t, connect(t, server), 1)},
			Reopen: func(testing.TB) projections.Sink { return open(t, connect(t, server), 1) },
		}
	})
}
