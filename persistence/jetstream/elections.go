package jetstream

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
)

// errElected says that a stream has a new leader: what the last one was asked and has not
// answered, nobody will.
var errElected = errors.New("the stream has a new leader")

// errSilent says that the replica that was asked for a message is silent: perhaps it has
// gone, and another one is not.
var errSilent = errors.New("the replica is silent")

// silence is for how many ticks a replica may be silent, the first time.
const silence = 2

// elections is where JetStream tells of them; the stream's name follows.
const elections = "$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED."

// followElections has what waits for an answer asked anew, or looked up, as soon as there
// is a leader again. Whoever may not listen waits until the time is up.
func (s *Store) followElections(nc *nats.Conn) (err error) {
	streams := map[string]*partition{}
	for _, p := range s.partitions {
		if p.replicated {
			streams[p.stream] = p
		}
	}
	if len(streams) == 0 {
		return nil
	}
	s.elections, err = nc.Subscribe(elections+"*", func(m *nats.Msg) {
		if p := streams[strings.TrimPrefix(m.Subject, elections)]; p != nil {
			s.elected(p)
		}
	})
	return err
}

// unsettled is for how many ticks after an election the partition is looked at: what was
// sent to the last leader in its last moment is lost without a word, even when that was
// after the others had heard of the new one.
const unsettled = 4

// maxUnled is for how many ticks a request waits for its stream to have a leader.
const maxUnled = 5

// A wait is that of a request for a leader. The zero wait has not begun.
type wait struct{ since *uint64 }

func (s *Store) elected(on *partition) {
	on.settled.Store(s.clock.ticks() + unsettled)
	s.askAnew(on, 1) // what was sent since the last tick may be on its way to the new one
	s.clock.wake()
}

// ticked is called after every tick.
func (s *Store) ticked(now uint64) {
	for _, p := range s.partitions {
		if p.coalescer != nil {
			p.coalescer.tick(now)
		}
		if now <= p.settled.Load() {
			s.askAnew(p, 2) // at the first tick after it was sent, it may just have been
		}
	}
	for _, p := range s.reads.pipes {
		s.giveUp(p, errSilent, func(c caller, age uint64) bool {
			r, ok := c.(*read)
			return ok && r.query.replicated && age > silence<<(r.again+1)-silence && r.wait(age)
		})
	}
}

// askAnew gives up on what has waited for the stream's leader for so many ticks.
func (s *Store) askAnew(on *partition, ticks uint64) {
	s.giveUp(s.publish, errElected, func(c caller, age uint64) bool {
		p, ok := c.(*pending)
		return ok && p.a.partition == on && age >= ticks
	})
	for _, p := range s.reads.pipes {
		s.giveUp(p, errElected, func(c caller, age uint64) bool {
			r, ok := c.(*read)
			return ok && r.query.leads == on && age >= ticks && r.wait(age)
		})
	}
}

// giveUp gives up on those that are picked, by how many ticks they have waited, too. They
// are told from elsewhere, since some of them send again, for which they may have to wait.
func (s *Store) giveUp(p *pipe, because error, which func(c caller, age uint64) bool) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	lost := p.collect(func(s *slot) bool { return which(s.caller, p.ticks-s.born) })
	if len(lost) > 0 {
		p.active.Add(1)
	}
	p.mu.Unlock()
	if len(lost) > 0 {
		s.settling.Go(func() {
			defer p.active.Done()
			tell(lost, because)
		})
	}
}

var notAvailable = fmt.Appendf(nil, `"err_code":%d,`, codeNotAvailable)

// unled reports whether a server answers that there is no leader: of the stream, or of
// JetStream itself, without whom a stream's does not answer either. Or that it knows of no
// replica: of those that begin or end to answer, word goes from server to server.
func unled(m *nats.Msg) bool {
	const most = 512 // of an error; in front of messages stands no text of their own
	return len(m.Data) == 0 && m.Header.Get("Status") == "503" ||
		bytes.Contains(m.Data[:min(len(m.Data), most)], notAvailable)
}

// await has a request sent again when there may be a leader, or reports that it has
// waited long enough.
func (s *Store) await(w *wait, send func()) bool {
	now, next := s.clock.tick()
	if w.since == nil {
		w.since = &now
	}
	if now-*w.since > maxUnled {
		return false
	}
	s.settling.Go(func() {
		select {
		case <-next:
		case <-s.ctx.Done():
		}
		send()
	})
	return true
}

// await sends an append again that nobody took, when there may be a leader again.
func (p *pending) await(cause error) {
	again := p.a.partition.replicated && p.store.await(&p.unled, func() {
		if err := p.store.publishCommit(p); err != nil {
			p.done(p.after, err)
		}
	})
	if !again {
		p.done(p.after, p.a.unavailable("append to", cause))
	}
}
