package cluster

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
)

// Of the tale, in ticks, except for the last two.
const (
	taleLease   = 60
	taleStorm   = 260
	taleCalm    = 4 * taleLease
	taleHolding = 3 // at most so many are named
	taleNodes   = 6
)

// A tale is a history of the register that dice tell, and the members who live in it,
// each with its own lagging view.
type tale struct {
	t       *testing.T
	dice    *rand.Rand
	tick    int
	history []change       // of the revisions 1, 2, 3 …
	last    map[string]int // the revision of each record that is there
	expires map[string]int // and the tick at which it does
	players []*player
	refs    []holdfast.Ref
	born    int
	storm   bool
}

// A player is an incarnation without a network, and without a clock of its own.
type player struct {
	register *register
	heard    int // the revision up to which the watch has told
	next     time.Time
	view     *view
	moves    *view // as the channel of that name
	release  *view // what it releases for
	patience int   // the tick from which on it names those that are left
	told     int   // how many it has named
	held     uint64
	record   record
	written  bool // once at least
	enterAt  int
	renewAt  int
	until    int // the lease is good
	cutUntil int
	deaf     int
}

func (s *tale) now() time.Time { return time.Unix(int64(s.tick), 0) }

func (s *tale) roll(n int) bool { return s.dice.IntN(n) == 0 }

func (s *tale) tell(id string, r *record, expired bool) int {
	s.history = append(s.history, change{id: id, revision: uint64(len(s.history) + 1), record: r, expired: expired})
	if r == nil {
		delete(s.last, id)
		delete(s.expires, id)
	} else {
		s.last[id], s.expires[id] = len(s.history), s.tick+taleLease
	}
	return len(s.history)
}

// reread tells p everything, as a replica has it that may lag behind.
func (s *tale) reread(p *player) {
	p.heard = max(len(s.history)-s.dice.IntN(12), 0)
	there, all := map[string]bool{}, []change(nil)
	for _, c := range slices.Backward(s.history[:p.heard]) {
		if !there[c.id] {
			there[c.id], all = true, append(all, c)
		}
	}
	slices.Reverse(all)
	p.register.replace(all, s.now())
}

// join has a machine enter the register. What it has read may be old when it does.
func (s *tale) join(machine int) {
	s.born++
	p := &player{register: newRegister(nil), view: &view{}, enterAt: s.tick + s.dice.IntN(taleLease/2)}
	p.record = record{ID: fmt.Sprintf("%x-%d", s.dice.Uint32(), s.born), Address: fmt.Sprint(machine), State: stateUp, Lease: taleLease * time.Second}
	p.record.Types = [][]string{{"a", "b"}, {"a", "b"}, {"a"}, nil}[s.dice.IntN(4)]
	s.reread(p)
	s.players = append(s.players, p)
}

func (s *tale) enter(p *player) {
	for _, id := range slices.Sorted(maps.Keys(p.register.entries)) {
		e := p.register.entries[id]
		if e.Address == p.record.Address && s.last[id] == int(e.revision) {
			s.tell(id, nil, false)
		}
	}
	p.record.Settled = p.register.revision
	s.renew(p)
}

// renew writes the record; in a storm, p may not hear that it has been written.
func (s *tale) renew(p *player) {
	if s.last[p.record.ID] == 0 && p.written {
		s.gone(p)
		return
	}
	r := p.record
	revision := s.tell(r.ID, &r, false)
	p.renewAt, p.written = s.tick+taleLease/retryAfter, true
	if s.storm && s.roll(8) {
		return
	}
	p.renewAt, p.until = s.tick+taleLease/renewAfter, s.tick+taleLease-taleLease/relyOn
	if r.Since == 0 && p.record.State == r.State {
		p.record.Since = uint64(revision)
	}
}

func (s *tale) change(p *player, f func(*record)) {
	f(&p.record)
	p.renewAt = min(p.renewAt, s.tick+s.dice.IntN(3))
}

// gone has p be no member any more, and its machine come back as another.
func (s *tale) gone(p *player) {
	s.players = slices.DeleteFunc(s.players, func(q *player) bool { return p == q })
}

// hear tells p some of what it has not heard.
func (s *tale) hear(p *player) {
	if s.storm && s.roll(50) {
		s.reread(p)
		s.show(p)
		p.deaf = s.tick + s.dice.IntN(6)
	}
	for range s.dice.IntN(4) {
		if p.heard == len(s.history) {
			break
		}
		p.register.apply(s.history[p.heard], s.now())
		p.heard++
		s.show(p)
	}
	if !p.next.IsZero() && !p.next.After(s.now()) {
		s.show(p)
	}
}

func (s *tale) show(p *player) {
	was := p.view
	var members []member
	members, p.next = p.register.members(s.now())
	p.view = newView(p.record.ID, p.register.revision, members)
	if p.view.member(p.record.ID) != nil && !p.view.placesLike(was) {
		p.moves = p.view
	}
}

