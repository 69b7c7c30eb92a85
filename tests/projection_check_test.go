package tests

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	_ "modernc.org/sqlite" // the driver
)

// models are read models as texts, by the name of a projection and a key.
type models map[string]map[string]string

var watchedModels = []string{"balances", "statement", "orders", "revenue"}

// recorded reads the history of all that the crowd has spoken to, and checks that each
// command is there once, as it was answered.
func (c *crowd) recorded(nc *nats.Conn) map[string][]recordedEvent {
	c.t.Helper()
	all, wanted := map[string][]recordedEvent{}, make(chan string)
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for ref := range wanted {
				events := history(c.t, nc, "demo.history."+strings.Replace(ref, "/", ".", 1))
				c.mu.Lock()
				all[ref] = events
				c.mu.Unlock()
			}
		})
	}
	begun := map[string]bool{}
	for _, d := range c.deeds {
		if !begun[d.ref] {
			begun[d.ref] = true
			wanted <- d.ref
		}
	}
	close(wanted)
	readers.Wait()
	at, events := map[string][]uint64{}, 0
	for _, history := range all {
		for _, e := range history {
			at[e.CommandID] = append(at[e.CommandID], e.Version)
			events++
		}
	}
	for _, d := range c.deeds {
		if got := at[d.id]; d.version == 0 && len(got) > 0 || d.version > 0 && !slices.Equal(got, []uint64{d.version}) {
			c.t.Errorf("%s was answered with version %d, and the log has it at %v", d.id, d.version, got)
		}
	}
	if int64(events) != c.events.Load() {
		c.t.Errorf("the log has %d events, of which %d were answered", events, c.events.Load())
	}
	return all
}

// modelsOf gives what read models are to be, worked out with none of their code.
func modelsOf(t *testing.T, log map[string][]recordedEvent) models {
	t.Helper()
	m := models{}
	for _, name := range watchedModels {
		m[name] = map[string]string{}
	}
	days := map[string]*[4]int64{}
	for ref, events := range log {
		typ, id, _ := strings.Cut(ref, "/")
		var balance int64
		for _, e := range events {
			switch typ {
			case "account":
				amount := number(t, e, "amount")
				if e.Type == "bank.v1.Withdrawn" {
					amount = -amount
				}
				balance += amount
				if amount != 0 {
					m["statement"][fmt.Sprintf("%s %d", id, e.Version)] = fmt.Sprintf("%s %d %d", e.Time.UTC().Format(time.RFC3339), amount, balance)
				}
			case "order":
				m["orders"][id] = orderLine(m["orders"][id], e)
			case "payment":
				day := e.Time.UTC().Format(time.DateOnly)
				if days[day] == nil {
					days[day] = new([4]int64)
				}
				if e.Type == "shop.v1.PaymentCaptured" {
					days[day][0]++
					days[day][1] += number(t, e, "amount")
				} else {
					days[day][2]++
					days[day][3] += number(t, e, "amount")
				}
			}
		}
		if typ == "account" {
			m["balances"][id] = fmt.Sprintf(`{"owner":"ada","balance":%d,"open":true}`, balance)
		}
	}
	for day, n := range days {
		m["revenue"][day] = fmt.Sprintf(`{"payments":%d,"captured":%d,"refunds":%d,"refunded":%d}`, n[0], n[1], n[2], n[3])
	}
	return m
}

// orderLine is an order's row after an event.
func orderLine(before string, e recordedEvent) string {
	first, _, _ := strings.Cut(before, " placed ")
	switch e.Type {
	case "shop.v1.OrderPlaced":
		return fmt.Sprintf("ada tea 2 990 %s placed ", e.Time.UTC().Format(time.RFC3339))
	case "shop.v1.OrderConfirmed":
		return first + " confirmed "
	}
	return fmt.Sprintf("%s cancelled %v", first, e.Data["reason"])
}

func number(t *testing.T, e recordedEvent, field string) int64 {
	t.Helper()
	text, ok := e.Data[field].(string)
	if !ok {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Errorf("%s: %v", e.ID, err)
	}
	return n
}

