package cluster

import (
	"context"
	"errors"
	"testing"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
)

func sees(m *Member, n int) bool { return len(m.current.Load().scene.Load().members) == n }

// Every member serves every aggregate, wherever it is owned.
func TestThreeMembers(t *testing.T) {
	r := startRing(t)
	members := []*Member{r.member(), r.member(), r.member()}
	for _, m := range members {
		eventually(t, "all see three", func() bool { return sees(m, 3) })
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i := range 60 {
		if _, err := members[i%3].Send(ctx, account(i), &bankpb.OpenAccount{Owner: "Ada"}, holdfast.WithUser("grace")); err != nil {
			t.Fatal(err)
		}
		if got, err := members[(i+1)%3].Send(ctx, account(i), &bankpb.Deposit{Amount: int64(i + 1)}, holdfast.WithID("d"), holdfast.ExpectVersion(1)); err != nil || got.Version != 2 {
			t.Fatal(got, err)
		}
		again, err := members[i%3].Send(ctx, account(i), &bankpb.Deposit{Amount: int64(i + 1)}, holdfast.WithID("d"))
		if err != nil || !again.Duplicate || len(again.Events) != 1 {
			t.Errorf("the repetition: %+v, %v", again, err)
		}
		var no *holdfast.Rejection
		if _, err := members[(i+2)%3].Send(ctx, account(i), &bankpb.Withdraw{Amount: 1000}); !errors.As(err, &no) || no.Reason != "insufficient_funds" {
			t.Errorf("got %v, want a rejection", err)
		}
		v, err := members[(i+2)%3].View(ctx, account(i))
		if err != nil || v.Version != 2 || v.Ref != account(i) || v.State.(*bankpb.Account).Balance != int64(i+1) {
			t.Errorf("view %+v: %v", v, err)
		}
		if _, err := members[i%3].Send(ctx, account(i), &bankpb.Deposit{Amount: 1}, holdfast.ExpectVersion(7)); !errors.Is(err, holdfast.ErrConflict) {
			t.Errorf("got %v, want a conflict", err)
		}
	}
	active := 0
	for i, m := range members {
		n := m.Stats().Active
		t.Logf("member %d has %d active", i, n)
		if n == 0 {
			t.Errorf("member %d has nothing to do", i)
		}
		active += n
	}
	if active != 60 {
		t.Errorf("%d are active, want 60: each on one member", active)
	}
}

// What nodes advertise may be the same for all of them: none is taken for an earlier life of
// another.
func TestSameAdvertisedAddress(t *testing.T) {
	r := startRing(t)
	behind := func(c *Config) { c.Advertise = "127.0.0.1:1" }
	one := r.member(behind)
	was := one.current.Load()
	two := r.member(behind)
	eventually(t, "both see two", func() bool { return sees(one, 2) && sees(two, 2) })
	if one.current.Load() != was {
		t.Error("the first one had to come back")
	}
}
