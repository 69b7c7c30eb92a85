package desk_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/actors"
	"github.com/holdfast-run/holdfast/cluster"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/examples/shop"
	pb "github.com/holdfast-run/holdfast/examples/shop/shoppb"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
	"github.com/holdfast-run/holdfast/sagas"
	"github.com/holdfast-run/holdfast/sagas/desk"
)

// patient is how long anything may take on a machine that is busy.
const patient = time.Minute

var dawn = time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// nagging is a saga of reactions: it reminds somebody every hour, until money has come.
var nagging = sagas.Define("nagging",
	sagas.OnCommand(func(n nag, c *bankpb.OpenAccount) (sagas.Then, error) { return n.remind(c.Owner), nil }),
	sagas.On("account", func(*bankpb.Deposited, sagas.Source) string { return "n-1" },
		func(n nag, _ *bankpb.Deposited, _ sagas.Source) sagas.Then {
			if n.owner == "poison" {
				panic("nobody thought of this owner")
			}
			return sagas.Then{Done: sagas.Completed, Because: "money has come"}
		}),
	sagas.OnTime("late", func(n nag) sagas.Then { return n.remind(n.owner) }),
	sagas.OnCancel(func(_ nag, reason string) sagas.Then {
		return sagas.Then{Done: sagas.Cancelled, Because: reason}
	}),
	sagas.Evolve(func(n nag, e *bankpb.AccountOpened) nag { n.owner = e.Owner; n.times++; return n }),
)

// delivery is a saga of steps of which one waits for an event.
var delivery = sagas.Define("delivery",
	sagas.Begin(func(struct{ come bool }, string, *bankpb.OpenAccount) struct{ come bool } {
		return struct{ come bool }{}
	}),
	sagas.Hear("account", func(*bankpb.Deposited, sagas.Source) string { return "d-1" },
		func(s struct{ come bool }, _ *bankpb.Deposited, _ sagas.Source) struct{ come bool } {
			s.come = true
			return s
		}),
	sagas.Step("send",
		sagas.Do("account", func(struct{ come bool }) (string, *bankpb.Deposit) { return "ada", &bankpb.Deposit{Amount: 7} }),
		sagas.NoUndo("it is on its way"),
		sagas.Until(func(s struct{ come bool }) sagas.Verdict {
			if s.come {
				return sagas.Done
			}
			return sagas.Wait
		}),
		sagas.Timeout(24*time.Hour)))

type nag struct {
	owner string
	times int
}

func (n nag) remind(owner string) sagas.Then {
	return sagas.Then{
		Record: holdfast.Events{&bankpb.AccountOpened{Owner: owner}},
		Send:   []sagas.Send{{Name: fmt.Sprintf("remind:%d", n.times+1), To: holdfast.Ref{Type: "account", ID: owner}, Command: &bankpb.Deposit{Amount: 1}}},
		Wake:   []sagas.Wake{{Name: "late", After: time.Hour}},
	}
}

// A world is a desk on a real server and a real log, without anybody who runs the sagas: the
// test tells them what became of what they have sent.
type world struct {
	t      *testing.T
	server *natsd.Server
	store  *jetstream.Store
	member *cluster.Member
	list   *desk.List
	desk   *desk.Desk
	config desk.Config
	// operator is in the account of the nodes, and client in that of clients.
	operator, client *nats.Conn
	journal          *journal

	mu  sync.Mutex
	at  time.Time // now, as sagas and the desk have it
	ids int
}

func setup(t *testing.T, change ...func(*desk.Config)) *world {
	t.Helper()
	return setupOn(t, natsd.Config{}, change...)
}

