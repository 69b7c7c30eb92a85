package kvsink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/bucket"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/projections"
)

// Config is what a sink is made of. All but Replicas is required.
type Config struct {
	// Conn is of the account in which clients read. It stays the caller's.
	Conn    *nats.Conn
	Context messages.Context
	// Log is that whose events the projections hold.
	Log messages.LogName
	// Replicas of each bucket; 0 stands for 1.
	Replicas int
}

// A Sink keeps documents in NATS KV.
type Sink struct {
	config Config
	line   line
	js     jetstream.JetStream

	mu          sync.Mutex
	generations map[string]*generation // by bucket
}

var _ projections.Sink = (*Sink)(nil)

// New makes a sink. It needs no end.
func New(c Config) (*Sink, error) {
	if c.Conn == nil {
		return nil, errors.New("kvsink: Conn is missing")
	}
	if _, err := messages.ParseContext(string(c.Context)); err != nil {
		return nil, fmt.Errorf("kvsink: Context: %w", err)
	}
	if c.Log == "" {
		return nil, errors.New("kvsink: Log is missing: name the log, so that nobody else's read models are changed")
	}
	if c.Replicas < 0 || c.Replicas > 5 {
		return nil, fmt.Errorf("kvsink: Replicas is %d: choose 1, 3 or 5", c.Replicas)
	}
	js, err := jetstream.New(c.Conn)
	if err != nil {
		return nil, fmt.Errorf("kvsink: %w", err)
	}
	return &Sink{config: c, line: connection{c.Conn}, js: js, generations: map[string]*generation{}}, nil
}

// Takes implements [projections.Sink].
func (s *Sink) Takes(f projections.Form) bool { return f == projections.FormDocuments }

// Local implements [projections.Sink].
func (s *Sink) Local() bool { return false }

// The metadata of a bucket says whose it is.
const (
	metadataFormat     = "holdfast-view"
	metadataLog        = "holdfast-log"
	metadataProjection = "holdfast-projection"
	// format of what a bucket holds.
	format = "1"
)

func (s *Sink) streamConfig(n names, projection string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: n.stream, Subjects: []string{n.document + ">", n.state + ">"},
		Description:       "The documents of the projection " + projection + ", kept by Holdfast.",
		Metadata:          map[string]string{metadataFormat: format, metadataLog: string(s.config.Log), metadataProjection: projection},
		MaxMsgsPerSubject: 1, MaxMsgs: -1, MaxBytes: -1, MaxMsgSize: -1, MaxConsumers: -1, Discard: jetstream.DiscardNew, Duplicates: 2 * time.Minute,
		Storage: jetstream.FileStorage, Replicas: max(s.config.Replicas, 1),
		DenyDelete: true, AllowRollup: true, AllowDirect: true, AllowMsgTTL: true, AllowAtomicPublish: true,
	}
}

// foreign says why a bucket that is there may not be used.
func (s *Sink) foreign(n names, projection string, found jetstream.StreamConfig) error {
	want := s.streamConfig(n, projection)
	kept := found.Metadata
	switch {
	case kept[metadataFormat] == "":
		return fmt.Errorf("the bucket %s was not made by a projection: give the projection another name: %w", n.bucket, projections.ErrForeign)
	case kept[metadataFormat] != format:
		return fmt.Errorf("the bucket %s is of the format %q, and this build knows %s: start a newer build: %w", n.bucket, kept[metadataFormat], format, projections.ErrForeign)
	case kept[metadataLog] != want.Metadata[metadataLog]:
		return fmt.Errorf("the bucket %s belongs to the log %q, and this is the log %q: if that one is gone for good, delete the bucket: %w",
			n.bucket, kept[metadataLog], s.config.Log, projections.ErrForeign)
	case kept[metadataProjection] != projection:
		return fmt.Errorf("the bucket %s is that of the projection %q: give the projection %q another name: %w", n.bucket, kept[metadataProjection], projection, projections.ErrForeign)
	case !found.AllowAtomicPublish || !found.AllowMsgTTL || found.MaxMsgsPerSubject != 1 || found.MaxAge != 0 || found.MaxMsgs > 0 || found.MaxBytes > 0:
		return fmt.Errorf("the settings of the stream %s were changed, and it would lose documents: delete it, and the projection is built anew: %w", n.stream, projections.ErrForeign)
	}
	return nil
}

