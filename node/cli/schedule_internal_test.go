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

// simulation runs a file to its end, with kills, lost answers and failures on the way.
type simulation struct {
	t        *testing.T
	rng      *dice
	limits   limits
	file     []*line
	node     *modelNode
	durable  record
	answered []bool // for good, in whatever run
	faults   int    // how many are left
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
	return limits{window: 3 + rng.roll(20), bytes: 1 << 20, perRef: 1 + rng.roll(5), perSave: 1 + rng.roll(12), stopped: 100}
}

// run is one process. It reports whether all is done.
func (s *simulation) run() bool {
	sched := newSchedule(s.limits, true, s.durable)
	var sent []*line
	var answers []modelResult
	var saving *record
	read, opened := 0, false
	for {
		s.checkOrder(sched)
		var can []string
		if read < len(s.file) && !sched.full() {
			can = append(can, "read", "read")
		}
		if len(sched.ready) > 0 {
			can = append(can, "send")
		}
		if len(sent) > 0 {
			can = append(can, "execute")
		}
		if len(answers) > 0 {
			can = append(can, "answer")
		}
		if saving == nil && sched.due() {
			can = append(can, "save")
		}
		if saving != nil {
			can = append(can, "saved")
		}
		if len(can) == 0 {
			break
		}
		switch s.choose(can) {
		case "read":
			opened = s.read(sched, read) || opened
			read++
		case "send":
			sent = append(sent, sched.next())
		case "execute":
			l := take(s.rng, &sent)
			o, remembered := s.node.execute(l)
			answers = append(answers, modelResult{l, o, remembered})
		case "answer":
			r := take(s.rng, &answers)
			s.answered[r.line.number-1] = true
			sched.settle(r.line, r.outcome, r.remembered)
		case "save":
			rec := sched.record()
			s.checkRecord(rec)
			saving = &rec
		case "saved":
			s.durable = *saving
			sched.saved(*saving)
			saving = nil
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
			if saving != nil && s.rng.roll(2) == 0 {
				s.durable = *saving
			}
			return false
		}
	}
	if !sched.finished() {
		s.t.Fatalf("it stands still at line %d of %d", sched.passed, len(s.file))
	}
	s.durable = sched.record()
	s.checkRecord(s.durable)
	return !opened
}

func (s *simulation) read(sched *schedule, i int) (opened bool) {
	l := s.file[i]
	switch {
	case l == nil && i+1 <= s.durable.Settled:
		sched.pass(skipped)
	case l == nil:
		s.answered[i] = true
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
		return []string{"kill", "lose", "fail"}[s.rng.roll(3)]
	}
	step := can[s.rng.roll(len(can))]
	if step == "saved" { // much happens while a record is being written
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

// checkRecord: nothing is on record that was not answered.
func (s *simulation) checkRecord(r record) {
	for i, l := range s.file {
		ref := ""
		if l != nil {
			ref = l.ref
		}
		if r.settled(i+1, ref) && !s.answered[i] {
			s.t.Errorf("record %+v says that line %d is settled, which was never answered", r, i+1)
		}
	}
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
		s.node, s.answered = newModelNode(s.limits.perRef), make([]bool, len(s.file))
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
	got := s.durable.Counts
	got.Accepted, got.Duplicates = got.Accepted+got.Duplicates, 0
	if got != want {
		s.t.Errorf("counted %+v, want %+v", got, want)
	}
	if upTo := s.durable.settledUpTo(); upTo != len(s.file) {
		s.t.Errorf("the last record is %+v, want all of %d lines settled", s.durable, len(s.file))
	}
}
