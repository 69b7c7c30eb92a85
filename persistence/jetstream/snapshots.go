package jetstream

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

func (s *Store) snapshotSubject(a aggregate) string {
	return messages.Subject{Context: s.context, Kind: messages.KindSnapshot, Type: a.ref.Type, ID: a.place.ID}.String()
}

// SaveSnapshot implements [persistence.Snapshotter]. It returns when the server has
// taken the snapshot, which it may lose in a crash.
func (s *Store) SaveSnapshot(ctx context.Context, ref holdfast.Ref, snap persistence.Snapshot) error {
	a, err := s.aggregate(ref)
	if err != nil {
		return err
	}
	body, err := persistence.EncodeSnapshot(snap)
	if err != nil {
		return holdfast.Errorf(holdfast.CodeInternal, "save snapshot of %s: %w", ref, err)
	}
	if limit := s.Limit(); len(body) > limit {
		return holdfast.Errorf(holdfast.CodeTooLarge, "the snapshot of %s takes %d bytes, the limit is %d", ref, len(body), limit)
	}
	if err := s.put(ctx, &nats.Msg{Subject: s.snapshotSubject(a), Data: body}); err != nil {
		var api *apiError
		if errors.As(err, &api) && refusals[api.ErrCode] == holdfast.CodeTooLarge {
			return holdfast.Errorf(holdfast.CodeTooLarge, "save snapshot of %s: %w", ref, err)
		}
		return a.unavailable("save snapshot of", err)
	}
	return nil
}

// put publishes a message for the snapshot stream and waits until it is taken.
func (s *Store) put(ctx context.Context, m *nats.Msg) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	out := make(chan answer, 1)
	if err := s.publish.send(m, &publication{out}); err != nil {
		return err
	}
	select {
	case got := <-out:
		if got.err != nil {
			return got.err
		}
		_, err := s.snapshots.parseAck(got.msg)
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// publication awaits the answer to a publish on behalf of somebody who waits.
type publication struct{ out chan<- answer }

func (p *publication) replied(m *nats.Msg) { p.out <- answer{msg: m} }
func (p *publication) lost(err error)      { p.out <- answer{err: err} }
