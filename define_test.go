package holdfast_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	pb "github.com/holdfast-run/holdfast/examples/bank/bankpb"
	coopv1 "github.com/holdfast-run/holdfast/examples/coop/coopv1pb"
	coopv2 "github.com/holdfast-run/holdfast/examples/coop/coopv2pb"
)

// purse is a state of a few words.
type purse struct {
	worth int64
	told  string
}

type (
	part   = holdfast.Part[purse]
	events = holdfast.Events
)

func deposit(_ purse, c *pb.Deposit) (events, error) {
	return events{&pb.Deposited{Amount: c.Amount}}, nil
}

func deposited(s purse, e *pb.Deposited) purse {
	s.worth += e.Amount
	s.told += fmt.Sprintf(" deposited %d", e.Amount)
	return s
}

func withdrawn(s purse, e *pb.Withdrawn) purse {
	s.worth -= e.Amount
	s.told += fmt.Sprintf(" withdrawn %d", e.Amount)
	return s
}

func save(s purse) *pb.Account { return &pb.Account{Balance: s.worth, Owner: s.told} }

func load(p *pb.Account) purse { return purse{worth: p.Balance, told: p.Owner} }

var place = regexp.MustCompile(`define_test\.go:(\d+)`)

// complaint gives the sentence with which a definition panics, each place in it replaced
// by what stands there in this file.
func complaint(t *testing.T, define func()) (said string) {
	t.Helper()
	source, err := os.ReadFile("define_test.go")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(source), "\n")
	defer func() {
		r := recover()
		said, _ = r.(string)
		if said == "" {
			t.Fatalf("it panicked with %v, want a sentence", r)
		}
		said = place.ReplaceAllStringFunc(said, func(p string) string {
			n, _ := strconv.Atoi(place.FindStringSubmatch(p)[1])
			return "«" + strings.TrimSuffix(strings.TrimSpace(lines[n-1]), ",") + "»"
		})
	}()
	define()
	return ""
}

// wrongParts is a definition of a purse that must panic.
type wrongParts struct {
	name  string
	parts []part
	want  string
}