// inSQL reads the tables themselves: files in a folder, or schemas of a database.
func (m models) inSQL(t *testing.T, folder, database string) {
	t.Helper()
	for name, query := range map[string]string{
		"statement": `SELECT account || ' ' || version, booked || ' ' || amount || ' ' || balance FROM statement`,
		"orders":    `SELECT id, customer || ' ' || sku || ' ' || quantity || ' ' || amount || ' ' || placed || ' ' || status || ' ' || reason FROM orders`,
		"revenue":   `SELECT key, body FROM holdfast_documents`,
	} {
		driver, source := "sqlite", "file:"+filepath.Join(folder, "views", name+".db")+"?mode=ro"
		if database != "" {
			driver, source = "pgx", database+"&search_path=demo_"+name
		}
		m[name] = selected(t, driver, source, query)
	}
}

func selected(t *testing.T, driver, source, query string) map[string]string {
	t.Helper()
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	all := map[string]string{}
	for rows.Next() {
		var key, text string
		if err := rows.Scan(&key, &text); err != nil {
			t.Fatal(err)
		}
		all[key] = text
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// inKV reads the values of balances as any client can, and checks where each stands.
func (m models) inKV(t *testing.T, nc *nats.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	m["balances"] = map[string]string{}
	kv := balancesIn(ctx, t, nc)
	watch, err := kv.WatchAll(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = watch.Stop() }()
	for {
		var e jetstream.KeyValueEntry
		select {
		case e = <-watch.Updates():
		case <-ctx.Done():
			t.Fatal("the bucket does not come to an end")
		}
		if e == nil {
			return
		}
		var v struct {
			Position string
			Value    json.RawMessage
		}
		if err := json.Unmarshal(e.Value(), &v); err != nil {
			t.Fatalf("%s: %v: %s", e.Key(), err, e.Value())
		}
		m["balances"][e.Key()] = string(v.Value)
		if r := mustAsk(t, nc, "demo.get.account."+e.Key(), "", nil); r.Position != v.Position {
			t.Errorf("the value of %s is at %s, and the account at %s", e.Key(), v.Position, r.Position)
		}
	}
}

// balancesIn finds the bucket that serves, as a client does.
func balancesIn(ctx context.Context, t *testing.T, nc *nats.Conn) jetstream.KeyValue {
	t.Helper()
	var answer struct {
		Views []struct{ Projection, Bucket string }
	}
	if err := json.Unmarshal(mustAsk(t, nc, "demo.views", "", nil).body, &answer); err != nil {
		t.Fatal(err)
	}
	for _, v := range answer.Views {
		if v.Projection != "balances" {
			continue
		}
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		kv, err := js.KeyValue(ctx, v.Bucket)
		if err != nil {
			t.Fatalf("%s: %v", v.Bucket, err)
		}
		return kv
	}
	t.Fatal("no view is called balances")
	return nil
}

// equal compares read models with what they are to be.
func (m models) equal(t *testing.T, want models) {
	t.Helper()
	for _, name := range watchedModels {
		keys := maps.Clone(want[name])
		maps.Copy(keys, m[name])
		wrong := 0
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			got, there := m[name][key]
			if want, wanted := want[name][key]; got == want && there == wanted {
				continue
			} else if wrong++; wrong <= 5 {
				t.Errorf("%s: %s is %q, want %q", name, key, got, want)
			}
		}
		if wrong > 5 || len(keys) == 0 {
			t.Errorf("%s: %d of %d are wrong", name, wrong, len(keys))
		}
	}
}

// caughtUp waits until all models have what is at the position.
func caughtUp(t *testing.T, nc *nats.Conn, position string) {
	t.Helper()
	for _, name := range watchedModels {
		waitFor(t, name+" to have "+position, func() bool {
			r, err := ask(nc, "demo.view."+name+".k-0", "", map[string]string{"Holdfast-After": position})
			if err == nil && r.Status != 0 && r.Status != 404 && !passes(r.Status) {
				t.Fatalf("%s: %s", name, r.body)
			}
			return err == nil && (r.Status == 0 || r.Status == 404)
		})
	}
}

// rebuiltSame has the node rebuild each model aside, from nothing, and compare.
func rebuiltSame(t *testing.T, admin string) {
	t.Helper()
	var all sync.WaitGroup
	for _, name := range watchedModels {
		all.Go(func() {
			out, errs, code := runNode(t, "projections", "verify", name, "--json", "--timeout", "1m", admin)
			if code != 0 || !strings.Contains(out, `"same":true`) {
				t.Errorf("verify of %s: exit code %d\n%s%s", name, code, out, errs)
			}
		})
	}
	all.Wait()
}
