package desk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"hash/fnv"
	"math/bits"
	"slices"
	"strings"

	"github.com/holdfast-run/holdfast/projections"
)

const (
	// sampledBytes is how much of both generations is held in memory to be compared row by
	// row. Of what is bigger every second, fourth … row is, and the rest as a whole.
	sampledBytes = 32 << 20
	// maxExamples are the differences that are shown, and maxExample the bytes of each row.
	maxExamples = 10
	maxExample  = 4 << 10
)

// A Comparison tells how two generations of a projection differ.
type Comparison struct {
	Old Contents `json:"old"`
	New Contents `json:"new"`
	// Same: each has all rows of the other, and no others.
	Same bool `json:"same"`
	// Sampled is how many rows were compared one by one: one in Of of those that there are.
	Sampled int `json:"sampled"`
	Of      int `json:"of"`
	// Differ is how many of these are not the same, or are in one only.
	Differ int `json:"differ"`
	// Examples are some of them, in order.
	Examples []Difference `json:"examples"`
}

// Contents are those of a generation.
type Contents struct {
	Generation uint64 `json:"generation"`
	// Positions at which it was, one a partition: the same in both, unless nobody works on
	// what serves any more, because it is of another revision.
	Positions []string `json:"positions"`
	// Rows of each table; those of documents are under "".
	Rows map[string]uint64 `json:"rows"`
}

// A Difference is a row that is not the same in both. Old or New is null where there is none.
type Difference struct {
	Table string          `json:"table,omitempty"`
	Key   string          `json:"key"`
	Old   json.RawMessage `json:"old"`
	New   json.RawMessage `json:"new"`
}

type rowKey struct{ table, key string }

type pair struct{ old, new []byte }

// A sample holds rows of two generations side by side: all, or one in some power of two.
type sample struct {
	limit int
	of    uint64
	bytes int
	rows  map[rowKey]pair
}

// pick tells whether a row is one of those that are compared. It depends on the key alone.
func (s *sample) pick(k rowKey) bool {
	h := fnv.New64a()
	h.Write([]byte(k.table))
	h.Write([]byte{0})
	h.Write([]byte(k.key))
	// The last bits of FNV follow those of the text.
	sum := h.Sum64()
	return (sum^sum>>32)%s.of == 0
}

func (s *sample) put(k rowKey, set func(*pair), size int) {
	if !s.pick(k) {
		return
	}
	p := s.rows[k]
	set(&p)
	s.rows[k] = p
	s.bytes += size + len(k.table) + len(k.key)
	for s.bytes > s.limit && len(s.rows) > 1 {
		s.of *= 2
		for k, p := range s.rows {
			if !s.pick(k) {
				delete(s.rows, k)
				s.bytes -= len(p.old) + len(p.new) + len(k.table) + len(k.key)
			}
		}
	}
}

// A digest is of a set of rows, in whatever order they come.
type digest [4]uint64

func (d *digest) add(k rowKey, row []byte) {
	var b []byte
	for _, part := range []string{k.table, k.key} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	sum := sha256.Sum256(append(b, row...))
	var carry uint64
	for i := range d {
		d[i], carry = bits.Add64(d[i], binary.LittleEndian.Uint64(sum[8*i:]), carry)
	}
}

// Compare compares two generations that a sink keeps: as they are, so that they had better
// stand still.
func Compare(ctx context.Context, s projections.Sink, projection string, before, after uint64) (Comparison, error) {
	return compare(ctx, s, projection, before, after, sampledBytes)
}

func compare(ctx context.Context, s projections.Sink, projection string, before, after uint64, limit int) (Comparison, error) {
	rows := &sample{limit: limit, of: 1, rows: map[rowKey]pair{}}
	c := Comparison{Examples: []Difference{}}
	var digests [2]digest
	for i, side := range []struct {
		generation uint64
		contents   *Contents
	}{{before, &c.Old}, {after, &c.New}} {
		*side.contents = Contents{Generation: side.generation, Rows: map[string]uint64{}}
		err := s.Dump(ctx, projection, side.generation, func(table, key string, row []byte) error {
			side.contents.Rows[table]++
			k, row := rowKey{table, key}, canonical(row)
			digests[i].add(k, row)
			rows.put(k, func(p *pair) {
				if i == 0 {
					p.old = row
				} else {
					p.new = row
				}
			}, len(row))
			return ctx.Err()
		})
		if err != nil {
			return c, err
		}
	}
	c.Same, c.Sampled, c.Of = digests[0] == digests[1], len(rows.rows), int(rows.of)
	c.tell(rows)
	return c, nil
}

// canonical gives the same bytes for the same JSON, which sinks may space otherwise; they are
// not those of the sink's own memory.
func canonical(row []byte) []byte {
	var b bytes.Buffer
	if json.Compact(&b, row) != nil {
		text, _ := json.Marshal(string(row)) // which no string fails
		return text
	}
	return b.Bytes()
}

// tell shows what differs of what was sampled.
func (c *Comparison) tell(rows *sample) {
	var differ []rowKey
	for k, p := range rows.rows {
		if !bytes.Equal(p.old, p.new) {
			differ = append(differ, k)
		}
	}
	c.Differ = len(differ)
	slices.SortFunc(differ, func(a, b rowKey) int {
		if n := strings.Compare(a.table, b.table); n != 0 {
			return n
		}
		return strings.Compare(a.key, b.key)
	})
	for _, k := range differ[:min(maxExamples, len(differ))] {
		p := rows.rows[k]
		c.Examples = append(c.Examples, Difference{Table: k.table, Key: k.key, Old: example(p.old), New: example(p.new)})
	}
}

// example shows a row; of a long one the beginning, as text.
func example(row []byte) json.RawMessage {
	switch {
	case row == nil:
		return json.RawMessage("null")
	case len(row) > maxExample:
		text, _ := json.Marshal(strings.ToValidUTF8(string(row[:maxExample]), "") + "…")
		return text
	}
	return row
}
