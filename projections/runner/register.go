package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/bucket"
	"github.com/holdfast-run/holdfast/messages"
)

// RegisterConfig is what [OpenRegister] needs. Now has a default.
type RegisterConfig struct {
	Context  messages.Context
	Conn     *nats.Conn // of CORE
	Replicas int
	Log      *slog.Logger
	// Now is the clock; time.Now by default.
	Now func() time.Time
}

// A Register has what the nodes agree on about projections, and how these stand: a NATS KV
// bucket with a key a projection, project.<name>, and a key a unit. Any node may write to it:
// by compare-and-set. It is safe for concurrent use.
type Register struct {
	config RegisterConfig
	kv     jetstream.KeyValue
	cancel context.CancelFunc
	ended  chan struct{}

	mu      sync.Mutex
	records map[string]known
	units   map[string]heard
	changed chan struct{} // closed by the next change of a record
}

// known is a record as it stands in the bucket.
type known struct {
	Record
	revision uint64
}

// heard is the status of a unit, and when this node heard of it.
type heard struct {
	UnitStatus
	projection string
	at         time.Time
	revision   uint64
}

const (
	recordKeys = "project."
	unitKeys   = "unit."
	// again is how long the register waits before it tries again.
	again = 200 * time.Millisecond
)

// OpenRegister opens the register of a context, and makes its bucket when it is missing. It
// tries again until ctx ends.
func OpenRegister(ctx context.Context, c RegisterConfig) (*Register, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	kv, err := bucket.Open(ctx, c.Conn, jetstream.KeyValueConfig{
		Bucket: c.Context.ProjectionsBucket(), Description: "The projections of " + string(c.Context), Replicas: c.Replicas,
	})
	if err != nil {
		return nil, fmt.Errorf("open the register of projections: %w", err)
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &Register{
		config: c, kv: kv, cancel: cancel, ended: make(chan struct{}),
		records: map[string]known{}, units: map[string]heard{}, changed: make(chan struct{}),
	}
	read := make(chan struct{})
	go r.follow(running, sync.OnceFunc(func() { close(read) }))
	select {
	case <-read:
		return r, nil
	case <-ctx.Done():
		r.Close()
		return nil, holdfast.Errorf(holdfast.CodeUnavailable, "open the register of projections: it cannot be read: %w", context.Cause(ctx))
	}
}

// Close ends the watching of the register. It bears repetition.
func (r *Register) Close() {
	r.cancel()
	<-r.ended
}

// follow keeps what is known up to date. It calls read when all that there is has been read.
func (r *Register) follow(ctx context.Context, read func()) {
	defer close(r.ended)
	for ctx.Err() == nil {
		if err := r.watch(ctx, read); ctx.Err() == nil {
			r.config.Log.Warn("the register of projections cannot be watched; trying again", "error", err)
			_ = pause(ctx, again)
		}
	}
}

func (r *Register) watch(ctx context.Context, read func()) error {
	w, err := r.kv.WatchAll(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = w.Stop() }()
	for {
		select {
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return errors.New("the watch has ended")
			case e == nil:
				read()
			default:
				r.hear(e)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// hear takes in what stands under a key. What cannot be read is as if it were not there.
func (r *Register) hear(e jetstream.KeyValueEntry) {
	gone := e.Operation() != jetstream.KeyValuePut
	if name, ok := strings.CutPrefix(e.Key(), recordKeys); ok {
		var rec Record
		if err := json.Unmarshal(e.Value(), &rec); !gone && err != nil {
			r.config.Log.Error("the record of a projection cannot be read", "projection", name, "error", err)
			return
		}
		r.know(name, known{rec, e.Revision()}, gone)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.units[e.Key()].revision >= e.Revision() {
		return
	}
	projection, _, ok := strings.Cut(strings.TrimPrefix(e.Key(), unitKeys), ".")
	var s UnitStatus
	if gone || !ok || json.Unmarshal(e.Value(), &s) != nil {
		delete(r.units, e.Key())
		return
	}
	r.units[e.Key()] = heard{s, projection, r.config.Now(), e.Revision()}
}

// know takes in a record, unless a newer one is known, and gives the revision of the one that is.
func (r *Register) know(name string, rec known, gone bool) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.records[name].revision; known >= rec.revision {
		return known
	}
	if gone {
		delete(r.records, name)
	} else {
		r.records[name] = rec
	}
	close(r.changed)
	r.changed = make(chan struct{})
	return rec.revision
}

// record gives what is known of a projection, and what is closed when any record has changed.
func (r *Register) record(name string) (Record, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.records[name].Record, r.changed
}

// Records gives what is known, by the names of the projections. Others see what this node has
// written at once or a moment later.
func (r *Register) Records(context.Context) ([]Record, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Record
	for _, name := range slices.Sorted(maps.Keys(r.records)) {
		all = append(all, r.records[name].clone())
	}
	return all, nil
}

// Record gives that of one projection; ErrUnknown when there is none.
func (r *Register) Record(_ context.Context, name string) (Record, error) {
	rec, _ := r.record(name)
	if rec.Last == 0 {
		return rec, unknown(name)
	}
	return rec.clone(), nil
}

func unknown(name string) error {
	return holdfast.Errorf(holdfast.CodeUnknown, "there is no projection %q", name)
}

// errUnchanged says that there is nothing to write.
var errUnchanged = errors.New("unchanged")

// update changes a record, again until nobody else has changed it meanwhile or ctx ends. It
// gives the record as it then is.
func (r *Register) update(ctx context.Context, name string, change func(*Record) error) (Record, error) {
	var sent [][]byte
	for {
		rec, err := r.attempt(ctx, name, change, &sent)
		switch {
		case err == nil:
			return rec, nil
		case errors.As(err, new(*holdfast.Error)):
			return rec, err
		}
		if !bucket.Conflict(err) {
			if wait := pause(ctx, again); wait != nil {
				return rec, holdfast.Errorf(holdfast.CodeUnavailable, "the register of projections does not answer: %w", err)
			}
		} else if ctx.Err() != nil {
			return rec, holdfast.Errorf(holdfast.CodeUnavailable, "the record of %s is changed by others all the time: %w", name, err)
		}
	}
}

// errStale says that a replica has answered that has not got what this node knows.
var errStale = errors.New("a replica is behind")

// attempt changes a record once. sent are the records that were sent before: one of them may
// have been written, though no answer came, and is not changed again.
func (r *Register) attempt(ctx context.Context, name string, change func(*Record) error, sent *[][]byte) (Record, error) {
	var old known
	e, err := r.kv.Get(ctx, recordKeys+name)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		old.Name = name
	case err != nil:
		return Record{}, err
	default:
		if err := json.Unmarshal(e.Value(), &old.Record); err != nil {
			return Record{}, holdfast.Errorf(holdfast.CodeInternal, "the record of the projection %s cannot be read: %w", name, err)
		}
		old.revision = e.Revision()
		if slices.ContainsFunc(*sent, func(body []byte) bool { return bytes.Equal(body, e.Value()) }) {
			r.know(name, old, false)
			return old.Record, nil
		}
	}
	rec := old.clone()
	if err := change(&rec); errors.Is(err, errUnchanged) {
		if r.know(name, old, false) > old.revision {
			return Record{}, errStale
		}
		return old.Record, nil
	} else if err != nil {
		return Record{}, err
	}
	body, err := json.Marshal(rec)
	if err != nil {
		return Record{}, err
	}
	*sent = append(*sent, body)
	var revision uint64
	if old.revision == 0 {
		revision, err = r.kv.Create(ctx, recordKeys+name, body)
	} else {
		revision, err = r.kv.Update(ctx, recordKeys+name, body, old.revision)
	}
	if err == nil {
		r.know(name, known{rec, revision}, false)
	}
	return rec, err
}

// change changes the record of a projection that there is.
func (r *Register) change(ctx context.Context, name string, f func(rec *Record, now time.Time) error) error {
	_, err := r.update(ctx, name, func(rec *Record) error {
		if rec.Last == 0 {
			return unknown(name)
		}
		return f(rec, r.config.Now().UTC())
	})
	return err
}

// pause waits, or gives the reason why it did not.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// tell writes the status of a unit.
func (r *Register) tell(ctx context.Context, key, projection string, s UnitStatus) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	body, err := json.Marshal(s)
	if err != nil {
		return err
	}
	revision, err := r.kv.Put(ctx, key, body)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.units[key].revision < revision {
		r.units[key] = heard{s, projection, r.config.Now(), revision}
	}
	return nil
}

// unit gives the status of a unit as it was heard last.
func (r *Register) unit(key string) (UnitStatus, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h, ok := r.units[key]
	return h.UnitStatus, ok
}

// orders gives the number of the last order that was carried out in a unit.
func (r *Register) orders(key string) uint64 {
	s, _ := r.unit(key)
	return s.Orders
}

// unitsOf gives the statuses of a generation's units, in order.
func (r *Register) unitsOf(projection string, generation uint64) (all []UnitStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.config.Now()
	for _, key := range slices.Sorted(maps.Keys(r.units)) {
		h := r.units[key]
		if h.projection == projection && h.Generation == generation {
			h.Silent = h.Silent || now.Sub(h.at) > silence
			all = append(all, h.UnitStatus)
		}
	}
	return all
}

// forget takes away the statuses of a generation's units.
func (r *Register) forget(ctx context.Context, projection string, generation uint64) error {
	prefix := fmt.Sprintf("%s%s.%d.", unitKeys, projection, generation)
	r.mu.Lock()
	keys := slices.DeleteFunc(slices.Collect(maps.Keys(r.units)), func(key string) bool { return !strings.HasPrefix(key, prefix) })
	r.mu.Unlock()
	for _, key := range keys {
		if err := r.kv.Delete(ctx, key); err != nil {
			return fmt.Errorf("forget the status %s: %w", key, err)
		}
	}
	return nil
}
