package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/messages"
)

// errLost says that a record is no longer the one that was written last: the lease has
// been lost, or somebody removed it.
var errLost = errors.New("the lease is lost")

// errElected says that the register has a new leader, who answers nothing that the last one
// was asked.
var errElected = errors.New("the register has a new leader")

// goneFor is how long it can be seen in the bucket that a record has expired.
const goneFor = time.Minute

// A bucket is the NATS KV bucket in which the nodes of a context register: one key a
// member, its id.
type bucket struct {
	nc   *nats.Conn
	js   jetstream.JetStream
	kv   jetstream.KeyValue
	name string
}

// openBucket opens the bucket, and makes it when it is missing.
func openBucket(ctx context.Context, nc *nats.Conn, c messages.Context, replicas int) (*bucket, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("open register: %w", err)
	}
	b := &bucket{nc: nc, js: js, name: c.MembersBucket()}
	b.kv, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: b.name, Description: "The nodes of " + string(c), History: 1, Replicas: max(replicas, 1),
		Storage: jetstream.FileStorage, LimitMarkerTTL: goneFor,
	})
	if errors.Is(err, jetstream.ErrBucketExists) || errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		b.kv, err = js.KeyValue(ctx, b.name)
	}
	if err != nil {
		return nil, fmt.Errorf("open register %s: %w", b.name, err)
	}
	return b, nil
}

// noPeers is JetStream's code for servers that have not found one another yet.
const noPeers = 10005

// passing reports whether an error is one that passes: there is no leader, or a new one,
// nobody answers, or a lease was lost before its member had begun.
func passing(err error) bool {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.ErrorCode == noPeers || api.Code == 503 && api.ErrorCode != jetstream.JSErrCodeJetStreamNotEnabled && api.ErrorCode != jetstream.JSErrCodeJetStreamNotEnabledForAccount
	}
	for _, p := range []error{
		jetstream.ErrNoStreamResponse, nats.ErrNoResponders, nats.ErrTimeout, context.DeadlineExceeded, errLost, errElected,
		nats.ErrDisconnected, nats.ErrReconnectBufExceeded, nats.ErrConnectionReconnecting,
	} {
		if errors.Is(err, p) {
			return true
		}
	}
	return false
}

// secretKey is no member's: it has what the nodes show one another.
const secretKey = "secret"

// secret gives what only those know who can read the bucket, and makes it when it is
// missing.
func (b *bucket) secret(ctx context.Context, newID func() string) (string, error) {
	_, err := b.kv.Create(ctx, secretKey, []byte(newID()))
	if err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
		return "", fmt.Errorf("write the nodes' secret: %w", err)
	}
	for {
		e, err := b.kv.Get(ctx, secretKey)
		if err == nil {
			return string(e.Value()), nil
		}
		// A replica that lags behind does not have it yet.
		if !errors.Is(err, jetstream.ErrKeyNotFound) || ctx.Err() != nil {
			return "", fmt.Errorf("read the nodes' secret: %w", err)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func (b *bucket) subject(id string) string { return "$KV." + b.name + "." + id }

// put writes a record that expires after its lease, in the place of the one of revision
// last, 0 for none. The error is errLost when that is not there; after any other error it
// may have been written.
func (b *bucket) put(ctx context.Context, r *record, last uint64) (revision uint64, err error) {
	data, err := json.Marshal(r)
	if err != nil {
		return 0, fmt.Errorf("encode record: %w", err)
	}
	ack, err := b.js.PublishMsg(ctx, &nats.Msg{Subject: b.subject(r.ID), Data: data},
		jetstream.WithExpectLastSequencePerSubject(last), jetstream.WithMsgTTL(r.Lease), jetstream.WithRetryAttempts(0))
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
		return 0, errLost
	}
	if err != nil {
		return 0, fmt.Errorf("write record: %w", err)
	}
	return ack.Sequence, nil
}

// leavePrefix is what keys begin with by which a node is asked to leave; its run follows.
const leavePrefix = "leave."

// ask asks a node to leave.
func (b *bucket) ask(ctx context.Context, run string) error {
	if _, err := b.kv.Create(ctx, leavePrefix+run, nil, jetstream.KeyTTL(goneFor)); err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
		return fmt.Errorf("ask %s to leave: %w", run, err)
	}
	return nil
}

