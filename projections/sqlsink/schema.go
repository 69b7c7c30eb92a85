package sqlsink

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"

	"github.com/holdfast-run/holdfast/projections"
)

// format counts the forms of the tables below. A build knows its own and older ones.
const format = 1

// schema makes the tables of ours in a generation. {…} stands for types that differ.
const schema = `
CREATE TABLE holdfast_meta (name {text} PRIMARY KEY, value {text} NOT NULL);
CREATE TABLE holdfast_checkpoints (
	partition BIGINT NOT NULL, shard BIGINT NOT NULL, done BIGINT NOT NULL, time BIGINT NOT NULL, resets BIGINT NOT NULL,
	PRIMARY KEY (partition, shard)
);
CREATE TABLE holdfast_parked (
	id {number}, partition BIGINT NOT NULL, shard BIGINT NOT NULL, key {text} NOT NULL,
	sequence BIGINT NOT NULL, event_index BIGINT NOT NULL, part BIGINT NOT NULL,
	event {text} NOT NULL, record {bytes} NOT NULL, reason {text} NOT NULL, since BIGINT NOT NULL, attempts BIGINT NOT NULL,
	skipped {text} NOT NULL
);
CREATE UNIQUE INDEX holdfast_parked_place ON holdfast_parked (partition, shard, sequence, event_index, part) WHERE skipped = '';
CREATE INDEX holdfast_parked_key ON holdfast_parked (partition, shard, key, id) WHERE skipped = '';
CREATE TABLE holdfast_outbox (
	number {number}, partition BIGINT NOT NULL, shard BIGINT NOT NULL, id {text} NOT NULL, name {text} NOT NULL, payload {bytes} NOT NULL,
	UNIQUE (partition, shard, id)
);
CREATE TABLE holdfast_documents (key {text} PRIMARY KEY, body {json} NOT NULL);
`

// make fills an empty generation.
func (s *session) make(ctx context.Context, c Config, p *projections.Projection, at place) error {
	statements := schema
	for name, typ := range s.types {
		statements = strings.ReplaceAll(statements, "{"+name+"}", typ)
	}
	if _, err := s.conn.ExecContext(ctx, statements); err != nil {
		return unavailable(err)
	}
	for name, value := range meta(c, at, p.Revision(), p.Form()) {
		if _, err := s.conn.ExecContext(ctx, `INSERT INTO holdfast_meta (name, value) VALUES ($1, $2)`, name, value); err != nil {
			return unavailable(err)
		}
	}
	for i, statement := range p.Tables() {
		if _, err := s.conn.ExecContext(ctx, statement); err != nil {
			if s.gone(ctx, err) {
				return unavailable(err)
			}
			return fmt.Errorf("statement %d of its Tables, %s: %w", i+1, short(statement), err)
		}
	}
	return nil
}

func meta(c Config, at place, revision int, form projections.Form) map[string]string {
	return map[string]string{
		"format": strconv.Itoa(format), "context": string(c.Context), "log": string(c.Log),
		"projection": at.projection, "generation": strconv.FormatUint(at.generation, 10), "revision": strconv.Itoa(revision),
		"form": string(form),
	}
}

// check finds that holdfast_meta, which there is, is not that of the generation, or tells the
// form of what is kept there. what names the file or schema.
func (s *session) check(ctx context.Context, c Config, what, table string, at place) (projections.Form, error) {
	found := map[string]string{}
	err := s.rows(ctx, `SELECT name, value FROM `+table, nil, func(rows *sql.Rows) (bool, error) {
		var name, value string
		err := rows.Scan(&name, &value)
		found[name] = value
		return true, err
	})
	if err != nil {
		return "", unavailable(err)
	}
	known, err := strconv.Atoi(found["format"])
	if err != nil {
		return "", foreign("%s has no format: it is not whole. Move it away, and it is built anew", what)
	}
	if known > format {
		return "", foreign("%s was made by a newer build (format %d, and this one knows %d): use that build, or move it away to have it built anew", what, known, format)
	}
	want := meta(c, at, 0, "")
	switch {
	case found["context"] != want["context"]:
		return "", foreign("%s belongs to the context %s, and this is %s: give each context a place of its own", what, found["context"], c.Context)
	case found["log"] != want["log"]:
		return "", foreign("%s was made from the log %s, and this is the log %s: move it away to have it built from this one", what, found["log"], c.Log)
	case found["projection"] != want["projection"] || found["generation"] != want["generation"]:
		return "", foreign("%s is generation %s of the projection %s, and not generation %d of %s: give it back its name",
			what, found["generation"], found["projection"], at.generation, at.projection)
	}
	return projections.Form(found["form"]), nil
}

// foreign says what is there instead of what was looked for, and what to do.
func foreign(sentence string, args ...any) error {
	return fmt.Errorf("%w: "+sentence, append([]any{projections.ErrForeign}, args...)...)
}
