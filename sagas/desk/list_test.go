package desk_test

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/sagas/desk"
)

type listed struct {
	Sagas []struct {
		Ref, Status, Reason, Since, Changed string
		Done, Steps                         int
		Error                               *struct{ Code, Message string }
	}
	Next  string
	Known []string
}

func (l listed) refs() string {
	var out []string
	for _, s := range l.Sagas {
		out = append(out, s.Ref)
	}
	return strings.Join(out, " ")
}

// listed asks for the list; of what is said, the last wins.
func (w *world) listed(query string) (l listed) {
	w.t.Helper()
	w.must(json.Unmarshal([]byte(w.answered("list", query)), &l))
	return l
}

// listedAtLast asks for the list until a machine that is busy does that in the time of a request.
func (w *world) listedAtLast(query string) (l listed) {
	w.t.Helper()
	eventually(w.t, func() error {
		reply := w.ask("list", query)
		if code := reply.Header.Get("Nats-Service-Error-Code"); code != "" {
			return fmt.Errorf("list %s: %s %s", query, code, reply.Header.Get("Nats-Service-Error"))
		}
		l = listed{}
		return json.Unmarshal(reply.Data, &l)
	})
	return l
}

// keys are what the bucket has.
func (w *world) keys() string {
	w.t.Helper()
	js, err := jetstream.New(w.operator)
	w.must(err)
	kv, err := js.KeyValue(within(w.t), messages.Context("shop").SagasBucket())
	w.must(err)
	keys, err := kv.ListKeys(within(w.t))
	w.must(err)
	return strings.Join(slices.Sorted(slices.Values(slices.Collect(fromChan(keys.Keys())))), " ")
}

// vanishing checks that what tells that a saga was taken off the list goes by itself.
func (w *world) vanishing(key string) {
	w.t.Helper()
	js, err := jetstream.New(w.operator)
	w.must(err)
	stream, err := js.Stream(within(w.t), "KV_SHOP_SAGAS")
	w.must(err)
	marker, err := stream.GetLastMsgForSubject(within(w.t), "$KV.SHOP_SAGAS."+key)
	w.must(err)
	if got := marker.Header.Get(jetstream.MsgTTLHeader); got != "1m0s" {
		w.t.Errorf("the marker of %s stays for %q", key, got)
	}
}

func fromChan[T any](c <-chan T) func(func(T) bool) {
	return func(yield func(T) bool) {
		for v := range c {
			if !yield(v) {
				return
			}
		}
	}
}

func checkout(id string) holdfast.Ref { return holdfast.Ref{Type: "checkout", ID: id} }

// The list keeps the earliest time, and bears that all is done again, and late.
func TestList(t *testing.T) {
	t.Parallel()
	w := setup(t)
	odd := checkout("o.1 ü")
	w.send(odd.String(), order(), "")
	since := func() string { return w.listed("").Sagas[0].Since }
	for _, step := range []struct {
		at   time.Time
		want string
	}{
		{dawn, "2026-03-14T09:26:53Z"},
		{dawn, "2026-03-14T09:26:53Z"},
		{dawn.Add(time.Hour), "2026-03-14T09:26:53Z"},
		{dawn.Add(-time.Hour), "2026-03-14T08:26:53Z"},
	} {
		w.must(w.list.Add(within(t), odd, step.at))
		if got := since(); got != step.want {
			t.Errorf("after %v it is there since %s, want %s", step.at, got, step.want)
		}
	}
	if got := w.keys(); got != "checkout.o=2E1=20=C3=BC" {
		t.Errorf("the keys are %s", got)
	}
	for range 2 {
		w.must(w.list.Remove(within(t), odd))
		if got := w.keys(); got != "" {
			t.Errorf("the keys are %s", got)
		}
	}
	w.must(w.list.Remove(within(t), checkout("never")))
	w.vanishing("checkout.never")
	w.must(w.list.Add(within(t), odd, dawn.Add(time.Minute)))
	if got, want := since(), "2026-03-14T09:27:53Z"; got != want {
		t.Errorf("after it was taken off it is there since %s, want %s", got, want)
	}
	if err := w.list.Add(within(t), checkout(""), dawn); err == nil {
		t.Error("what has no id is listed")
	}
	if err := w.list.Remove(within(t), checkout(strings.Repeat("x", 129))); err == nil {
		t.Error("what has no key is taken off")
	}
}

