package cluster

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// A desk is a register with a clock that moves by the second.
type desk struct {
	*register
	t   *testing.T
	now time.Time
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	return &desk{register: newRegister(nil), t: t, now: noon}
}

func put(id string, revision uint64) change {
	return change{id: id, revision: revision, record: &record{ID: id, State: stateUp, Lease: 3 * time.Second}}
}

func deleted(id string, revision uint64) change { return change{id: id, revision: revision} }

func expired(id string, revision uint64) change {
	return change{id: id, revision: revision, expired: true}
}

// at lets the time be so many seconds after noon, and tells the changes.
func (d *desk) at(seconds int, changes ...change) {
	d.now = noon.Add(time.Duration(seconds) * time.Second)
	for _, c := range changes {
		d.apply(c, d.now)
	}
}

func (d *desk) all(changes ...change) { d.replace(changes, d.now) }

// want compares who is there, as a1 for a at revision 1, and when that changes by itself,
// in seconds after noon, 0 for never.
func (d *desk) want(revision uint64, members string, changes int) {
	d.t.Helper()
	list, when := d.members(d.now)
	var got []string
	for _, m := range list {
		got = append(got, fmt.Sprint(m.ID, m.revision))
	}
	after := 0
	if !when.IsZero() {
		after = int(when.Sub(noon) / time.Second)
	}
	if d.revision != revision || strings.Join(got, " ") != members || after != changes {
		d.t.Errorf("at revision %d are %v, which changes at %d; want %d, %s, %d", d.revision, got, after, revision, members, changes)
	}
}

func TestRegisterTakesChanges(t *testing.T) {
	d := newDesk(t)
	d.want(0, "", 0)
	d.all()
	d.want(0, "", 0)
	d.at(0, put("b", 1), put("a", 2), put("c", 4))
	d.want(4, "a2 b1 c4", 0)
	d.at(1, put("b", 5))
	d.want(5, "a2 b5 c4", 0)
	d.at(1, deleted("a", 6))
	d.want(6, "b5 c4", 0)
	d.at(1, deleted("nobody", 7), expired("nobody", 8))
	d.want(8, "b5 c4", 0)
	d.at(1000)
	d.want(8, "b5 c4", 0) // nobody has said that they are gone
}

// A node that comes back as a new member has not heard anew of what has not been renewed
// meanwhile.
func TestRegisterRemembers(t *testing.T) {
	d := newDesk(t)
	d.at(0, put("a", 1), put("b", 2))
	d.register = newRegister(newRegister(d.register)) // the second life ended before it began
	d.now = noon.Add(2 * time.Second)
	d.all(put("a", 1), put("b", 4))
	d.at(2, expired("a", 5), expired("b", 6))
	d.want(6, "a1 b4", 3)
	d.at(3)
	d.want(6, "b4", 5)
	d.register = newRegister(d.register) // of another bucket, which is at its beginning
	d.all(put("b", 1))
	d.at(3, expired("b", 2))
	d.want(2, "b1", 6)
}

// An expired member is there until its lease is over by this node's clock, too.
func TestRegisterExpires(t *testing.T) {
	d := newDesk(t)
	d.at(0, put("a", 1), put("b", 2))
	d.at(1, put("a", 3), expired("a", 4))
	d.want(4, "a3 b2", 4)
	d.at(2, expired("b", 5))
	d.want(5, "a3 b2", 3)
	d.at(3)
	d.want(5, "a3", 4)
	d.at(4)
	d.want(5, "", 0)
	d.at(4, put("c", 6))
	d.at(7, expired("c", 7))
	d.want(7, "", 0) // both clocks agree
}

func TestRegisterRenewalBringsBack(t *testing.T) {
	d := newDesk(t)
	d.at(0, put("a", 1), put("b", 2), expired("a", 3), expired("b", 4))
	d.want(4, "a1 b2", 3)
	d.at(2, put("a", 5))
	d.want(5, "a5 b2", 3)
	d.at(3)
	d.want(5, "a5", 0)
	d.at(3, put("b", 6))
	d.want(6, "a5 b6", 0)
	d.at(4, expired("a", 7), deleted("a", 8))
	d.want(8, "b6", 0) // a delete is at once
}

func TestRegisterIsReadAgain(t *testing.T) {
	d := newDesk(t)
	d.all(put("a", 1), put("b", 2), deleted("x", 3))
	d.want(3, "a1 b2", 0)
	d.at(1)
	d.all(put("a", 1), put("c", 4))
	d.want(4, "a1 c4", 0)
	d.all(put("a", 1), deleted("c", 6))
	d.want(6, "a1", 0)
	d.all(put("a", 7), put("c", 8))
	d.want(8, "a7 c8", 0)
	d.at(1, expired("c", 9))
	d.want(9, "a7 c8", 4)
	d.all(put("a", 7), put("c", 10))
	d.want(10, "a7 c10", 0)
	// To be told again is no sign of life.
	d.at(2)
	d.all(put("a", 7), put("c", 10))
	d.at(3, expired("c", 11))
	d.want(11, "a7 c10", 4)
}

// That a member has expired is known of it when the register is read again as well.
func TestRegisterExpiredInAnotherReading(t *testing.T) {
	d := newDesk(t)
	d.at(0, put("a", 1), put("b", 2), put("c", 3), expired("a", 4))
	d.all(expired("a", 4), expired("b", 5), deleted("c", 6), expired("nobody", 7))
	d.want(7, "a1 b2", 3)
	d.all(expired("b", 5), put("d", 8))
	d.want(8, "b2 d8", 3)
	d.at(3)
	d.want(8, "d8", 0)
}

