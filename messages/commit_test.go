package messages_test

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast/messages"
)

func seal(t testing.TB, c *messages.Commit, prev messages.Digest) []byte {
	t.Helper()
	body, _, err := c.Seal(prev)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func sealSnapshot(t testing.TB, s *messages.Snapshot) []byte {
	t.Helper()
	body, err := s.Seal()
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// belongs reports whether body is a commit that follows prev, as a reader finds out.
func belongs(body []byte, prev messages.Digest) bool {
	c, err := messages.OpenCommit(body)
	if err != nil {
		return false
	}
	want, err := messages.ChainedDigest(prev, body)
	return err == nil && bytes.Equal(c.Digest, want[:])
}

func TestSeal(t *testing.T) {
	c := goldenCommits()[3]
	c.Digest = []byte("left over")
	prev := messages.Digest{1, 2, 3}
	body, digest, err := c.Seal(prev)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(c.Digest, digest[:]) {
		t.Errorf("the commit has the digest %x, want %x", c.Digest, digest)
	}
	if !belongs(body, prev) {
		t.Error("a sealed commit does not belong where it was sealed")
	}
	if belongs(body, messages.Digest{3, 2, 1}) {
		t.Error("a commit belongs after another digest than its own")
	}
	again, _, err := c.Seal(prev)
	if err != nil || !bytes.Equal(again, body) {
		t.Errorf("sealed a second time it is %x, %v, want %x", again, err, body)
	}
	_, _, err = (&messages.Commit{Id: "\xff"}).Seal(prev)
	wantError(t, err, "encode commit")
}

func TestFirstDigest(t *testing.T) {
	seen := map[messages.Digest]string{}
	for _, a := range []struct {
		context messages.Context
		typ, id string
	}{{"bank", "account", "a"}, {"bank", "account", "b"}, {"bank", "order", "a"}, {"shop", "account", "a"}, {"bank", "a", "ccount/a"}} {
		d := messages.FirstDigest(a.context, a.typ, mustID(t, a.id))
		if other, taken := seen[d]; taken {
			t.Errorf("%v and %s start from one digest", a, other)
		}
		seen[d] = fmt.Sprint(a)
	}
}

func TestOpenCommitRefuses(t *testing.T) {
	event := []*messages.Event{{Type: "bank.v1.Deposited", Schema: 1}}
	one := []*messages.Change{{CommandId: "c-1", Events: event}}
	for _, tt := range []struct {
		name string
		c    *messages.Commit
		want string
	}{
		{"no format", &messages.Commit{FirstVersion: 1, LastVersion: 1, Changes: one}, "format 0 is unknown to this build, which reads 1"},
		{"a later format", &messages.Commit{Format: 2, FirstVersion: 1, LastVersion: 1, Changes: one}, "format 2 is unknown"},
		{"no first version", &messages.Commit{Format: 1, LastVersion: 1, Changes: one}, "versions 0 to 1 do not fit its 1 events"},
		{"no first version, the last before it", &messages.Commit{Format: 1, LastVersion: 1<<64 - 1}, "versions 0 to 18446744073709551615 do not fit its 0 events"},
		{"too few events", &messages.Commit{Format: 1, FirstVersion: 1, LastVersion: 2, Changes: one}, "versions 1 to 2 do not fit its 1 events"},
		{"too many events", &messages.Commit{Format: 1, FirstVersion: 2, LastVersion: 1, Changes: one}, "versions 2 to 1 do not fit its 1 events"},
		{"versions that run backwards", &messages.Commit{Format: 1, FirstVersion: 9, LastVersion: 1, Changes: one}, "versions 9 to 1 do not fit its 1 events"},
		{
			"versions that overflow",
			&messages.Commit{Format: 1, FirstVersion: 1<<64 - 1, LastVersion: 0, Changes: []*messages.Change{{Events: slices.Concat(event, event)}}},
			"versions 18446744073709551615 to 0 do not fit its 2 events",
		},
		{"a long trail", &messages.Commit{Format: 1, FirstVersion: 2, LastVersion: 2, Previous: 99, Trail: slices.Repeat([]uint64{1}, 33), Changes: one}, "a trail of 33, the most is 32"},
		{"a trail without previous", &messages.Commit{Format: 1, FirstVersion: 2, LastVersion: 2, Trail: []uint64{1}, Changes: one}, "a trail without a previous commit"},
		{"a trail that stands still", &messages.Commit{Format: 1, FirstVersion: 2, LastVersion: 2, Previous: 9, Trail: []uint64{0}, Changes: one}, "its trail does not lead backwards"},
		{"a trail before the start", &messages.Commit{Format: 1, FirstVersion: 2, LastVersion: 2, Previous: 9, Trail: []uint64{4, 5}, Changes: one}, "its trail does not lead backwards"},
		{"a trail that overflows", &messages.Commit{Format: 1, FirstVersion: 2, LastVersion: 2, Previous: 9, Trail: []uint64{1<<64 - 1}, Changes: one}, "its trail does not lead backwards"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := messages.OpenCommit(seal(t, tt.c, messages.Digest{}))
			wantError(t, err, "commit: "+tt.want)
		})
	}
}

// inner is a message whose last 34 bytes look like field 15 but lie within another field.
func inner(field protowire.Number, before []byte) []byte {
	b := protowire.AppendTag(before, 15, protowire.BytesType)
	b = protowire.AppendBytes(b, make([]byte, 32)) // a digest, but not at the end
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendBytes(b, append([]byte{0x7a, 32}, bytes.Repeat([]byte{1}, 32)...))
}

func TestOpenCommitRefusesBytes(t *testing.T) {
	good := goldenChain(t)[3].body
	twice := append(bytes.Clone(good[:len(good)-34]), good[len(good)-34:]...)
	twice = append(twice, 0x28, 0x01) // previous = 1, after the digest
	for _, tt := range []struct {
		name string
		body []byte
		want string
	}{
		{"nothing", nil, "its last field is not its digest"},
		{"not a message", []byte("{}"), "its last field is not its digest"},
		{"no digest", good[:len(good)-34], "its last field is not its digest"},
		{"a short digest", append(bytes.Clone(good[:len(good)-34]), append([]byte{0x7a, 31}, make([]byte, 31)...)...), "its last field is not its digest"},
		{"a digest of odd length bytes", slices.Concat(good[:len(good)-34], []byte{0x7a, 0xa0, 0x00}, good[len(good)-32:]), "its last field is not its digest"},
		{"something after the digest", twice, "its last field is not its digest"},
		{"the last field only looks like the digest", inner(2, []byte{8, 1, 24, 1}), "its last field is not its digest"},
		{"a field that ends too soon", append([]byte{0x12, 0x7f}, good[len(good)-34:]...), "commit: decode"},
		{"text that is not UTF-8", append([]byte{0x12, 0x01, 0xff}, good[len(good)-34:]...), "commit: decode"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := messages.OpenCommit(tt.body)
			wantError(t, err, tt.want)
			wantNamed(t, err, "commit: ")
		})
	}
	for _, body := range [][]byte{[]byte("short"), good[:len(good)-1]} {
		_, err := messages.ChainedDigest(messages.Digest{}, body)
		wantError(t, err, "commit: its last field is not its digest")
	}
}

