package desk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/bucket"
	"github.com/holdfast-run/holdfast/messages"
)

// ListConfig is what [Open] needs.
type ListConfig struct {
	// Context is the one whose sagas are listed.
	Context messages.Context
	// Conn may use JetStream.
	Conn *nats.Conn
	// Replicas of the list; 1 by default.
	Replicas int
}

// A List has the sagas of a context that are not over: a NATS KV bucket with a key for each,
// <saga>.<encoded id>. It is safe for concurrent use.
type List struct {
	kv jetstream.KeyValue
}

// goneFor is how long it can be seen in the bucket that a saga was taken off the list. A
// marker that stayed would stay for ever: there is one for each saga that has ever been.
const goneFor = time.Minute

// Open opens the list of a context, and makes its bucket when it is missing. It tries again
// until ctx ends.
func Open(ctx context.Context, c ListConfig) (*List, error) {
	kv, err := bucket.Open(ctx, c.Conn, jetstream.KeyValueConfig{
		Bucket: c.Context.SagasBucket(), Description: "The sagas of " + string(c.Context) + " that are not over",
		Replicas: c.Replicas, LimitMarkerTTL: goneFor,
	})
	if err != nil {
		return nil, fmt.Errorf("open the list of sagas: %w", err)
	}
	return &List{kv: kv}, nil
}

// An entry is a saga on the list.
type entry struct {
	Since time.Time `json:"since"`

	typ      string
	id       messages.ID
	revision uint64
}

func (e entry) ref() holdfast.Ref { return holdfast.Ref{Type: e.typ, ID: e.id.Raw()} }

func key(ref holdfast.Ref) (string, error) {
	id, err := messages.EncodeID(ref.ID)
	return ref.Type + "." + id.String(), err
}

// Add puts a saga on the list, with the time since when it is there. Of one that is there the
// earlier time stays.
func (l *List) Add(ctx context.Context, saga holdfast.Ref, since time.Time) error {
	k, err := key(saga)
	if err != nil {
		return fmt.Errorf("list %s: %w", saga, err)
	}
	for {
		err := l.add(ctx, k, since)
		if err == nil {
			return nil
		}
		// Another one was faster; or there was one, which has been taken off.
		if !bucket.Conflict(err) && !errors.Is(err, jetstream.ErrKeyNotFound) || ctx.Err() != nil {
			return fmt.Errorf("list %s: %w", saga, err)
		}
	}
}

// add writes even what changes nothing: whoever is about to take the saga off, since it was
// over or had not begun, then finds that it is there anew.
func (l *List) add(ctx context.Context, key string, since time.Time) error {
	value, err := json.Marshal(entry{Since: since.UTC()})
	if err != nil {
		return err
	}
	_, err = l.kv.Create(ctx, key, value)
	if !bucket.Conflict(err) {
		return err
	}
	found, err := l.kv.Get(ctx, key)
	if err != nil {
		return err
	}
	if e, err := read(found); err == nil && e.Since.Before(since) {
		value = found.Value()
	}
	_, err = l.kv.Update(ctx, key, value, found.Revision())
	return err
}

// Remove takes a saga off the list. One that is not there is no error.
func (l *List) Remove(ctx context.Context, saga holdfast.Ref) error {
	k, err := key(saga)
	if err == nil {
		err = l.kv.Purge(ctx, k, jetstream.PurgeTTL(goneFor))
	}
	if err != nil {
		return fmt.Errorf("take %s off the list: %w", saga, err)
	}
	return nil
}

// prune takes an entry off the list unless it has been put there anew.
func (l *List) prune(ctx context.Context, e entry) error {
	err := l.kv.Purge(ctx, e.typ+"."+e.id.String(), jetstream.PurgeTTL(goneFor), jetstream.LastRevision(e.revision))
	if bucket.Conflict(err) {
		return nil
	}
	return err
}

// all gives the entries, in no order: of one saga type, or of all when it is empty.
func (l *List) all(ctx context.Context, typ string) ([]entry, error) {
	keys := jetstream.AllKeys
	if typ != "" {
		keys = typ + ".*"
	}
	watch, err := l.kv.Watch(ctx, keys, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, holdfast.Errorf(holdfast.CodeUnavailable, "the list of sagas cannot be read: %w", err)
	}
	defer func() { _ = watch.Stop() }() // its connection may be gone, and then it is as well
	all := map[string]entry{}           // one may be told twice, when it is written meanwhile
	for {
		select {
		case found, ok := <-watch.Updates():
			switch {
			case !ok:
				return nil, holdfast.Errorf(holdfast.CodeUnavailable, "the list of sagas cannot be read to its end: send it again")
			case found == nil:
				return slices.Collect(maps.Values(all)), nil
			}
			if e, err := read(found); err == nil { // others are no entries
				all[found.Key()] = e
			}
		case <-ctx.Done():
			return nil, holdfast.Errorf(holdfast.CodeUnavailable, "the list of sagas could not be read in time: send it again")
		}
	}
}

// read reads an entry. One without a time is there since it was written.
func read(found jetstream.KeyValueEntry) (e entry, err error) {
	typ, id, _ := strings.Cut(found.Key(), ".")
	if e.typ, err = messages.ParseType(typ); err != nil {
		return e, err
	}
	if e.id, err = messages.ParseID(id); err != nil {
		return e, err
	}
	if json.Unmarshal(found.Value(), &e) != nil || e.Since.IsZero() {
		e.Since = found.Created()
	}
	e.Since, e.revision = e.Since.UTC(), found.Revision()
	return e, nil
}
