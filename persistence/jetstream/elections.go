package jetstream

import (
	"errors"
	"strings"

	"github.com/nats-io/nats.go"
)

// errElected says that a stream has a new leader: what the last one was asked and has not
// answered, nobody will.
var errElected = errors.New("the stream has a new leader")

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

func (s *Store) elected(on *partition) {
	s.publish.giveUp(errElected, func(c caller) bool { p, ok := c.(*pending); return ok && p.a.partition == on })
	for _, p := range s.reads.pipes {
		p.giveUp(errElected, func(c caller) bool {
			r, ok := c.(*read)
			return ok && (r.query.subject == on.leader || r.query.subject == on.info)
		})
	}
}

// giveUp gives up on those that are picked.
func (p *pipe) giveUp(because error, which func(caller) bool) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.active.Add(1)
	defer p.active.Done()
	lost := p.collect(func(s *slot) bool { return which(s.caller) })
	p.mu.Unlock()
	tell(lost, because)
}
