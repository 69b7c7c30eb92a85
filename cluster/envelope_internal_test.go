package cluster

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/actors"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/messages"
)

// plainState has no snapshot, and so nothing to show.
type plainState struct{}

func (plainState) open(*bankpb.OpenAccount) (holdfast.Events, error) { return nil, nil }

var plain = holdfast.Define("plain", holdfast.Decide(plainState.open))

func bare() *Member {
	return &Member{
		types:  map[string]holdfast.Definition{"account": bank.Account, "plain": plain},
		config: Config{NewID: func() string { return "made" }, Now: func() time.Time { return noon }},
	}
}

// over takes a message over the wire.
func over[M proto.Message](t *testing.T, m M) M {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatalf("%v cannot be sent: %v", m, err)
	}
	got := m.ProtoReflect().New().Interface()
	if err := proto.Unmarshal(data, got); err != nil {
		t.Fatal(err)
	}
	return got.(M)
}

func TestEnvelopeOfRequests(t *testing.T) {
	none, seven := holdfast.Version(0), holdfast.Version(7)
	meta := holdfast.Meta{ID: "one", CorrelationID: "two", CausationID: "three", User: "grace", Trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", At: noon.Add(123456789)}
	least := holdfast.Meta{ID: "one", CorrelationID: "one", At: time.Unix(0, -1)}
	for name, r := range map[string]actors.Request{
		"all":              {Ref: ada, Command: &bankpb.Deposit{Amount: 7}, Delivery: holdfast.Delivery{Meta: meta, Expected: &seven, Once: meta.At}},
		"little":           {Ref: ada, Command: &bankpb.Deposit{Amount: 7}, Delivery: holdfast.Delivery{Meta: least}},
		"nothing before":   {Ref: ada, Command: &bankpb.OpenAccount{Owner: "Ada"}, Delivery: holdfast.Delivery{Meta: meta, Expected: &none}},
		"an empty command": {Ref: ada, Command: &bankpb.CloseAccount{}, Delivery: holdfast.Delivery{Meta: meta}},
		"an id of bytes":   {Ref: holdfast.Ref{Type: "account", ID: "\xff/\x00é"}, Command: &bankpb.CloseAccount{}, Delivery: holdfast.Delivery{Meta: meta}},
		"a query":          {Ref: holdfast.Ref{Type: "account", ID: "\xff/\x00é"}},
	} {
		q, err := encodeRequest("N2", r)
		if err != nil || q.To != "N2" {
			t.Fatalf("%s: %v, %v", name, q, err)
		}
		got, err := bare().decodeRequest(over(t, q))
		if err != nil || got.Ref != r.Ref || (got.Command == nil) != (r.Command == nil) || r.Command != nil && !proto.Equal(got.Command, r.Command) {
			t.Errorf("%s: got %v, want %v: %v", name, got, r, err)
		}
		if !got.Once.Equal(r.Once) {
			t.Errorf("%s: once since %v, want %v", name, got.Once, r.Once)
		}
		if (got.Expected == nil) != (r.Expected == nil) || r.Expected != nil && *got.Expected != *r.Expected {
			t.Errorf("%s: the expected version is %v, want %v", name, got.Expected, r.Expected)
		}
		at := got.Meta.At
		if got.Meta.At = r.Meta.At; !at.Equal(r.Meta.At) || got.Meta != r.Meta {
			t.Errorf("%s: got %v at %v, want %v", name, got.Meta, at, r.Meta)
		}
	}
}

func TestEnvelopeRefusesRequests(t *testing.T) {
	ok := func() *messages.PeerRequest {
		return &messages.PeerRequest{Type: "account", Id: []byte("ada"), Command: "Deposit", Data: []byte{8, 7}, CommandId: "one", Time: noon.UnixNano()}
	}
	for name, c := range map[string]struct {
		change func(*messages.PeerRequest)
		want   error
	}{
		"unknown type":    {func(q *messages.PeerRequest) { q.Type = "x" }, holdfast.ErrUnknown},
		"unknown command": {func(q *messages.PeerRequest) { q.Command = "Deposited" }, holdfast.ErrUnknown},
		"garbled":         {func(q *messages.PeerRequest) { q.Data = []byte{0xff} }, holdfast.ErrMalformed},
		"bad id":          {func(q *messages.PeerRequest) { q.CommandId = "a b" }, holdfast.ErrMalformed},
		"bad user":        {func(q *messages.PeerRequest) { q.User = "a\x00" }, holdfast.ErrMalformed},
	} {
		q := ok()
		c.change(q)
		if _, err := bare().decodeRequest(q); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	if r, err := bare().decodeRequest(ok()); err != nil || r.Meta.CorrelationID != "one" || r.Command.(*bankpb.Deposit).Amount != 7 {
		t.Errorf("got %v, %v", r, err)
	}
	bad := actors.Request{Ref: ada, Command: &bankpb.OpenAccount{Owner: "\xff"}}
	if _, err := encodeRequest("N2", bad); !errors.Is(err, holdfast.ErrMalformed) {
		t.Errorf("a command that cannot be encoded: got %v, want malformed", err)
	}
}

func TestEnvelopeOfAnswers(t *testing.T) {
	position := holdfast.NewPosition(1023, 1<<40)
	command := actors.Request{Ref: ada, Command: &bankpb.CloseAccount{}}
	for _, want := range []holdfast.Receipt{
		{Version: 7, Position: position, Events: []string{"bank.v1.Deposited", "bank.v1.Withdrawn"}},
		{Version: 7, Position: position, Duplicate: true},
		{},
	} {
		got, err := bare().decodeAnswer(command, over(t, encodeAnswer(command, actors.Answer{Receipt: want})))
		if err != nil || fmt.Sprintf("%#v", got.Receipt) != fmt.Sprintf("%#v", want) {
			t.Errorf("got %#v, want %#v: %v", got.Receipt, want, err)
		}
	}
	for _, want := range []holdfast.View{
		{Ref: ada, Version: 7, Position: position, Time: noon.Add(1), State: &bankpb.Account{Owner: "Ada", Balance: -7, Open: true}},
		{Ref: ada, Version: 1, Position: position, Time: time.Unix(0, -1).UTC(), State: &bankpb.Account{}},
		{Ref: holdfast.Ref{Type: "plain", ID: "\xff"}, Version: 1, Position: position, Time: noon},
	} {
		query := actors.Request{Ref: want.Ref}
		got, err := bare().decodeAnswer(query, over(t, encodeAnswer(query, actors.Answer{View: want})))
		if err != nil || !proto.Equal(got.View.State, want.State) || (got.View.State == nil) != (want.State == nil) {
			t.Errorf("got the state %v, want %v: %v", got.View.State, want.State, err)
		}
		if got.View.State = want.State; got.View != want {
			t.Errorf("got %v, want %v", got.View, want)
		}
	}
	query := actors.Request{Ref: ada}
	if _, err := bare().decodeAnswer(query, &messages.PeerAnswer{State: []byte{0xff}}); !errors.Is(err, holdfast.ErrInternal) {
		t.Errorf("a state that cannot be decoded: got %v, want internal", err)
	}
	bad := encodeAnswer(query, actors.Answer{View: holdfast.View{State: &bankpb.Account{Owner: "\xff"}}})
	if _, err := bare().decodeAnswer(query, over(t, bad)); !errors.Is(err, holdfast.ErrInternal) {
		t.Errorf("a state that cannot be encoded: got %v, want internal", err)
	}
}

func TestEnvelopeOfErrors(t *testing.T) {
	uncertain := holdfast.Errorf(holdfast.CodeUncertain, "perhaps: %w", moved("%s has moved", ada))
	cases := map[string]struct {
		err   error
		text  string
		moved bool
	}{
		"moved":                    {moved("%s has moved", ada), "unavailable: account/ada has moved", true},
		"moved, wrapped":           {fmt.Errorf("call: %w", moved("gone")), "unavailable: gone", true},
		"moved, and uncertain":     {uncertain, "uncertain: perhaps: unavailable: account/ada has moved", false},
		"unavailable":              {holdfast.Errorf(holdfast.CodeUnavailable, "the node is stopping"), "unavailable: the node is stopping", false},
		"a bug":                    {errors.New("index out of range"), "internal: index out of range", false},
		"an id of bytes":           {moved("%s has moved", holdfast.Ref{Type: "account", ID: "\xffx"}), "unavailable: account/\uFFFDx has moved", true},
		"rejected":                 {holdfast.Reject("insufficient_funds", "the balance is %d", 7), "insufficient_funds: the balance is 7", false},
		"rejected, wrapped":        {fmt.Errorf("decide: %w", holdfast.Reject("closed", "it stays so")), "closed: it stays so", false},
		"rejected, with any bytes": {holdfast.Reject("closed", "it is \xff"), "closed: it is \uFFFD", false},
	}
	for _, known := range []*holdfast.Error{
		holdfast.ErrMalformed, holdfast.ErrUnknown, holdfast.ErrConflict, holdfast.ErrTooLarge, holdfast.ErrOverloaded,
		holdfast.ErrUnavailable, holdfast.ErrUncertain, holdfast.ErrCorrupt, holdfast.ErrInternal,
	} {
		c := cases[string(known.Code)]
		c.err, c.text = holdfast.Errorf(known.Code, "for 100%% %w", errors.New("a cause")), string(known.Code)+": for 100% a cause"
		cases["code "+string(known.Code)] = c
	}
	for name, c := range cases {
		got := decodeError(over(t, encodeError(c.err)))
		if got.Error() != c.text || holdfast.CodeOf(got) != holdfast.CodeOf(c.err) || errors.Is(got, errMoved) != c.moved {
			t.Errorf("%s: got %v (moved: %v), want %s", name, got, errors.Is(got, errMoved), c.text)
		}
		_, err := bare().decodeAnswer(actors.Request{Ref: ada}, &messages.PeerAnswer{Error: encodeError(c.err), Version: 7})
		if err == nil || err.Error() != c.text {
			t.Errorf("%s: got %v in an answer, want %s", name, err, c.text)
		}
	}
	var no *holdfast.Rejection
	if err := decodeError(encodeError(cases["rejected"].err)); !errors.As(err, &no) || !no.Valid() || no.Reason != "insufficient_funds" {
		t.Errorf("got %v, want a rejection", err)
	}
}
