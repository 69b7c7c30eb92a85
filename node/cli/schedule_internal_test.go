package cli

import (
	"fmt"
	"slices"
	"testing"

	"github.com/holdfast-run/holdfast/messages"
)

// dice give the same numbers for the same seed (SplitMix64).
type dice struct{ state uint64 }

// roll gives a number from 0 to n-1.
func (d *dice) roll(n int) int {
	d.state += 0x9e3779b97f4a7c15
	x := d.state
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return int((x ^ x>>31) % uint64(n))
}

// modelNode is a node as far as a schedule can tell: it remembers the last ids of each
// aggregate, but only of commands that recorded something.
type modelNode struct {
	memory int
	state  map[string]*modelAggregate
}

type modelAggregate struct {
	balance int
	flag    string
	ids     []string
	log     []int // numbers of the lines that took effect, in order
}

func newModelNode(memory int) *modelNode {
	return &modelNode{memory: memory, state: map[string]*modelAggregate{}}
}

func (n *modelNode) execute(l *line) (o outcome, remembered bool) {
	a := n.state[l.ref]
	if a == nil {
		a = &modelAggregate{}
		n.state[l.ref] = a
	}
	if slices.Contains(a.ids[max(0, len(a.ids)-n.memory):], l.cmd.meta.id) {
		return duplicate, true
	}
	switch name := l.cmd.name; {
	case name == "Withdraw" && a.balance == 0:
		return rejected, false
	case name == "Withdraw":
		a.balance--
	case name == "Deposit":
		a.balance++
	case name == "Unknown":
		return failed, false
	case a.flag == name:
		return accepted, false // nothing needs to happen
	default:
		a.flag = name
	}
	a.ids = append(a.ids, l.cmd.meta.id)
	a.log = append(a.log, l.number)
	return accepted, true
}

func (n *modelNode) String() string {
	text := ""
	for i := range 4 {
		if a := n.state[modelRef(i)]; a != nil {
			text += fmt.Sprintf("%s %v; ", modelRef(i), a.log)
		}
	}
	return text
}

func modelRef(i int) string { return fmt.Sprintf("account/a-%d", i) }

// modelFile draws the lines of a file; nil stands for a malformed one.
func modelFile(t *testing.T, rng *dice) []*line {
	names := []string{"Deposit", "Deposit", "Deposit", "Withdraw", "Withdraw", "Red", "Blue", "Unknown", ""}
	lines := make([]*line, 1+rng.roll(60))
	refs := 1 + rng.roll(4)
	for i := range lines {
		name := names[rng.roll(len(names))]
		if name == "" {
			continue
		}
		id, err := messages.EncodeID(fmt.Sprintf("a-%d", rng.roll(refs)))
		if err != nil {
			t.Fatal(err)
		}
		cmd := &command{typ: "account", id: id, name: name, meta: commandMeta{id: fmt.Sprint("line-", i+1)}}
		lines[i] = &line{number: i + 1, ref: cmd.ref(), cmd: cmd}
	}
	return lines
}

// simulation runs a file to its end, with kills, power losses, lost answers and failures
// on the way.
type simulation struct {
	t       *testing.T
	rng     *dice
	limits  limits
	file    []*line
	node    *modelNode
	marked  outcomes // what the progress file says
	durable outcomes // what of it outlives a power loss for sure
	faults  int      // how many are left
}

// modelResult is an answer that is on its way to the client.
type modelResult struct {
	line       *line
	outcome    outcome
	remembered bool
}

// modelLimits are small, so that short files reach them. The node remembers no more ids
// than a schedule needs.
func modelLimits(rng *dice) limits {
	return limits{window: 3 + rng.roll(20), bytes: 1 << 20, loose: 1 + rng.roll(6), stopped: 100}
}

