package cluster

import (
	"context"
	"crypto/rand"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/actors"
	"github.com/holdfast-run/holdfast/messages"
)

var (
	_ holdfast.Sender = (*Member)(nil)
	_ holdfast.Viewer = (*Member)(nil)
)

func newID() string { return rand.Text() }

// Send implements [holdfast.Sender].
func (m *Member) Send(ctx context.Context, to holdfast.Ref, c holdfast.Command, opts ...holdfast.SendOption) (holdfast.Receipt, error) {
	if c == nil || !c.ProtoReflect().IsValid() {
		return holdfast.Receipt{}, holdfast.Errorf(holdfast.CodeMalformed, "the command for %s is nil", to)
	}
	r := &actors.Request{Ref: to, Command: c, Delivery: holdfast.NewDelivery(opts...)}
	if err := m.stamp(&r.Meta); err != nil {
		return holdfast.Receipt{}, err
	}
	answer, err := m.call(ctx, r)
	if err != nil {
		return holdfast.Receipt{}, err
	}
	return answer.Receipt, nil
}

// View implements [holdfast.Viewer].
func (m *Member) View(ctx context.Context, of holdfast.Ref) (holdfast.View, error) {
	answer, err := m.call(ctx, &actors.Request{Ref: of})
	if err != nil {
		return holdfast.View{}, err
	}
	return answer.View, nil
}

// stamp fills in what the sender left empty.
func (m *Member) stamp(meta *holdfast.Meta) error {
	if meta.ID == "" {
		meta.ID = m.config.NewID()
	} else if err := messages.CheckCommandID(meta.ID); err != nil {
		return holdfast.Errorf(holdfast.CodeMalformed, "command id: %w", err)
	}
	if meta.CorrelationID == "" {
		meta.CorrelationID = meta.ID
	}
	if meta.At.IsZero() {
		meta.At = m.config.Now()
	}
	return nil
}

// call takes a request to its owner and waits for the answer.
func (m *Member) call(ctx context.Context, r *actors.Request) (actors.Answer, error) {
	if err := ctx.Err(); err != nil {
		return actors.Answer{}, holdfast.Errorf(holdfast.CodeUnavailable, "the time was up before the request was sent: %w", err)
	}
	if !m.placement.mine(r.Ref) {
		return actors.Answer{}, holdfast.Errorf(holdfast.CodeUnavailable, "no reachable node owns %s: send it again", r.Ref)
	}
	answered := make(chan actors.Answer, 1)
	r.Done = func(a actors.Answer) { answered <- a }
	m.host.Deliver(r)
	select {
	case a := <-answered:
		return a, a.Err
	case <-ctx.Done():
		if r.Command == nil {
			return actors.Answer{}, holdfast.Errorf(holdfast.CodeUnavailable, "%s did not answer in time: %w", r.Ref, ctx.Err())
		}
		return actors.Answer{}, holdfast.Errorf(holdfast.CodeUncertain, "%s did not answer in time, and may have executed the command: send it again with the same id: %w", r.Ref, ctx.Err())
	}
}
