package messages

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

const (
	// CommitFormat is the format of commits that this build writes and reads.
	CommitFormat = 1
	// SnapshotFormat is the format of snapshots that this build writes and reads.
	SnapshotFormat = 1
	// SchemaProtobuf is the schema of an event whose data is protobuf.
	SchemaProtobuf = 1
	// MaxTrail is how many commits before the previous one a commit's trail names.
	MaxTrail = 32
)

// A Digest is SHA-256 over the digest before it and a commit's content: it stands for
// the whole history up to that commit.
type Digest [sha256.Size]byte

// FirstDigest is the digest from which an aggregate's chain starts. It binds the chain
// to the aggregate: a commit moved to another one does not fit.
func FirstDigest(c Context, typ string, id ID) Digest {
	return sha256.Sum256([]byte("holdfast/1 " + string(c) + " " + FormatRef(typ, id)))
}

// sealTag precedes the digest: field 15, length-delimited, 32 bytes. Commit.digest and
// Snapshot.checksum have the same number on purpose.
var sealTag = []byte{15<<3 | byte(protowire.BytesType), sha256.Size}

const sealLen = 2 + sha256.Size

var errSeal = errors.New("its last field is not its digest or checksum (field 15, 32 bytes)")

// content splits a sealed body into what was sealed and the seal.
func content(body []byte) (sealed []byte, seal Digest, err error) {
	at := len(body) - sealLen
	if at < 0 || !bytes.Equal(body[at:at+2], sealTag) {
		return nil, seal, errSeal
	}
	copy(seal[:], body[at+2:])
	return body[:at], seal, nil
}

func chain(prev Digest, sealed []byte) Digest {
	h := sha256.New()
	h.Write(prev[:])
	h.Write(sealed)
	var d Digest
	h.Sum(d[:0])
	return d
}

// Seal encodes the commit, chains it to the digest of the previous one, and returns the
// body and the commit's digest, which it also sets.
func (c *Commit) Seal(prev Digest) ([]byte, Digest, error) {
	c.Digest = nil
	// The previous digest stands in front of the body, so that what is digested is in one piece.
	buf := append(make([]byte, 0, len(prev)+proto.Size(c)+sealLen), prev[:]...)
	buf, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(buf, c)
	if err != nil {
		return nil, Digest{}, fmt.Errorf("encode commit: %w", err)
	}
	d := Digest(sha256.Sum256(buf))
	body := append(append(buf, sealTag...), d[:]...)[len(prev):]
	c.Digest = body[len(body)-len(d):]
	return body, d, nil
}

// OpenCommit decodes a commit and checks all that can be checked of it alone. The
// error says what is wrong with it. The bytes in the commit are those of body: neither is
// written to.
func OpenCommit(body []byte) (*Commit, error) { return new(Decoder).Open(body) }

