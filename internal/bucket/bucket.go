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

// Open opens a bucket, and makes it as it is described when it is missing: kept on disk, and
// only the last value of each key. It tries again until ctx ends.
func Open(ctx context.Context, conn *nats.Conn, c jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", c.Bucket, err)
	}
	c.History, c.Storage, c.Replicas = 1, jetstream.FileStorage, max(c.Replicas, 1)
	for {
		kv, err := js.CreateKeyValue(ctx, c)
		if errors.Is(err, jetstream.ErrBucketExists) || errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			kv, err = js.KeyValue(ctx, c.Bucket)
		}
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

// Conflict reports whether an error says that a key was changed by another one meanwhile.
func Conflict(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return errors.Is(err, jetstream.ErrKeyExists) ||
		ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}