// TestTamperedCommit: whatever byte of a commit is changed to whatever other, it no
// longer belongs where it stood; nor when it is cut short, made longer or moved.
func TestTamperedCommit(t *testing.T) {
	for i, s := range goldenChain(t) {
		if !belongs(s.body, s.prev) {
			t.Fatalf("commit %d does not belong where it was sealed", i+1)
		}
		body := bytes.Clone(s.body)
		for at := range body {
			for x := 1; x < 256; x++ {
				body[at] ^= byte(x)
				if belongs(body, s.prev) {
					t.Errorf("commit %d with byte %d changed to %#02x passes", i+1, at, body[at])
				}
				body[at] ^= byte(x)
			}
			if belongs(s.body[:at], s.prev) {
				t.Errorf("the first %d bytes of commit %d pass", at, i+1)
			}
			if belongs(slices.Insert(bytes.Clone(s.body), at, 0), s.prev) {
				t.Errorf("commit %d with a byte more at %d passes", i+1, at)
			}
		}
		for j, other := range goldenChain(t) {
			if j != i && belongs(s.body, other.prev) {
				t.Errorf("commit %d belongs where commit %d stands", i+1, j+1)
			}
		}
		if belongs(s.body, messages.FirstDigest("bank", "account", mustID(t, "a-2"))) {
			t.Errorf("commit %d belongs to another aggregate", i+1)
		}
	}
}

