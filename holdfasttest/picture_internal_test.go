package holdfasttest

import (
	"testing"
	"time"

	pb "github.com/holdfast-run/holdfast/examples/bank/bankpb"
)

type ring struct {
	name string
	next *ring
}

type kinds struct {
	set     map[string]struct{}
	lists   map[string][]int
	nested  [][]int
	fixed   [2]bool
	any     any
	at      time.Time
	event   *pb.Deposited
	ring    *ring
	self    map[string]any
	chain   []any
	call    func()
	private struct {
		deep map[int]struct{ leaf *float64 }
	}
}

func TestPictureTellsApart(t *testing.T) {
	t.Parallel()
	half, third := 0.5, 0.3
	deep := func(f *float64) (k kinds) {
		k.private.deep = map[int]struct{ leaf *float64 }{7: {f}}
		return k
	}
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name     string
		was, is  any
		expected string
	}{
		{"numbers", 1, 2, "state: 1, then 2"},
		{"a set", kinds{set: map[string]struct{}{"a": {}}}, kinds{set: map[string]struct{}{"b": {}}}, "set[\"a\"]: {}, then nothing\n  set[\"b\"]: nothing, then {}"},
		{"empty lists in a map", kinds{lists: map[string][]int{"a": nil}}, kinds{lists: map[string][]int{"b": nil}}, "lists[\"a\"]: empty, then nothing\n  lists[\"b\"]: nothing, then empty"},
		{"how many empty lists", kinds{nested: [][]int{{}}}, kinds{nested: [][]int{{}, {}}}, "nested[1]: nothing, then empty"},
		{"an array", kinds{}, kinds{fixed: [2]bool{1: true}}, "fixed[1]: false, then true"},
		{"types behind an interface", kinds{any: int32(1)}, kinds{any: int64(1)}, "any.(int32): set, then nothing\n  any.(int64): nothing, then set"},
		{"a time", kinds{at: noon}, kinds{at: noon.Add(time.Nanosecond)}, "at: 2026-01-01T12:00:00Z, then 2026-01-01T12:00:00.000000001Z"},
		{"a message", kinds{event: &pb.Deposited{Amount: 1}}, kinds{event: &pb.Deposited{Amount: 2}}, "event: bank.v1.Deposited {\"amount\":\"1\"}, then bank.v1.Deposited {\"amount\":\"2\"}"},
		{"a pointer", kinds{}, kinds{event: &pb.Deposited{}}, "event: nil, then bank.v1.Deposited {}"},
		{"what lies deep", deep(&half), deep(&third), "private.deep[7].leaf: 0.5, then 0.3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got, want := pictureOf(tt.was).differences(changed, pictureOf(tt.is)), "\n  "+tt.expected; got != want {
				t.Errorf("got %s\nwant%s", got, want)
			}
		})
	}
}

func TestPictureSeesNoDifference(t *testing.T) {
	t.Parallel()
	circle := &ring{name: "a", next: &ring{name: "b"}}
	circle.next.next = circle
	self := map[string]any{}
	self["self"] = self
	chain := []any{1, nil}
	chain[1] = chain
	circular := kinds{ring: circle, self: self, chain: chain}
	for _, tt := range []struct {
		name    string
		was, is any
	}{
		{"nothing at all", nil, nil},
		{"nil and empty", kinds{}, kinds{set: map[string]struct{}{}, nested: [][]int{}}},
		{"circles", circular, circular},
		{"one function", kinds{call: func() {}}.call, nil},
		{"messages of one content", kinds{event: &pb.Deposited{Amount: 1}}, kinds{event: &pb.Deposited{Amount: 1}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.name == "one function" {
				tt.is = tt.was
			}
			if d := pictureOf(tt.was).differences(changed, pictureOf(tt.is)); d != "" {
				t.Errorf("found%s", d)
			}
		})
	}
}
