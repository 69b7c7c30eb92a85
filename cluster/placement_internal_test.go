package cluster

import (
	"fmt"
	"testing"

	"github.com/holdfast-run/holdfast"
)

func ref(i int) holdfast.Ref { return holdfast.Ref{Type: "account", ID: fmt.Sprintf("a-%d", i)} }

func members(n int) *view {
	v := &view{self: "member-0"}
	for i := range n {
		v.members = append(v.members, fmt.Sprintf("member-%d", i))
	}
	return v
}

func TestPlacementIsEven(t *testing.T) {
	const aggregates = 30_000
	for _, n := range []int{1, 3, 5, 9} {
		var p placement
		p.update(members(n))
		count := map[string]int{}
		for i := range aggregates {
			count[p.owner(ref(i))]++
		}
		for m, got := range count {
			if share := aggregates / n; got < share*9/10 || got > share*11/10 {
				t.Errorf("%d members: %s owns %d, its share is %d", n, m, got, share)
			}
		}
		if len(count) != n {
			t.Errorf("%d of %d members own anything", len(count), n)
		}
	}
}

// Who owns what depends on who is there, not on the order in which they are known, and
// only the aggregates that a new member takes move.
func TestPlacementMovesLittle(t *testing.T) {
	var before, after placement
	before.update(members(3))
	v := members(4)
	v.members[0], v.members[3] = v.members[3], v.members[0]
	after.update(v)
	moved := 0
	for i := range 10_000 {
		was, is := before.owner(ref(i)), after.owner(ref(i))
		if was == is {
			continue
		}
		if moved++; is != "member-3" {
			t.Fatalf("%v moved from %s to %s, neither of them new", ref(i), was, is)
		}
	}
	if moved < 2_200 || moved > 2_800 {
		t.Errorf("%d of 10,000 moved, want about a quarter", moved)
	}
}

func TestNobodyOwnsAnythingWithoutMembers(t *testing.T) {
	var p placement
	if p.mine(ref(1)) || p.owner(ref(1)) != "" {
		t.Error("an owner before there are members")
	}
	p.update(&view{})
	if p.mine(ref(1)) {
		t.Error("an owner in an empty view")
	}
}
