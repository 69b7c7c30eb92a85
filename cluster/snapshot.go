package cluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// errPartial says that not all was read: it is read again.
var errPartial = errors.New("read register: not all of it came")

// snapshot reads everything that is there, as one of the servers has it, who may lag behind.
// Unlike a watch it needs no consumer, and none can be made while the servers have nobody who
// leads them all.
func (b *bucket) snapshot(ctx context.Context) ([]change, error) {
	inbox := b.nc.NewInbox()
	sub, err := b.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("read register: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection may be gone, and then it is as well
	if err := b.nc.PublishRequest("$JS.API.DIRECT.GET.KV_"+b.name, inbox, fmt.Appendf(nil, `{"multi_last":[%q]}`, b.subject(">"))); err != nil {
		return nil, fmt.Errorf("read register: %w", err)
	}
	var all []change
	for left := ""; ; {
		m, err := sub.NextMsgWithContext(ctx)
		switch {
		case err != nil:
			return nil, fmt.Errorf("read register: %w", err)
		case m.Header.Get("Status") == "204" && left == "0":
			return all, nil
		case m.Header.Get("Status") != "":
			return nil, fmt.Errorf("%w: %s %s", errPartial, m.Header.Get("Status"), m.Header.Get("Description"))
		}
		c, err := b.stored(m)
		if err != nil {
			return nil, err
		}
		all, left = append(all, c), m.Header.Get("Nats-Num-Pending")
	}
}

// stored reads an entry as it stands in the bucket's stream.
func (b *bucket) stored(m *nats.Msg) (c change, err error) {
	c.id = strings.TrimPrefix(m.Header.Get("Nats-Subject"), b.subject(""))
	if c.revision, err = strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64); err != nil {
		return c, fmt.Errorf("read register: %w", err)
	}
	if c.written, err = time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp")); err != nil {
		return c, fmt.Errorf("read register: %w", err)
	}
	op := jetstream.KeyValuePut
	switch {
	case m.Header.Get("KV-Operation") == "DEL", m.Header.Get("Nats-Marker-Reason") == "Remove":
		op = jetstream.KeyValueDelete
	case m.Header.Get("KV-Operation") == "PURGE", m.Header.Get("Nats-Marker-Reason") != "":
		op = jetstream.KeyValuePurge
	}
	c.take(op, m.Data)
	return c, nil
}
