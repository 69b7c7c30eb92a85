package cluster

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/natsd"
)

// What operators see, and the one thing that they ask for.
func TestRoster(t *testing.T) {
	r := startRing(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	nc, err := r.server.Connect(natsd.Node)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := ReadRoster(ctx, nc, "test"); !errors.Is(err, ErrNoMembers) {
		t.Errorf("before there is a node: %v", err)
	}
	named := func(name string) func(*Config) {
		return func(c *Config) { c.Name, c.Version = name, "1.2.3" }
	}
	one, two := r.member(named("one")), r.member(named("two"))
	eventually(t, "both see two", func() bool { return sees(one, 2) && sees(two, 2) })
	ro, err := ReadRoster(ctx, nc, "test")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]Info{}
	for _, m := range ro.Members() {
		names[m.Name] = m
	}
	got := names["two"]
	if len(names) != 2 || got.ID != two.current.Load().id || got.Address != two.address || got.Version != "1.2.3" ||
		got.State != "up" || time.Since(got.Joined) > time.Minute || time.Since(got.Renewed) > time.Minute || got.Lease != longLease {
		t.Errorf("the roster has %+v", names)
	}
	for i := range 20 {
		owner, ok := ro.Owner(account(i))
		if s := one.current.Load().scene.Load(); !ok || owner.ID != s.owner(account(i)).ID {
			t.Errorf("the owner of %s is said to be %s", account(i), owner.Name)
		}
	}
	// It loses its lease in that very moment, and is another member when it is asked.
	was := two.current.Load()
	eventually(t, "its record is gone", func() bool { // it may be renewed meanwhile
		return one.bucket.remove(ctx, was.id, latest(t, one.bucket, was.id)) == nil
	})
	was.lease.change(func(*record) {}) // so that it notices now
	eventually(t, "it is another member", func() bool { return two.current.Load() != was })
	if err := ro.Ask(ctx, got); err != nil {
		t.Fatal(err)
	}
	if err := ro.Ask(ctx, got); err != nil {
		t.Errorf("to ask again: %v", err)
	}
	select {
	case <-two.Asked():
	case <-ctx.Done():
		t.Fatal("it is not asked to leave")
	}
	select {
	case <-one.Asked():
		t.Error("the other one is asked, too")
	default:
	}
}

func latest(t *testing.T, b *bucket, id string) uint64 {
	t.Helper()
	revision, err := b.last(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return revision
}
