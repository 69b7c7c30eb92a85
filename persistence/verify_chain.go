package persistence

import (
	"errors"
	"fmt"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// sentence gives an error's text without its code.
func sentence(err error) string {
	if e, ok := errors.AsType[*holdfast.Error](err); ok {
		return e.Message
	}
	return err.Error()
}

// follow checks that c follows its aggregate's chain and moves the chain on, wherever a
// fault leaves it.
func (v *Verifier) follow(key string, ref holdfast.Ref, head link, c Commit) {
	err := head.follow(c)
	if err == nil {
		v.chains[key] = linkOf(c)
		delete(v.loose, key)
		return
	}
	for _, l := range v.loose[key] {
		if l.follow(c) == nil {
			v.chains[key] = linkOf(c)
			delete(v.loose, key)
			return
		}
	}
	v.report(v.classify(ref, head, c, err))
	stated, computed := linkOf(c), linkOf(c)
	if d, err := messages.ChainedDigest(head.digest, c.Body); err == nil {
		computed.digest = d
	}
	v.chains[key] = stated
	v.loosen(key, head, computed)
}

// loosen lets the chain go on from any of these as well.
func (v *Verifier) loosen(key string, links ...link) {
	const most = 8
	all := append(v.loose[key], links...)
	v.loose[key] = all[max(0, len(all)-most):]
}

func (l link) follow(c Commit) error {
	if l.blind {
		if c.Previous != l.sequence {
			return errGap
		}
		return nil
	}
	h := Head{Version: holdfast.Version(l.version), Digest: l.digest}
	if l.sequence > 0 {
		h.Position, h.Time = holdfast.NewPosition(c.Position.Partition(), l.sequence), unixTime(l.time)
	}
	return h.check(c)
}

// classify says what is wrong when c does not follow the chain that ends at head.
func (v *Verifier) classify(ref holdfast.Ref, head link, c Commit, err error) Finding {
	f := Finding{Ref: ref, Position: c.Position}
	partition := c.Position.Partition()
	switch {
	case c.Previous == head.sequence && head.sequence == 0:
		f.Fault, f.What = FaultAltered, sentence(err)+", or it is another aggregate's first"
	case c.Previous == head.sequence, c.Previous >= c.Position.Sequence():
		f.Fault, f.What = FaultAltered, sentence(err)
	case c.Previous < head.sequence:
		f.Fault = FaultMisplaced
		f.What = fmt.Sprintf("it says that it follows %s, but the aggregate's last commit is at %s: it was not written by an append",
			place(partition, c.Previous), place(partition, head.sequence))
	case v.lost(partition, c, head.sequence):
		f.Fault, f.Position = FaultMissing, holdfast.NewPosition(partition, v.firstLost(c, head.sequence))
		f.What = fmt.Sprintf("it cannot be read, and the commit at %s, which starts at version %d, follows it; the last before it ends at version %d", c.Position, c.FirstVersion, head.version)
	default:
		f.Fault = FaultMisplaced
		f.What = fmt.Sprintf("it says that it follows %s, which is another aggregate's commit", place(partition, c.Previous))
	}
	return f
}

func place(partition uint32, sequence uint64) string {
	if sequence == 0 {
		return "nothing"
	}
	return holdfast.NewPosition(partition, sequence).String()
}

// lost reports whether the commit before c is one that cannot be read, and takes all
// such as c tells of for explained.
func (v *Verifier) lost(partition uint32, c Commit, after uint64) bool {
	lost := false
	for i, seq := range c.Before() {
		if seq <= after {
			break
		}
		gone := !v.cfg.Filter.All() || v.holes[partition] != nil && v.holes[partition].take(seq)
		if gone {
			v.missing++
		}
		lost = lost || gone && i == 0
	}
	return lost
}

// firstLost is the oldest commit before c, after the one that was read, that c tells of.
func (v *Verifier) firstLost(c Commit, after uint64) uint64 {
	first := c.Previous
	for _, seq := range c.Before() {
		if seq > after {
			first = seq
		}
	}
	return first
}

// checkEvents checks that the type's definition can read what the commit holds.
func (v *Verifier) checkEvents(ref holdfast.Ref, c Commit) {
	def, defined := v.cfg.Definitions[ref.Type]
	reported := false
	for _, ch := range c.Changes {
		for _, e := range ch.Events {
			v.counts.Events++
			if len(v.cfg.Definitions) == 0 || reported {
				continue
			}
			if !defined {
				v.once(Finding{Fault: FaultUnknownType, Ref: ref, Position: c.Position, What: fmt.Sprintf("the type %s is unknown to this build; this is its first commit", ref.Type)}, ref.Type)
				continue
			}
			if err := readable(def, e); err != nil {
				reported = v.unreadable(ref, c, def, e, err)
			}
		}
	}
}

// unreadable reports an event; one that the definition does not know only the first time.
func (v *Verifier) unreadable(ref holdfast.Ref, c Commit, def holdfast.Definition, e *messages.Event, err error) bool {
	f := Finding{Fault: FaultUnreadable, Ref: ref, Position: c.Position, What: sentence(err)}
	if _, known := def.NewEvent(e.Type); !known {
		v.once(f, ref.Type+" "+e.Type)
		return false
	}
	v.report(f)
	return true
}

func (v *Verifier) once(f Finding, what string) {
	if !v.told[what] {
		v.told[what] = true
		v.report(f)
	}
}

// readable decodes an event and brings it to its newest form.
func readable(def holdfast.Definition, recorded *messages.Event) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the upcast of the event %s panics: %v", recorded.Type, p)
		}
	}()
	e, err := DecodeEvent(def, recorded)
	if err != nil {
		return err
	}
	_, err = def.Upcast(e)
	return err
}
