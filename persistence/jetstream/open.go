package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
)

// retryInterval is how often Open asks a server that is not ready yet.
const retryInterval = 50 * time.Millisecond

// ErrNoLog is the error of [Open] with [Config.Existing] when there is no log of the
// context.
var ErrNoLog = errors.New("there is no log")

// Open makes the streams of a context, or compares the live settings of those that
// exist with what Holdfast relies on, and gives a store on them. While JetStream is not
// ready it tries again until ctx ends, and the error then is ErrUnavailable. The error is
// a *[SettingError] when a stream is weaker than it must be; Open never changes a stream.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("open log: config: %w", err)
	}
	js, err := jetstream.New(cfg.Read[0])
	if err != nil {
		return nil, fmt.Errorf("open log of %s: %w", cfg.Context, err)
	}
	o := &opener{cfg: cfg, js: js}
	if err := o.streams(ctx); err != nil {
		return nil, fmt.Errorf("open log of %s: %w", cfg.Context, err)
	}
	s := &Store{
		context: cfg.Context, js: js, log: cfg.Logger, newID: cfg.newID,
		partitions: o.logs, created: o.created, snapshots: o.snapshots, settlers: make(chan struct{}, settlers), readTimeout: cfg.ReadTimeout,
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	reading := cfg.Publish == nil
	if reading {
		cfg.Publish = cfg.Read[0]
	}
	if err := s.start(cfg); err != nil {
		return nil, fmt.Errorf("open log of %s: subscribe to answers: %w", cfg.Context, err)
	}
	if reading { // what is to be written is refused, as by a store that is closed
		if err := s.publish.close(); err != nil {
			s.Close()
			return nil, fmt.Errorf("open log of %s for reading: %w", cfg.Context, err)
		}
	}
	return s, nil
}

// An opener finds or makes the streams of a context.
type opener struct {
	cfg       Config
	js        jetstream.JetStream
	logs      []*partition
	created   time.Time // when the first of them was
	replicas  int       // of the log
	snapshots *partition
}

// streams are made so that the first log stream comes last of the log: where it is, all
// of the log must be, and one that is missing has been lost. So an interrupted creation
// is completed, and a lost part is not taken for an empty one.
func (o *opener) streams(ctx context.Context) error {
	exists, err := o.partitions(ctx)
	if err != nil {
		return err
	}
	n := o.cfg.Partitions
	o.logs = make([]*partition, n)
	for i := range n {
		p := (i + 1) % n
		wanted := logStream(o.cfg.Context, p, n, o.cfg.Replicas)
		found, err := o.stream(ctx, wanted, !exists)
		if err != nil {
			return err
		}
		if err := compare(ofLog, &found.Config, &wanted); err != nil {
			return err
		}
		o.logs[p] = newPartition(p, found.Config.Name, found.Config.Replicas)
		o.created, o.replicas = found.Created, max(found.Config.Replicas, 1) // of the first partition, which comes last
	}
	return o.openSnapshots(ctx)
}

func (o *opener) openSnapshots(ctx context.Context) error {
	wanted := snapshotStream(o.cfg.Context, o.replicas)
	o.snapshots = newPartition(0, wanted.Name, wanted.Replicas)
	if o.cfg.Existing {
		if _, err := o.info(ctx, wanted.Name); errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil // who asks there gets no answer, which is as good as no snapshot
		}
	}
	found, err := o.stream(ctx, wanted, !o.cfg.Existing)
	if err != nil {
		return err
	}
	if err := compare(ofSnapshots, &found.Config, &wanted); err != nil {
		return err
	}
	o.snapshots = newPartition(0, found.Config.Name, found.Config.Replicas)
	return nil
}

