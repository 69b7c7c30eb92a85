package desk

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/serve"
	"github.com/holdfast-run/holdfast/messages"
)

// longestReason is how long an operator's may be, which stands in the saga for ever.
const longestReason = 1 << 10

// An order is what an operator wants done.
type order struct {
	step, reason string
	status       string          // of force
	command      json.RawMessage // of edit, as what follows
	to           string
}

// An outcome is the answer to an action.
type outcome struct {
	serve.Receipt
	// Status is where the saga stands now; empty when it cannot be said.
	Status string `json:"status"`
}

// act has an action done.
func (d *Desk) act(ctx context.Context, r *request) (serve.Answer, error) {
	if r.header.User == "" {
		return serve.Answer{}, malformed("header %s: it is missing: say who acts", messages.HeaderUser)
	}
	o, err := readOrder(r)
	if err != nil {
		return serve.Answer{}, err
	}
	c, err := d.command(ctx, r, o)
	if err != nil {
		return serve.Answer{}, serve.Unread(ctx, err)
	}
	meta := d.requests.Meta(r.header, r.At)
	opts := []holdfast.SendOption{holdfast.WithMeta(meta)}
	if v := r.header.ExpectedVersion; v != nil {
		opts = append(opts, holdfast.ExpectVersion(holdfast.Version(*v)))
	}
	done, err := d.cfg.Sender.Send(ctx, r.ref, c, opts...)
	if err != nil {
		return serve.Answer{}, serve.Unsettled(ctx, err, meta.ID)
	}
	receipt, header := serve.NewReceipt(r.name(), done)
	answer := outcome{Receipt: receipt}
	if s, _, err := d.view(ctx, r.ref); err == nil { // what was done is done, whatever can be seen of it
		answer.Status = s.Status
	}
	body, err := serve.Encode(false, nil, answer)
	return serve.Answer{Header: header, Body: body}, err
}

// needs says which members an action's body has beside the reason, and which of them it must
// have.
var needs = map[messages.DeskVerb]struct{ may, must []string }{
	messages.DeskRetry:  {must: []string{"step"}},
	messages.DeskSkip:   {may: []string{"step"}},
	messages.DeskEdit:   {must: []string{"step", "command"}, may: []string{"to"}},
	messages.DeskResume: {},
	messages.DeskCancel: {},
	messages.DeskForce:  {must: []string{"status"}},
}

// readOrder reads the body of an action.
func readOrder(r *request) (o order, err error) {
	need := needs[r.verb]
	all := map[string]serve.Member{
		"step": serve.Text("step", &o.step), "status": serve.Text("status", &o.status), "to": serve.Text("to", &o.to),
		"command": serve.Raw("command", &o.command),
	}
	members := []serve.Member{serve.Text("reason", &o.reason)}
	for _, name := range slices.Concat(need.must, need.may) {
		members = append(members, all[name])
	}
	if err := serve.ReadBody(r.Body, members...); err != nil {
		return o, err
	}
	missing := map[string]bool{
		"step": o.step == "", "status": o.status == "", "command": len(o.command) == 0 || string(o.command) == "null",
	}
	for _, name := range need.must {
		if missing[name] {
			return o, malformed("body: %s: it is missing", name)
		}
	}
	switch {
	case strings.TrimSpace(o.reason) == "":
		return o, malformed("body: reason: it is missing: say why")
	case len(o.reason) > longestReason:
		return o, malformed("body: reason: it has %d bytes, the limit is %d", len(o.reason), longestReason)
	}
	return o, nil
}

// command makes the command of an order.
func (d *Desk) command(ctx context.Context, r *request, o order) (holdfast.Command, error) {
	switch r.verb {
	case messages.DeskRetry:
		return &messages.SagaRetry{Step: o.step, Reason: o.reason}, nil
	case messages.DeskSkip:
		return &messages.SagaSkip{Step: o.step, Reason: o.reason}, nil
	case messages.DeskEdit:
		return d.edit(ctx, r, o)
	case messages.DeskResume:
		return &messages.SagaResume{Reason: o.reason}, nil
	case messages.DeskCancel:
		return &messages.SagaCancel{Reason: o.reason}, nil
	case messages.DeskForce:
		return &messages.SagaForce{Status: o.status, Reason: o.reason}, nil
	default:
		return nil, fmt.Errorf("%s is no action", r.verb)
	}
}

// edit makes the command of an edit: what is sent instead is of the type of what the step
// sends. Whether the step can be edited is the saga's to say.
func (d *Desk) edit(ctx context.Context, r *request, o order) (holdfast.Command, error) {
	s, _, err := d.view(ctx, r.ref)
	if err != nil && holdfast.CodeOf(err) != holdfast.CodeUnknown {
		return nil, err
	}
	edit := &messages.SagaEdit{Step: o.step, Reason: o.reason, To: o.to}
	sends := sent(s, o.step)
	if sends == nil {
		return edit, nil
	}
	c, err := sends.Command.UnmarshalNew()
	if err != nil {
		return nil, malformed("body: command: %q sends a %s, which this node's binary does not know", o.step, name(sends.Command))
	}
	if err := protojson.Unmarshal(o.command, c); err != nil {
		return nil, malformed("body: command: it is not a %s in JSON: %s", proto.MessageName(c), serve.Plain(err))
	}
	if err := d.checkTo(o.to, c); err != nil {
		return nil, malformed("body: to: %w", err)
	}
	edit.Command, err = anypb.New(c)
	return edit, err
}

// sent gives what a step has sent, to do it or to undo it; nil when it has sent nothing.
func sent(s *messages.SagaState, step string) *messages.SagaErrand {
	for _, st := range s.GetSteps() {
		if st.Name != step {
			continue
		}
		for _, r := range []*messages.SagaErrand{st.Undo, st.Do} {
			if r.GetCommand() != nil {
				return r
			}
		}
	}
	return nil
}

// checkTo checks that a command can be sent to where an operator wants it sent.
func (d *Desk) checkTo(to string, c holdfast.Command) error {
	if to == "" {
		return nil
	}
	typ, _, err := messages.ParseRef(to)
	if err != nil {
		return err
	}
	var takes []string
	for _, def := range d.cfg.Book.Types() {
		known, ok := def.NewCommand(string(proto.MessageName(c).Name()))
		if ok && proto.MessageName(known) == proto.MessageName(c) {
			takes = append(takes, def.Name())
		}
	}
	if !slices.Contains(takes, typ) {
		return fmt.Errorf("the type %s takes no %s: there are %s that do", typ, proto.MessageName(c), strings.Join(takes, ", "))
	}
	return nil
}
