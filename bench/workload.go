package bench

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/bench/report"
)

// A workload is one kind of load. It is used once: prepared on a stage of its own, then its
// sides take turns, then it is verified.
type workload interface {
	// prepare readies the stage, and gives what is to be measured, one part after the other.
	prepare(ctx context.Context, s *stage) ([]part, error)
	// verify finds in the store what was answered, and says what that was. It is called once,
	// after at least one turn.
	verify(ctx context.Context) (string, error)
}

// A turn runs for about as long as d, less when ctx ends, and has nothing on its way when it
// returns. What goes wrong ends it with an error. The sample has neither CPU nor Allocs.
type turn func(ctx context.Context, d time.Duration) (report.Sample, error)

// A part is one thing that is measured: ours, and what the raw engine does, of which the better
// counts. Its name is empty when a workload has no other.
type part struct {
	name string
	ours turn
	raw  []turn
	// judged are the ratios that count, where they are not those of the workload.
	judged []string
	// shared: all sides are measured in one and the same incident. There is nothing to warm up,
	// and what the process uses is nobody's.
	shared bool
	steady bool // it is to stay as it is over time
}

// of names the part of a workload.
func (p part) of(k kind) string { return strings.TrimSpace(k.name + " " + p.name) }

// A kind is an entry in the list of workloads.
type kind struct {
	name, does string
	unit       string // of what is counted, in the plural
	quick      bool   // it is among those that are run when nothing is said
	judged     []string
	members    int           // of the cluster; 0 stands for one
	zipf       bool          // --zipf is for it
	ages       bool          // --events is
	soaks      bool          // --aggregates and --live are
	least      time.Duration // that a side runs, so that each caller has several turns
	// idle is how long an aggregate stays active without being asked, if not as usual.
	idle time.Duration
	// types are hosted beside the accounts.
	types []holdfast.Definition
	// victim: one member is a process of its own, which can be killed.
	victim bool
	make   func(o options) workload
}

var (
	// Where many are under way the time of one follows from the rate.
	byRate = []string{"rate", "cpu"}
	byTime = []string{"p50", "cpu"}
)

// kinds are all that there are, in the order in which they are run.
var kinds = []kind{
	{name: "one-caller", does: "one caller of one aggregate", unit: "commands", quick: true, judged: byTime, make: newOneCaller},
	{name: "hot", does: "64 callers of one aggregate", unit: "commands", quick: true, judged: byRate, make: newHot},
	{name: "many", does: "64 callers of 1,000 aggregates", unit: "commands", quick: true, judged: byRate, zipf: true, ages: true, make: newMany},
	{name: "flood", does: "4,000 callers of 10,000 aggregates", unit: "commands", quick: true, judged: byRate, least: time.Second, make: newFlood},
	{name: "create", does: "64 callers that each begin one aggregate after the other", unit: "aggregates", quick: true, judged: byRate, make: newCreate},
	{name: "ten", does: "1 caller, and 64, of commands with ten events each", unit: "commands", judged: byRate, types: []holdfast.Definition{tills}, make: newTen},
	{name: "load", does: "loading aggregates of 1 to 1,000 events that are not in memory", unit: "loads", judged: byTime, ages: true, make: newLoad},
	{name: "replay", does: "10,000 events into a state, and through a projection that does nothing", unit: "events", judged: byRate, make: newReplay},
	{name: "return", does: "commands to aggregates that have been passivated", unit: "commands", judged: byTime, idle: idleAfter, ages: true, make: newReturn},
	{name: "gateway", does: "1 client, and 64, that send JSON over TCP", unit: "commands", judged: byTime, make: newGateway},
	{name: "remote", does: "1 caller, and 64, of aggregates of another node", unit: "commands", judged: byTime, members: 2, make: newRemote},
	{name: "saga", does: "64 that begin sagas of three steps, and one that waits for a saga to begin", unit: "commands", judged: byRate, types: []holdfast.Definition{shares.Type()}, make: newSaga},
	{name: "failover", does: "a node is killed without a word: how long its aggregates do not answer", unit: "kills", judged: []string{"p50"}, victim: true, make: newFailover},
	{name: "soak", does: "64 callers that read aggregates and write to some, seldom at first, then as often: for long runs", unit: "operations", judged: byRate, soaks: true, make: newSoak},
}

// find gives the kinds that are named, in the order of the list, or those of the quick set when
// none is; unknown is a name that there is not.
func find(names []string) (found []kind, unknown string) {
	for _, name := range names {
		if !slices.ContainsFunc(kinds, func(k kind) bool { return k.name == name }) {
			return nil, name
		}
	}
	for _, k := range kinds {
		if slices.Contains(names, k.name) || len(names) == 0 && k.quick {
			found = append(found, k)
		}
	}
	return found, ""
}

// names of all kinds, for sentences.
func names() string {
	var out []string
	for _, k := range kinds {
		out = append(out, k.name)
	}
	return strings.Join(out, ", ")
}
