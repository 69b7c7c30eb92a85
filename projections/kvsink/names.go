package kvsink

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/projections"
)

// A generation's names.
type names struct {
	bucket, stream  string
	document, state string // what their subjects begin with
}

func newNames(c messages.Context, projection string, generation uint64) names {
	bucket := c.ViewBucket(projection, generation)
	return names{bucket: bucket, stream: "KV_" + bucket, document: "$KV." + bucket + ".", state: "$VIEW." + bucket + "."}
}

func (n names) checkpoints() string { return n.state + "checkpoint.>" }

func (n names) checkpoint(u projections.Unit) string {
	return fmt.Sprintf("%scheckpoint.%d.%d", n.state, u.Partition, u.Shard)
}

// hash stands for what may be any text of any length.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:16])
}

func (n names) parkedKey(u projections.Unit, key string) string {
	return fmt.Sprintf("%sparked.%d.%d.%s.", n.state, u.Partition, u.Shard, hash(key))
}

// spot is where an event stands in its partition.
type spot struct {
	Sequence    uint64 `json:",string"`
	Index, Part int
}

func (s spot) String() string { return fmt.Sprintf("%d.%d.%d", s.Sequence, s.Index, s.Part) }

// after reports whether s comes after o.
func (s spot) after(o spot) bool {
	switch {
	case s.Sequence != o.Sequence:
		return s.Sequence > o.Sequence
	case s.Index != o.Index:
		return s.Index > o.Index
	default:
		return s.Part > o.Part
	}
}

func spotOf(e projections.Event) spot { return spot{e.Position.Sequence(), e.Index, e.Part} }

func (n names) parked(u projections.Unit, p projections.Parked) string {
	return n.parkedKey(u, p.Key) + spotOf(p.Event).String()
}

func (n names) skipped(u projections.Unit, p projections.Parked) string {
	return fmt.Sprintf("%sskipped.%d.%d.%s", n.state, u.Partition, u.Shard, spotOf(p.Event))
}

func (n names) outbox(u projections.Unit) string {
	return fmt.Sprintf("%soutbox.%d.%d.", n.state, u.Partition, u.Shard)
}

// encoded takes this many bytes of a key at a time: so many, written as =HH, fit into an ID.
const encoded = messages.MaxID / 3

// encodeKey writes a key as it stands in subjects.
func encodeKey(key string) (string, error) {
	if key == "" || len(key) > projections.MaxKey {
		return "", fmt.Errorf("the key %q of a document has %d bytes: want 1 to %d", key, len(key), projections.MaxKey)
	}
	var b strings.Builder
	for len(key) > 0 {
		piece := key[:min(encoded, len(key))]
		id, err := messages.EncodeID(piece)
		if err != nil {
			return "", err
		}
		b.WriteString(id.String())
		key = key[len(piece):]
	}
	return b.String(), nil
}

func decodeKey(text string) (string, error) {
	var b strings.Builder
	for len(text) > 0 {
		n := min(encoded, len(text))
		if i := strings.LastIndexByte(text[:n], '='); i > n-3 && n < len(text) {
			n = i // what stands for one byte stays together
		}
		id, err := messages.ParseID(text[:n])
		if err != nil {
			return "", err
		}
		b.WriteString(id.Raw())
		text = text[n:]
	}
	return b.String(), nil
}
