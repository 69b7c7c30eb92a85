package kvsink_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/kvsink"
	"github.com/holdfast-run/holdfast/projections/projectionstest"
)

func TestConformanceOfThree(t *testing.T) {
	if testing.Short() {
		t.Skip("three servers take their time")
	}
	servers := startServers(t, 3)
	projectionstest.Run(t, func(t testing.TB) *projectionstest.Place {
		return &projectionstest.Place{
			Sink: open(t, connect(t, servers[0]), 3),
			Others: []projections.Sink{
				open(t, connect(t, servers[1]), 3), open(t, connect(t, servers[2]), 3),
			},
		}
	})
}

// leader gives the place in the list of the server that leads the stream.
func leader(t testing.TB, servers []*natsd.Server, stream string) int {
	t.Helper()
	js, err := jetstream.New(connect(t, servers[0]))
	if err != nil {
		t.Fatal(err)
	}
	for ctx := within(t); ctx.Err() == nil; {
		s, err := js.Stream(ctx, stream)
		if err != nil || s.CachedInfo().Cluster == nil {
			continue
		}
		i := slices.IndexFunc(servers, func(n *natsd.Server) bool { return n.Config().Name == s.CachedInfo().Cluster.Leader })
		if i >= 0 {
			return i
		}
	}
	t.Fatal("the stream has no leader")
	return 0
}

// TestElection has the server go that leads the stream, while two nodes commit: they go on when
// there is another one, and everything has happened once.
func TestElection(t *testing.T) {
	const events, lost = 120, 40
	servers := startServers(t, 3)
	p := counter("elected")
	if err := open(t, connect(t, servers[0]), 3).Prepare(within(t), p, 1); err != nil {
		t.Fatal(err)
	}
	gone := leader(t, servers, "KV_test_view_elected_1")
	// They get in each other's way, and wait for an election.
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	done := make(chan error, 2)
	reached := make(chan struct{}, 2)
	for node := range 2 {
		s := open(t, connect(t, servers[(gone+1+node)%3]), 3)
		u := projections.Unit{Projection: "elected", Generation: 1, Partition: uint32(node)}
		go func() { done <- climb(ctx, s, p, u, events, lost, reached) }()
	}
	for range 2 {
		select {
		case <-reached:
		case <-ctx.Done():
			t.Fatalf("they do not come far: %v", context.Cause(ctx))
		}
	}
	servers[gone].Stop()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	got := dump(t, open(t, connect(t, servers[(gone+1)%3]), 3), projections.Unit{Projection: "elected", Generation: 1})
	if want := fmt.Sprintf(`map[both:{"n":%d}]`, 2*events); fmt.Sprint(got) != want {
		t.Errorf("counted %v, want %s", got, want)
	}
}

// climb commits events, one by one, and tells when it has done some.
func climb(ctx context.Context, s *kvsink.Sink, p *projections.Projection, u projections.Unit, events, some uint64, reached chan<- struct{}) error {
	told := sync.OnceFunc(func() { reached <- struct{}{} })
	for {
		at, err := s.Checkpoint(ctx, u)
		for err == nil && at.Done < events {
			next := projections.Checkpoint{Done: at.Done + 1}
			try, cancel := context.WithTimeout(ctx, 10*time.Second)
			err = s.Commit(try, u, at, next, func(b projections.Batch) error { return p.Handle(b, item("both", next.Done)) })
			cancel()
			if at = next; err == nil && at.Done >= some {
				told()
			}
		}
		if err == nil || ctx.Err() != nil || !errors.Is(err, holdfast.ErrUnavailable) && !errors.Is(err, projections.ErrFenced) {
			return err
		}
	}
}

// TestStarting: what servers answer that look for each other is over in a moment.
func TestStarting(t *testing.T) {
	for want, list := range map[bool][]*jetstream.APIError{
		true:  {{Code: 400, ErrorCode: 10005}, {Code: 503, ErrorCode: 10008}, {Code: 429, ErrorCode: 10167}},
		false: {{Code: 400, ErrorCode: 10052}, {Code: 404, ErrorCode: 10059}},
	} {
		for _, err := range list {
			if kvsink.Starting(err) != want {
				t.Errorf("%+v: want %v", err, want)
			}
		}
	}
}