func setupOn(t *testing.T, nc natsd.Config, change ...func(*desk.Config)) *world {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	w := &world{t: t, at: dawn, journal: new(journal)}
	var err error
	nc.DataDir, nc.Listen, nc.Context, nc.Logger = t.TempDir(), "127.0.0.1:0", "shop", log
	w.server, err = natsd.Start(within(t), nc)
	w.must(err)
	t.Cleanup(w.server.Stop)
	book, err := sagas.NewBook([]holdfast.Definition{shop.Order, shop.Payment, shop.Stock, shop.Shipment, shop.Mail, bank.Account}, shop.Checkout, nagging, delivery)
	w.must(err)
	w.store, err = jetstream.Open(within(t), jetstream.Config{
		Context: "shop", Publish: w.node(), Read: []*nats.Conn{w.node()}, Logger: log, AppendTimeout: patient, ReadTimeout: patient,
	})
	w.must(err)
	t.Cleanup(w.store.Close)
	w.member, err = cluster.Start(within(t), cluster.Config{
		Host: actors.Config{Context: "shop", Store: w.store, Types: book.Types(), Log: log}, Conn: w.node(), Lease: patient,
	})
	w.must(err)
	t.Cleanup(func() { w.must(w.member.Stop(within(t))) })
	w.list, err = desk.Open(within(t), desk.ListConfig{Context: "shop", Conn: w.node()})
	w.must(err)
	w.config = desk.Config{
		Context: "shop", Conn: w.connect(natsd.Gateway), Book: book, List: w.list,
		Sender: w.member, Viewer: w.member, Reader: w.store,
		Timeout: 2 * patient, Now: w.now, NewID: w.newID, Logger: slog.New(slog.NewTextHandler(w.journal, nil)),
	}
	for _, f := range change {
		f(&w.config)
	}
	w.desk = w.start(w.config)
	t.Cleanup(func() { w.must(w.desk.Stop(within(t))) })
	w.operator = w.node()
	w.client = w.dial(nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	return w
}

func (w *world) connect(role natsd.Role) *nats.Conn {
	w.t.Helper()
	nc, err := w.server.Connect(role, nats.ReconnectBufSize(-1))
	w.must(err)
	w.t.Cleanup(nc.Close)
	return nc
}

func (w *world) node() *nats.Conn { return w.connect(natsd.Node) }

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = w.at.Add(d)
}

func (w *world) newID() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ids++
	return fmt.Sprintf("new-%d", w.ids)
}

// begin begins a checkout that will not get its mail through, and lists it.
func (w *world) begin(id string) {
	w.t.Helper()
	w.send("checkout/"+id, order(), "ada")
	w.must(w.list.Add(within(w.t), holdfast.Ref{Type: "checkout", ID: id}, w.now()))
}

func account(owner string) *bankpb.OpenAccount { return &bankpb.OpenAccount{Owner: owner} }

func order() *pb.Checkout {
	return &pb.Checkout{Customer: "nobody", Sku: "tea", Quantity: 2, Amount: 9_90, Card: "tok-1", Address: "St James's Square"}
}

// errand finds a step of a saga in a way, such as pay or undo pay.
func (w *world) errand(ref, step string) (*messages.SagaErrand, messages.SagaWay) {
	w.t.Helper()
	name, wanted := step, messages.SagaWay_SAGA_WAY_DO
	if way, rest, ok := strings.Cut(step, " "); ok {
		name, wanted = rest, messages.SagaWay(messages.SagaWay_value["SAGA_WAY_"+strings.ToUpper(way)])
	}
	for _, s := range w.state(ref).Steps {
		if s.Name == name {
			return map[messages.SagaWay]*messages.SagaErrand{
				messages.SagaWay_SAGA_WAY_DO: s.Do, messages.SagaWay_SAGA_WAY_UNDO: s.Undo, messages.SagaWay_SAGA_WAY_VOID: s.Void,
			}[wanted], wanted
		}
	}
	w.t.Fatalf("%s has no step %s", ref, step)
	return nil, wanted
}

// report tells a saga what became of what it has sent for a step.
func (w *world) report(ref, step string, a *messages.SagaAnswered) {
	w.t.Helper()
	r, way := w.errand(ref, step)
	_, a.Step, _ = strings.Cut(" "+step, " ")
	if _, name, ok := strings.Cut(step, " "); ok {
		a.Step = name
	}
	a.Way, a.Attempt = way, r.GetAttempt()
	w.send(ref, &messages.SagaReport{Answer: a}, "")
}

