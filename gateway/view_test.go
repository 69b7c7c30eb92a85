package gateway_test

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/gateway"
	"github.com/holdfast-run/holdfast/persistence"
)

// orders are a read model of that name, of a log with two partitions.
type orders struct {
	mu      sync.Mutex
	at      [2]uint64
	moved   chan struct{} // closed when at changes
	waiting chan struct{} // has one for each that begins to wait
	values  map[string]string
	why     error // why it is late
	// switched is how many more times another generation takes the place of what was awaited.
	switched int
}

const end = 50 // of each partition

func newOrders() *orders {
	return &orders{at: [2]uint64{40, 7}, moved: make(chan struct{}), waiting: make(chan struct{}, 100), values: map[string]string{
		"o-1": `{"total": "12", "of": "<ada>"}`, "odd.\x00": `1`, "big": `"` + strings.Repeat("x", 1<<20) + `"`,
	}}
}

func (s *orders) move(partition int, to uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at[partition] = to
	close(s.moved)
	s.moved = make(chan struct{})
}

func (s *orders) Views(context.Context) ([]gateway.View, error) {
	return []gateway.View{{Projection: "orders", Form: "documents", Where: "a shelf", Bucket: "bank_view_orders_3", Generation: 3, Position: "0-40,1-7", Answers: true}}, nil
}

func (s *orders) Describe(context.Context) ([]persistence.Partition, error) {
	return []persistence.Partition{{Number: 0, Last: end}, {Number: 1, Last: end}}, nil
}

func (s *orders) check(projection string) error {
	if projection != "orders" {
		return holdfast.Errorf(holdfast.CodeUnknown, "projection %s is unknown: there are orders", projection)
	}
	return nil
}

func (s *orders) Await(ctx context.Context, projection string, after holdfast.Position) (holdfast.Position, error) {
	if err := s.check(projection); err != nil {
		return holdfast.Position{}, err
	}
	for first := true; ; first = false {
		s.mu.Lock()
		at, moved := holdfast.NewPosition(after.Partition(), s.at[after.Partition()%2]), s.moved
		s.mu.Unlock()
		if !at.Before(after) && after.Partition() < 2 {
			return at, nil
		}
		if first {
			s.waiting <- struct{}{}
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return at, cmp.Or(s.why, ctx.Err())
		}
	}
}

func (s *orders) Answer(_ context.Context, projection, key string, after ...holdfast.Position) ([]byte, []holdfast.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.switched > 0 && len(after) > 0 {
		s.switched--
		return nil, nil, holdfast.Errorf(holdfast.CodeBehind, "another generation serves")
	}
	at := []holdfast.Position{holdfast.NewPosition(0, s.at[0]), holdfast.NewPosition(1, s.at[1])}
	if v, ok := s.values[key]; ok && s.check(projection) == nil {
		return []byte(v), at, nil
	}
	return nil, at, s.check(projection)
}

func setupViews(t *testing.T, change ...func(*gateway.Config)) (*world, *orders, *nats.Conn) {
	t.Helper()
	s := newOrders()
	w := setup(t, append([]func(*gateway.Config){func(c *gateway.Config) { c.Views = s }}, change...)...)
	return w, s, w.node(t)
}

func query(t *testing.T, nc *nats.Conn, subject string, headers ...string) *nats.Msg {
	t.Helper()
	reply, err := nc.RequestMsg(message(subject, "", headers...), patient)
	if err != nil {
		t.Fatalf("request %s: %v", subject, err)
	}
	return reply
}

