package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence/persistencetest"
)

// through has the member reach the register by way of a proxy.
func (r *ring) through() (*persistencetest.Proxy, func(*Config)) {
	r.t.Helper()
	admin, err := natsd.ReadAdmin(r.server.Config().DataDir)
	if err != nil {
		r.t.Fatal(err)
	}
	u, err := url.Parse(admin.URL)
	if err != nil {
		r.t.Fatal(err)
	}
	proxy := persistencetest.NewProxy(r.t, u.Host)
	nc, err := natsd.Dial("nats://"+proxy.Address(), nats.UserInfo(admin.User, admin.Password), nats.Timeout(patience),
		nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectBufSize(-1))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(nc.Close)
	return proxy, func(c *Config) { c.Conn = nc }
}

// A node whose words do not reach NATS any more steps down before another can take its
// place, and comes back as a new member.
func TestCutOff(t *testing.T) {
	r := startRing(t)
	proxy, cut := r.through()
	one, two := r.member(cut, briefly), r.member()
	eventually(t, "both see two", func() bool { return sees(one, 2) && sees(two, 2) })
	l := r.load(8, one, two)
	// The machine may stand still while one waits for the other.
	taken := time.Hour
	for attempt := 0; attempt < 5 && taken > 2*time.Second; attempt++ {
		taken = min(taken, r.cutOff(l, proxy, one, two))
	}
	failed := l.end(two)
	t.Logf("the other took over %v after it was cut off; the lease is %v; %d requests failed", taken, LeastLease, failed)
	if taken > 2*time.Second {
		t.Errorf("the other one took over after %v", taken)
	}
}

// cutOff cuts one off until the other has taken over, and gives how long that took.
func (r *ring) cutOff(l *load, proxy *persistencetest.Proxy, one, two *Member) time.Duration {
	r.t.Helper()
	l.pause(500)
	was := one.current.Load()
	begun := time.Now()
	proxy.HoldRequests()
	eventually(r.t, "the other one has taken over", func() bool {
		gone := sees(two, 1)
		if gone && was.lease.good() {
			r.t.Error("it was gone for the others before it stepped down")
		}
		return gone
	})
	taken := time.Since(begun)
	l.pause(200)
	proxy.Release()
	eventually(r.t, "it is back", func() bool { return one.current.Load() != was && sees(two, 2) && sees(one, 2) })
	l.pause(500)
	return taken
}

// Where the register has gone nobody can hand over, as when the last nodes of a cluster stop
// together, whose servers are the register.
func TestDrainWithoutRegister(t *testing.T) {
	r := startRing(t)
	one, two := r.member(briefly), r.member(briefly)
	eventually(t, "both see two", func() bool { return sees(one, 2) && sees(two, 2) })
	r.server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := one.Drain(ctx); err != nil {
		t.Error(err)
	}
}

// The server's clock has been set back: it keeps the record of a node that has died. The
// others see by their own clock that it gives no sign of life.
func TestSilent(t *testing.T) {
	r := startRing(t)
	one := r.member()
	i := one.current.Load()
	i.lease.mu.Lock()
	dead := i.lease.record
	i.lease.mu.Unlock()
	dead.ID, dead.Address, dead.Lease = "dead", "127.0.0.1:1", LeastLease
	data, err := json.Marshal(dead)
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if _, err := i.bucket.js.Publish(t.Context(), i.bucket.subject(dead.ID), data); err != nil { // it never expires
		t.Fatal(err)
	}
	eventually(t, "it is there", func() bool { return one.current.Load().scene.Load().member(dead.ID) != nil })
	eventually(t, "it is gone", func() bool { return sees(one, 1) })
	if took := time.Since(begun); took < 2*dead.Lease {
		t.Errorf("it was removed %v after its last sign of life", took)
	}
	if one.current.Load() != i {
		t.Error("the living one has been taken for gone")
	}
}

// What a starting node asks of NATS is not answered: it asks again, until it is a member.
func TestStartIsPatient(t *testing.T) {
	r := startRing(t)
	proxy, cut := r.through()
	proxy.HoldRequests()
	config := r.config(cut, briefly)
	started := make(chan *Member, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		m, err := Start(ctx, config)
		if err != nil {
			t.Error(err)
		}
		started <- m
	}()
	<-time.After(5 * config.Lease / 2) // longer than it waits for an answer
	proxy.Release()
	if m := <-started; m != nil {
		r.stop(m)
	}
}

// A node is stopped while it tries in vain to come back as a new member.
func TestStopWhileComingBack(t *testing.T) {
	r := startRing(t)
	proxy, cut := r.through()
	m := r.member(cut, briefly)
	was := m.current.Load()
	proxy.HoldRequests()
	was.end(errLost)
	eventually(t, "the old one has ended", func() bool { return len(was.scene.Load().members) == 0 })
	r.stop(m)
}