// accept has steps accepted, with one event each.
func (w *world) accept(ref string, steps ...string) {
	w.t.Helper()
	for _, step := range steps {
		w.report(ref, step, &messages.SagaAnswered{Version: 1, Events: []string{"shop.v1.Done"}})
	}
}

// paid brings a checkout to where its goods are to be reserved, and are not.
func (w *world) paid(id string) string {
	w.t.Helper()
	w.begin(id)
	w.accept("checkout/"+id, "order", "pay")
	w.report("checkout/"+id, "reserve", &messages.SagaAnswered{Code: "unavailable", Message: "nobody is there"})
	return "checkout/" + id
}

func rejected() *messages.SagaAnswered {
	return &messages.SagaAnswered{Code: "rejected", Reason: "bounced", Message: "the mail to nobody came back"}
}

// exhaust has a step rejected until its attempts are used up.
func (w *world) exhaust(ref, step string) {
	w.t.Helper()
	for {
		w.report(ref, step, rejected())
		r, _ := w.errand(ref, step)
		if r.Phase != messages.SagaPhase_SAGA_PHASE_PAUSING {
			return
		}
		w.pass(2 * time.Minute)
		w.send(ref, &messages.SagaWake{}, "")
	}
}

// shipped brings a checkout to where there is no way back, and all is open that comes then.
func (w *world) shipped(id string) string {
	w.t.Helper()
	w.begin(id)
	w.accept("checkout/"+id, "order", "pay", "reserve", "ship")
	return "checkout/" + id
}

// stuck brings a checkout to where it cannot be confirmed.
func (w *world) stuck(id string) string {
	w.t.Helper()
	ref := w.shipped(id)
	w.accept(ref, "take-out", "notify")
	w.exhaust(ref, "confirm")
	if s := w.state(ref); s.Status != "stuck" {
		w.t.Fatalf("it is %s, and not stuck", s.Status)
	}
	return ref
}

// parked brings a checkout to where it has something that it could not take in.
func (w *world) parked(id string) string {
	w.t.Helper()
	w.begin(id)
	w.send("checkout/"+id, &messages.SagaHear{Heard: &messages.SagaHeard{}}, "")
	return "checkout/" + id
}

// ask asks the desk as an operator; headers are names and values in turn.
func (w *world) ask(subject, body string, headers ...string) *nats.Msg {
	w.t.Helper()
	m := &nats.Msg{Subject: "shop.sagas." + subject, Data: []byte(body), Header: nats.Header{}}
	for i := 0; i < len(headers); i += 2 {
		m.Header[headers[i]] = append(m.Header[headers[i]], headers[i+1])
	}
	reply, err := w.operator.RequestMsg(m, patient)
	if err != nil {
		w.t.Fatalf("request %s: %v", subject, err)
	}
	return reply
}

// answered asks for what must go well.
func (w *world) answered(subject, body string, headers ...string) string {
	w.t.Helper()
	reply := w.ask(subject, body, headers...)
	if code := reply.Header.Get("Nats-Service-Error-Code"); code != "" {
		w.t.Fatalf("request %s %s: %s %s", subject, body, code, reply.Header.Get("Nats-Service-Error"))
	}
	return string(reply.Data)
}

// refused checks that a request is, with a status and code and a sentence that holds text.
func (w *world) refused(status, code, sentence, subject, body string, headers ...string) {
	w.t.Helper()
	reply := w.ask(subject, body, headers...)
	got := reply.Header.Get("Nats-Service-Error-Code") + " " + string(reply.Data)
	if !strings.HasPrefix(got, status+` {"error":{"code":"`+code+`"`) || !strings.Contains(reply.Header.Get("Nats-Service-Error"), sentence) {
		w.t.Errorf("%s %s: got %s\nwant %s %s: %s", subject, body, got, status, code, sentence)
	}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	t.Cleanup(cancel)
	return ctx
}

// journal keeps what is logged.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// A viewer stands before another one.
type viewer func(context.Context, holdfast.Ref) (holdfast.View, error)

func (v viewer) View(ctx context.Context, ref holdfast.Ref) (holdfast.View, error) {
	return v(ctx, ref)
}
