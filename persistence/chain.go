package persistence

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// LogSubject is where the aggregate's commits stand in a log of that many partitions.
// The error is ErrMalformed: the ref names nothing that a log can hold.
func LogSubject(c messages.Context, ref holdfast.Ref, partitions uint32) (messages.Subject, error) {
	if _, err := messages.ParseType(ref.Type); err != nil {
		return messages.Subject{}, holdfast.Errorf(holdfast.CodeMalformed, "%w", err)
	}
	id, err := messages.EncodeID(ref.ID)
	if err != nil {
		return messages.Subject{}, holdfast.Errorf(holdfast.CodeMalformed, "%w", err)
	}
	p := messages.PartitionOf(ref.Type, id, partitions)
	return messages.Subject{Context: c, Kind: messages.KindLog, Partition: p, Type: ref.Type, ID: id}, nil
}

// NewHead is the head of an aggregate to which nothing has happened. The error is that
// of [LogSubject].
func NewHead(c messages.Context, ref holdfast.Ref) (Head, error) {
	sub, err := LogSubject(c, ref, 1)
	if err != nil {
		return Head{}, err
	}
	return HeadAt(sub), nil
}

// HeadAt is the head of the aggregate of a log subject when nothing has happened to it.
func HeadAt(sub messages.Subject) Head {
	return Head{Digest: messages.FirstDigest(sub.Context, sub.Type, sub.ID)}
}

// Seal makes the commit that follows h of the changes, and its body. The id is unique
// to the attempt. The commit has no position yet.
func (h Head) Seal(id string, changes []*messages.Change) (Commit, error) {
	c := &messages.Commit{
		Format:       messages.CommitFormat,
		Id:           id,
		FirstVersion: uint64(h.Version) + 1,
		LastVersion:  uint64(h.Version),
		Changes:      changes,
	}
	if !h.Time.IsZero() {
		c.Time = h.Time.UnixNano()
	}
	for _, ch := range changes {
		c.LastVersion += uint64(len(ch.Events))
		c.Time = max(c.Time, ch.Time)
	}
	before, err := h.sequences()
	if err != nil {
		return Commit{}, err
	}
	c.SetBefore(before)
	body, _, err := c.Seal(h.Digest)
	if err != nil {
		return Commit{}, holdfast.Errorf(holdfast.CodeInternal, "%w", err)
	}
	return Commit{Commit: c, Body: body, before: before}, nil
}

// sequences of the last commit and those before it, newest first, 33 at most.
func (h Head) sequences() ([]uint64, error) {
	if h.Position.IsZero() {
		return nil, nil
	}
	seqs := make([]uint64, 0, min(len(h.Before), messages.MaxTrail)+1)
	seqs = append(seqs, h.Position.Sequence())
	for _, seq := range h.Before[:min(len(h.Before), messages.MaxTrail)] {
		if seq == 0 || seq >= seqs[len(seqs)-1] {
			return nil, holdfast.Errorf(holdfast.CodeInternal, "the head at %s does not lead backwards: %v", h.Position, h.Before)
		}
		seqs = append(seqs, seq)
	}
	return seqs, nil
}

// Size is how many bytes changes take in a commit: what a store's Limit limits.
func Size(changes []*messages.Change) int {
	const tag = 1 // of the field Commit.changes
	n := 0
	for _, ch := range changes {
		n += tag + protowire.SizeBytes(proto.Size(ch))
	}
	return n
}

// Follow checks that c is the commit that follows h, and gives the head after it. The
// error is ErrCorrupt and says what does not fit: a gap in the versions, a link to
// another commit, a time before the last, or a digest that does not chain.
func (h Head) Follow(c Commit) (Head, error) {
	if err := h.check(c); err != nil {
		return h, err
	}
	return c.Head(), nil
}