func checkComplaints(t *testing.T, cases []wrongParts) {
	t.Helper()
	t.Parallel()
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := complaint(t, func() { holdfast.Define("purse", tt.parts...) })
			want := `holdfast: type "purse" (defined at «got := complaint(t, func() { holdfast.Define("purse", tt.parts...) })»): ` + tt.want
			if got != want {
				t.Errorf("Define said\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestTwoHandlersOfOneMessage(t *testing.T) {
	checkComplaints(t, []wrongParts{
		{"one command", []part{
			holdfast.Decide(deposit),
			holdfast.DecideMeta(func(purse, *pb.Deposit, holdfast.Meta) (events, error) { return nil, nil }),
		}, `DecideMeta(*bankpb.Deposit) at «holdfast.DecideMeta(func(purse, *pb.Deposit, holdfast.Meta) (events, error) { return nil, nil })»: ` +
			`the command Deposit is decided already, at «holdfast.Decide(deposit)»`},
		{"two commands of one short name", []part{
			holdfast.Decide(func(purse, *coopv1.PaymentReceived) (events, error) { return nil, nil }),
			holdfast.Decide(func(purse, *coopv2.PaymentReceived) (events, error) { return nil, nil }),
		}, `Decide(*coopv2pb.PaymentReceived) at «holdfast.Decide(func(purse, *coopv2.PaymentReceived) (events, error) { return nil, nil })»: ` +
			`the command PaymentReceived is decided already, at «holdfast.Decide(func(purse, *coopv1.PaymentReceived) (events, error) { return nil, nil })»`},
		{"one event", []part{
			holdfast.Evolve(deposited),
			holdfast.Evolve(func(s purse, _ *pb.Deposited) purse { return s }),
		}, `Evolve(*bankpb.Deposited) at «holdfast.Evolve(func(s purse, _ *pb.Deposited) purse { return s })»: ` +
			`the event bank.v1.Deposited has a handler already, at «holdfast.Evolve(deposited)»: an event is either evolved or, once retired, upcast, and by one function`},
		{"an event evolved and upcast", []part{
			holdfast.Evolve(deposited),
			holdfast.Upcast[purse](func(*pb.Deposited) events { return nil }),
		}, `Upcast(*bankpb.Deposited) at «holdfast.Upcast[purse](func(*pb.Deposited) events { return nil })»: ` +
			`the event bank.v1.Deposited has a handler already, at «holdfast.Evolve(deposited)»: an event is either evolved or, once retired, upcast, and by one function`},
		{"two snapshots", []part{
			holdfast.Snapshot(save, load),
			holdfast.Snapshot(func(purse) *pb.Account { return nil }, load),
		}, `Snapshot(*bankpb.Account) at «holdfast.Snapshot(func(purse) *pb.Account { return nil }, load)»: there is a snapshot already, at «holdfast.Snapshot(save, load)»`},
	})
}

func TestNilFunction(t *testing.T) {
	var (
		noDecide     func(purse, *pb.Deposit) (events, error)
		noDecideMeta func(purse, *pb.Deposit, holdfast.Meta) (events, error)
		noEvolve     func(purse, *pb.Deposited) purse
		noUpcast     func(*pb.Deposited) events
		noSave       func(purse) *pb.Account
		noLoad       func(*pb.Account) purse
		noWhen       func(purse) bool
	)
	checkComplaints(t, []wrongParts{
		{"Decide", []part{
			holdfast.Decide(noDecide),
		}, `Decide(*bankpb.Deposit) at «holdfast.Decide(noDecide)»: the function is nil`},
		{"DecideMeta", []part{
			holdfast.DecideMeta(noDecideMeta),
		}, `DecideMeta(*bankpb.Deposit) at «holdfast.DecideMeta(noDecideMeta)»: the function is nil`},
		{"Evolve", []part{
			holdfast.Evolve(noEvolve),
		}, `Evolve(*bankpb.Deposited) at «holdfast.Evolve(noEvolve)»: the function is nil`},
		{"Upcast", []part{
			holdfast.Upcast[purse](noUpcast),
		}, `Upcast(*bankpb.Deposited) at «holdfast.Upcast[purse](noUpcast)»: the function is nil`},
		{"save of a Snapshot", []part{
			holdfast.Snapshot(noSave, load),
		}, `Snapshot(*bankpb.Account) at «holdfast.Snapshot(noSave, load)»: the function is nil`},
		{"load of a Snapshot", []part{
			holdfast.Snapshot(save, noLoad),
		}, `Snapshot(*bankpb.Account) at «holdfast.Snapshot(save, noLoad)»: the function is nil`},
		{"SnapshotWhen", []part{
			holdfast.SnapshotWhen(noWhen),
		}, `SnapshotWhen at «holdfast.SnapshotWhen(noWhen)»: the function is nil`},
	})
}

func TestMessageThatIsAnInterface(t *testing.T) {
	const want = `protoreflect.ProtoMessage is an interface: the function must name one generated message`
	checkComplaints(t, []wrongParts{
		{"Decide", []part{
			holdfast.Decide(func(purse, proto.Message) (events, error) { return nil, nil }),
		}, `Decide(protoreflect.ProtoMessage) at «holdfast.Decide(func(purse, proto.Message) (events, error) { return nil, nil })»: ` + want},
		{"Evolve", []part{
			holdfast.Evolve(func(s purse, _ proto.Message) purse { return s }),
		}, `Evolve(protoreflect.ProtoMessage) at «holdfast.Evolve(func(s purse, _ proto.Message) purse { return s })»: ` + want},
		{"Upcast", []part{
			holdfast.Upcast[purse](func(proto.Message) events { return nil }),
		}, `Upcast(protoreflect.ProtoMessage) at «holdfast.Upcast[purse](func(proto.Message) events { return nil })»: ` + want},
		{"Snapshot", []part{
			holdfast.Snapshot(func(purse) proto.Message { return nil }, func(proto.Message) (s purse) { return s }),
		}, `Snapshot(protoreflect.ProtoMessage) at «holdfast.Snapshot(func(purse) proto.Message { return nil }, func(proto.Message) (s purse) { return s })»: ` + want},
	})
}

func TestUpcastThatDoesNotEnd(t *testing.T) {
	checkComplaints(t, []wrongParts{
		{"at itself", []part{
			holdfast.Upcast[purse](func(e *pb.Deposited) events { return events{e} }),
		}, `the upcasts of bank.v1.Deposited («holdfast.Upcast[purse](func(e *pb.Deposited) events { return events{e} })») → bank.v1.Deposited go round in a circle`},
		{"of two", []part{
			holdfast.Upcast[purse](func(*pb.Deposited) events { return events{&pb.Withdrawn{}} }),
			holdfast.Upcast[purse](func(*pb.Withdrawn) events { return events{&pb.Deposited{}} }),
		}, `the upcasts of bank.v1.Deposited («holdfast.Upcast[purse](func(*pb.Deposited) events { return events{&pb.Withdrawn{}} })»)` +
			` → bank.v1.Withdrawn («holdfast.Upcast[purse](func(*pb.Withdrawn) events { return events{&pb.Deposited{}} })») → bank.v1.Deposited go round in a circle`},
		{"of three, in the second successor", []part{
			holdfast.Evolve(func(s purse, _ *pb.AccountClosed) purse { return s }),
			holdfast.Upcast[purse](func(*pb.AccountOpened) events { return events{&pb.AccountClosed{}, &pb.Deposited{}} }),
			holdfast.Upcast[purse](func(*pb.Deposited) events { return events{&pb.Withdrawn{}} }),
			holdfast.Upcast[purse](func(*pb.Withdrawn) events { return events{&pb.AccountClosed{}, &pb.AccountOpened{}} }),
		}, `the upcasts of bank.v1.AccountOpened («holdfast.Upcast[purse](func(*pb.AccountOpened) events { return events{&pb.AccountClosed{}, &pb.Deposited{}} })»)` +
			` → bank.v1.Deposited («holdfast.Upcast[purse](func(*pb.Deposited) events { return events{&pb.Withdrawn{}} })»)` +
			` → bank.v1.Withdrawn («holdfast.Upcast[purse](func(*pb.Withdrawn) events { return events{&pb.AccountClosed{}, &pb.AccountOpened{}} })») → bank.v1.AccountOpened go round in a circle`},
		{"in a dead end", []part{
			holdfast.Upcast[purse](func(*pb.Deposited) events { return events{&pb.Withdrawn{}} }),
			holdfast.Upcast[purse](func(*pb.Withdrawn) events { return events{&pb.AccountClosed{}} }),
		}, `the upcast of bank.v1.Deposited («holdfast.Upcast[purse](func(*pb.Deposited) events { return events{&pb.Withdrawn{}} })»)` +
			` → bank.v1.Withdrawn («holdfast.Upcast[purse](func(*pb.Withdrawn) events { return events{&pb.AccountClosed{}} })»)` +
			` ends at bank.v1.AccountClosed, which has neither Evolve nor Upcast`},
	})
}

func TestUpcastThatFails(t *testing.T) {
	var none *pb.Deposited
	checkComplaints(t, []wrongParts{
		{"it panics", []part{
			holdfast.Upcast[purse](func(*pb.Deposited) events { panic("no amount") }),
		}, `the upcast of bank.v1.Deposited («holdfast.Upcast[purse](func(*pb.Deposited) events { panic("no amount") })») panics on an empty message: no amount`},
		{"it returns nil as an event", []part{
			holdfast.Upcast[purse](func(*pb.Deposited) events { return events{nil} }),
		}, `the upcast of bank.v1.Deposited («holdfast.Upcast[purse](func(*pb.Deposited) events { return events{nil} })») returns a nil event`},
		{"it returns a nil message", []part{
			holdfast.Upcast[purse](func(*pb.Withdrawn) events { return events{none} }),
		}, `the upcast of bank.v1.Withdrawn («holdfast.Upcast[purse](func(*pb.Withdrawn) events { return events{none} })») returns a nil event`},
	})
}

func TestPartsThatMakeNoWhole(t *testing.T) {
	checkComplaints(t, []wrongParts{
		{"none at all", nil, `it has neither a Decide nor an Evolve`},
		{"no handler", []part{holdfast.Snapshot(save, load)}, `it has neither a Decide nor an Evolve`},
		{"an empty one", []part{{}}, `an empty part was given: make parts with Decide, Evolve and their companions`},
		{"recorded event that nobody reads", []part{
			holdfast.Evolve(deposited),
			holdfast.Recorded[purse]("# a comment\n\nbank.v1.Deposited CGQ=\n  bank.v1.Credited CGQ=\n"),
		}, `Recorded at «holdfast.Recorded[purse]("# a comment\n\nbank.v1.Deposited CGQ=\n  bank.v1.Credited CGQ=\n")»: the log may hold bank.v1.Credited, which has neither Evolve nor Upcast`},
		{"snapshots at a negative count", []part{
			holdfast.SnapshotEvery[purse](-1),
		}, `SnapshotEvery at «holdfast.SnapshotEvery[purse](-1)»: -1 is negative`},
		{"SnapshotEvery without a Snapshot", []part{
			holdfast.Evolve(deposited),
			holdfast.SnapshotEvery[purse](10),
		}, `SnapshotEvery at «holdfast.SnapshotEvery[purse](10)»: there is no Snapshot`},
		{"SnapshotWhen without a Snapshot", []part{
			holdfast.Evolve(deposited),
			holdfast.SnapshotWhen(func(purse) bool { return true }),
		}, `SnapshotWhen at «holdfast.SnapshotWhen(func(purse) bool { return true })»: there is no Snapshot`},
		{"Revision without a Snapshot", []part{
			holdfast.Evolve(deposited),
			holdfast.Revision[purse](2),
		}, `Revision at «holdfast.Revision[purse](2)»: there is no Snapshot`},
	})
}

func TestName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "Account", "1st", "-a", "_a", "a b", "a.b", "a/b", "a*", "konto_ä", "a\n", strings.Repeat("a", 65)} {
		got := complaint(t, func() {
			holdfast.Define(name, holdfast.Evolve(deposited))
		})
		want := fmt.Sprintf(`holdfast: type %q (defined at «holdfast.Define(name, holdfast.Evolve(deposited))»): `+
			`bad name: want a small letter, then small letters, digits, '-' and '_', 64 at most`, name)
		if got != want {
			t.Errorf("Define said\n%s\nwant\n%s", got, want)
		}
	}
	for _, name := range []string{"a", "account", "stock-item_2", strings.Repeat("a", 64)} {
		if got := holdfast.Define(name, holdfast.Evolve(deposited)).Name(); got != name {
			t.Errorf("the type %q is named %q", name, got)
		}
	}
}

// defineOf defines a type whose state is S, which must panic.
func defineOf[S any](t *testing.T) string {
	t.Helper()
	return complaint(t, func() {
		holdfast.Define("purse", holdfast.Evolve(func(s S, _ *pb.Deposited) S { return s }))
	})
}

func TestStateThatIsNoValue(t *testing.T) {
	t.Parallel()
	for kind, got := range map[string]string{
		"*holdfast_test.purse is a ptr": defineOf[*purse](t),
		"map[string]int is a map":       defineOf[map[string]int](t),
		"[]int is a slice":              defineOf[[]int](t),
		"chan int is a chan":            defineOf[chan int](t),
		"func() is a func":              defineOf[func()](t),
		"interface {} is a interface":   defineOf[any](t),
	} {
		want := `holdfast: type "purse" (defined at «holdfast.Define("purse", holdfast.Evolve(func(s S, _ *pb.Deposited) S { return s }))»): ` +
			`the state ` + kind + `: the state must be a value whose zero value means that nothing has happened`
		if got != want {
			t.Errorf("Define said\n%s\nwant\n%s", got, want)
		}
	}
}