// What the register's last leader was asked, nobody answers. The lease is renewed as soon as
// there is another.
func TestElectionOfRegister(t *testing.T) {
	r := startRing(t)
	proxy, cut := r.through()
	m := r.member(cut, func(c *Config) { c.Lease = time.Minute })
	i := m.current.Load()
	i.settles(t)
	proxy.LoseRequests()
	begun := make(chan uint64, 100)
	i.lease.mu.Lock()
	i.lease.fill = func(*record) { begun <- i.lease.revision }
	i.lease.mu.Unlock()
	i.lease.change(func(*record) {}) // so that it is renewed now
	was := <-begun
	<-time.After(100 * time.Millisecond) // the record is sent, and lost
	proxy.Release()
	lost := time.Now()
	if err := m.bucket.nc.Publish("$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.KV_"+m.bucket.name, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the lease is renewed", func() bool { return i.lease.last() > was })
	if took := time.Since(lost); took > 15*time.Second { // the attempt would take 20 s
		t.Errorf("it is renewed %v after the election", took)
	}
}

// The server that keeps a node's watch dies, and the watch tells nothing any more.
func TestDeadWatch(t *testing.T) {
	r := startRing(t)
	m := r.member(func(c *Config) { c.Lease = 10 * time.Second })
	register, err := m.bucket.js.Stream(t.Context(), "KV_"+m.bucket.name)
	if err != nil {
		t.Fatal(err)
	}
	i := m.current.Load()
	i.settles(t)
	for name := range register.ConsumerNames(t.Context()).Name() {
		if err := register.DeleteConsumer(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	died := time.Now()
	revision := i.scene.Load().revision
	eventually(t, "it hears again", func() bool { return i.scene.Load().revision > revision })
	if took := time.Since(died); took > 22*time.Second { // it would be told everything anew after 30 s
		t.Errorf("it hears again after %v", took)
	}
}

// settles waits until the member has settled, and heard of it.
func (i *incarnation) settles(t *testing.T) {
	t.Helper()
	eventually(t, "it has settled, and heard of it", func() bool {
		v := i.scene.Load()
		self := v.member(i.id)
		return self != nil && self.Settled >= self.since() && v.revision == i.lease.last()
	})
}

// The same, and no other watch can be had, as when the server that leads them all has died as well.
func TestNoWatch(t *testing.T) {
	r := startRing(t)
	js, err := jetstream.New(r.config().Conn)
	if err != nil {
		t.Fatal(err)
	}
	bucket := messages.Context("test").MembersBucket()
	register, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "KV_" + bucket, Subjects: []string{"$KV." + bucket + ".>"}, MaxMsgsPerSubject: 1, MaxConsumers: 2,
		AllowDirect: true, AllowRollup: true, AllowMsgTTL: true, SubjectDeleteMarkerTTL: goneFor,
	})
	if err != nil {
		t.Fatal(err)
	}
	steady := func(c *Config) { c.Lease = 10 * time.Second } // none could come back
	one, two := r.member(steady), r.member(steady)
	eventually(t, "both see two", func() bool { return sees(one, 2) && sees(two, 2) })
	for name := range register.ConsumerNames(t.Context()).Name() {
		if err := register.DeleteConsumer(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if _, err := register.CreateConsumer(t.Context(), jetstream.ConsumerConfig{InactiveThreshold: time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
	revision := one.current.Load().scene.Load().revision
	eventually(t, "it hears", func() bool { return one.current.Load().scene.Load().revision > revision+4 })
	if !sees(one, 2) || !sees(two, 2) {
		t.Error("one is missed that is there")
	}
	if err := two.current.Load().lease.end(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it hears of one that goes", func() bool { return sees(one, 1) })
}

// A node that has written nothing to the register for longer than a deposed leader may not
// notice cannot tell whether it is linked, though its lease is good.
func TestNotFresh(t *testing.T) {
	r := startRing(t)
	var ahead atomic.Int64
	begun := time.Now()
	proxy, cut := r.through()
	m := r.member(cut, func(c *Config) {
		c.Lease = time.Hour
		c.Now = func() time.Time { return begun.Add(time.Duration(ahead.Load())) }
	})
	m.current.Load().settles(t)
	if err := m.Linked(); err != nil {
		t.Fatal(err)
	}
	proxy.HoldRequests() // nothing is written any more
	defer proxy.Release()
	ahead.Store(int64(freshFor))
	if err := m.Linked(); !errors.Is(err, holdfast.ErrUnavailable) || !m.current.Load().linked() {
		t.Errorf("got %v, linked is %v", err, m.current.Load().linked())
	}
}

// Whoever has lost its lease does not rely on it for another moment.
func TestLostLease(t *testing.T) {
	r := startRing(t)
	m := r.member()
	i := m.current.Load()
	eventually(t, "its record is gone", func() bool { return m.bucket.remove(t.Context(), i.id, i.lease.last()) == nil })
	<-i.over.Done()
	if i.lease.good() {
		t.Error("it relies on its lease")
	}
	eventually(t, "it is back", func() bool { return m.current.Load() != i && m.Linked() == nil })
}