// TestTamperedHistory: a commit that was changed and sealed anew carries another digest,
// so the one after it no longer belongs.
func TestTamperedHistory(t *testing.T) {
	chain := goldenChain(t)
	c, err := messages.OpenCommit(chain[1].body)
	if err != nil {
		t.Fatal(err)
	}
	c.Changes[0].User = "mallory"
	_, digest, err := c.Seal(chain[1].prev)
	if err != nil {
		t.Fatal(err)
	}
	if belongs(chain[2].body, digest) {
		t.Error("the third commit follows a second one that was changed")
	}
}

func TestTamperedSnapshot(t *testing.T) {
	good := sealSnapshot(t, goldenSnapshot(t))
	if _, err := messages.OpenSnapshot(good); err != nil {
		t.Fatal(err)
	}
	body := bytes.Clone(good)
	for at := range body {
		for x := 1; x < 256; x++ {
			body[at] ^= byte(x)
			if _, err := messages.OpenSnapshot(body); err == nil {
				t.Errorf("byte %d changed to %#02x passes", at, body[at])
			}
			body[at] ^= byte(x)
		}
		if _, err := messages.OpenSnapshot(good[:at]); err == nil {
			t.Errorf("the first %d bytes pass", at)
		}
	}
}

func TestOpenSnapshotRefuses(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(*messages.Snapshot)
		want  string
	}{
		{"another format", func(s *messages.Snapshot) { s.Format = 2 }, "format 2 is unknown to this build, which reads 1"},
		{"no version", func(s *messages.Snapshot) { s.Version = 0 }, "it does not say where in the log it stands"},
		{"no sequence", func(s *messages.Snapshot) { s.Sequence, s.Trail = 0, nil }, "it does not say where in the log it stands"},
		{"no digest", func(s *messages.Snapshot) { s.Digest = nil }, "it does not say where in the log it stands"},
		{"a long trail", func(s *messages.Snapshot) { s.Sequence, s.Trail = 99, slices.Repeat([]uint64{1}, 34) }, "a trail of 34, the most is 33"},
		{"a trail before the start", func(s *messages.Snapshot) { s.Trail = []uint64{42} }, "its trail does not lead backwards"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := goldenSnapshot(t)
			tt.spoil(s)
			_, err := messages.OpenSnapshot(sealSnapshot(t, s))
			wantError(t, err, "snapshot: "+tt.want)
		})
	}
	_, err := messages.OpenSnapshot([]byte("x"))
	wantError(t, err, "snapshot: its last field is not its digest or checksum")
	_, err = messages.OpenSnapshot(reseal([]byte{0x12, 0x7f}))
	wantError(t, err, "snapshot: decode")
	_, err = messages.OpenSnapshot(innerSnapshot())
	wantError(t, err, "snapshot: its last field is not its digest or checksum")
	_, err = (&messages.Snapshot{KeyId: "\xff"}).Seal()
	wantError(t, err, "encode snapshot")
}

// reseal puts the right checksum after any bytes.
func reseal(content []byte) []byte {
	sum := sha256.Sum256(content)
	return append(append(bytes.Clone(content), 0x7a, 32), sum[:]...)
}

// innerSnapshot is good but for its checksum, which holds, but lies within its state.
func innerSnapshot() []byte {
	b := []byte{8, 1, 24, 1, 32, 1, 0x32, 32}
	b = append(b, make([]byte, 32)...)
	return reseal(append(b, 9<<3|2, 34))
}