func (h Head) check(c Commit) error {
	if c.FirstVersion != uint64(h.Version)+1 {
		return corrupt(c, "it starts at version %d, but version %d came before: %w", c.FirstVersion, h.Version, errGap)
	}
	if c.Previous != h.Position.Sequence() {
		return corrupt(c, "it names %d as its previous commit, which is %s", c.Previous, h.Position)
	}
	if !h.Time.IsZero() && c.Time < h.Time.UnixNano() {
		return corrupt(c, "its time runs backwards")
	}
	want, err := messages.ChainedDigest(h.Digest, c.Body)
	if err != nil {
		return corrupt(c, "%w", err)
	}
	if string(want[:]) != string(c.Digest) {
		return corrupt(c, "its digest does not chain to the previous commit's: one of the two was altered")
	}
	return nil
}

var errGap = fmt.Errorf("events are missing in between")

func corrupt(c Commit, format string, args ...any) error {
	return holdfast.Errorf(holdfast.CodeCorrupt, "commit at %s: %w", c.Position, fmt.Errorf(format, args...))
}

// Corrupt says whose chain does not hold. Unless err is ErrCorrupt already, it becomes so.
func Corrupt(ref holdfast.Ref, err error) error {
	if e, ok := errors.AsType[*holdfast.Error](err); ok {
		return &holdfast.Error{Code: holdfast.CodeCorrupt, Message: ref.String() + ": " + e.Message, Cause: e.Cause}
	}
	return holdfast.Errorf(holdfast.CodeCorrupt, "%s: %w", ref, err)
}

// Open reads a commit that stands at position. The error is ErrCorrupt.
func Open(position holdfast.Position, body []byte) (Commit, error) {
	return OpenWith(new(messages.Decoder), position, body)
}

// OpenWith reads a commit by a decoder, to which it belongs again with the next one.
func OpenWith(d *messages.Decoder, position holdfast.Position, body []byte) (Commit, error) {
	c, err := d.Open(body)
	if err != nil {
		return Commit{}, holdfast.Errorf(holdfast.CodeCorrupt, "commit at %s: %w", position, err)
	}
	return Commit{Commit: c, Position: position, Body: body}, nil
}

// Head is where the log ends after c, by what c itself says: for a commit that was just
// sealed, or whose chain is checked otherwise.
func (c Commit) Head() Head {
	h := Head{
		Version:  holdfast.Version(c.LastVersion),
		Position: c.Position,
		Before:   c.before,
		Time:     unixTime(c.Time),
	}
	if h.Before == nil {
		h.Before = c.Before()
	}
	copy(h.Digest[:], c.Digest)
	return h
}

func unixTime(nanoseconds int64) time.Time { return time.Unix(0, nanoseconds).UTC() }

// Next is Follow of a commit after which others come: the head that it gives has no Before.
func (h Head) Next(c Commit) (Head, error) {
	if err := h.check(c); err != nil {
		return h, err
	}
	return Head{Version: holdfast.Version(c.LastVersion), Position: c.Position, Time: unixTime(c.Time), Digest: messages.Digest(c.Digest)}, nil
}

// FollowAll checks a run of commits, oldest first, that follows h, and gives the head
// after the last.
func (h Head) FollowAll(commits []Commit) (Head, error) {
	for i, c := range commits {
		var err error
		if h, err = h.Next(c); err != nil {
			return h, err
		}
		if i == len(commits)-1 {
			return c.Head(), nil
		}
	}
	return h, nil
}

// Equal reports whether g and h are one place in one chain.
func (h Head) Equal(g Head) bool {
	return h.Version == g.Version && h.Position == g.Position && h.Digest == g.Digest
}

// EncodeSnapshot gives a snapshot's body.
func EncodeSnapshot(s Snapshot) ([]byte, error) {
	return (&messages.Snapshot{
		Format:      messages.SnapshotFormat,
		Fingerprint: s.Fingerprint,
		Version:     uint64(s.Head.Version),
		Sequence:    s.Head.Position.Sequence(),
		Trail:       messages.Distances(s.Head.Position.Sequence(), s.Head.Before),
		Digest:      s.Head.Digest[:],
		Time:        s.Head.Time.UnixNano(),
		Recent:      s.Recent,
		State:       s.State,
	}).Seal()
}

