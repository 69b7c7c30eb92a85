package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/actors"
)

// An incarnation is a node's life as one member, from its first record to the loss of its
// lease. It has its own actor system: what an earlier one has left is not its own.
type incarnation struct {
	id  string
	run string
	// advertised: its address is not the one at which it listens.
	advertised bool
	log        *slog.Logger
	now        func() time.Time
	bucket     *bucket
	lease      *lease
	register   *register // of the worker who looks, while there is one
	system     *actor.ActorSystem
	host       *actors.Host

	scene   atomic.Pointer[scene]
	moves   chan *view // the newest view that places aggregates otherwise
	joined  chan struct{}
	joining sync.Once
	asked   func()          // an operator wants the node to leave
	over    context.Context // ends with the incarnation, with the reason
	end     context.CancelCauseFunc
	workers sync.WaitGroup
	closing sync.Once
}

// A scene is a view until the next one comes.
type scene struct {
	*view
	changed chan struct{} // closed then
}

// errMoved is the cause of errors that say that a request was not executed since its
// aggregate is, or will be, elsewhere.
var errMoved = errors.New("moved")

func moved(format string, args ...any) error {
	e := holdfast.Errorf(holdfast.CodeUnavailable, format, args...)
	e.Cause = errMoved
	return e
}

const (
	// lookAgain is how often, in leases, the register is read as a whole, whatever the watch
	// says.
	lookAgain = 3
	// straggle is how long a settling waits for those that are slow to go before it is
	// told without them, of which at most so many are named.
	straggle    = 50 * time.Millisecond
	mostHolding = 64
)

// incarnate makes this node a member. It returns when the node sees itself among the
// members.
func (m *Member) incarnate(ctx context.Context) (*incarnation, error) {
	c := m.config
	i := &incarnation{
		id: c.NewID(), run: m.run, advertised: c.Advertise != "", asked: m.ask, log: c.Host.Log, now: c.Now, bucket: m.bucket,
		register: newRegister(m.register), moves: make(chan *view, 1), joined: make(chan struct{}),
		system: actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return quiet(c.Host.Log) })),
	}
	m.register = i.register
	i.scene.Store(&scene{view: &view{}, changed: make(chan struct{})})
	i.over, i.end = context.WithCancelCause(context.Background())
	host := c.Host
	host.System, host.Admit = i.system, i.admit
	var err error
	if i.host, err = actors.NewHost(host); err != nil {
		i.system.Shutdown()
		return nil, err
	}
	i.host.Start()
	r := record{
		ID: i.id, Run: i.run, Name: c.Name, Address: m.address, Version: c.Version, State: stateUp,
		Joined: c.Now().UTC(), Lease: c.Lease,
	}
	if r.Types = c.Hosts; len(r.Types) == 0 {
		for _, def := range c.Host.Types {
			r.Types = append(r.Types, def.Name())
		}
	}
	if err := i.join(ctx, r); err != nil {
		return nil, errors.Join(err, i.close(ctx, err))
	}
	return i, nil
}

func (i *incarnation) join(ctx context.Context, r record) error {
	begun := make(chan error, 1)
	i.lease = newLease(i.bucket, r, i.now, i.count())
	i.workers.Go(func() { i.look(i.register, begun) })
	select {
	case err := <-begun:
		if err != nil {
			return fmt.Errorf("register: %w", err)
		}
	case <-ctx.Done():
		return fmt.Errorf("read the register: %w", context.Cause(ctx))
	}
	i.workers.Go(i.settle)
	i.workers.Go(func() { i.end(i.lease.keep(i.over)) })
	select {
	case <-i.joined:
		return nil
	case <-i.over.Done():
		return fmt.Errorf("register: %w", context.Cause(i.over))
	case <-ctx.Done():
		return fmt.Errorf("see itself in the register: %w", context.Cause(ctx))
	}
}

// look keeps the scene as the register is, until the incarnation is over. The one who
// waits for begun hears when the node's own record has been written.
func (i *incarnation) look(reg *register, begun chan<- error) {
	alls, ones, snapshots := make(chan []change), make(chan change), make(chan []change)
	status := i.bucket.nc.StatusChanged(nats.CONNECTED, nats.RECONNECTING, nats.DISCONNECTED, nats.CLOSED)
	defer i.bucket.nc.RemoveStatusListener(status)
	elected := make(chan struct{}, 1)
	defer i.bucket.onElection(func() { poke(elected) })()
	again := make(chan struct{}, 1)
	i.workers.Go(func() { i.watch(alls, ones, again) })
	lease := i.lease.record.Lease
	period, beat, itself := time.NewTicker(lookAgain*lease), time.NewTicker(lease/renewAfter), time.NewTimer(time.Hour)
	defer period.Stop()
	defer beat.Stop()
	defer itself.Stop()
	var own echo
	for {
		select {
		case all := <-alls:
			own.lost = false
			reg.replace(all, i.now())
			for _, c := range all {
				i.heed(c)
			}
			if begun != nil {
				begun <- i.enter(reg)
				begun = nil
			}
		case c := <-ones:
			reg.apply(c, i.now())
			i.heed(c)
		case all := <-snapshots:
			reg.replace(all, i.now())
		case <-itself.C:
		case <-elected:
			i.lease.elected()
		case <-beat.C:
			if own.missing(reg.revision, i.lease.last()) {
				poke(again)
			}
			if own.lost {
				i.workers.Go(func() { i.snapshot(snapshots) })
			}
			if i.lease.good() { // the register can be written
				i.removeSilent(reg.silent(i.now()))
			}
		case now := <-status:
			i.lease.linked.Store(now == nats.CONNECTED)
			poke(again)
		case <-period.C:
			poke(again)
		case <-i.over.Done():
			return
		}
		i.showAll(reg, itself)
	}
}