// partitions settles how many there are to be, and reports whether the log exists.
func (o *opener) partitions(ctx context.Context) (exists bool, err error) {
	o.cfg.Replicas = max(o.cfg.Replicas, 1)
	name := o.cfg.Context.LogStream(0)
	info, err := o.info(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) && o.cfg.Existing {
		return false, ErrNoLog
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		o.cfg.Partitions = max(o.cfg.Partitions, 1)
		return false, o.checkNothingLost(ctx)
	}
	if err != nil {
		return false, err
	}
	if o.cfg.Partitions == 0 {
		text := info.Config.Metadata[metaPartitions]
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil || n == 0 || n > MaxPartitions {
			return false, &SettingError{Stream: name, Setting: "metadata " + metaPartitions, Found: strconv.Quote(text), Wanted: "the number of partitions"}
		}
		o.cfg.Partitions = uint32(n)
	}
	return true, nil
}

// checkNothingLost refuses to begin a log where there has been one.
func (o *opener) checkNothingLost(ctx context.Context) error {
	names := []string{o.cfg.Context.SnapshotStream()}
	for p := uint32(1); p < o.cfg.Partitions; p++ {
		names = append(names, o.cfg.Context.LogStream(p))
	}
	for _, name := range names {
		info, err := o.info(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if info.State.LastSeq > 0 {
			return fmt.Errorf("stream %s is missing, but %s has messages: restore the log from a backup, or delete what is left of it to begin anew",
				o.cfg.Context.LogStream(0), name)
		}
	}
	return nil
}

// stream finds a stream, or makes it when it may.
func (o *opener) stream(ctx context.Context, wanted jetstream.StreamConfig, create bool) (*jetstream.StreamInfo, error) {
	for {
		info, err := o.info(ctx, wanted.Name)
		if err == nil {
			return info, nil
		}
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil, err
		}
		if !create {
			return nil, fmt.Errorf("stream %s is missing, but %s is there: restore it from a backup", wanted.Name, o.cfg.Context.LogStream(0))
		}
		err = o.retry(ctx, func(ctx context.Context) error {
			_, err := o.js.CreateStream(ctx, wanted)
			return err
		})
		switch {
		case err == nil, errors.Is(err, jetstream.ErrStreamNameAlreadyInUse): // by another node, just now
		case wanted.PersistMode == jetstream.AsyncPersistMode && !errors.Is(err, holdfast.ErrUnavailable):
			wanted.PersistMode = jetstream.DefaultPersistMode // a server in a cluster has no other
		default:
			return nil, fmt.Errorf("create stream %s: %w", wanted.Name, err)
		}
	}
}

func (o *opener) info(ctx context.Context, name string) (*jetstream.StreamInfo, error) {
	var info *jetstream.StreamInfo
	err := o.retry(ctx, func(ctx context.Context) error {
		stream, err := o.js.Stream(ctx, name)
		if err == nil {
			info = stream.CachedInfo()
		}
		return err
	})
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("read settings of stream %s: %w", name, err)
	}
	return info, err
}

// retry calls try until it has an answer that more patience would not change.
func (o *opener) retry(ctx context.Context, try func(context.Context) error) error {
	ticks, stop := o.cfg.newTicker(retryInterval)
	defer stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, o.cfg.ReadTimeout)
		err := try(attempt)
		cancel()
		if err == nil || ctx.Err() == nil && !notReady(err) {
			return err
		}
		select {
		case <-ticks:
		case <-ctx.Done():
			return holdfast.Errorf(holdfast.CodeUnavailable, "JetStream is not ready: %v: %w", err, context.Cause(ctx))
		}
	}
}

// notReady reports whether an error is one that passes: there is no leader yet, not all
// servers are up, or nobody answers.
func notReady(err error) bool {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		switch int(api.ErrorCode) {
		case codeNoPeers, codeNotAvailable:
			return true
		case codeNotEnabled, codeNotForAccount:
			return false
		}
		return api.Code == 503
	}
	for _, passing := range []error{
		nats.ErrNoResponders, nats.ErrTimeout, context.DeadlineExceeded, nats.ErrDisconnected,
		nats.ErrReconnectBufExceeded, nats.ErrConnectionReconnecting,
	} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}
