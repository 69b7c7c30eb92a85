// Package index is a bundled projection over all events of a context: by type, time,
// aggregate, correlation, causation, user and command. Operators look for events in it, and
// have it explain what a command has led to.
package index

import (
	"errors"
	"strings"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/serve"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/projections"
)

// Name of the projection.
const Name = "index"

// Definition has a row for each event of the log, whatever its type, without its data: that
// is in the log.
var Definition = projections.Define(Name,
	projections.Tables(
		// A ref stands as type/encoded id, so that whatever bytes an id has can be kept.
		`CREATE TABLE events (
			part        BIGINT NOT NULL,
			sequence    BIGINT NOT NULL,
			place       BIGINT NOT NULL,
			time        BIGINT NOT NULL,
			type        TEXT NOT NULL,
			ref         TEXT NOT NULL,
			version     BIGINT NOT NULL,
			event       TEXT NOT NULL,
			short       TEXT NOT NULL,
			command     TEXT NOT NULL,
			command_id  TEXT NOT NULL,
			correlation TEXT NOT NULL,
			causation   TEXT NOT NULL,
			author      TEXT NOT NULL,
			PRIMARY KEY (part, sequence, place)
		)`,
		// Pages are in the order of time, whatever is looked for.
		`CREATE INDEX events_by_time ON events (time)`,
		`CREATE INDEX events_by_type ON events (type, time)`,
		`CREATE INDEX events_by_ref ON events (ref, time)`,
		`CREATE INDEX events_by_short ON events (short, time)`,
		`CREATE INDEX events_by_command ON events (command_id, time)`,
		`CREATE INDEX events_by_correlation ON events (correlation, time)`,
		`CREATE INDEX events_by_causation ON events (causation, time)`,
		`CREATE INDEX events_by_author ON events (author, time)`,
	),
	projections.Every(add),
)

func add(r *projections.Rows, at projections.Event) error {
	id, err := messages.EncodeID(at.Ref.ID)
	if err != nil {
		return err
	}
	_, err = r.Exec(`INSERT INTO events (part, sequence, place, time, type, ref, version, event, short, command, command_id, correlation, causation, author)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
		int64(at.Position.Partition()), int64(at.Position.Sequence()), int64(at.Index), at.Time.UnixNano(), at.Ref.Type, messages.FormatRef(at.Ref.Type, id),
		int64(at.Version), text(at.Name), text(short(at.Name)), text(at.Command), text(at.CommandID), text(at.CorrelationID), text(at.CausationID), text(at.User))
	return err
}

// text is s without the one character that a database may not keep.
func text(s string) string { return strings.ReplaceAll(s, "\x00", "\uFFFD") }

// short is the last part of a message's full name.
func short(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }

// An Event is one as the index shows it.
type Event struct {
	Position      string    `json:"position"`
	ID            string    `json:"id"`
	Ref           string    `json:"ref"`
	Version       uint64    `json:"version"`
	Event         string    `json:"event"`
	Time          time.Time `json:"time"`
	User          string    `json:"user"`
	Command       string    `json:"command"`
	CommandID     string    `json:"commandId"`
	CorrelationID string    `json:"correlationId"`
	CausationID   string    `json:"causationId"`

	place cursor
}

// A cursor is where an event stands among those that are found.
type cursor struct{ time, part, sequence, place int64 }

const columns = `part, sequence, place, time, ref, version, event, command, command_id, correlation, causation, author`

// errEnough ends the reading of events.
var errEnough = errors.New("enough")

// each reads the events that a query finds, until f has enough.
func each(r *projections.Rows, query string, args []any, f func(Event) error) error {
	var (
		e       Event
		at      cursor
		version int64
	)
	err := r.Each(query, args, func() error {
		e.place = at
		e.Position = holdfast.NewPosition(uint32(at.part), uint64(at.sequence)).String()
		e.Version, e.Time = uint64(version), time.Unix(0, at.time).UTC()
		e.ID = eventID(e.Ref, e.Version)
		return f(e)
	}, &at.part, &at.sequence, &at.place, &at.time, &e.Ref, &version, &e.Event, &e.Command, &e.CommandID, &e.CorrelationID, &e.CausationID, &e.User)
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// size is how many bytes something takes in an answer, with the comma behind it.
func size(v any) (int, error) {
	body, err := serve.Encode(false, nil, v)
	return len(body) + 1, err
}
