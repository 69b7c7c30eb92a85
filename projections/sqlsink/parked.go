package sqlsink

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/projections"
)

// parkedEvent is how a parked event is kept, beside what is asked for.
type parkedEvent struct {
	ID            text      `json:"id"`
	Type          text      `json:"type"`
	Ref           text      `json:"ref"`
	Version       uint64    `json:"version"`
	Position      string    `json:"position"`
	Name          text      `json:"name"`
	Time          time.Time `json:"time"`
	Command       text      `json:"command,omitempty"`
	CommandID     text      `json:"commandId,omitempty"`
	CorrelationID text      `json:"correlationId,omitempty"`
	CausationID   text      `json:"causationId,omitempty"`
	User          text      `json:"user,omitempty"`
	Subject       text      `json:"subject"`
	Recorded      time.Time `json:"recorded"`
}

func encodeParked(p projections.Parked) ([]byte, error) {
	e := p.Event
	return json.Marshal(parkedEvent{
		ID: text(e.ID), Type: text(e.Ref.Type), Ref: text(e.Ref.ID), Version: uint64(e.Version), Position: e.Position.String(),
		Name: text(e.Name), Time: e.Time, Command: text(e.Command), CommandID: text(e.CommandID),
		CorrelationID: text(e.CorrelationID), CausationID: text(e.CausationID), User: text(e.User),
		Subject: text(p.Record.Subject), Recorded: p.Record.Time,
	})
}

func decodeParked(body []byte, p *projections.Parked) error {
	var k parkedEvent
	if err := json.Unmarshal(body, &k); err != nil {
		return err
	}
	at, err := holdfast.ParsePosition(k.Position)
	if err != nil {
		return err
	}
	p.Event = projections.Event{
		ID: string(k.ID), Ref: holdfast.Ref{Type: string(k.Type), ID: string(k.Ref)}, Version: holdfast.Version(k.Version),
		Position: at, Index: p.Event.Index, Part: p.Event.Part, Name: string(k.Name), Time: k.Time,
		Command: string(k.Command), CommandID: string(k.CommandID), CorrelationID: string(k.CorrelationID),
		CausationID: string(k.CausationID), User: string(k.User),
	}
	p.Record.Position, p.Record.Subject, p.Record.Time = at, string(k.Subject), k.Recorded
	return nil
}

// Park implements [projections.Batch].
func (b *batch) Park(p projections.Parked) error {
	if b.reads {
		return errReads
	}
	place := b.place(p)
	if p.Event.Position.Sequence() <= b.from.Done {
		n, err := b.count(`UPDATE holdfast_parked SET reason = $6, attempts = $7`+atPlace, append(place, toText(p.Reason), int64(p.Attempts))...)
		return b.had(p, n, err)
	}
	event, err := encodeParked(p)
	if err != nil {
		return err
	}
	return b.own(`INSERT INTO holdfast_parked
		(partition, shard, sequence, event_index, part, key, event, record, reason, since, attempts, skipped)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, '')
		ON CONFLICT (partition, shard, sequence, event_index, part) WHERE skipped = ''
		DO UPDATE SET reason = excluded.reason, attempts = excluded.attempts`,
		append(place, toText(p.Key), string(event), blob(p.Record.Body), toText(p.Reason), micros(p.Since), int64(p.Attempts))...)
}

const atPlace = ` WHERE skipped = '' AND partition = $1 AND shard = $2 AND sequence = $3 AND event_index = $4 AND part = $5`

func (b *batch) place(p projections.Parked) []any {
	e := p.Event
	return []any{int64(b.unit.Partition), int64(b.unit.Shard), int64(e.Position.Sequence()), int64(e.Index), int64(e.Part)}
}

// had breaks the batch when nothing was parked there: another node has had the event.
func (b *batch) had(p projections.Parked, n int64, err error) error {
	if err == nil && n == 0 {
		b.broken = fmt.Errorf("%s: %s is not parked any more: %w", b.unit, p.Event.ID, projections.ErrFenced)
		return b.broken
	}
	return err
}

// Unpark implements [projections.Batch]. What was skipped is kept, with the reason, and is not
// listed any more.
func (b *batch) Unpark(p projections.Parked, skipped string) error {
	if b.reads {
		return errReads
	}
	statement, args := `DELETE FROM holdfast_parked`, b.place(p)
	if skipped != "" {
		statement, args = `UPDATE holdfast_parked SET skipped = $6`, append(args, toText(skipped))
	}
	n, err := b.count(statement+atPlace, args...)
	return b.had(p, n, err)
}

