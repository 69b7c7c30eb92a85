package jetstream

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
)

const (
	headerBatch    = "Nats-Batch-Id"
	headerSequence = "Nats-Batch-Sequence"
	headerCommit   = "Nats-Batch-Commit"
)

// JetStream's codes for what it does not take, this time or any other.
const (
	codeNoBatches     = 10174
	codeBatchTooLarge = 10199
)

// A batch is some commits that the server stores all or none, of which only the last is
// answered.
type batch struct {
	coalescer *coalescer
	id        string
	members   []*pending
}

var _ caller = (*batch)(nil)

// newBatch names the batch by its first commit, which comes in no other: it goes alone next.
func newBatch(c *coalescer, members []*pending) *batch {
	return &batch{coalescer: c, id: members[0].commit.Id, members: members}
}

// send sends the batch. When that cannot be done the server has no end of it, and thus stores
// nothing; each member then finds out for itself what is wrong.
func (b *batch) send() {
	if err := b.publish(b.coalescer.store.publish); err != nil {
		b.coalescer.part(b.members)
	}
}

func (b *batch) publish(to *pipe) error {
	m := newMessage()
	last := len(b.members) - 1
	m.Header[headerBatch] = []string{b.id}
	for i, p := range b.members {
		m.carry(p)
		m.Header[headerSequence] = []string{strconv.Itoa(i + 1)}
		if i == last {
			m.Header[headerCommit] = []string{"1"}
			return to.send(&m.Msg, b)
		}
		if err := to.nc.PublishMsg(&m.Msg); err != nil {
			return err
		}
	}
	return errors.New("an empty batch")
}

// replied hears the server's answer.
func (b *batch) replied(m *nats.Msg) {
	c, n := b.coalescer, len(b.members)
	first, err := b.parseAck(m)
	api, refused := errors.AsType[*apiError](err)
	if refused {
		// It does not say because of which member.
		switch api.ErrCode {
		case codeNoBatches:
			c.happened(func(g *gathering) { g.refused(0) })
		case codeBatchTooLarge:
			c.happened(func(g *gathering) { g.refused(n) })
		}
		c.part(b.members)
		return
	}
	c.happened((*gathering).ended)
	switch {
	case err == nil:
		c.store.stats.batch(n)
		for i, p := range b.members {
			p.succeed(first + uint64(i))
		}
	case errors.Is(err, errNoStream):
		for _, p := range b.members {
			p.await(err)
		}
	default:
		b.settle(err)
	}
}

// lost hears that no answer will come.
func (b *batch) lost(err error) {
	b.coalescer.happened((*gathering).ended)
	b.settle(err)
}

func (b *batch) settle(cause error) {
	for _, p := range b.members {
		p.settle(cause, holdfast.CodeUncertain)
	}
}

// parseAck gives the sequence of the first member: they follow one another.
func (b *batch) parseAck(m *nats.Msg) (first uint64, err error) {
	ack, err := b.members[0].a.partition.parseFullAck(m)
	if err != nil {
		return 0, err
	}
	if n := uint64(len(b.members)); ack.Batch != b.id || ack.Count != n || ack.Seq < n {
		return 0, fmt.Errorf("%w: batch %q of %d ends at %d", errOdd, ack.Batch, ack.Count, ack.Seq)
	}
	return ack.Seq - uint64(len(b.members)) + 1, nil
}