// showAll shows what is there, and has itself fire when that will have changed.
func (i *incarnation) showAll(reg *register, itself *time.Timer) {
	members, next := reg.members(i.now())
	i.show(newView(i.id, reg.revision, members))
	if !next.IsZero() {
		itself.Reset(max(next.Sub(i.now()), time.Millisecond))
	}
}

// heed does what an operator asks of this node.
func (i *incarnation) heed(c change) {
	if c.leave == i.run {
		i.asked()
	}
}

// enter removes what an earlier incarnation of this node has left, and writes the record.
func (i *incarnation) enter(reg *register) error {
	ctx, cancel := context.WithTimeout(i.over, i.lease.record.Lease)
	defer cancel()
	for id, e := range reg.entries {
		// Two cannot listen at one address, so the other one is gone. What is advertised may be
		// another's, too: that one is waited for.
		if e.Address != i.lease.record.Address || i.advertised {
			continue
		}
		if err := i.bucket.remove(ctx, id, e.revision); err != nil {
			i.log.Warn("the record of an earlier incarnation remains until it expires", "member", id, "error", err)
		}
	}
	i.lease.change(func(r *record) { r.Settled = reg.revision })
	return i.lease.renew(ctx)
}

// removeSilent removes those who are silent. One who has renewed its record, unheard here,
// keeps it; to any other it has been over for long.
func (i *incarnation) removeSilent(silent []member) {
	for _, m := range silent {
		i.workers.Go(func() {
			ctx, cancel := context.WithTimeout(i.over, i.lease.record.Lease)
			defer cancel()
			if err := i.bucket.remove(ctx, m.ID, m.revision); err != nil {
				i.log.Debug("the record of a silent node remains", "node", m.Name, "error", err)
			}
		})
	}
}

// count gives what counts the aggregates and the requests for the record.
func (i *incarnation) count() func(*record) {
	last, was := i.now(), int64(0)
	return func(r *record) {
		s, now := i.host.Stats(), i.now()
		r.Active = s.Active
		// Between two renewals that are close together, a rate would say nothing.
		if passed := now.Sub(last); passed > r.Lease/(2*renewAfter) {
			r.Rate = float64(s.Answered+s.Failed-was) / passed.Seconds()
			last, was = now, s.Answered+s.Failed
		}
	}
}

// show makes v the scene.
func (i *incarnation) show(v *view) {
	was := i.scene.Swap(&scene{view: v, changed: make(chan struct{})})
	close(was.changed)
	if v.member(i.id) == nil {
		return
	}
	i.joining.Do(func() { close(i.joined) })
	if v.placesLike(was.view) {
		return
	}
	select {
	case <-i.moves:
	default:
	}
	i.moves <- v
}

// settle releases what this node does not own any more, and says so.
func (i *incarnation) settle() {
	var v *view
	for {
		select {
		case v = <-i.moves:
		case <-i.over.Done():
			return
		}
		for v != nil {
			v = i.release(v)
		}
	}
}

// release has everything go that v places elsewhere, and gives the view that came
// meanwhile, nil if none did.
func (i *incarnation) release(v *view) (next *view) {
	ctx, cancel := context.WithCancel(i.over)
	defer cancel()
	done := make(chan struct{})
	i.workers.Go(func() {
		defer close(done)
		for told := mostHolding + 1; ctx.Err() == nil; {
			short, stop := context.WithTimeout(ctx, straggle)
			left, _ := i.host.Release(short, v.mine) // what is left is said
			stop()
			// Whoever was only slow does not wait, by its name, for those that are stuck.
			if ctx.Err() == nil && len(left) < told {
				i.settled(v.revision, left)
				told = len(left)
			}
			if len(left) == 0 {
				return
			}
		}
	})
	select {
	case <-done:
		return nil
	case next = <-i.moves:
	case <-i.over.Done():
	}
	cancel()
	<-done
	return next
}

func (i *incarnation) settled(revision uint64, holding []holdfast.Ref) {
	i.lease.change(func(r *record) {
		r.Settled, r.Holding = revision, nil
		for _, ref := range holding {
			r.Holding = append(r.Holding, ref.String())
		}
	})
}

// admit is asked, with the aggregate's place in the registry locked, before an activation.
// A view that comes later finds it there and has it go.
func (i *incarnation) admit(ref holdfast.Ref) error {
	v := i.scene.Load().view
	if !v.mine(ref) {
		return moved("%s has moved to another node: send it again", ref)
	}
	if p := v.holder(ref); p != nil {
		return moved("%s is on its way from node %s: send it again", ref, p.Name)
	}
	return nil
}

// close ends the incarnation: at once what it did as a member, and in its host what ctx
// leaves time for.
func (i *incarnation) close(ctx context.Context, because error) error {
	i.end(because)
	err := i.host.Stop(ctx)
	i.workers.Wait()
	i.show(&view{})
	i.closing.Do(i.system.Shutdown)
	return err
}
