package gateway

import (
	"cmp"
	"context"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/serve"
	"github.com/holdfast-run/holdfast/messages"
)

// command has a command executed.
func (g *Gateway) command(ctx context.Context, r *request) (serve.Answer, error) {
	c, ok := serve.NewCommand(r.def, r.subject.Name)
	if !ok {
		return serve.Answer{}, holdfast.Errorf(holdfast.CodeUnknown, "type %s knows no command %s: there are %s",
			r.subject.Type, r.subject.Name, cmp.Or(serve.Commands(r.def), "none for clients"))
	}
	if err := serve.Decode(r.Body, c, r.header.Protobuf); err != nil {
		return serve.Answer{}, err
	}
	meta := g.requests.Meta(r.header, r.At)
	opts := []holdfast.SendOption{holdfast.WithMeta(meta)}
	if v := r.header.ExpectedVersion; v != nil {
		opts = append(opts, holdfast.ExpectVersion(holdfast.Version(*v)))
	}
	done, err := g.cfg.Sender.Send(ctx, r.ref, c, opts...)
	if err != nil {
		return serve.Answer{}, serve.Unsettled(ctx, err, meta.ID)
	}
	return g.receipt(r, done)
}

func (g *Gateway) receipt(r *request, done holdfast.Receipt) (serve.Answer, error) {
	shown, h := serve.NewReceipt(r.name(), done)
	body, err := encodeReceipt(r, shown)
	if err == nil && len(body) > g.requests.Room() {
		g.cfg.Logger.Warn("the reply leaves out the names of the events: they do not fit into a message",
			"subject", r.Subject, "events", len(shown.Events))
		shown.Events = []string{}
		body, err = encodeReceipt(r, shown)
	}
	if err != nil {
		return serve.Answer{}, err
	}
	return serve.Answer{Header: h, Body: body}, nil
}

func encodeReceipt(r *request, shown serve.Receipt) ([]byte, error) {
	if !r.header.Protobuf {
		return serve.Encode(false, nil, &shown)
	}
	return serve.Encode(true, &messages.CommandReply{
		Ref: shown.Ref, Version: shown.Version, Position: shown.Position, Events: shown.Events, Duplicate: shown.Duplicate,
	}, nil)
}