// DecodeSnapshot reads a snapshot's body, of an aggregate in that partition. The error
// says why it cannot be used; a fingerprint other than the wanted one is such a reason.
func DecodeSnapshot(body []byte, partition uint32, fingerprint string) (*Snapshot, error) {
	m, err := messages.OpenSnapshot(body)
	if err != nil {
		return nil, err
	}
	if m.Fingerprint != fingerprint {
		return nil, fmt.Errorf("snapshot: it is of another form of the state (%s, wanted %s)", m.Fingerprint, fingerprint)
	}
	if m.KeyId != "" {
		return nil, fmt.Errorf("snapshot: it is encrypted with the key %q, which this build does not have", m.KeyId)
	}
	s := &Snapshot{
		Head: Head{
			Version:  holdfast.Version(m.Version),
			Position: holdfast.NewPosition(partition, m.Sequence),
			Before:   m.Before(),
			Time:     time.Unix(0, m.Time).UTC(),
		},
		Fingerprint: m.Fingerprint,
		Recent:      m.Recent,
		State:       m.State,
	}
	copy(s.Head.Digest[:], m.Digest)
	return s, nil
}

// DecodeEvent reads an event as it was recorded. The error is ErrCorrupt: the log holds
// what this build cannot read.
func DecodeEvent(def holdfast.Definition, e *messages.Event) (holdfast.Event, error) {
	if e.KeyId != "" {
		return nil, holdfast.Errorf(holdfast.CodeCorrupt, "the event %s is encrypted with the key %q, which this build does not have", e.Type, e.KeyId)
	}
	if e.Schema != messages.SchemaProtobuf {
		return nil, holdfast.Errorf(holdfast.CodeCorrupt, "the event %s has schema %d, which this build does not know", e.Type, e.Schema)
	}
	ev, ok := def.NewEvent(e.Type)
	if !ok {
		return nil, holdfast.Errorf(holdfast.CodeCorrupt, "type %s has neither Evolve nor Upcast for the recorded event %s", def.Name(), e.Type)
	}
	if err := proto.Unmarshal(e.Data, ev); err != nil {
		return nil, holdfast.Errorf(holdfast.CodeCorrupt, "the event %s cannot be decoded: %w", e.Type, err)
	}
	return ev, nil
}

// EncodeEvent gives an event in the form in which it is recorded.
func EncodeEvent(e holdfast.Event) (*messages.Event, error) {
	recorded, err := EncodeEvents(e)
	if err != nil {
		return nil, err
	}
	return recorded[0], nil
}

// EncodeEvents gives events in the form in which they are recorded. They share their memory.
func EncodeEvents(events ...holdfast.Event) ([]*messages.Event, error) {
	size := 0
	for _, e := range events {
		size += proto.Size(e)
	}
	data, all, recorded := make([]byte, 0, size), make([]messages.Event, len(events)), make([]*messages.Event, len(events))
	for i, e := range events {
		from := len(data)
		var err error
		if data, err = (proto.MarshalOptions{UseCachedSize: true}).MarshalAppend(data, e); err != nil {
			return nil, fmt.Errorf("encode event %s: %w", proto.MessageName(e), err)
		}
		recorded[i] = &all[i]
		recorded[i].Type, recorded[i].Schema = string(proto.MessageName(e)), messages.SchemaProtobuf
		recorded[i].Data = data[from:len(data):len(data)]
	}
	return recorded, nil
}

// Fold gives the state after recorded events. It panics when a function of the domain
// does.
func Fold(def holdfast.Definition, state any, events []*messages.Event) (any, error) {
	for _, recorded := range events {
		e, err := DecodeEvent(def, recorded)
		if err != nil {
			return nil, err
		}
		if state, err = def.Apply(state, e); err != nil {
			return nil, holdfast.Errorf(holdfast.CodeCorrupt, "%w", err)
		}
	}
	return state, nil
}

// Start gives the state from which l's commits are folded.
func (l Loaded) Start(def holdfast.Definition) (any, error) {
	if l.Snapshot == nil {
		return def.Zero(), nil
	}
	saved := def.NewSaved()
	if err := proto.Unmarshal(l.Snapshot.State, saved); err != nil {
		return nil, holdfast.Errorf(holdfast.CodeCorrupt, "decode snapshot: %w", err)
	}
	return def.Load(saved), nil
}