// Open is [OpenCommit]. The commit, and all that is in it but for its strings, is the decoder's
// again when Open is called again.
func (d *Decoder) Open(body []byte) (*Commit, error) {
	_, seal, err := content(body)
	if err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	c, ok := d.decode(body)
	if !ok {
		c = new(Commit)
		if err := proto.Unmarshal(body, c); err != nil {
			return nil, fmt.Errorf("commit: decode: %w", err)
		}
	}
	if !bytes.Equal(c.Digest, seal[:]) {
		return nil, fmt.Errorf("commit: %w", errSeal)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	return c, nil
}

func (c *Commit) check() error {
	if c.Format != CommitFormat {
		return fmt.Errorf("format %d is unknown to this build, which reads %d", c.Format, CommitFormat)
	}
	var events uint64
	for _, ch := range c.Changes {
		events += uint64(len(ch.Events))
	}
	if c.FirstVersion == 0 || c.LastVersion < c.FirstVersion-1 || c.LastVersion-(c.FirstVersion-1) != events {
		return fmt.Errorf("versions %d to %d do not fit its %d events", c.FirstVersion, c.LastVersion, events)
	}
	if len(c.Trail) > MaxTrail {
		return fmt.Errorf("a trail of %d, the most is %d", len(c.Trail), MaxTrail)
	}
	return leadsBack(c.Previous, c.Trail)
}

// ChainedDigest computes the digest that a commit with this body has when it follows
// prev. It equals the one in the body unless either was altered.
func ChainedDigest(prev Digest, body []byte) (Digest, error) {
	sealed, _, err := content(body)
	if err != nil {
		return Digest{}, fmt.Errorf("commit: %w", err)
	}
	return chain(prev, sealed), nil
}

// Before gives the stream sequences of the commits before this one that it knows of,
// newest first: previous and the trail.
func (c *Commit) Before() []uint64 {
	return resolve(c.Previous, c.Trail) // checked by OpenCommit
}

// SetBefore is the reverse of Before: it takes the sequences of up to 33 commits,
// newest first, and more are left out.
func (c *Commit) SetBefore(seqs []uint64) {
	c.Previous, c.Trail = 0, nil
	if len(seqs) > 0 {
		c.Previous, c.Trail = seqs[0], Distances(seqs[0], seqs[1:min(len(seqs), MaxTrail+1)])
	}
}

// leadsBack checks a trail.
func leadsBack(from uint64, distances []uint64) error {
	if from == 0 && len(distances) > 0 {
		return errors.New("a trail without a previous commit")
	}
	for _, d := range distances {
		if d == 0 || d >= from {
			return errors.New("its trail does not lead backwards")
		}
		from -= d
	}
	return nil
}

// resolve gives the sequences of a trail, newest first.
func resolve(from uint64, distances []uint64) []uint64 {
	if from == 0 {
		return nil
	}
	seqs := make([]uint64, 1, len(distances)+1)
	seqs[0] = from
	for _, d := range distances {
		from -= d
		seqs = append(seqs, from)
	}
	return seqs
}

// Distances writes sequences, newest first, as a trail does: each as how far it lies
// before the one before it, the first how far before from.
func Distances(from uint64, seqs []uint64) []uint64 {
	if len(seqs) == 0 {
		return nil
	}
	out := make([]uint64, len(seqs))
	for i, s := range seqs {
		out[i], from = from-s, s
	}
	return out
}

// Seal encodes the snapshot with its checksum.
func (s *Snapshot) Seal() ([]byte, error) {
	s.Checksum = nil
	body, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, 0, proto.Size(s)+sealLen), s)
	if err != nil {
		return nil, fmt.Errorf("encode snapshot: %w", err)
	}
	sum := sha256.Sum256(body)
	return append(append(body, sealTag...), sum[:]...), nil
}

// OpenSnapshot decodes a snapshot and checks its checksum and form.
func OpenSnapshot(body []byte) (*Snapshot, error) {
	sealed, seal, err := content(body)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	if sha256.Sum256(sealed) != seal {
		return nil, errors.New("snapshot: its checksum does not hold")
	}
	s := new(Snapshot)
	if err := proto.Unmarshal(body, s); err != nil {
		return nil, fmt.Errorf("snapshot: decode: %w", err)
	}
	if !bytes.Equal(s.Checksum, seal[:]) {
		return nil, fmt.Errorf("snapshot: %w", errSeal)
	}
	if s.Format != SnapshotFormat {
		return nil, fmt.Errorf("snapshot: format %d is unknown to this build, which reads %d", s.Format, SnapshotFormat)
	}
	if len(s.Digest) != sha256.Size || s.Version == 0 || s.Sequence == 0 {
		return nil, errors.New("snapshot: it does not say where in the log it stands")
	}
	if len(s.Trail) > MaxTrail+1 {
		return nil, fmt.Errorf("snapshot: a trail of %d, the most is %d", len(s.Trail), MaxTrail+1)
	}
	if err := leadsBack(s.Sequence, s.Trail); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	return s, nil
}

// Before gives the stream sequences of the commits before the snapshot's own, newest
// first.
func (s *Snapshot) Before() []uint64 {
	return resolve(s.Sequence, s.Trail)[1:] // checked by OpenSnapshot
}

// IDFingerprint is what a snapshot keeps of a command id.
func IDFingerprint(commandID string) uint32 {
	sum := sha256.Sum256([]byte(commandID))
	return uint32(sum[0])<<24 | uint32(sum[1])<<16 | uint32(sum[2])<<8 | uint32(sum[3])
}