// settle releases slowly what p does not own any more, and says so.
func (s *tale) settle(p *player) {
	if p.moves != nil && (p.release == nil || s.roll(3)) {
		p.release, p.moves, p.patience, p.told = p.moves, nil, s.tick+s.dice.IntN(6), taleHolding+1
	}
	if p.release == nil {
		return
	}
	var left []string
	for i, ref := range s.refs {
		switch bit := uint64(1) << i; {
		case p.held&bit == 0 || p.release.mine(ref):
		case s.roll(6):
			p.held &^= bit
		default:
			left = append(left, ref.String())
		}
	}
	if len(left) == 0 || s.tick >= p.patience && len(left) < p.told {
		p.told = len(left)
		s.change(p, func(r *record) { r.Settled, r.Holding = p.release.revision, left })
	}
	if len(left) == 0 {
		p.release = nil
	}
}

// act has p do what it does in a tick.
func (s *tale) act(p *player) {
	if s.tick < p.enterAt {
		return
	}
	cut := s.storm && s.tick < p.cutUntil
	switch {
	case !p.written:
		s.enter(p)
		if p.until == 0 { // it does not know that it is a member
			s.gone(p)
		}
		return
	case cut:
	case s.tick >= p.renewAt:
		s.renew(p)
	case p.view.drained() && p.view.member(p.record.ID) != nil:
		if p.held != 0 {
			s.t.Errorf("tick %d: %s is drained and holds %b", s.tick, p.record.ID, p.held)
		}
		p.held = 0
		s.tell(p.record.ID, nil, false)
		s.gone(p)
	}
	if !cut && (!s.storm || s.tick >= p.deaf) {
		s.hear(p)
	}
	s.settle(p)
	for range 3 {
		s.activate(p, s.dice.IntN(len(s.refs)))
	}
}

func (s *tale) activate(p *player, i int) {
	if s.tick < p.until && p.view.mine(s.refs[i]) && p.view.holder(s.refs[i]) == nil {
		p.held |= 1 << i
	}
}

// strike is what happens to members in a storm.
func (s *tale) strike() {
	if len(s.players) < taleNodes && s.roll(12) {
		machine := 0
		for slices.ContainsFunc(s.players, func(p *player) bool { return p.record.Address == fmt.Sprint(machine) }) {
			machine++
		}
		s.join(machine)
	}
	if len(s.players) == 0 {
		return
	}
	p := s.players[s.dice.IntN(len(s.players))]
	switch s.dice.IntN(100) {
	case 0, 1:
		if p.record.State == stateUp && p.view.replaceable() {
			s.change(p, func(r *record) { r.State, r.Since = stateDraining, 0 })
		}
	case 2: // it leaves with everything answered
		if p.written && s.last[p.record.ID] > 0 {
			s.tell(p.record.ID, nil, false)
			s.gone(p)
		}
	case 3: // it crashes
		s.gone(p)
	case 4, 5: // it is cut off, perhaps for so long that its record expires
		p.cutUntil = s.tick + s.dice.IntN(3*taleLease)
	case 6, 7:
		p.deaf = s.tick + s.dice.IntN(taleLease)
	}
}

// pass lets a tick pass, and looks whether two hold the same.
func (s *tale) pass() {
	s.tick++
	for _, id := range slices.Sorted(maps.Keys(s.expires)) {
		if s.tick > s.expires[id] && s.roll(4) {
			s.tell(id, nil, true)
		}
	}
	if s.storm {
		s.strike()
	}
	for _, p := range slices.Clone(s.players) {
		s.act(p)
	}
	var held uint64
	for _, p := range s.players {
		if s.tick >= p.until {
			continue
		}
		if twice := held & p.held; twice != 0 {
			s.t.Fatalf("tick %d: two hold the same: %b", s.tick, twice)
		}
		held |= p.held
	}
}

// calm checks that everything is with its owner, and only there, and nobody waits.
func (s *tale) calm() {
	for i, ref := range s.refs {
		var by []string
		for _, p := range s.players {
			s.activate(p, i)
			if p.held&(1<<i) != 0 {
				by = append(by, p.record.ID)
			}
		}
		for _, p := range s.players {
			owner := p.view.owner(ref)
			switch {
			case owner == nil && len(by) == 0:
			case owner == nil || len(by) != 1 || by[0] != owner.ID:
				s.t.Fatalf("tick %d: %s knows %v as the owner of %s, which is active on %v", s.tick, p.record.ID, owner, ref, by)
			}
		}
	}
	for _, p := range s.players {
		if p.record.State == stateDraining {
			s.t.Fatalf("tick %d: %s has not been drained", s.tick, p.record.ID)
		}
	}
}

// However far the views lag behind, no aggregate is active on two members that rely on
// their leases. And when it has become calm, each is active where it belongs.
func TestHandover(t *testing.T) {
	for seed := range uint64(36) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := &tale{t: t, dice: rand.New(rand.NewPCG(seed, 7)), last: map[string]int{}, expires: map[string]int{}}
			for i := range 32 {
				s.refs = append(s.refs, holdfast.Ref{Type: "ab"[i%2 : i%2+1], ID: fmt.Sprint(s.dice.Uint32())})
			}
			for machine := range 3 {
				s.join(machine)
			}
			for range 5 {
				for s.storm = true; s.storm; s.storm = s.tick%(taleStorm+taleCalm) < taleStorm {
					s.pass()
				}
				for range taleCalm {
					s.pass()
				}
				s.calm()
			}
		})
	}
}