func TestView(t *testing.T) {
	t.Parallel()
	w, _, nc := setupViews(t)
	reply := query(t, nc, "bank.view.orders.o-1")
	check(t, "body", string(reply.Data), `{"projection":"orders","key":"o-1","position":"0-40,1-7","value":{"total":"12","of":"<ada>"}}`)
	check(t, "headers", fmt.Sprint(reply.Header), "map[Holdfast-Position:[0-40,1-7]]")
	check(t, "odd key", string(query(t, nc, "bank.view.orders.odd=2E=00").Data), `{"projection":"orders","key":"odd=2E=00","position":"0-40,1-7","value":1}`)
	check(t, "views", string(query(t, nc, "bank.views").Data),
		`{"views":[{"projection":"orders","form":"documents","where":"a shelf","bucket":"bank_view_orders_3","generation":3,"position":"0-40,1-7","answers":true}]}`)
	var endpoints []string
	for _, e := range discover[micro.Info](t, w, "INFO").Endpoints[3:] {
		endpoints = append(endpoints, e.Name+" "+e.Subject+" "+e.QueueGroup+" "+e.Metadata["subject"]+" "+e.Metadata["content-types"])
	}
	check(t, "endpoints", strings.Join(endpoints, "\n"), "view bank.view.> holdfast bank.view.<projection>.<key> application/json\n"+
		"views bank.views holdfast bank.views application/json")
}

// What answers has had the position, too, when it is not what was awaited.
func TestViewSwitched(t *testing.T) {
	t.Parallel()
	_, s, nc := setupViews(t)
	s.mu.Lock()
	s.switched = 2
	s.mu.Unlock()
	reply := query(t, nc, "bank.view.orders.o-1", "Holdfast-After", "0-40,1-7")
	check(t, "body", string(reply.Data), `{"projection":"orders","key":"o-1","position":"0-40,1-7","value":{"total":"12","of":"<ada>"}}`)
}

func TestViewRefuses(t *testing.T) {
	t.Parallel()
	_, _, nc := setupViews(t)
	for _, bad := range []badInput{
		{"unknown projection", "bank.view.order.o-1", "", nil, "404", "projection order is unknown: there are orders"},
		{"unknown projection, awaited", "bank.view.order.o-1", "", []string{"Holdfast-After", "0-7"}, "404", "projection order is unknown"},
		{"no such document", "bank.view.orders.o-2", "", nil, "404", "orders has nothing under the key o-2"},
		{"no key", "bank.view.orders", "", nil, "400", "want <context>.view.<projection>.<key>"},
		{"key with a dot", "bank.view.orders.o.1", "", nil, "400", "a dot in a key is written =2E"},
		{"key of odd bytes", "bank.view.orders.\x01\xff", "", nil, "400", "must be written =01"},
		{"key with a bad escape", "bank.view.orders.a=2e", "", nil, "400", "two capital hex digits"},
		{"key too long", "bank.view.orders." + strings.Repeat("x", 129), "", nil, "400", "it takes 129 bytes encoded, the limit is 128"},
		{"wildcard", "bank.view.orders.*", "", nil, "400", "must be written =2A"},
		{"projection of odd letters", "bank.view.Orders.o-1", "", nil, "400", `projection "Orders": want`},
		{"protobuf", "bank.view.orders.o-1", "", asProtobuf, "400", "header Content-Type: read models are shown in application/json only"},
		{"a body", "bank.view.orders.o-1", `{"a":1}`, nil, "400", "body: a query has none"},
		{"a command's header", "bank.view.orders.o-1", "", []string{"Nats-Msg-Id", "x"}, "400", "it is for cmd requests, not for view"},
		{"malformed position", "bank.view.orders.o-1", "", []string{"Holdfast-After", "x"}, "400", `header Holdfast-After: "x": want a position such as 0-42`},
		{"position too big", "bank.view.orders.o-1", "", []string{"Holdfast-After", "9999999999-1"}, "400", "header Holdfast-After: "},
		{"beyond the end", "bank.view.orders.o-1", "", []string{"Holdfast-After", "1-51"}, "400", "header Holdfast-After: 1-51 is beyond the end of this log, 1-50: it is of another context, or of a log that is no more"},
		{"another partition", "bank.view.orders.o-1", "", []string{"Holdfast-After", "2-1"}, "400", "header Holdfast-After: 2-1 is of a partition that this log does not have (it has 2): it is of another context"},
		{"too big", "bank.view.orders.big", "", nil, "413", "an answer has room for"},
		{"list after", "bank.views", "", []string{"Holdfast-After", "0-1"}, "400", "it is for queries of one read model"},
	} {
		t.Run(bad.name, func(t *testing.T) {
			reply, err := nc.RequestMsg(message(bad.subject, bad.body, bad.headers...), patient)
			if err != nil {
				t.Fatal(err)
			}
			check(t, "status", cmp.Or(reply.Header.Get("Nats-Service-Error-Code"), "none"), bad.status)
			if got := reply.Header.Get("Nats-Service-Error"); !strings.Contains(got, bad.sentence) {
				t.Errorf("got %q, want %q", got, bad.sentence)
			}
		})
	}
}

