package sqlsink

import (
	"cmp"
	"context"
	"fmt"

	"github.com/holdfast-run/holdfast/projections"
)

// Checkpoint implements [projections.Sink].
func (s *Sink) Checkpoint(ctx context.Context, u projections.Unit) (c projections.Checkpoint, err error) {
	g, err := s.find(ctx, u.Projection, u.Generation)
	if err != nil {
		return c, err
	}
	err = g.view(ctx, g.readers, func(s *session) error {
		var done, at, resets int64
		_, err := s.get(ctx, `SELECT done, time, resets FROM holdfast_checkpoints WHERE partition = $1 AND shard = $2`,
			[]any{int64(u.Partition), int64(u.Shard)}, []any{&done, &at, &resets})
		c = projections.Checkpoint{Done: uint64(done), Time: fromMicros(at), Resets: uint64(resets)}
		return err
	})
	return c, ours(err)
}

// Commit implements [projections.Sink].
func (s *Sink) Commit(ctx context.Context, u projections.Unit, from, to projections.Checkpoint, do func(projections.Batch) error) error {
	g, err := s.find(ctx, u.Projection, u.Generation)
	if err != nil {
		return err
	}
	return g.change(ctx, func(ses *session) error {
		b := &batch{ctx: ctx, ses: ses, unit: u, form: g.form, from: from, free: g.parallel.Load()}
		if err := b.move(from, to); err != nil {
			return err
		}
		err := do(b)
		if err == nil {
			err = b.finish()
		}
		return cmp.Or(b.broken, err)
	})
}

// move sets the checkpoint, which nobody else can do then until the transaction ends. It comes
// first, so that no handler is called for one who is fenced.
func (b *batch) move(from, to projections.Checkpoint) error {
	partition, shard := int64(b.unit.Partition), int64(b.unit.Shard)
	n, err := b.count(`UPDATE holdfast_checkpoints SET done = $1, time = $2, resets = $3
		WHERE partition = $4 AND shard = $5 AND done = $6 AND resets = $7`,
		int64(to.Done), micros(to.Time), int64(to.Resets), partition, shard, int64(from.Done), int64(from.Resets))
	if err == nil && n == 0 && from.Done == 0 && from.Resets == 0 {
		n, err = b.count(`INSERT INTO holdfast_checkpoints (partition, shard, done, time, resets) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (partition, shard) DO NOTHING`, partition, shard, int64(to.Done), micros(to.Time), int64(to.Resets))
	}
	if err == nil && n == 0 {
		return fmt.Errorf("%s: %w", b.unit, projections.ErrFenced)
	}
	return err
}

// ours says of an error of a statement of ours that it is the database's, and not the caller's.
func ours(err error) error {
	if err == nil {
		return nil
	}
	return unavailable(err)
}
