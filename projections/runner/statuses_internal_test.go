package runner

import (
	"fmt"
	"testing"
)

// A generation is what its units are together: the worst of them, and only as far as the last.
func TestSum(t *testing.T) {
	t.Parallel()
	live := UnitStatus{State: Live, Position: "0-10", Rate: 5, Node: "a"}
	with := func(change func(*UnitStatus)) UnitStatus {
		u := live
		change(&u)
		return u
	}
	for _, c := range []struct {
		units []UnitStatus
		want  string
	}{
		{[]UnitStatus{live}, "live  [0-10] 0 behind, 5 a second, 0 parked"},
		{[]UnitStatus{
			live, with(func(u *UnitStatus) { u.Shard, u.State, u.Position, u.Behind, u.Parked = 1, CatchingUp, "0-7", 3, 2 }),
			with(func(u *UnitStatus) {
				u.Partition, u.State, u.Position, u.Behind, u.Parked = 10, CatchingUp, "10-1", 4, 1
			}),
		}, "catching up  [0-7 10-1] 7 behind, 15 a second, 3 parked"},
		{[]UnitStatus{with(func(u *UnitStatus) { u.State, u.Reason = Blocked, "why" }), with(func(u *UnitStatus) { u.Shard, u.State = 1, Paused })}, "blocked why [0-10] 0 behind, 10 a second, 0 parked"},
		{[]UnitStatus{with(func(u *UnitStatus) { u.Silent = true })}, "stopped the node a has not been heard of for 15s [0-10] 0 behind, 5 a second, 0 parked"},
		{[]UnitStatus{live, with(func(u *UnitStatus) { u.Silent, u.Node, u.Position = true, "b", "0-1" })}, "live  [0-10] 0 behind, 5 a second, 0 parked"},
	} {
		g := GenerationStatus{Units: c.units}
		g.sum()
		if got := fmt.Sprintf("%s %s %v %d behind, %v a second, %d parked", g.State, g.Reason, g.Positions, g.Behind, g.Rate, g.Parked); got != c.want {
			t.Errorf("together they are %s", got)
		}
	}
}