// TestViewAfter: a query waits until the read model has what it asks for.
func TestViewAfter(t *testing.T) {
	t.Parallel()
	_, s, nc := setupViews(t)
	done := make(chan *nats.Msg, 1)
	go func() {
		reply, _ := nc.RequestMsg(message("bank.view.orders.o-1", "", "Holdfast-After", "0-41, 1-8"), patient)
		done <- reply
	}()
	<-s.waiting
	s.move(1, 9)
	select {
	case reply := <-done:
		t.Fatalf("it was answered before: %s", reply.Data)
	case <-s.waiting: // having waited a little, it has looked at the log
	}
	s.move(0, 41)
	reply := <-done
	check(t, "headers", fmt.Sprint(reply.Header), "map[Holdfast-Position:[0-41,1-9]]")
}

func TestViewBehind(t *testing.T) {
	t.Parallel()
	_, _, nc := setupViews(t, timeout(150*time.Millisecond))
	reply := query(t, nc, "bank.view.orders.o-1", "Holdfast-After", "0-40,1-8")
	check(t, "headers", fmt.Sprint(reply.Header),
		"map[Holdfast-Position:[1-7] Nats-Service-Error:[orders is at 1-7 and has not come to 1-8 in time: ask again] Nats-Service-Error-Code:[504]]")
	check(t, "body", string(reply.Data), `{"error":{"code":"behind","message":"orders is at 1-7 and has not come to 1-8 in time: ask again"}}`)
}

// TestViewBlocked: whoever waits in vain hears why.
func TestViewBlocked(t *testing.T) {
	t.Parallel()
	_, s, nc := setupViews(t, timeout(150*time.Millisecond))
	s.why = holdfast.Errorf(holdfast.CodeUnavailable, "orders is blocked: the database is gone")
	reply := query(t, nc, "bank.view.orders.o-1", "Holdfast-After", "0-41")
	check(t, "sentence", reply.Header.Get("Nats-Service-Error-Code")+" "+reply.Header.Get("Nats-Service-Error"), "504 orders is blocked: the database is gone: ask again")
	check(t, "position", reply.Header.Get("Holdfast-Position"), "0-40")
}

// TestViewsThatWait: they take the room of commands neither while they wait, nor time when the
// gateway stops.
func TestViewsThatWait(t *testing.T) {
	t.Parallel()
	w, s, nc := setupViews(t, func(c *gateway.Config) { c.MaxInFlight = 2 }, timeout(patient))
	replies := make(chan *nats.Msg, 2)
	for range 2 {
		go func() {
			reply, _ := nc.RequestMsg(message("bank.view.orders.o-1", "", "Holdfast-After", "0-41"), patient)
			replies <- reply
		}()
	}
	for range 4 { // each asks twice
		<-s.waiting
	}
	check(t, "a third", query(t, nc, "bank.view.orders.o-1").Header.Get("Nats-Service-Error-Code"), "429")
	w.accepted(t, "bank.cmd.account.a-1.OpenAccount", `{"owner":"Ada"}`)
	w.accepted(t, deposit, `{"amount":1}`)
	w.underWay(t, 2)
	if err := w.gateway.Stop(within(t)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		reply := <-replies
		check(t, "sentence", reply.Header.Get("Nats-Service-Error-Code")+" "+reply.Header.Get("Nats-Service-Error"), "503 this node is stopping, and orders is at 0-40: ask again")
	}
}
