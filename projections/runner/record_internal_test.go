package runner

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-run/holdfast"
)

func nothing(context.Context, string, *wrapperspb.Int64Value) error { return nil }

func (r Record) story() string {
	return fmt.Sprintf("%d+%d-%d of %d, %d dropped", r.Serving, r.Building, r.Previous, r.Last, r.Dropped)
}

// What becomes of the generations of a projection.
func TestGenerations(t *testing.T) {
	t.Parallel()
	now := time.Unix(1, 0)
	r := Record{Name: "x"}
	for n, c := range []struct {
		do   func() error
		want string
		code holdfast.Code
	}{
		{func() error { r.declare(Generation{Revision: 2, Shards: 1}, now); return nil }, "1+0-0 of 1, [] dropped", ""},
		{func() error { r.declare(Generation{Revision: 2, Shards: 1}, now); return nil }, "1+0-0 of 1, [] dropped", ""},
		{func() error { r.declare(Generation{Revision: 1, Shards: 1}, now); return nil }, "1+0-0 of 1, [] dropped", ""},
		{func() error { r.declare(Generation{Revision: 3, Shards: 2}, now); return nil }, "1+2-0 of 2, [] dropped", ""},
		{func() error { return r.rebuild("me", now) }, "1+2-0 of 2, [] dropped", holdfast.CodeConflict},
		{func() error { r.declare(Generation{Revision: 4, Shards: 2}, now); return nil }, "1+3-0 of 3, [2] dropped", ""},
		{func() error { return r.drop(3) }, "1+0-0 of 3, [2 3] dropped", ""},
		{func() error { r.declare(Generation{Revision: 4, Shards: 2}, now); return nil }, "1+0-0 of 3, [2 3] dropped", ""},
		{func() error { return r.switchOver(0) }, "1+0-0 of 3, [2 3] dropped", holdfast.CodeConflict},
		{func() error { return r.rebuild("me", now) }, "1+4-0 of 4, [2 3] dropped", ""},
		{func() error { return r.switchOver(0) }, "4+0-1 of 4, [2 3] dropped", ""},
		{func() error { return r.rebuild("me", now) }, "4+5-1 of 5, [2 3] dropped", ""},
		{func() error { return r.switchBack() }, "1+5-4 of 5, [2 3] dropped", ""},
		{func() error { return r.switchBack() }, "4+5-1 of 5, [2 3] dropped", ""},
		{func() error { return r.switchOver(0) }, "5+0-4 of 5, [2 3 1] dropped", ""},
		{func() error { return r.drop(5) }, "5+0-4 of 5, [2 3 1] dropped", holdfast.CodeConflict},
		{func() error { return r.drop(3) }, "5+0-4 of 5, [2 3 1] dropped", holdfast.CodeUnknown},
		{func() error { return r.drop(0) }, "5+0-4 of 5, [2 3 1] dropped", holdfast.CodeUnknown},
		{func() error { return r.drop(4) }, "5+0-0 of 5, [2 3 1 4] dropped", ""},
		{func() error { return r.switchBack() }, "5+0-0 of 5, [2 3 1 4] dropped", holdfast.CodeConflict},
	} {
		err := c.do()
		if code := codeOf(err); code != c.code || r.story() != c.want {
			t.Errorf("after step %d it is %s, %v", n, r.story(), err)
		}
	}
	if g := r.Generations[5]; g.Revision != 4 || g.Shards != 2 || g.By != "me" || len(r.Generations) != 1 {
		t.Errorf("the generations are %+v", r.Generations)
	}
}

func codeOf(err error) holdfast.Code {
	if err == nil {
		return ""
	}
	return holdfast.CodeOf(err)
}

// Of resets the last one for a partition counts, and one to a time is for all.
func TestResets(t *testing.T) {
	t.Parallel()
	r, now := Record{Name: "x", Serving: 2}, time.Unix(1, 0)
	want := func(partition uint32, number uint64) {
		t.Helper()
		if got := r.resetOf(2, partition).Number; got != number {
			t.Errorf("of partition %d it is reset %d", partition, got)
		}
	}
	for _, to := range []Reset{{To: "0-5"}, {To: "1-7"}, {To: "0-3"}} {
		if err := r.reset(to, now); err != nil {
			t.Fatal(err)
		}
	}
	want(0, 3)
	want(1, 2)
	want(2, 0)
	if r.resetOf(1, 0).Number != 0 || len(r.Resets) != 2 {
		t.Errorf("the resets are %+v", r.Resets)
	}
	if err := r.reset(Reset{Time: now}, now); err != nil || len(r.Resets) != 1 {
		t.Errorf("the resets are %+v, %v", r.Resets, err)
	}
	want(0, 4)
	want(2, 4)
	for _, to := range []Reset{{}, {To: "0-5", Time: now}, {To: "five"}} {
		if err := r.reset(to, now); codeOf(err) != holdfast.CodeMalformed {
			t.Errorf("a reset to %+v gives %v", to, err)
		}
	}
}