// remove deletes a record if it is still of that revision. The error is errLost if it is not, or
// may soon be another.
func (b *bucket) remove(ctx context.Context, id string, revision uint64) error {
	// As the client's own Delete does it, but the marker goes in the end.
	_, err := b.js.PublishMsg(ctx, &nats.Msg{Subject: b.subject(id), Header: nats.Header{"KV-Operation": {"DEL"}}},
		jetstream.WithExpectLastSequencePerSubject(revision), jetstream.WithMsgTTL(goneFor), jetstream.WithRetryAttempts(0))
	if api, ok := errors.AsType[*jetstream.APIError](err); ok &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant) {
		return errLost
	}
	if err != nil {
		return fmt.Errorf("delete record of %s: %w", id, err)
	}
	return nil
}

// last asks the leader for the revision of the last record of that id; errLost when it
// is no record.
func (b *bucket) last(ctx context.Context, id string) (revision uint64, err error) {
	m, err := b.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET.KV_"+b.name, fmt.Appendf(nil, `{"last_by_subj":%q}`, b.subject(id)))
	if err != nil {
		return 0, fmt.Errorf("read record: %w", err)
	}
	var answer struct {
		Message *struct {
			Seq  uint64
			Data []byte
		}
		Error *jetstream.APIError
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return 0, fmt.Errorf("read record: %w", err)
	}
	switch {
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return 0, errLost
	case answer.Error != nil:
		return 0, fmt.Errorf("read record: %w", answer.Error)
	case answer.Message == nil || len(answer.Message.Data) == 0:
		return 0, errLost
	}
	return answer.Message.Seq, nil
}

// onElection has f called whenever the register has a new leader, until stop. Whoever may
// not listen hears of none.
func (b *bucket) onElection(f func()) (stop func()) {
	sub, err := b.nc.Subscribe("$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.KV_"+b.name, func(*nats.Msg) { f() })
	if err != nil {
		return func() {} // the connection has ended, of which others tell
	}
	return func() { _ = sub.Unsubscribe() }
}

// A change is what a watch tells of one key.
type change struct {
	id       string
	revision uint64
	written  time.Time // by the server's clock
	record   *record   // nil when it is gone
	expired  bool      // it is gone since it was not renewed
	leave    string    // the run of the node that is asked to leave, if this is not about a record
}

// changeOf reads an entry. One that cannot be read is nobody's: it is told as gone.
func changeOf(e jetstream.KeyValueEntry) change {
	c := change{id: e.Key(), revision: e.Revision(), written: e.Created()}
	c.take(e.Operation(), e.Value())
	return c
}

func (c *change) take(op jetstream.KeyValueOp, value []byte) {
	switch op {
	case jetstream.KeyValuePut:
		if id, ok := strings.CutPrefix(c.id, leavePrefix); ok {
			c.leave = id
			break
		}
		var r record
		if json.Unmarshal(value, &r) == nil && r.ID == c.id {
			c.record = &r
		}
	case jetstream.KeyValuePurge:
		c.expired = true
	case jetstream.KeyValueDelete:
	}
}

// watch tells everything that is there and then every change, in order, until ctx ends
// or the watch does: first with all that is there, then with one change at a time.
func (b *bucket) watch(ctx context.Context, all func([]change), one func(change)) error {
	w, err := b.kv.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("watch register: %w", err)
	}
	defer func() { _ = w.Stop() }() // its connection may be gone, and then it is as well
	var first []change
	begun := false
	for {
		select {
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return errors.New("watch register: it has ended")
			case e == nil:
				begun = true
				all(first)
			case begun:
				one(changeOf(e))
			default:
				first = append(first, changeOf(e))
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
