package kvsink

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/projections"
)

// Commit implements [projections.Sink].
func (s *Sink) Commit(ctx context.Context, u projections.Unit, from, to projections.Checkpoint, do func(projections.Batch) error) error {
	g := s.generation(u.Projection, u.Generation)
	select {
	case g.room <- struct{}{}:
		defer func() { <-g.room }()
	case <-ctx.Done():
		return g.unavailable("write", ctx.Err())
	}
	known := g.knows(u)
	if known == nil || known.Done != from.Done || known.Resets != from.Resets {
		var err error
		if known, err = s.read(ctx, g, u); err != nil {
			return err
		}
		g.know(u, known)
	}
	if known.Done != from.Done || known.Resets != from.Resets {
		return fenced(u)
	}
	b := s.newBatch(ctx, g, u, known)
	err := do(b)
	if b.broken != nil {
		err = b.broken
	}
	if err == nil {
		err = b.flush(ctx, to)
	}
	if err != nil {
		// What was read may not be as it is any more.
		g.know(u, nil)
		for subject := range b.docs {
			g.forget(subject)
		}
		return err
	}
	for subject, d := range b.docs {
		d.latest.revision = d.revision
		g.remember(subject, d.latest)
	}
	return nil
}

func fenced(u projections.Unit) error { return fmt.Errorf("%s: %w", u, projections.ErrFenced) }

// flush publishes the parts of a batch, one after the other. The checkpoint moves with the
// last.
func (b *batch) flush(ctx context.Context, to projections.Checkpoint) error {
	if err := ctx.Err(); err != nil {
		return b.unavailable("write", err)
	}
	token := rand.Text()
	known := b.from
	for i, p := range b.parts {
		next := *b.from
		next.revision, next.Within = known.revision, p.within
		if i == len(b.parts)-1 {
			next = point{revision: known.revision, Done: to.Done, Time: to.Time, Resets: to.Resets}
			if w := b.from.Within; w != nil && w.Sequence > to.Done && to.Resets == b.from.Resets {
				next.Within = w // the commit that was broken off went further
			}
		}
		next.Commit = token + strconv.Itoa(i)
		if err := b.send(ctx, i, &next); err != nil {
			return err
		}
		known = &next
	}
	b.know(b.unit, known)
	return nil
}

// send publishes one part, until it is known what has become of it. p has the revision of the
// checkpoint that it replaces, and then its own.
func (b *batch) send(ctx context.Context, i int, p *point) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	subject := b.checkpoint(b.unit)
	for {
		messages := append(b.messages(i), message{subject: subject, data: text, expect: &p.revision})
		seq, err := b.sink.publish(ctx, messages)
		if err == nil {
			b.sent(i, p, seq)
			return nil
		}
		if ctx.Err() != nil || !conflict(err) && !passing(err) {
			return b.unavailable("write", err)
		}
		found, readErr := b.sink.read(ctx, b.generation, b.unit)
		switch {
		case readErr != nil:
			return readErr
		case found.Commit == p.Commit:
			b.sent(i, p, found.revision)
			return nil
		case found.revision != p.revision:
			return fenced(b.unit)
		}
		long := pause
		if conflict(err) {
			long = turn
			again, err := b.refold(ctx, i)
			if err != nil {
				return err
			}
			if again {
				continue
			}
		}
		if rest(ctx, long, err) != nil {
			return b.unavailable("write", err)
		}
	}
}

// messages of a part, without the checkpoint.
func (b *batch) messages(i int) []message {
	p := b.parts[i]
	out := make([]message, 0, len(p.docs)+len(p.out)+1)
	for _, d := range p.docs {
		v := d.versions[i]
		if v.value == nil && d.revision == 0 {
			continue // it never was there, and is not
		}
		out = append(out, message{subject: d.subject, data: v.encode(), deleted: v.value == nil, expect: &d.revision})
	}
	return append(out, p.out...)
}

// sent notes at which revisions all of a part is, whose last message has that sequence.
func (b *batch) sent(i int, p *point, seq uint64) {
	messages := b.messages(i)
	p.revision = seq
	seq -= uint64(len(messages))
	for n, m := range messages {
		if m.expect != nil {
			*m.expect = seq + uint64(n)
		}
	}
}

// refold reads the documents of a part that another unit has changed meanwhile, and changes
// them anew from that part on. It reports whether there are any.
func (b *batch) refold(ctx context.Context, i int) (bool, error) {
	found := false
	for _, d := range b.parts[i].docs {
		fresh, err := b.load(ctx, d.subject)
		if err != nil {
			return false, err
		}
		if fresh.revision == d.revision {
			continue
		}
		found = true
		d.latest, d.revision = fresh, fresh.revision
		for _, o := range d.ops {
			if o.part < i {
				continue
			}
			if err := b.fold(d, o); err != nil {
				return false, holdfast.Errorf(holdfast.CodeUnavailable, "%s: a document was changed meanwhile, and refuses now: %w", b.unit, err)
			}
		}
	}
	return found, nil
}

// The headers of a batch.
const (
	headerExpect   = "Nats-Expected-Last-Subject-Sequence"
	headerBatch    = "Nats-Batch-Id"
	headerSequence = "Nats-Batch-Sequence"
	headerCommit   = "Nats-Batch-Commit"
	headerTTL      = "Nats-TTL"
	// headerOperation is how those who use a bucket know a document that is not there.
	headerOperation = "KV-Operation"
	headerGone      = "Holdfast-Gone"
)

// publish has all messages stored, or none, and gives the sequence of the last.
func (s *Sink) publish(ctx context.Context, list []message) (uint64, error) {
	var ack struct {
		Seq   uint64 `json:"seq"`
		Count int    `json:"count"`
	}
	id := rand.Text()
	for i, m := range list {
		out := &nats.Msg{Subject: m.subject, Data: m.data, Header: nats.Header{}}
		if m.expect != nil {
			out.Header[headerExpect] = []string{strconv.FormatUint(*m.expect, 10)}
		}
		if m.deleted {
			out.Header[headerOperation] = []string{"DEL"}
		}
		if m.gone {
			out.Header[headerGone], out.Header[headerTTL] = []string{"1"}, []string{"1s"}
		}
		if len(list) > 1 {
			out.Header[headerBatch], out.Header[headerSequence] = []string{id}, []string{strconv.Itoa(i + 1)}
		}
		if i < len(list)-1 {
			if err := s.line.publish(out); err != nil {
				return 0, err
			}
			continue
		}
		if len(list) > 1 {
			out.Header[headerCommit] = []string{"1"}
		}
		if err := s.ask(ctx, out, &ack); err != nil {
			return 0, err
		}
	}
	if len(list) > 1 && ack.Count != len(list) {
		return 0, errors.New("JetStream has not stored the batch as a whole")
	}
	return ack.Seq, nil
}