// run is one process. It reports whether all is done.
func (s *simulation) run() bool {
	s.durable = slices.Clone(s.marked) // as opening the progress file does
	begun := slices.Clone(s.marked)
	sched := newSchedule(s.limits, true)
	var sent []*line
	var answers []modelResult
	var syncing outcomes // what the sync under way makes durable
	read, settled, opened := 0, 0, false
	for {
		s.checkOrder(sched)
		can := s.possible(sched, read, len(sent), len(answers), syncing != nil)
		if len(can) == 0 {
			break
		}
		switch s.choose(can) {
		case "read":
			opened = s.read(sched, begun, read) || opened
			read++
		case "send":
			if l := sched.next(); l != nil { // too many may be loose
				sent = append(sent, l)
			}
		case "execute":
			l := take(s.rng, &sent)
			o, remembered := s.node.execute(l)
			answers = append(answers, modelResult{l, o, remembered})
		case "answer":
			r := take(s.rng, &answers)
			s.marked[r.line.number-1] = byte(r.outcome)
			sched.settle(r.line, r.outcome, r.remembered)
		case "sync":
			syncing, settled = slices.Clone(s.marked), sched.settled
		case "synced":
			s.durable, syncing = syncing, nil
			sched.synced(settled)
		case "lose": // the answer: the client sends it again
			if len(answers) > 0 {
				sent = append(sent, take(s.rng, &answers).line)
			}
		case "fail": // before it is executed
			if len(sent) > 0 {
				sched.settle(take(s.rng, &sent), open, false)
				opened = true
			}
		case "kill":
			return false
		case "power":
			s.losePower()
			return false
		}
	}
	if !sched.finished() {
		s.t.Fatalf("it stands still at line %d of %d", sched.passed, len(s.file))
	}
	return !opened
}

// possible gives the steps that the process and the world can take.
func (s *simulation) possible(sched *schedule, read, sent, answers int, syncing bool) (can []string) {
	if read < len(s.file) && !sched.full() {
		can = append(can, "read", "read")
	}
	if len(sched.ready) > 0 {
		can = append(can, "send")
	}
	if sent > 0 {
		can = append(can, "execute")
	}
	if answers > 0 {
		can = append(can, "answer")
	}
	if !syncing && sched.due() {
		can = append(can, "sync")
	}
	if syncing {
		can = append(can, "synced")
	}
	return can
}

// losePower: of what was marked and not synced, the disk has any part.
func (s *simulation) losePower() {
	for i := range s.marked {
		if s.rng.roll(2) == 0 {
			s.marked[i] = s.durable[i]
		}
	}
}

func (s *simulation) read(sched *schedule, begun outcomes, i int) (opened bool) {
	l, was := s.file[i], begun.of(i+1)
	switch {
	case was != pending && l != nil:
		sched.skip(was, l.ref)
	case was != pending:
		sched.skip(was, "")
	case l == nil:
		s.marked[i] = byte(malformed)
		sched.pass(malformed)
	default:
		return sched.take(l) > 0
	}
	return false
}

// choose draws one of the steps, or now and then a fault.
func (s *simulation) choose(can []string) string {
	if s.faults > 0 && s.rng.roll(25) == 0 {
		s.faults--
		return []string{"kill", "power", "power", "lose", "fail"}[s.rng.roll(5)]
	}
	step := can[s.rng.roll(len(can))]
	if step == "synced" { // much happens while the record is being synced
		step = can[s.rng.roll(len(can))]
	}
	return step
}

// take takes one out at random.
func take[T any](rng *dice, from *[]T) T {
	i := rng.roll(len(*from))
	v := (*from)[i]
	*from = append((*from)[:i:i], (*from)[i+1:]...)
	return v
}

// checkOrder: what took effect did so in the order of the file, and once.
func (s *simulation) checkOrder(sched *schedule) {
	if n := sched.last - sched.passed; n > s.limits.window {
		s.t.Errorf("%d lines are held, the limit is %d", n, s.limits.window)
	}
	for ref, a := range s.node.state {
		for i, number := range a.log {
			if i > 0 && a.log[i-1] >= number {
				s.t.Errorf("%s: lines took effect as %v", ref, a.log)
			}
		}
	}
}

func TestScheduleAppliesEachLineOnceInOrder(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6000) {
		rng := &dice{seed}
		s := &simulation{t: t, rng: rng, limits: modelLimits(rng), file: modelFile(t, rng), faults: rng.roll(16)}
		s.node, s.marked = newModelNode(s.limits.loose), noOutcomes(len(s.file))
		for !s.run() {
		}
		s.checkEnd()
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

// checkEnd: what happened is what happens without faults, and it was counted so.
func (s *simulation) checkEnd() {
	once, want := newModelNode(len(s.file)), counts{}
	for _, l := range s.file {
		if l == nil {
			want.add(malformed)
			continue
		}
		o, _ := once.execute(l)
		want.add(o)
	}
	if got := s.node.String(); got != once.String() {
		s.t.Errorf("took effect: %s\nwant: %s", got, once)
	}
	got := s.marked.counts()
	got.Accepted, got.Duplicates = got.Accepted+got.Duplicates, 0
	if got != want {
		s.t.Errorf("counted %+v, want %+v", got, want)
	}
	if s.marked.settledUpTo() != len(s.marked) {
		s.t.Errorf("in the end the record is %s, want all settled", s.marked)
	}
}
