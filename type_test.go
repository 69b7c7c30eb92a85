package holdfast_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	pb "github.com/holdfast-run/holdfast/examples/bank/bankpb"
	coopv1 "github.com/holdfast-run/holdfast/examples/coop/coopv1pb"
	coopv2 "github.com/holdfast-run/holdfast/examples/coop/coopv2pb"
)

func TestWhatATypeKnows(t *testing.T) {
	t.Parallel()
	def := holdfast.Define("purse",
		holdfast.Decide(func(purse, *pb.Withdraw) (events, error) { return nil, nil }),
		holdfast.Decide(deposit),
		holdfast.Evolve(withdrawn),
		holdfast.Evolve(deposited),
		holdfast.Upcast[purse](func(*coopv1.PaymentReceived) events { return nil }),
		holdfast.Recorded[purse]("bank.v1.Deposited CGQ= {}\ncoop.v1.PaymentReceived - {}"),
	)
	if got, want := def.Commands(), []string{"Deposit", "Withdraw"}; !slices.Equal(got, want) {
		t.Errorf("commands %q, want %q", got, want)
	}
	if got, want := def.Events(), []string{"bank.v1.Deposited", "bank.v1.Withdrawn", "coop.v1.PaymentReceived"}; !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
	if c, ok := def.NewCommand("Deposit"); !ok || proto.MessageName(c) != "bank.v1.Deposit" {
		t.Errorf("NewCommand(Deposit) gave %T, %t", c, ok)
	}
	if c, ok := def.NewCommand("bank.v1.Deposit"); ok {
		t.Errorf("NewCommand took a full name and gave %T", c)
	}
	if e, ok := def.NewEvent("coop.v1.PaymentReceived"); !ok || proto.MessageName(e) != "coop.v1.PaymentReceived" {
		t.Errorf("NewEvent of a retired event gave %T, %t", e, ok)
	}
	if e, ok := def.NewEvent("Deposited"); ok {
		t.Errorf("NewEvent took a short name and gave %T", e)
	}
	if def.Zero() != (purse{}) {
		t.Errorf("the zero state is %v", def.Zero())
	}
	if def.NewSaved() != nil || def.Save(purse{}) != nil || def.Fingerprint() != "" {
		t.Error("a type without a Snapshot has something to save")
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	no := holdfast.Reject("no", "not today")
	var none *pb.Deposited
	def := holdfast.Define("purse",
		holdfast.DecideMeta(func(s purse, c *pb.Deposit, m holdfast.Meta) (events, error) {
			return events{&pb.Deposited{Amount: s.worth + c.Amount}, &pb.Deposited{Amount: int64(m.At.Year())}}, nil
		}),
		holdfast.Decide(func(purse, *pb.Withdraw) (events, error) { return events{&pb.Deposited{}}, no }),
		holdfast.Decide(func(purse, *pb.CloseAccount) (events, error) { return nil, nil }),
		holdfast.Decide(func(purse, *pb.OpenAccount) (events, error) { return events{&pb.Deposited{}, nil}, nil }),
		holdfast.Decide(func(purse, *coopv1.LockPortal) (events, error) { return events{none}, nil }),
		holdfast.Decide(func(purse, *coopv1.AddChild) (events, error) { return events{&coopv1.ChildAdded{}}, nil }),
		holdfast.Decide(func(purse, *coopv1.ReceivePayment) (events, error) { return events{&coopv1.PaymentReceived{}}, nil }),
		holdfast.Evolve(deposited),
		holdfast.Upcast[purse](func(*coopv1.PaymentReceived) events { return nil }),
	)
	meta := holdfast.Meta{At: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}

	decided, err := def.Decide(purse{worth: 1}, &pb.Deposit{Amount: 2}, meta)
	if err != nil || len(decided) != 2 || decided[0].(*pb.Deposited).Amount != 3 || decided[1].(*pb.Deposited).Amount != 2026 {
		t.Errorf("decided %v, %v", decided, err)
	}
	if decided, err := def.Decide(purse{}, &pb.Withdraw{}, meta); decided != nil || err != no { //nolint:errorlint // the very error comes back
		t.Errorf("a rejection came back as %v, %v", decided, err)
	}
	if decided, err := def.Decide(purse{}, &pb.CloseAccount{}, meta); decided != nil || err != nil {
		t.Errorf("nothing to do came back as %v, %v", decided, err)
	}
	for _, tt := range []struct {
		command holdfast.Command
		code    holdfast.Code
		want    string
	}{
		{&coopv1.LockPortal{}, holdfast.CodeInternal, "the decision on LockPortal returned a nil event"},
		{&pb.OpenAccount{}, holdfast.CodeInternal, "the decision on OpenAccount returned a nil event"},
		{&coopv1.AddChild{}, holdfast.CodeInternal, "the decision on AddChild returned the event coop.v1.ChildAdded, which has no Evolve"},
		{&coopv1.ReceivePayment{}, holdfast.CodeInternal, "the decision on ReceivePayment returned the event coop.v1.PaymentReceived, which has no Evolve"},
		{&coopv1.EnrollFamily{}, holdfast.CodeUnknown, "unknown: type purse knows no command coop.v1.EnrollFamily"},
	} {
		if decided, err := def.Decide(purse{}, tt.command, meta); decided != nil || err == nil || err.Error() != tt.want || holdfast.CodeOf(err) != tt.code {
			t.Errorf("decided %v, %v (%s), want %s (%s)", decided, err, holdfast.CodeOf(err), tt.want, tt.code)
		}
	}
}

// A command of the right short name from another package is not the command.
func TestDecideTakesTheFullNameForTheCommand(t *testing.T) {
	t.Parallel()
	def := holdfast.Define("purse",
		holdfast.Decide(func(purse, *coopv1.PaymentReceived) (events, error) { return nil, nil }),
	)
	if _, err := def.Decide(purse{}, &coopv2.PaymentReceived{}, holdfast.Meta{}); !errors.Is(err, holdfast.ErrUnknown) {
		t.Errorf("a command of coop.v2 was taken for that of coop.v1: %v", err)
	}
}

// chained reads a transfer of the first years as what became of it: three events, one of
// which is retired in turn.
func chained() *holdfast.Type[purse] {
	return holdfast.Define("purse",
		holdfast.Evolve(deposited),
		holdfast.Evolve(withdrawn),
		holdfast.Upcast[purse](func(e *coopv1.PaymentReceived) events {
			return events{&pb.Deposited{Amount: e.Amount}, &coopv2.PaymentReceived{Amount: e.Amount / 10, Method: e.Date}, &pb.Deposited{Amount: 1}}
		}),
		holdfast.Upcast[purse](func(e *coopv2.PaymentReceived) events {
			switch e.Method {
			case "gift":
				return nil
			case "loop":
				return events{e}
			case "nil":
				return events{nil}
			case "lost":
				return events{&pb.AccountClosed{}}
			}
			return events{&pb.Withdrawn{Amount: e.Amount}, &pb.Withdrawn{Amount: e.Amount + 1}}
		}),
	)
}

func TestUpcastIntoSeveral(t *testing.T) {
	t.Parallel()
	def := chained()
	old := &coopv1.PaymentReceived{Amount: 100}
	state, err := def.Apply(purse{worth: 1000}, old)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := state.(purse), (purse{worth: 1080, told: " deposited 100 withdrawn 10 withdrawn 11 deposited 1"}); got != want {
		t.Errorf("the state is %v, want %v", got, want)
	}
	newest, err := def.Upcast(old)
	if err != nil {
		t.Fatal(err)
	}
	want := events{&pb.Deposited{Amount: 100}, &pb.Withdrawn{Amount: 10}, &pb.Withdrawn{Amount: 11}, &pb.Deposited{Amount: 1}}
	if !slices.EqualFunc(newest, want, proto.Equal) {
		t.Errorf("upcast to %v, want %v", newest, want)
	}
	current := &pb.Deposited{Amount: 7}
	if newest, err := def.Upcast(current); err != nil || len(newest) != 1 || newest[0] != holdfast.Event(current) {
		t.Errorf("an event that is not retired was upcast to %v, %v", newest, err)
	}
}

func TestUpcastToNothing(t *testing.T) {
	t.Parallel()
	def := chained()
	gift := &coopv2.PaymentReceived{Amount: 100, Method: "gift"}
	if newest, err := def.Upcast(gift); err != nil || len(newest) != 0 {
		t.Errorf("upcast to %v, %v", newest, err)
	}
	if state, err := def.Apply(purse{worth: 5}, gift); err != nil || state != (purse{worth: 5}) {
		t.Errorf("the state is %v, %v", state, err)
	}
}

// What only a full message shows is an error when it comes to it, never an endless loop.
func TestUpcastThatAFullMessageLeadsAstray(t *testing.T) {
	t.Parallel()
	def := chained()
	var none *pb.Deposited
	for _, tt := range []struct {
		event holdfast.Event
		want  string
	}{
		{&coopv1.PaymentReceived{Date: "loop"}, "type purse: the upcasts of the event coop.v2.PaymentReceived do not end"},
		{&coopv1.PaymentReceived{Date: "nil"}, "type purse: an upcaster returned a nil event"},
		{&coopv1.PaymentReceived{Date: "lost"}, "type purse has neither Evolve nor Upcast for the event bank.v1.AccountClosed"},
		{&pb.AccountClosed{}, "type purse has neither Evolve nor Upcast for the event bank.v1.AccountClosed"},
		{none, "type purse: an upcaster returned a nil event"},
	} {
		if state, err := def.Apply(purse{}, tt.event); err == nil || err.Error() != tt.want {
			t.Errorf("applied to %v, %v; want %s", state, err, tt.want)
		}
		if newest, err := def.Upcast(tt.event); newest != nil || err == nil || err.Error() != tt.want {
			t.Errorf("upcast to %v, %v; want %s", newest, err, tt.want)
		}
	}
}

// The longest chain that a definition can have comes to its end.
func TestUpcastOfTheLongestChain(t *testing.T) {
	t.Parallel()
	def := holdfast.Define("purse",
		holdfast.Upcast[purse](func(*pb.AccountOpened) events { return events{&pb.AccountClosed{}} }),
		holdfast.Upcast[purse](func(*pb.AccountClosed) events { return events{&pb.Withdrawn{}} }),
		holdfast.Upcast[purse](func(*pb.Withdrawn) events { return events{&pb.Deposited{Amount: 3}} }),
		holdfast.Evolve(deposited),
	)
	if state, err := def.Apply(purse{}, &pb.AccountOpened{}); err != nil || state.(purse).worth != 3 {
		t.Errorf("the state is %v, %v", state, err)
	}
}

func TestSaveAndLoad(t *testing.T) {
	t.Parallel()
	def := holdfast.Define("purse", holdfast.Evolve(deposited), holdfast.Snapshot(save, load))
	saved := def.Save(purse{worth: 7, told: "so"})
	if want := (&pb.Account{Balance: 7, Owner: "so"}); !proto.Equal(saved, want) {
		t.Errorf("saved %v, want %v", saved, want)
	}
	if got := def.Load(saved); got != (purse{worth: 7, told: "so"}) {
		t.Errorf("loaded %v", got)
	}
	if empty := def.NewSaved(); proto.MessageName(empty) != "bank.v1.Account" || proto.Size(empty) != 0 || empty == def.NewSaved() {
		t.Errorf("NewSaved gave %v", empty)
	}
}

func TestSnapshotDue(t *testing.T) {
	t.Parallel()
	define := func(parts ...part) *holdfast.Type[purse] {
		return holdfast.Define("purse", append(parts, holdfast.Evolve(deposited))...)
	}
	rich := holdfast.SnapshotWhen(func(s purse) bool { return s.worth > 100 })
	kept := holdfast.Snapshot(save, load)
	for _, tt := range []struct {
		name   string
		def    holdfast.Definition
		worth  int64
		events int
		want   bool
	}{
		{"no snapshots", define(), 1000, 1000, false},
		{"by default, early", define(kept), 0, holdfast.DefaultSnapshotEvery - 1, false},
		{"by default", define(kept), 0, holdfast.DefaultSnapshotEvery, true},
		{"of ten, early", define(holdfast.SnapshotEvery[purse](10), kept), 0, 9, false},
		{"of ten", define(kept, holdfast.SnapshotEvery[purse](10)), 0, 10, true},
		{"of ten, late", define(kept, holdfast.SnapshotEvery[purse](10)), 0, 11, true},
		{"never by count", define(kept, holdfast.SnapshotEvery[purse](0)), 0, 1 << 40, false},
		{"when rich", define(kept, holdfast.SnapshotEvery[purse](0), rich), 101, 1, true},
		{"when poor", define(kept, holdfast.SnapshotEvery[purse](0), rich), 100, 1, false},
		{"when poor, by count", define(kept, holdfast.SnapshotEvery[purse](5), rich), 100, 5, true},
		{"when rich, of nothing new", define(kept, rich), 101, 0, false},
	} {
		if got := tt.def.SnapshotDue(purse{worth: tt.worth}, tt.events); got != tt.want {
			t.Errorf("%s: due is %t", tt.name, got)
		}
	}
}

func TestPanicOfTheDomainPasses(t *testing.T) {
	t.Parallel()
	def := holdfast.Define("purse",
		holdfast.Evolve(func(purse, *pb.Deposited) purse { panic("a bug of the domain") }),
	)
	defer func() {
		if r, _ := recover().(string); !strings.Contains(r, "a bug of the domain") {
			t.Errorf("recovered %q", r)
		}
	}()
	_, err := def.Apply(purse{}, &pb.Deposited{})
	t.Errorf("no panic, but %v", err)
}
