package messages

import (
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
)

// MaxID is how long an encoded id may be, in bytes.
const MaxID = 128

// An ID is an aggregate's id as it stands in subjects: [A-Za-z0-9_-] stand for
// themselves, every other byte is =HH (capital hex digits), 128 bytes at most. Each
// raw id has one encoded form.
type ID struct{ encoded string }

const hexDigits = "0123456789ABCDEF"

func plain(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || b == '_' || b == '-'
}

// EncodeID encodes a raw id, which may hold any bytes. It refuses an empty one and one
// whose encoded form exceeds [MaxID].
func EncodeID(raw string) (ID, error) {
	if raw == "" {
		return ID{}, errors.New("id: it is empty")
	}
	n := len(raw)
	for i := range len(raw) {
		if !plain(raw[i]) {
			n += 2
		}
	}
	if n > MaxID {
		return ID{}, fmt.Errorf("id: it takes %d bytes encoded, the limit is %d", n, MaxID)
	}
	if n == len(raw) {
		return ID{raw}, nil
	}
	var b strings.Builder
	b.Grow(n)
	for i := range len(raw) {
		if c := raw[i]; plain(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('=')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	return ID{b.String()}, nil
}

// ParseID reads an encoded id, in its one form only: an escape of a byte that stands
// for itself is refused, since it would be a second name for one aggregate.
func ParseID(s string) (ID, error) {
	raw, err := decode(s)
	if err != nil {
		return ID{}, err
	}
	return EncodeID(raw)
}

func decode(s string) (string, error) {
	if !strings.Contains(s, "=") {
		for i := range len(s) {
			if !plain(s[i]) {
				return "", fmt.Errorf("id %q: the byte %q must be written =%02X", s, s[i], s[i])
			}
		}
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; c != '=' {
			if !plain(c) {
				return "", fmt.Errorf("id %q: the byte %q must be written =%02X", s, c, c)
			}
			b.WriteByte(c)
			continue
		}
		if i+2 >= len(s) {
			return "", fmt.Errorf("id %q: '=' must be followed by two capital hex digits", s)
		}
		hi, lo := strings.IndexByte(hexDigits, s[i+1]), strings.IndexByte(hexDigits, s[i+2])
		if hi < 0 || lo < 0 {
			return "", fmt.Errorf("id %q: '=' must be followed by two capital hex digits", s)
		}
		c := byte(hi<<4 | lo)
		if plain(c) {
			return "", fmt.Errorf("id %q: the byte %q stands for itself and is not escaped", s, c)
		}
		b.WriteByte(c)
		i += 2
	}
	return b.String(), nil
}

// String gives the encoded form.
func (id ID) String() string { return id.encoded }

// Raw gives the id as the domain knows it.
func (id ID) Raw() string {
	raw, _ := decode(id.encoded) // encoded is valid by construction
	return raw
}

func lower(b byte) bool { return 'a' <= b && b <= 'z' }

func digit(b byte) bool { return '0' <= b && b <= '9' }

func letter(b byte) bool { return lower(b) || 'A' <= b && b <= 'Z' }

func inContext(b byte) bool { return lower(b) || digit(b) || b == '-' }

func inType(b byte) bool { return inContext(b) || b == '_' }

func inName(b byte) bool { return letter(b) || digit(b) || b == '_' }

// formed reports whether s has 1 to most bytes, the first of which is one of the first and
// the others of the rest.
func formed(s string, most int, first, rest func(byte) bool) bool {
	if s == "" || len(s) > most || !first(s[0]) {
		return false
	}
	for i := 1; i < len(s); i++ {
		if !rest(s[i]) {
			return false
		}
	}
	return true
}

// A Context is the name of a bounded context: a small letter, then small letters,
// digits and '-', 32 at most.
type Context string

// ParseContext reads a context's name.
func ParseContext(s string) (Context, error) {
	if !formed(s, 32, lower, inContext) {
		return "", fmt.Errorf("context %q: want a small letter, then small letters, digits and '-', 32 at most", s)
	}
	return Context(s), nil
}

// LogStream is the name of the JetStream stream that holds one partition of the log.
func (c Context) LogStream(partition uint32) string {
	return fmt.Sprintf("%s_LOG_%d", strings.ToUpper(string(c)), partition)
}

// SnapshotStream is the name of the JetStream stream that holds the snapshots.
func (c Context) SnapshotStream() string { return strings.ToUpper(string(c)) + "_SNAPSHOTS" }

// TimerStream is the name of the JetStream stream that holds the timers.
func (c Context) TimerStream() string { return strings.ToUpper(string(c)) + "_TIMERS" }

// FeedMark is the subject in the feed's stream that says how much of a partition of the log
// it has.
func (c Context) FeedMark(partition uint32) string { return fmt.Sprintf("%s.fed.%d", c, partition) }

// InboxStream is the name of the JetStream stream with the commands of the inbox that wait.
func (c Context) InboxStream() string { return strings.ToUpper(string(c)) + "_INBOX" }

// InboxBucket is the name of the NATS KV bucket with the commands of the inbox that are parked.
func (c Context) InboxBucket() string { return strings.ToUpper(string(c)) + "_INBOX_PARKED" }

// MembersBucket is the name of the NATS KV bucket in which the context's nodes register.
func (c Context) MembersBucket() string { return strings.ToUpper(string(c)) + "_MEMBERS" }

// SagasBucket is the name of the NATS KV bucket with the context's sagas that are not over.
func (c Context) SagasBucket() string { return strings.ToUpper(string(c)) + "_SAGAS" }

// FollowBucket is the name of the NATS KV bucket that says who follows the context's log,
// and how far they have come.
func (c Context) FollowBucket() string { return strings.ToUpper(string(c)) + "_FOLLOW" }

// ProjectionsBucket is the name of the NATS KV bucket with what the context's nodes agree on
// about its projections, and how these stand.
func (c Context) ProjectionsBucket() string { return strings.ToUpper(string(c)) + "_PROJECTIONS" }

// PartitionOf says in which of n partitions an aggregate's log is: the 64-bit FNV-1a
// hash of "<type>.<encoded id>", mixed by the finalizer of MurmurHash3, modulo n. It
// never changes.
func PartitionOf(typ string, id ID, n uint32) uint32 {
	if n <= 1 {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(typ))
	h.Write([]byte{'.'})
	h.Write([]byte(id.encoded))
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return uint32(x % uint64(n))
}