// ParkedKeys implements [projections.Sink].
func (s *Sink) ParkedKeys(ctx context.Context, projection string, n uint64, limit int) (keys []projections.ParkedKey, err error) {
	g, err := s.find(ctx, projection, n)
	if err != nil {
		return nil, err
	}
	err = g.view(ctx, g.readers, func(s *session) error {
		return s.rows(ctx, `SELECT p.partition, p.shard, p.key, p.event_index, p.part, p.event, p.reason, p.since, p.attempts, f.events
			FROM (SELECT min(id) AS id, count(*) AS events FROM holdfast_parked WHERE skipped = '' GROUP BY partition, shard, key) AS f
			JOIN holdfast_parked p ON p.id = f.id ORDER BY p.since, p.key LIMIT $1`, []any{int64(limit)}, func(rows *sql.Rows) (bool, error) {
			k := projections.ParkedKey{Unit: projections.Unit{Projection: projection, Generation: n}}
			err := scanParked(rows, &k.First, []any{&k.Unit.Partition, &k.Unit.Shard}, []any{&k.Events})
			k.Key = k.First.Key
			keys = append(keys, k)
			return true, err
		})
	})
	return keys, ours(err)
}

// Parked implements [projections.Sink].
func (s *Sink) Parked(ctx context.Context, u projections.Unit, key string, limit int) (parked []projections.Parked, err error) {
	g, err := s.find(ctx, u.Projection, u.Generation)
	if err != nil {
		return nil, err
	}
	err = g.view(ctx, g.readers, func(s *session) error {
		return s.rows(ctx, `SELECT key, event_index, part, event, reason, since, attempts, record FROM holdfast_parked
			WHERE skipped = '' AND partition = $1 AND shard = $2 AND key = $3 ORDER BY id LIMIT $4`,
			[]any{int64(u.Partition), int64(u.Shard), toText(key), int64(limit)}, func(rows *sql.Rows) (bool, error) {
				var p projections.Parked
				err := scanParked(rows, &p, nil, []any{&p.Record.Body})
				parked = append(parked, p)
				return true, err
			})
	})
	return parked, ours(err)
}

func scanParked(rows *sql.Rows, p *projections.Parked, before, after []any) error {
	var key, reason string
	var event []byte
	var since int64
	dest := append(before, &key, &p.Event.Index, &p.Event.Part, &event, &reason, &since, &p.Attempts)
	if err := rows.Scan(append(dest, after...)...); err != nil {
		return err
	}
	p.Key, p.Reason, p.Since = fromText(key), fromText(reason), fromMicros(since)
	return decodeParked(event, p)
}

// Later implements [projections.Batch].
func (b *batch) Later(e projections.Effected) error {
	if b.reads {
		return errReads
	}
	return b.own(`INSERT INTO holdfast_outbox (partition, shard, id, name, payload) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (partition, shard, id) DO NOTHING`,
		int64(b.unit.Partition), int64(b.unit.Shard), toText(e.ID), toText(e.Name), blob(e.Payload))
}

// Outbox implements [projections.Sink].
func (s *Sink) Outbox(ctx context.Context, u projections.Unit, limit int) (waiting []projections.Effected, err error) {
	g, err := s.find(ctx, u.Projection, u.Generation)
	if err != nil {
		return nil, err
	}
	err = g.view(ctx, g.readers, func(s *session) error {
		return s.rows(ctx, `SELECT id, name, payload FROM holdfast_outbox WHERE partition = $1 AND shard = $2 ORDER BY number LIMIT $3`,
			[]any{int64(u.Partition), int64(u.Shard), int64(limit)}, func(rows *sql.Rows) (bool, error) {
				var e projections.Effected
				err := rows.Scan(&e.ID, &e.Name, &e.Payload)
				e.ID, e.Name = fromText(e.ID), fromText(e.Name)
				waiting = append(waiting, e)
				return true, err
			})
	})
	return waiting, ours(err)
}

// Carried implements [projections.Sink].
func (s *Sink) Carried(ctx context.Context, u projections.Unit, id string) error {
	g, err := s.find(ctx, u.Projection, u.Generation)
	if err != nil {
		return err
	}
	return g.change(ctx, func(s *session) error {
		_, err := s.exec(ctx, `DELETE FROM holdfast_outbox WHERE partition = $1 AND shard = $2 AND id = $3`,
			int64(u.Partition), int64(u.Shard), toText(id))
		return ours(err)
	})
}
