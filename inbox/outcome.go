package inbox

import (
	"context"
	"errors"
	"maps"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/bucket"
	"github.com/holdfast-run/holdfast/internal/serve"
	"github.com/holdfast-run/holdfast/messages"
)

// An outcome is what became of a command: the headers and the body of the command's answer.
type outcome struct {
	header nats.Header
	body   []byte
}

func succeeded(c *command, done holdfast.Receipt, room int) (outcome, error) {
	shown, h := serve.NewReceipt(c.name(), done)
	body, err := serve.Encode(false, nil, shown)
	if err == nil && len(body) > room { // as the gateway does
		shown.Events = []string{}
		body, err = serve.Encode(false, nil, shown)
	}
	return outcome{h, body}, err
}

func failed(f serve.Failure) (outcome, error) {
	body, err := serve.Encode(false, nil, f.Body())
	return outcome{f.Header(), body}, err
}

func (c *command) outcomeSubject() (string, error) {
	id, err := messages.EncodeID(c.meta.ID)
	return messages.Subject{Context: c.subject.Context, Kind: messages.KindOutcome, ID: id}.String(), err
}

// told finds out whether the outcome of a command is out, and what the last sequence of its
// subject is. Two aggregates may have had the same id.
func (b *Inbox) told(ctx context.Context, c *command) (out bool, last uint64, err error) {
	subject, err := c.outcomeSubject()
	if err != nil {
		return false, 0, err
	}
	m, err := b.outcomes.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, 0, nil
	}
	if err != nil {
		return false, 0, err
	}
	last = m.Sequence
	if m.Header.Get(messages.HeaderRef) == c.name() {
		return true, last, nil
	}
	for seq := uint64(1); ; seq = m.Sequence + 1 {
		m, err = b.outcomes.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return false, last, nil
		}
		if err != nil {
			return false, 0, err
		}
		if m.Header.Get(messages.HeaderRef) == c.name() {
			return true, last, nil
		}
	}
}

// tell publishes an outcome, unless there is one: that is never changed.
func (b *Inbox) tell(ctx context.Context, c *command, o outcome) error {
	subject, err := c.outcomeSubject()
	if err != nil {
		return err
	}
	for {
		out, last, err := b.told(ctx, c)
		if out || err != nil {
			return err
		}
		m := &nats.Msg{Subject: subject, Header: nats.Header{}, Data: o.body}
		maps.Copy(m.Header, o.header)
		m.Header.Set(messages.HeaderCommandID, c.meta.ID)
		m.Header.Set(messages.HeaderRef, c.name())
		m.Header.Set(messages.HeaderContentType, messages.TypeJSON)
		if c.meta.CorrelationID != "" {
			m.Header.Set(messages.HeaderCorrelationID, c.meta.CorrelationID)
		}
		_, err = b.public.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(last), jetstream.WithRetryAttempts(0))
		if !bucket.Conflict(err) {
			return err
		}
	}
}

// remove takes a command out of the stream. What the server says of one that is not there it
// says of others as well.
func (b *Inbox) remove(ctx context.Context, c *command) error {
	err := b.accepted.DeleteMsg(ctx, c.sequence)
	if err == nil {
		return nil
	}
	if _, missing := b.accepted.GetMsg(ctx, c.sequence); errors.Is(missing, jetstream.ErrMsgNotFound) {
		return nil
	}
	return err
}

// fetch reads a command that waits. It is nil when it does not any more.
func (b *Inbox) fetch(ctx context.Context, sequence uint64) (*command, error) {
	m, err := b.accepted.GetMsg(ctx, sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return readCommand(m.Subject, m.Header, m.Data, m.Sequence)
}