// TestBefore: whatever commits came before, as many as a trail holds come back.
func TestBefore(t *testing.T) {
	for _, n := range []int{0, 1, 2, 32, 33, 34, 100} {
		var seqs []uint64
		for i := range n {
			seqs = append(seqs, uint64(5*n*n-i*i-i)+1)
		}
		c := &messages.Commit{Format: 1, FirstVersion: 1}
		c.SetBefore(seqs)
		opened, err := messages.OpenCommit(seal(t, c, messages.Digest{}))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := opened.Before(), seqs[:min(n, 33)]; !slices.Equal(got, want) {
			t.Errorf("of %d commits before, %v come back, want %v", n, got, want)
		}
	}
}

// FuzzOpenCommit: nothing that it is given makes it panic, and what it accepts can be
// relied on.
func FuzzOpenCommit(f *testing.F) {
	for _, s := range goldenChain(f) {
		f.Add(s.body)
	}
	f.Add(inner(2, []byte{8, 1, 24, 1}))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := messages.OpenCommit(body)
		if err != nil {
			wantNamed(t, err, "commit: ")
			return
		}
		if !bytes.HasSuffix(body, c.Digest) || len(c.Digest) != 32 {
			t.Errorf("its digest %x is not what it ends with", c.Digest)
		}
		events := uint64(0)
		for _, ch := range c.Changes {
			events += uint64(len(ch.Events))
		}
		if c.Format != 1 || c.FirstVersion == 0 || c.LastVersion != c.FirstVersion-1+events {
			t.Errorf("format %d, versions %d to %d with %d events", c.Format, c.FirstVersion, c.LastVersion, events)
		}
		before := c.Before()
		if len(before) > 33 || !slices.IsSortedFunc(before, func(a, b uint64) int { return cmp.Compare(b, a) }) {
			t.Errorf("it leads to %v", before)
		}
		again := proto.CloneOf(c)
		again.SetBefore(before)
		if !slices.Equal(again.Trail, c.Trail) || again.Previous != c.Previous {
			t.Errorf("the trail %d %v, written again, is %d %v", c.Previous, c.Trail, again.Previous, again.Trail)
		}
		prev := messages.Digest{7}
		if resealed := seal(t, again, prev); !belongs(resealed, prev) {
			t.Errorf("sealed anew it does not belong: %x", resealed)
		}
	})
}

// FuzzOpenSnapshot: the same of snapshots. The checksum is put right, else nothing would
// come further.
func FuzzOpenSnapshot(f *testing.F) {
	good := sealSnapshot(f, goldenSnapshot(f))
	f.Add(good[:len(good)-34], true)
	f.Add(good, false)
	f.Add(innerSnapshot(), false)
	f.Fuzz(func(t *testing.T, body []byte, put bool) {
		if put {
			body = reseal(body)
		}
		s, err := messages.OpenSnapshot(body)
		if err != nil {
			wantNamed(t, err, "snapshot: ")
			return
		}
		if s.Format != 1 || s.Version == 0 || s.Sequence == 0 || len(s.Digest) != 32 || !bytes.HasSuffix(body, s.Checksum) {
			t.Errorf("accepted %v", s)
		}
		if got := messages.Distances(s.Sequence, s.Before()); !slices.Equal(got, s.Trail) {
			t.Errorf("the trail %v, written again, is %v", s.Trail, got)
		}
		if again, err := messages.OpenSnapshot(sealSnapshot(t, proto.CloneOf(s))); err != nil || !proto.Equal(withoutChecksum(again), withoutChecksum(s)) {
			t.Errorf("sealed anew it is %v, %v, want %v", again, err, s)
		}
	})
}

func withoutChecksum(s *messages.Snapshot) *messages.Snapshot {
	s.Checksum = nil
	return s
}

func TestIDFingerprint(t *testing.T) {
	// The first four bytes of SHA-256("abc") are a well-known value.
	if got := messages.IDFingerprint("abc"); got != 0xba7816bf {
		t.Errorf("IDFingerprint(abc) = %#x, want 0xba7816bf", got)
	}
}
