package cluster

import (
	"errors"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/actors"
	"github.com/holdfast-run/holdfast/messages"
)

// voidCommand stands for the command that every type takes. No short name has a point.
const voidCommand = "holdfast.v1.Void"

// encodeRequest makes a request what it is between members. It has been stamped.
func encodeRequest(to string, r actors.Request) (*messages.PeerRequest, error) {
	q := &messages.PeerRequest{To: to, Type: r.Ref.Type, Id: []byte(r.Ref.ID)}
	if r.Command == nil {
		return q, nil
	}
	data, err := proto.Marshal(r.Command)
	if err != nil {
		return nil, holdfast.Errorf(holdfast.CodeMalformed, "the command for %s cannot be encoded: %w", r.Ref, err)
	}
	q.Command, q.Data = string(r.Command.ProtoReflect().Descriptor().Name()), data
	if _, void := r.Command.(*messages.Void); void {
		q.Command = voidCommand
	}
	q.CommandId, q.CorrelationId, q.CausationId = r.Meta.ID, r.Meta.CorrelationID, r.Meta.CausationID
	q.User, q.Trace, q.Time = r.Meta.User, r.Meta.Trace, r.Meta.At.UnixNano()
	if !r.Once.IsZero() {
		q.Once = r.Once.UnixNano()
	}
	if r.Expected != nil {
		v := uint64(*r.Expected)
		q.ExpectedVersion = &v
	}
	return q, nil
}

func (m *Member) decodeRequest(q *messages.PeerRequest) (actors.Request, error) {
	r := actors.Request{Ref: holdfast.Ref{Type: q.Type, ID: string(q.Id)}}
	if q.Command == "" {
		return r, nil
	}
	def := m.types[q.Type]
	if def == nil {
		return r, holdfast.Errorf(holdfast.CodeUnknown, "there is no aggregate type %q", q.Type)
	}
	if q.Command == voidCommand {
		r.Command = &messages.Void{}
	} else if c, ok := def.NewCommand(q.Command); ok {
		r.Command = c
	} else {
		return r, holdfast.Errorf(holdfast.CodeUnknown, "type %s knows no command %s", q.Type, q.Command)
	}
	if err := proto.Unmarshal(q.Data, r.Command); err != nil {
		return r, holdfast.Errorf(holdfast.CodeMalformed, "the command for %s cannot be decoded: %w", r.Ref, err)
	}
	r.Meta = holdfast.Meta{
		ID: q.CommandId, CorrelationID: q.CorrelationId, CausationID: q.CausationId, User: q.User, Trace: q.Trace,
		At: time.Unix(0, q.Time),
	}
	if q.Once != 0 {
		r.Once = time.Unix(0, q.Once)
	}
	if q.ExpectedVersion != nil {
		v := holdfast.Version(*q.ExpectedVersion)
		r.Expected = &v
	}
	return r, m.stamp(&r.Meta)
}

func encodeAnswer(r actors.Request, a actors.Answer) *messages.PeerAnswer {
	if r.Command != nil {
		return &messages.PeerAnswer{
			Version: uint64(a.Receipt.Version), Partition: a.Receipt.Position.Partition(), Sequence: a.Receipt.Position.Sequence(),
			Events: a.Receipt.Events, Duplicate: a.Receipt.Duplicate,
		}
	}
	state, err := proto.Marshal(a.View.State)
	if err != nil {
		return &messages.PeerAnswer{Error: encodeError(holdfast.Errorf(holdfast.CodeInternal, "the state of %s cannot be encoded: %w", r.Ref, err))}
	}
	return &messages.PeerAnswer{
		Version: uint64(a.View.Version), Partition: a.View.Position.Partition(), Sequence: a.View.Position.Sequence(),
		Time: a.View.Time.UnixNano(), State: state,
	}
}

func (m *Member) decodeAnswer(r actors.Request, p *messages.PeerAnswer) (a actors.Answer, err error) {
	if p.Error != nil {
		return a, decodeError(p.Error)
	}
	version, position := holdfast.Version(p.Version), holdfast.NewPosition(p.Partition, p.Sequence)
	if r.Command != nil {
		a.Receipt = holdfast.Receipt{Version: version, Position: position, Events: p.Events, Duplicate: p.Duplicate}
		return a, nil
	}
	a.View = holdfast.View{Ref: r.Ref, Version: version, Position: position, Time: time.Unix(0, p.Time).UTC()}
	def := m.types[r.Ref.Type]
	if def == nil || def.NewSaved() == nil {
		return a, nil
	}
	a.View.State = def.NewSaved()
	if err := proto.Unmarshal(p.State, a.View.State); err != nil {
		return a, holdfast.Errorf(holdfast.CodeInternal, "the state of %s cannot be decoded: %w", r.Ref, err)
	}
	return a, nil
}

func encodeError(err error) *messages.PeerError {
	e := &messages.PeerError{Code: string(holdfast.CodeOf(err)), Message: err.Error()}
	if no, ok := errors.AsType[*holdfast.Rejection](err); ok {
		e.Reason, e.Message = utf8(no.Reason), no.Message
	} else if known, ok := errors.AsType[*holdfast.Error](err); ok {
		e.Message = known.Message
		// What is uncertain for having moved must not be sent again as if nothing had happened.
		e.Moved = known.Code == holdfast.CodeUnavailable && errors.Is(err, errMoved)
	}
	e.Message = utf8(e.Message)
	return e
}

// utf8 makes text of s, which may name an id of any bytes: protobuf refuses what is none.
func utf8(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func decodeError(p *messages.PeerError) error {
	switch {
	case p.Code == string(holdfast.CodeRejected):
		return &holdfast.Rejection{Reason: p.Reason, Message: p.Message}
	case p.Moved:
		return moved("%s", p.Message)
	}
	return holdfast.Errorf(holdfast.Code(p.Code), "%s", p.Message)
}
