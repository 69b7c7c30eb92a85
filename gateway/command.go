package gateway

import (
	"context"
	"errors"
	"strings"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// receipt is the JSON form of messages.CommandReply.
type receipt struct {
	Ref       string   `json:"ref"`
	Version   uint64   `json:"version"`
	Position  string   `json:"position"`
	Events    []string `json:"events"`
	Duplicate bool     `json:"duplicate"`
}

// command has a command executed.
func (g *Gateway) command(ctx context.Context, r *request) (answer, error) {
	c, ok := r.def.NewCommand(r.subject.Name)
	if !ok {
		return answer{}, holdfast.Errorf(holdfast.CodeUnknown, "type %s knows no command %s: there are %s",
			r.subject.Type, r.subject.Name, strings.Join(r.def.Commands(), ", "))
	}
	if err := decode(r.body, c, r.header.Protobuf); err != nil {
		return answer{}, err
	}
	meta := g.meta(r)
	opts := []holdfast.SendOption{holdfast.WithMeta(meta)}
	if v := r.header.ExpectedVersion; v != nil {
		opts = append(opts, holdfast.ExpectVersion(holdfast.Version(*v)))
	}
	done, err := g.cfg.Sender.Send(ctx, r.ref, c, opts...)
	if err != nil {
		return answer{}, unsettled(ctx, err, meta.ID)
	}
	return g.receipt(r, done)
}

// meta stamps the command.
func (g *Gateway) meta(r *request) holdfast.Meta {
	m := holdfast.Meta{
		ID:            r.header.ID,
		CorrelationID: r.header.CorrelationID,
		CausationID:   r.header.CausationID,
		User:          r.header.User,
		Trace:         r.header.Trace,
		At:            r.at,
	}
	if m.ID == "" {
		m.ID = g.cfg.NewID()
	}
	return m
}

// unsettled adds to an uncertain outcome how it is settled, which a client that gave no
// id could not know. An error that the sender does not classify is uncertain when the
// time was up.
func unsettled(ctx context.Context, err error, id string) error {
	code := holdfast.CodeOf(err)
	_, classified := errors.AsType[*holdfast.Error](err)
	late := code == holdfast.CodeInternal && !classified && ctx.Err() != nil
	if code != holdfast.CodeUncertain && !late {
		return err
	}
	return holdfast.Errorf(holdfast.CodeUncertain, "it may have been executed: send it again with the header %s: %s to settle it (%w)",
		messages.HeaderID, id, err)
}

func (g *Gateway) receipt(r *request, done holdfast.Receipt) (answer, error) {
	ref := messages.FormatRef(r.subject.Type, r.subject.ID)
	body := func(events []string) ([]byte, error) {
		reply := &messages.CommandReply{
			Ref: ref, Version: uint64(done.Version), Position: done.Position.String(), Events: events, Duplicate: done.Duplicate,
		}
		return encode(r.header.Protobuf, reply, receipt{
			Ref: ref, Version: reply.Version, Position: reply.Position, Events: events, Duplicate: done.Duplicate,
		})
	}
	b, err := body(append([]string{}, done.Events...)) // [] in JSON when there are none
	if err == nil && len(b) > g.room() {
		g.cfg.Logger.Warn("the reply leaves out the names of the events: they do not fit into a message",
			"subject", r.arrival.subject, "events", len(done.Events))
		b, err = body([]string{})
	}
	if err != nil {
		return answer{}, err
	}
	h := header(done.Version, done.Position)
	if done.Duplicate {
		h.Set(messages.HeaderDuplicate, "true")
	}
	return answer{header: h, body: b}, nil
}
