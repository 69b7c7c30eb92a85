package runner

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/projections"
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

// A generation that nobody works on has a while to be begun before it is stopped.
func TestUnbegun(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	clock := func() time.Time { return now }
	r := &Runner{config: Config{Now: clock, Register: &Register{config: RegisterConfig{Now: clock}, units: map[string]heard{}}, Logger: slog.New(slog.DiscardHandler)}}
	p := projections.Define("x", projections.Every(func(*projections.Docs[int], projections.Event) error { return nil }))
	r.running = map[string]*running{"x": newRunning(r, p)}
	rec := Record{Name: "x", Serving: 1, Building: 2, Last: 2, Generations: map[uint64]Generation{
		1: {Begun: now.Add(-beginning + 1)}, 2: {Begun: now.Add(-1)},
	}}
	for _, c := range []struct {
		later time.Duration
		want  string
	}{
		{0, "1 catching up: no node has begun to work on it, 2 rebuilding: no node has begun to work on it"},
		{1, "1 stopped: no node has begun to work on it, 2 rebuilding: no node has begun to work on it"},
		{beginning, "1 stopped: no node has begun to work on it, 2 stopped: no node has begun to work on it"},
	} {
		now = now.Add(c.later)
		var got []string
		for _, g := range r.generationsOf(rec) {
			got = append(got, fmt.Sprintf("%d %s: %s", g.Generation, g.State, g.Reason))
		}
		if got := strings.Join(got, ", "); got != c.want {
			t.Errorf("the generations are %s, want %s", got, c.want)
		}
	}
	rec.Generations[2] = Generation{Begun: now, Revision: 1}
	if g := r.generationsOf(rec)[1]; g.State != Stopped || !strings.Contains(g.Reason, "this build is older") {
		t.Errorf("one of a newer build is %s: %s", g.State, g.Reason)
	}
}