// A replica that lags behind tells what has been long ago.
func TestRegisterIgnoresWhatIsStale(t *testing.T) {
	d := newDesk(t)
	d.at(0, put("a", 1), put("b", 2), put("a", 3), put("c", 4), deleted("b", 5), expired("c", 6), put("a", 7))
	d.want(7, "a7 c4", 3)
	d.at(1)
	d.all(put("b", 2), put("a", 3))
	d.want(7, "a7 c4", 3)
	d.at(2, put("c", 4), deleted("b", 5), expired("c", 6), put("a", 7))
	d.want(7, "a7 c4", 3) // nor was any of it heard only now
	d.at(2, put("b", 2), deleted("a", 6))
	d.want(7, "a7 c4", 3)
	d.at(2, put("b", 8))
	d.want(8, "a7 b8 c4", 3)
	d.at(3)
	d.want(8, "a7 b8", 0)
}

// changeAfterJSON gives the record as another member reads it.
func changeAfterJSON(t *testing.T, r record) (got record) {
	t.Helper()
	data, err := json.Marshal(r)
	if err == nil {
		err = json.Unmarshal(data, &got)
	}
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// The text of a record is what nodes of two releases share.
func TestRecord(t *testing.T) {
	full := record{
		ID: "N1", Run: "R1", Name: "one", Address: "10.0.0.1:4300", Version: "v1.2.3", Types: []string{"cart", "order"}, State: stateDraining,
		Joined: noon, Lease: 3 * time.Second, Since: 7, Settled: 9, Holding: []string{"order/o-1"}, Active: 12, Rate: 2.5,
	}
	for _, c := range []struct {
		record record
		text   string
	}{
		{full, `{"id":"N1","run":"R1","name":"one","address":"10.0.0.1:4300","version":"v1.2.3","types":["cart","order"],"state":"draining",` +
			`"joined":"2026-03-01T12:00:00Z","lease":3000000000,"since":7,"settled":9,"holding":["order/o-1"],"active":12,"rate":2.5}`},
		{
			record{ID: "N2", Name: "two", Address: "[::1]:1", State: stateUp, Joined: noon, Lease: time.Second},
			`{"id":"N2","run":"","name":"two","address":"[::1]:1","state":"up","joined":"2026-03-01T12:00:00Z","lease":1000000000,"settled":0,"active":0,"rate":0}`,
		},
	} {
		if data, err := json.Marshal(c.record); err != nil || string(data) != c.text {
			t.Errorf("got %s, %v\nwant %s", data, err, c.text)
		}
		var read record
		more := strings.Replace(c.text, "{", `{"colour":{"red":[1]},`, 1)
		if err := json.Unmarshal([]byte(more), &read); err != nil || fmt.Sprint(read) != fmt.Sprint(c.record) {
			t.Errorf("read with a field of a later release: %+v, %v; want %+v", read, err, c.record)
		}
	}
}

// slept gives t as it is after so much time that only the clock on the wall has counted;
// a negative one only the clock that runs evenly has.
func slept(t time.Time, d time.Duration) time.Time {
	even := (*struct {
		wall uint64
		ext  int64 // the even clock's reading, when there is one
		loc  *time.Location
	})(unsafe.Pointer(&t))
	t = t.Add(d)
	even.ext -= int64(d)
	return t
}

func TestLeaseIsGood(t *testing.T) {
	begun := time.Now()
	const s = time.Second
	if woken := slept(begun, 5*s); woken.Sub(begun) != 0 || woken.Round(0).Sub(begun.Round(0)) != 5*s {
		t.Fatal("the two clocks cannot be told apart")
	}
	until := begun.Add(10 * s)
	for name, c := range map[string]struct {
		now, until time.Time
		want       bool
	}{
		"just begun":                    {begun, until, true},
		"nearly over":                   {begun.Add(10*s - 1), until, true},
		"over":                          {begun.Add(10 * s), until, false},
		"long over":                     {begun.Add(time.Hour), until, false},
		"never begun":                   {begun, time.Time{}, false},
		"the machine slept a little":    {slept(begun, 9*s), until, true},
		"the machine slept":             {slept(begun, 10*s), until, false},
		"the clock has been set back":   {slept(begun.Add(11*s), -10*s), until, false},
		"set back, with time left":      {slept(begun.Add(9*s), -10*s), until, true},
		"a clock without an even one":   {begun.Round(0), until, true},
		"the same, over":                {until.Round(0), until, false},
		"the clock has been set ahead":  {slept(begun.Add(s), time.Hour), until, false},
		"set ahead and then back again": {slept(slept(begun.Add(s), time.Hour), -time.Hour), until, true},
	} {
		l := &lease{now: func() time.Time { return c.now }}
		l.until.Store(&c.until)
		if l.good() != c.want {
			t.Errorf("%s: the lease is good: %v, want %v", name, l.good(), c.want)
		}
	}
}

func TestRegisterTellsTheSilent(t *testing.T) {
	d := newDesk(t)
	silent := func() string {
		var ids []string
		for _, m := range d.silent(d.now) {
			ids = append(ids, fmt.Sprint(m.ID, m.revision))
		}
		slices.Sort(ids)
		return strings.Join(ids, " ")
	}
	d.at(0, put("a", 1), put("b", 2), put("c", 3))
	d.at(5, put("a", 4), expired("c", 5))
	for at, want := range map[int]string{5: "", 6: "b2", 11: "a4 b2"} {
		d.at(at)
		if got := silent(); got != want {
			t.Errorf("%d s after noon %q are silent, want %q", at, got, want)
		}
	}
}
