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
	r := actors.Request{Ref: to, Command: c, Delivery: holdfast.NewDelivery(opts...)}
	if err := m.stamp(&r.Meta); err != nil {
		return holdfast.Receipt{}, err
	}
	answer, err := m.call(ctx, &r)
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

// stamp checks what the sender gave and fills in what it left empty.
func (m *Member) stamp(meta *holdfast.Meta) error {
	for _, field := range []struct {
		name, value string
		check       func(string) error
	}{
		{"command id", meta.ID, messages.CheckCommandID},
		{"correlation id", meta.CorrelationID, messages.CheckCommandID},
		{"causation id", meta.CausationID, messages.CheckCommandID},
		{"user", meta.User, messages.CheckUser},
		{"trace", meta.Trace, messages.CheckTrace},
	} {
		if field.value == "" {
			continue
		}
		// One that cannot be recorded would take the others of its commit with it.
		if err := field.check(field.value); err != nil {
			return holdfast.Errorf(holdfast.CodeMalformed, "%s: %w", field.name, err)
		}
	}
	if meta.ID == "" {
		meta.ID = m.config.NewID()
	}
	if meta.CorrelationID == "" {
		meta.CorrelationID = meta.ID
	}
	if meta.At.IsZero() {
		meta.At = m.config.Now()
	}
	if err := messages.CheckTime(meta.At); err != nil {
		return holdfast.Errorf(holdfast.CodeMalformed, "time: %w", err)
	}
	return nil
}