// Many nodes may put a saga on the list at a time: the earliest time stays.
func TestListTogether(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.send("checkout/o-1", order(), "")
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if err := w.list.Add(within(t), checkout("o-1"), dawn.Add(time.Duration(i-10)*time.Minute)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got, want := w.listed("").Sagas[0].Since, "2026-03-14T09:16:53Z"; got != want {
		t.Errorf("it is there since %s, want %s", got, want)
	}
}

// Of a thousand sagas each is listed once, the oldest first, on whatever pages; one that
// cannot be read with its error.
func TestThousandSagas(t *testing.T) {
	t.Parallel()
	w := setup(t, func(c *desk.Config) {
		next := c.Viewer
		c.Viewer = viewer(func(ctx context.Context, ref holdfast.Ref) (holdfast.View, error) {
			if ref.ID == "o-500" {
				return holdfast.View{}, holdfast.Errorf(holdfast.CodeCorrupt, "commit at 0-7: a gap")
			}
			return next.View(ctx, ref)
		})
	})
	const n = 1000
	work := make(chan int)
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			for i := range work {
				ref := checkout(fmt.Sprintf("o-%d", i))
				at := dawn.Add(-time.Duration(i) * time.Second)
				if err := w.sent(ref, order(), holdfast.Meta{ID: "begin-" + ref.ID, At: at}); err != nil {
					t.Error(err)
				}
				if err := w.list.Add(within(t), ref, at); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	all.Wait()

	for _, limit := range []int{0, 333, 1000} {
		var seen []string
		for after := ""; ; {
			page := w.listed(fmt.Sprintf(`{"limit":%d,"after":%q}`, limit, after))
			for _, s := range page.Sagas {
				seen = append(seen, s.Ref)
				if bad := s.Error != nil; bad != (s.Ref == "checkout/o-500") || bad == (s.Status == "running") {
					t.Errorf("%+v", s)
				}
			}
			if after = page.Next; after == "" {
				break
			}
			if want := max(limit, 100); limit != 0 && len(page.Sagas) > want || limit == 0 && len(page.Sagas) != 100 {
				t.Errorf("limit %d: a page of %d", limit, len(page.Sagas))
			}
		}
		if len(seen) != n {
			t.Fatalf("limit %d: %d are listed", limit, len(seen))
		}
		for i, ref := range seen {
			if want := fmt.Sprintf("checkout/o-%d", n-1-i); ref != want {
				t.Fatalf("limit %d: at %d is %s, want %s", limit, i, ref, want)
			}
		}
	}
	if got := w.listed(`{"olderThan":"16m37s"}`).refs(); got != "checkout/o-999 checkout/o-998 checkout/o-997" {
		t.Errorf("older than 16m37s are %s", got)
	}
	if got := w.listed(`{"status":["stuck"]}`); got.refs() != "checkout/o-500" || got.Sagas[0].Error.Code != "corrupt" || got.Sagas[0].Error.Message != "commit at 0-7: a gap" {
		t.Errorf("stuck may be %+v", got)
	}
}

// The list says where each saga stands, and answers what is asked for.
func TestListing(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.begin("running")
	w.stuck("stuck")
	w.parked("parked")
	w.paid("back")
	w.answered("cancel.checkout.back", `{`+why+`}`, "Holdfast-User", "grace")
	w.send("delivery/d-1", account("ada"), "")
	w.accept("delivery/d-1", "send")
	w.must(w.list.Add(within(t), holdfast.Ref{Type: "delivery", ID: "d-1"}, dawn))

	var got []string
	for _, s := range w.listed("").Sagas {
		got = append(got, fmt.Sprintf("%s %s %d/%d %s", s.Ref, s.Status, s.Done, s.Steps, s.Reason))
	}
	want := []string{
		"delivery/d-1 waiting 0/1 ",
		"checkout/running running 0/7 ",
		"checkout/stuck stuck 6/7 confirm: bounced: the mail to nobody came back",
		"checkout/parked stuck 0/7 sagas: what was recorded as",
		"checkout/back compensating 2/7 the customer has called",
	}
	for i, line := range want {
		if i >= len(got) || !strings.HasPrefix(got[i], line) {
			t.Errorf("listed are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			break
		}
	}
	for query, want := range map[string]string{
		`{}`:                   "delivery/d-1 checkout/running checkout/stuck checkout/parked checkout/back",
		`{"saga":"delivery"}`:  "delivery/d-1",
		`{"saga":"nagging"}`:   "",
		`{"status":["stuck"]}`: "checkout/stuck checkout/parked",
		`{"status":["waiting","compensating"],"saga":"checkout"}`: "checkout/back",
		`{"status":[]}`:      "delivery/d-1 checkout/running checkout/stuck checkout/parked checkout/back",
		`{"limit":1}`:        "delivery/d-1",
		`{"olderThan":"0s"}`: "delivery/d-1 checkout/running checkout/stuck checkout/parked checkout/back",
	} {
		if got := w.listed(query); got.refs() != want || fmt.Sprint(got.Known) != "[checkout delivery nagging]" {
			t.Errorf("%s: %s of %v, want %s", query, got.refs(), got.Known, want)
		}
	}
}

// What is over is not listed, and taken off the list. What was put there anew meanwhile stays.
func TestPruning(t *testing.T) {
	t.Parallel()
	var w *world
	again := false
	w = setup(t, func(c *desk.Config) {
		next := c.Viewer
		c.Viewer = viewer(func(ctx context.Context, ref holdfast.Ref) (holdfast.View, error) {
			view, err := next.View(ctx, ref)
			if again {
				w.must(w.list.Add(ctx, ref, dawn.Add(24*time.Hour))) // which changes no time
			}
			return view, err
		})
	})
	ref := w.stuck("over")
	w.begin("other")
	w.answered("force.checkout.over", `{"status":"completed",`+why+`}`, "Holdfast-User", "grace")
	// Of this one nothing is left: what it had kept was skipped.
	w.send("checkout/unrouted-1", &messages.SagaHear{Heard: &messages.SagaHeard{}, Unrouted: "who knows"}, "")
	w.answered("skip.checkout.unrouted-1", `{`+why+`}`, "Holdfast-User", "grace")
	w.must(w.list.Add(within(t), checkout("unrouted-1"), dawn))

	again = true
	if got := w.listed("").refs(); got != "checkout/other" {
		t.Errorf("listed are %s", got)
	}
	if got := w.keys(); got != "checkout.other checkout.over checkout.unrouted-1" {
		t.Errorf("what was put there anew is gone: there are %s", got)
	}
	again = false
	for range 2 {
		if got := w.listed("").refs(); got != "checkout/other" {
			t.Errorf("listed are %s", got)
		}
		if got := w.keys(); got != "checkout.other" {
			t.Errorf("the keys are %s", got)
		}
		w.must(w.list.Add(within(t), checkout("over"), dawn)) // late
	}
	if got := w.state(ref).Status; got != "completed" {
		t.Errorf("it is %s", got)
	}
}

// One saga that does not answer keeps nobody else from being listed, nor does what is on the
// list and is none.
func TestListOfWhatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	w := setup(t, func(c *desk.Config) {
		c.Timeout = 2 * time.Second
		next := c.Viewer
		c.Viewer = viewer(func(ctx context.Context, ref holdfast.Ref) (holdfast.View, error) {
			switch ref.ID {
			case "hangs":
				<-ctx.Done()
				return holdfast.View{}, ctx.Err()
			case "panics":
				panic("nobody thought of this")
			}
			return next.View(ctx, ref)
		})
	})
	w.begin("fine")
	for _, ref := range []holdfast.Ref{checkout("hangs"), checkout("panics"), checkout("never-was"), {Type: "order", ID: "o-1"}, {Type: "gone", ID: "g-1"}} {
		w.must(w.list.Add(within(t), ref, dawn))
	}
	js, err := jetstream.New(w.operator)
	w.must(err)
	kv, err := js.KeyValue(within(t), "SHOP_SAGAS")
	w.must(err)
	for _, key := range []string{"nothing", "checkout.a.b", "Checkout.a"} {
		_, err = kv.Put(within(t), key, nil)
		w.must(err)
	}
	_, err = kv.Put(within(t), "checkout.fine", []byte("what is this"))
	w.must(err)
	want := map[string]string{
		"checkout/fine":      "running",
		"checkout/hangs":     "unavailable the request was broken off (context deadline exceeded): send it again",
		"checkout/panics":    "internal internal error; its reference in the node's log is new",
		"checkout/never-was": "unknown nothing has happened to checkout/never-was",
		"order/o-1":          "unknown nothing has happened to order/o-1",
		"gone/g-1":           `unknown there is no aggregate type "gone"`,
	}
	id := regexp.MustCompile(`new-\d+`)
	eventually(t, func() error { // a machine that is busy may have others not answer, too
		got := map[string]string{}
		for _, s := range w.listedAtLast("").Sagas {
			got[s.Ref] = s.Status
			if s.Error != nil {
				got[s.Ref] = s.Error.Code + " " + id.ReplaceAllString(s.Error.Message, "new")
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("listed are\n%v\nwant\n%v", got, want)
		}
		return nil
	})
	if log := w.journal.String(); !strings.Contains(log, "nobody thought of this") || !strings.Contains(log, "list_test.go") {
		t.Errorf("the log does not tell the bug and its place: %s", log)
	}
}
