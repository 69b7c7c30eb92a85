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
	ref := r.name()
	body := func() ([]byte, error) {
		shown, _ := serve.NewReceipt(ref, done)
		return serve.Encode(r.header.Protobuf, &messages.CommandReply{
			Ref: ref, Version: shown.Version, Position: shown.Position, Events: done.Events, Duplicate: done.Duplicate,
		}, shown)
	}
	b, err := body()
	if err == nil && len(b) > g.requests.Room() {
		g.cfg.Logger.Warn("the reply leaves out the names of the events: they do not fit into a message",
			"subject", r.Subject, "events", len(done.Events))
		done.Events = nil
		b, err = body()
	}
	if err != nil {
		return serve.Answer{}, err
	}
	_, h := serve.NewReceipt(ref, done)
	return serve.Answer{Header: h, Body: b}, nil
}