// Prepare implements [projections.Sink].
func (s *Sink) Prepare(ctx context.Context, p *projections.Projection, number uint64) error {
	n := newNames(s.config.Context, p.Name(), number)
	err := patiently(ctx, func(ctx context.Context) error {
		_, err := s.js.CreateStream(ctx, s.streamConfig(n, p.Name()))
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			err = s.claim(ctx, n, p.Name())
		}
		return err
	})
	if err == nil || errors.Is(err, projections.ErrForeign) {
		return err
	}
	return n.unavailable("make", err)
}

// starting is passing, of what nats.go tells.
func starting(err error) bool {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return passing(&apiError{Code: api.Code, ErrCode: int(api.ErrorCode)})
	}
	return passing(err)
}

func (s *Sink) claim(ctx context.Context, n names, projection string) error {
	found, err := s.js.Stream(ctx, n.stream)
	if err != nil {
		return err
	}
	return s.foreign(n, projection, found.CachedInfo().Config)
}

// Drop implements [projections.Sink].
func (s *Sink) Drop(ctx context.Context, projection string, number uint64) error {
	n := newNames(s.config.Context, projection, number)
	s.mu.Lock()
	delete(s.generations, n.bucket)
	s.mu.Unlock()
	err := patiently(ctx, func(ctx context.Context) error {
		err := s.claim(ctx, n, projection)
		if err == nil {
			err = s.js.DeleteStream(ctx, n.stream)
		}
		return err
	})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err == nil || errors.Is(err, projections.ErrForeign) {
		return err
	}
	return n.unavailable("delete", err)
}

// Serving is the name of the bucket that says which generation of each projection is to be
// read: under the projection's name stands {"generation":2,"bucket":"shop_view_orders_2"}.
func Serving(c messages.Context) string { return c.ViewBucketPrefix() + "serving" }

// Serve implements [projections.Sink].
func (s *Sink) Serve(ctx context.Context, p *projections.Projection, number uint64) error {
	n := newNames(s.config.Context, p.Name(), number)
	text, err := json.Marshal(map[string]any{"generation": number, "bucket": n.bucket})
	if err != nil {
		return err
	}
	kv, err := bucket.Open(ctx, s.config.Conn, jetstream.KeyValueConfig{
		Bucket: Serving(s.config.Context), Replicas: s.config.Replicas, Description: "Which generation of each projection is to be read.",
	})
	if err != nil {
		return holdfast.Errorf(holdfast.CodeUnavailable, "serve %s: %w", n.bucket, err)
	}
	err = patiently(ctx, func(ctx context.Context) error {
		_, err := kv.Put(ctx, p.Name(), text)
		return err
	})
	if err != nil {
		return holdfast.Errorf(holdfast.CodeUnavailable, "serve %s: %w", n.bucket, err)
	}
	return nil
}

// Document implements [projections.Sink].
func (s *Sink) Document(ctx context.Context, projection string, number uint64, key string) ([]byte, error) {
	text, err := encodeKey(key)
	if err != nil {
		return nil, nil //nolint:nilerr // no document has such a key
	}
	n := newNames(s.config.Context, projection, number)
	m, err := s.last(ctx, n, n.document+text)
	if err != nil {
		return nil, err
	}
	d, err := decode(m)
	if err != nil {
		return nil, err
	}
	return d.value, nil
}

var errRows = errors.New("documents in NATS KV have no tables")

// Query implements [projections.Sink]: there is nothing that it could read.
func (s *Sink) Query(context.Context, string, uint64, func(projections.Batch) error) error {
	return errRows
}
