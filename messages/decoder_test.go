package messages_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// What follows reads the log with nothing but docs/wire.md: no generated code, no
// protobuf library, nothing of package messages. It proves that the page suffices.

type plainCommit struct {
	format                    uint64
	id                        string
	firstVersion, lastVersion uint64
	before                    []uint64 // previous and the trail, as stream sequences
	time                      int64
	changes                   []plainChange
	content, digest           []byte
}

type plainChange struct {
	commandID, command, correlationID, causationID, user, trace string
	time                                                        int64
	events                                                      []plainEvent
}

type plainEvent struct {
	typ    string
	schema uint64
	data   []byte
	keyID  string
}

type plainSnapshot struct {
	format            uint64
	fingerprint       string
	version, sequence uint64
	before            []uint64
	digest            []byte
	time              int64
	recent            []uint32
	state             []byte
	keyID             string
	checksum          []byte
}

// plainField is one field as it stands in the bytes.
type plainField struct {
	number int
	value  uint64 // of a varint
	data   []byte // of a length-delimited field
	head   []byte // tag and, if it has one, length
	all    []byte
}

func plainFields(b []byte) ([]plainField, error) {
	var out []plainField
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, errors.New("a bad tag")
		}
		v, m := binary.Uvarint(b[n:])
		if m <= 0 {
			return nil, fmt.Errorf("field %d: a bad number", tag>>3)
		}
		f, end := plainField{number: int(tag >> 3)}, n+m
		switch tag & 7 {
		case 0:
			f.value, f.head = v, b[:n]
		case 2:
			if v > uint64(len(b)-end) {
				return nil, fmt.Errorf("field %d: it ends too soon", f.number)
			}
			f.head = b[:end]
			f.data = b[end : end+int(v)]
			end += int(v)
		default:
			return nil, fmt.Errorf("field %d: wire type %d", f.number, tag&7)
		}
		f.all, b = b[:end], b[end:]
		out = append(out, f)
	}
	return out, nil
}

func decodePlainCommit(body []byte) (c plainCommit, err error) {
	fields, err := plainFields(body)
	if err != nil {
		return c, err
	}
	var trail []byte
	var previous uint64
	for _, f := range fields {
		switch f.number {
		case 1:
			c.format = f.value
		case 2:
			c.id = string(f.data)
		case 3:
			c.firstVersion = f.value
		case 4:
			c.lastVersion = f.value
		case 5:
			previous = f.value
		case 6:
			trail = f.data
		case 7:
			c.time = int64(f.value)
		case 8:
			change, err := decodePlainChange(f.data)
			if err != nil {
				return c, err
			}
			c.changes = append(c.changes, change)
		case 15:
			c.digest = f.data
		}
	}
	c.content = body[:len(body)-34]
	c.before, err = resolvePlain(previous, trail)
	return c, err
}

func decodePlainChange(b []byte) (c plainChange, err error) {
	fields, err := plainFields(b)
	if err != nil {
		return c, err
	}
	for _, f := range fields {
		switch f.number {
		case 1:
			c.commandID = string(f.data)
		case 2:
			c.command = string(f.data)
		case 3:
			c.correlationID = string(f.data)
		case 4:
			c.causationID = string(f.data)
		case 5:
			c.user = string(f.data)
		case 6:
			c.trace = string(f.data)
		case 7:
			c.time = int64(f.value)
		case 8:
			e, err := decodePlainEvent(f.data)
			if err != nil {
				return c, err
			}
			c.events = append(c.events, e)
		}
	}
	return c, nil
}

func decodePlainEvent(b []byte) (e plainEvent, err error) {
	fields, err := plainFields(b)
	if err != nil {
		return e, err
	}
	for _, f := range fields {
		switch f.number {
		case 1:
			e.typ = string(f.data)
		case 2:
			e.schema = f.value
		case 3:
			e.data = f.data
		case 4:
			e.keyID = string(f.data)
		}
	}
	return e, nil
}

func decodePlainSnapshot(body []byte) (s plainSnapshot, err error) {
	fields, err := plainFields(body)
	if err != nil {
		return s, err
	}
	var trail []byte
	for _, f := range fields {
		switch f.number {
		case 1:
			s.format = f.value
		case 2:
			s.fingerprint = string(f.data)
		case 3:
			s.version = f.value
		case 4:
			s.sequence = f.value
		case 5:
			trail = f.data
		case 6:
			s.digest = f.data
		case 7:
			s.time = int64(f.value)
		case 8:
			for ; len(f.data) > 0; f.data = f.data[4:] {
				s.recent = append(s.recent, binary.LittleEndian.Uint32(f.data))
			}
		case 9:
			s.state = f.data
		case 10:
			s.keyID = string(f.data)
		case 15:
			s.checksum = f.data
		}
	}
	if want := sha256.Sum256(body[:len(body)-34]); !bytes.Equal(s.checksum, want[:]) {
		return s, errors.New("the checksum does not hold")
	}
	before, err := resolvePlain(s.sequence, trail)
	if err != nil {
		return s, err
	}
	s.before = before[1:]
	return s, nil
}

// resolvePlain gives a sequence and those to which a packed trail leads from it.
func resolvePlain(from uint64, trail []byte) ([]uint64, error) {
	if from == 0 {
		return nil, nil
	}
	seqs := []uint64{from}
	for len(trail) > 0 {
		d, n := binary.Uvarint(trail)
		if n <= 0 || d == 0 || d >= from {
			return nil, errors.New("a bad trail")
		}
		from, trail = from-d, trail[n:]
		seqs = append(seqs, from)
	}
	return seqs, nil
}

func firstPlainDigest(context, ref string) []byte {
	d := sha256.Sum256([]byte("holdfast/1 " + context + " " + ref))
	return d[:]
}

// follows reports whether c's digest is that of c after a commit with digest prev.
func (c plainCommit) follows(prev []byte) bool {
	want := sha256.Sum256(append(bytes.Clone(prev), c.content...))
	return bytes.Equal(c.digest, want[:])
}
