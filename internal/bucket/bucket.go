// Package bucket opens the NATS KV buckets in which nodes keep what they must agree on.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// again is how long Open waits before it tries again: servers that elect a leader do not
// answer for seconds.
const again = 300 * time.Millisecond

// lost is for how long Open waits for one answer: what a leader was asked that is gone, nobody
// answers any more.
const lost = 5 * time.Second

// Open opens a bucket, and makes it as it is described when it is missing: kept on disk, and
// only the last value of each key. It tries again until ctx ends.
func Open(ctx context.Context, conn *nats.Conn, c jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", c.Bucket, err)
	}
	c.History, c.Storage, c.Replicas = 1, jetstream.FileStorage, max(c.Replicas, 1)
	for {
		kv, err := open(ctx, js, c)
		if err == nil {
			return kv, nil
		}
		wait := time.NewTimer(again)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return nil, fmt.Errorf("open bucket %s: %w", c.Bucket, err)
		}
	}
}

// open tries once.
func open(ctx context.Context, js jetstream.JetStream, c jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	ctx, cancel := context.WithTimeout(ctx, lost)
	defer cancel()
	kv, err := js.CreateKeyValue(ctx, c)
	if errors.Is(err, jetstream.ErrBucketExists) || errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return js.KeyValue(ctx, c.Bucket)
	}
	return kv, err
}

// Conflict reports whether an error says that a key was changed by another one meanwhile.
func Conflict(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return errors.Is(err, jetstream.ErrKeyExists) ||
		ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}
