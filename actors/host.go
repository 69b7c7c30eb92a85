package actors

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// Config is what a host is made of. Context, System, Store and Types are required.
type Config struct {
	Context messages.Context
	System  *actor.ActorSystem
	Store   persistence.Store
	Types   []holdfast.Definition
	// Queue is how many requests may wait at one aggregate; 1,024 by default.
	Queue int
	// Idle is how long an aggregate stays active without being asked; 2 minutes by
	// default. It is kept to about an eighth, and less while there are too many.
	Idle time.Duration
	// MaxActive is how many aggregates may be active; 100,000 by default. Beyond it the
	// longest unused are passivated; a quarter beyond it, requests that would activate
	// another one are refused as overloaded.
	MaxActive int
	// Loads is how many logs may be read at the same time; 64 by default.
	Loads int
	// LoadTimeout bounds the reading of one log; 30 seconds by default.
	LoadTimeout time.Duration
	// Admit says whether an aggregate may be activated here, and why not; nil admits all.
	// It is asked with a lock held, and must not block.
	Admit func(holdfast.Ref) error
	// Tick gives the passing of time, for tests; a ticker by default.
	Tick <-chan time.Time
	// Log is slog.Default() by default.
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Queue <= 0 {
		c.Queue = 1024
	}
	if c.Idle <= 0 {
		c.Idle = 2 * time.Minute
	}
	if c.MaxActive <= 0 {
		c.MaxActive = 100_000
	}
	if c.Loads <= 0 {
		c.Loads = 64
	}
	if c.LoadTimeout <= 0 {
		c.LoadTimeout = 30 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}

// maxPassed is how many stopping activations may pass a request on before it is given up.
const maxPassed = 16

// A Host runs the aggregates of one node.
type Host struct {
	config   Config
	types    map[string]holdfast.Definition
	settings Settings
	system   *actor.ActorSystem
	store    persistence.Store
	log      *slog.Logger

	registry registry
	hands    *workers
	props    *actor.Props // of every aggregate: it takes as much memory as one that is idle
	spawning sync.Mutex   // held while an actor is made, of spawned
	spawned  *aggregate
	tick     atomic.Int64
	crowded  chan struct{}
	saves    [savers]chan saveJob
	loads    chan struct{}
	stats    stats

	ctx       context.Context
	cancel    context.CancelFunc
	saving    context.Context // outlives ctx, for the snapshots of the last passivations
	dropSaves context.CancelFunc
	closing   atomic.Bool
	workers   sync.WaitGroup // sweeper and savers
	gate      sync.RWMutex   // held while a read of the log begins
	reads     sync.WaitGroup // of the log
	start     sync.Once
	stop      sync.Once
}

// NewHost makes a host. Start it before use.
func NewHost(config Config) (*Host, error) {
	c := config.withDefaults()
	h := &Host{
		config:   c,
		types:    make(map[string]holdfast.Definition, len(c.Types)),
		settings: Settings{Queue: c.Queue, Limit: c.Store.Limit()},
		system:   c.System,
		store:    c.Store,
		hands:    newWorkers(),
		log:      c.Log,
		crowded:  make(chan struct{}, 1),
		loads:    make(chan struct{}, c.Loads),
	}
	for _, def := range c.Types {
		if _, ok := h.types[def.Name()]; ok {
			return nil, errors.New("two aggregate types have the name " + def.Name())
		}
		h.types[def.Name()] = def
	}
	for i := range h.saves {
		h.saves[i] = make(chan saveJob, maxSaves)
	}
	h.props = actor.PropsFromProducer(
		func() actor.Actor { return h.spawned },
		actor.WithMailbox(func() actor.Mailbox { return &h.spawned.mailbox }),
		actor.WithDispatcher(h.hands),
	)
	h.registry.init()
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.saving, h.dropSaves = context.WithCancel(context.Background())
	return h, nil
}

// Start begins to passivate and to keep snapshots. A second call does nothing.
func (h *Host) Start() {
	h.start.Do(func() {
		h.workers.Add(1 + savers)
		go h.sweep()
		for _, saves := range h.saves {
			go h.saver(saves)
		}
	})
}

// Stop refuses new requests, lets every aggregate answer what is on its way, and waits
// for that until ctx ends; what is not answered then is uncertain. It returns ctx's
// error when that came first. Snapshots that are not kept by then are left out. A second
// call waits as well and does nothing else.
func (h *Host) Stop(ctx context.Context) error {
	defer context.AfterFunc(ctx, h.dropSaves)()
	h.closing.Store(true)
	h.Start() // so that there is something to end
	for _, a := range h.registry.all() {
		a.tell(drain{})
	}
	err := h.registry.waitEmpty(ctx)
	h.stop.Do(func() {
		for _, a := range h.registry.all() {
			h.system.Root.Stop(a.pid)
		}
		h.gate.Lock()
		h.cancel()
		h.gate.Unlock()
		h.hands.stop()
	})
	h.reads.Wait()
	h.workers.Wait()
	return err
}

// Release has the aggregates that are not to be kept answer what is on its way and go,
// and returns when they have gone, or with ctx's error. Which are left then, left says.
// Admit must not admit them any more.
func (h *Host) Release(ctx context.Context, keep func(holdfast.Ref) bool) (left []holdfast.Ref, err error) {
	var going []*aggregate
	for _, a := range h.registry.all() {
		if !keep(a.ref()) {
			going = append(going, a)
			a.tell(drain{})
		}
	}
	going, err = h.registry.waitGone(ctx, going)
	for _, a := range going {
		left = append(left, a.ref())
	}
	return left, err
}

// Deliver has the request answered by its aggregate, which is activated if need be. It
// does not wait: the request's Done hears the answer.
func (h *Host) Deliver(r *Request) {
	r.prepare()
	h.deliver(r)
}

func (h *Host) deliver(r *Request) {
	a, err := h.activation(r.Ref)
	if err != nil {
		r.answer = Answer{Err: r.unfinished(err)}
		h.answer(r)
		return
	}
	a.used.Store(h.tick.Load())
	a.ask(r)
}

func (h *Host) answer(r *Request) {
	if r.answer.Err != nil {
		h.stats.failed.Add(1)
	} else {
		h.stats.answered.Add(1)
	}
	r.Done(r.answer)
}

// pass gives a request that a stopping activation left to the next one.
func (h *Host) pass(r *Request) {
	if r.passed++; r.passed > maxPassed {
		r.answer = Answer{Err: r.unfinished(holdfast.Errorf(holdfast.CodeUnavailable, "%s stops again and again: send it again later", r.Ref))}
		h.answer(r)
		return
	}
	h.deliver(r)
}

// activation finds the aggregate's activation, or makes it.
func (h *Host) activation(ref holdfast.Ref) (*aggregate, error) {
	if h.closing.Load() {
		return nil, errClosing
	}
	if a := h.registry.find(ref); a != nil {
		return a, nil
	}
	def, ok := h.types[ref.Type]
	if !ok {
		return nil, holdfast.Errorf(holdfast.CodeUnknown, "there is no aggregate type %q", ref.Type)
	}
	if _, err := persistence.LogSubject(h.config.Context, ref, 1); err != nil {
		return nil, err
	}
	if active := h.registry.len(); active >= h.config.MaxActive {
		h.crowd()
		if active >= h.config.MaxActive+h.config.MaxActive/4 {
			return nil, holdfast.Errorf(holdfast.CodeOverloaded, "%d aggregates are active: send it again later", active)
		}
	}
	return h.registry.add(ref, func() (*aggregate, error) { return h.spawn(def, ref) })
}

// ErrStopping is the cause of the error of a request that a host did not take since it
// is stopping.
var ErrStopping = errors.New("the node is stopping: send it again")

var errClosing = holdfast.Errorf(holdfast.CodeUnavailable, "%w", ErrStopping)

// spawn is called with the registry locked, so Stop either sees what it makes or has it
// made no more.
func (h *Host) spawn(def holdfast.Definition, ref holdfast.Ref) (*aggregate, error) {
	if h.closing.Load() {
		return nil, errClosing
	}
	if h.config.Admit != nil {
		if err := h.config.Admit(ref); err != nil {
			return nil, err
		}
	}
	a := newAggregate(h, def, ref)
	h.spawning.Lock()
	h.spawned = a
	pid, err := h.system.Root.SpawnNamed(h.props, ref.Type+"/"+ref.ID+h.system.ProcessRegistry.NextID())
	h.spawned = nil
	h.spawning.Unlock()
	if err != nil {
		return nil, holdfast.Errorf(holdfast.CodeInternal, "activate %s: %w", ref, err)
	}
	a.pid = pid
	h.stats.activations.Add(1)
	return a, nil
}

func (h *Host) remove(a *aggregate) { h.registry.remove(a) }

// background runs a read of the log, a bounded number at a time, and then tells what came of it.
// On a host that has ended it is run with a context that has, too.
func (h *Host) background(read func(ctx context.Context) any, tell func(any)) {
	h.gate.RLock()
	defer h.gate.RUnlock()
	if h.ctx.Err() != nil {
		tell(read(h.ctx))
		return
	}
	h.reads.Add(1)
	h.hands.Schedule(func() { tell(h.read(read)) })
}

func (h *Host) read(read func(ctx context.Context) any) any {
	defer h.reads.Done()
	h.loads <- struct{}{}
	defer func() { <-h.loads }()
	ctx, cancel := context.WithTimeout(h.ctx, h.config.LoadTimeout)
	defer cancel()
	return read(ctx)
}
