package messages_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/messages"
)

func TestEncodeID(t *testing.T) {
	for _, tt := range []struct{ name, raw, want string }{
		{"letters", "abcXYZ", "abcXYZ"},
		{"digits, dash, underscore", "a-1_9", "a-1_9"},
		{"dot", "a.b", "a=2Eb"},
		{"wildcards", "*>", "=2A=3E"},
		{"the escape itself", "a=2Eb", "a=3D2Eb"},
		{"white space", " \t\r\n", "=20=09=0D=0A"},
		{"NUL and DEL", "\x00\x7f", "=00=7F"},
		{"UTF-8", "ü", "=C3=BC"},
		{"not UTF-8", "\xff\xfe", "=FF=FE"},
		{"slash", "a/b", "a=2Fb"},
		{"dollar", "$JS", "=24JS"},
		{"longest plain", strings.Repeat("x", 128), strings.Repeat("x", 128)},
		{"longest escaped", strings.Repeat(".", 42) + "xx", strings.Repeat("=2E", 42) + "xx"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := messages.EncodeID(tt.raw)
			if err != nil {
				t.Fatal(err)
			}
			if got := id.String(); got != tt.want {
				t.Errorf("EncodeID(%q) = %s, want %s", tt.raw, got, tt.want)
			}
			if got := id.Raw(); got != tt.raw {
				t.Errorf("Raw() = %q, want %q", got, tt.raw)
			}
			if back, err := messages.ParseID(tt.want); err != nil || back != id {
				t.Errorf("ParseID(%q) = %v, %v, want %v", tt.want, back, err, id)
			}
		})
	}
}

func TestEncodeIDRefuses(t *testing.T) {
	for _, tt := range []struct{ name, raw, want string }{
		{"nothing", "", "id: it is empty"},
		{"too long", strings.Repeat("x", 129), "id: it takes 129 bytes encoded, the limit is 128"},
		{"too long when escaped", strings.Repeat(".", 43), "id: it takes 129 bytes encoded, the limit is 128"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := messages.EncodeID(tt.raw)
			wantError(t, err, tt.want)
		})
	}
}

func TestParseIDRefuses(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"nothing", "", "id: it is empty"},
		{"a dot", "a.b", `id "a.b": the byte '.' must be written =2E`},
		{"a wildcard", "*", `id "*": the byte '*' must be written =2A`},
		{"a raw byte after an escape", "=2E\xff", `the byte 'ÿ' must be written =FF`},
		{"small hex digits", "=2e", "'=' must be followed by two capital hex digits"},
		{"half an escape", "a=2", "'=' must be followed by two capital hex digits"},
		{"an escape of nothing", "a=", "'=' must be followed by two capital hex digits"},
		{"not hex", "=G0", "'=' must be followed by two capital hex digits"},
		{"a needless escape", "=41", `id "=41": the byte 'A' stands for itself and is not escaped`},
		{"too long", strings.Repeat("x", 129), "id: it takes 129 bytes encoded, the limit is 128"},
		{"too long escaped", strings.Repeat("=2E", 43), "id: it takes 129 bytes encoded, the limit is 128"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := messages.ParseID(tt.in)
			wantError(t, err, tt.want)
		})
	}
}

// TestEveryByte: whatever byte an id holds, the subject can carry it.
func TestEveryByte(t *testing.T) {
	seen := map[string]byte{}
	for b := range 256 {
		raw := "a" + string([]byte{byte(b)}) + "z"
		id, err := messages.EncodeID(raw)
		if err != nil {
			t.Fatalf("byte %#02x: %v", b, err)
		}
		if id.Raw() != raw {
			t.Errorf("byte %#02x comes back as %q", b, id.Raw())
		}
		if other, taken := seen[id.String()]; taken {
			t.Errorf("bytes %#02x and %#02x are both written %s", other, b, id)
		}
		seen[id.String()] = byte(b)
		want := fmt.Sprintf("a=%02Xz", b)
		if strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-", rune(b)) {
			want = raw
		}
		if id.String() != want {
			t.Errorf("byte %#02x is written %s, want %s", b, id, want)
		}
		wantOneToken(t, id.String())
	}
}

// FuzzID: what parses as an id prints as itself, and is what its raw form encodes to.
func FuzzID(f *testing.F) {
	for _, s := range []string{"a-1", "=2E", "=2e", "=41", "=", "", "a=C3=BCb", "\x7f", "*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := messages.ParseID(s)
		if err != nil {
			wantNamed(t, err, "id")
			return
		}
		if id.String() != s {
			t.Errorf("%q parses and prints as %q", s, id)
		}
		wantOneToken(t, s)
		if again, err := messages.EncodeID(id.Raw()); err != nil || again != id {
			t.Errorf("the raw form %q encodes to %v, %v, want %v", id.Raw(), again, err, id)
		}
	})
}

// FuzzRawID: two raw ids have two encoded forms, and each comes back from its own.
func FuzzRawID(f *testing.F) {
	f.Add("a.b", "a=2Eb")
	f.Add("a", "A")
	f.Add("\xff", "ÿ")
	f.Add("", " ")
	f.Fuzz(func(t *testing.T, a, b string) {
		idA, errA := messages.EncodeID(a)
		idB, errB := messages.EncodeID(b)
		for _, x := range []struct {
			raw string
			id  messages.ID
			err error
		}{{a, idA, errA}, {b, idB, errB}} {
			if x.err != nil {
				wantNamed(t, x.err, "id")
				continue
			}
			if back, err := messages.ParseID(x.id.String()); err != nil || back != x.id || back.Raw() != x.raw {
				t.Errorf("%q is encoded %s and parses as %q, %v", x.raw, x.id, back.Raw(), err)
			}
			wantOneToken(t, x.id.String())
		}
		if errA == nil && errB == nil && (idA == idB) != (a == b) {
			t.Errorf("%q and %q are encoded %s and %s", a, b, idA, idB)
		}
	})
}

// wantOneToken fails unless s is a single literal token that every part of a NATS
// server takes for what it is.
func wantOneToken(t *testing.T, s string) {
	t.Helper()
	if s == "" || len(s) > messages.MaxID {
		t.Errorf("token %q: it has %d bytes", s, len(s))
	}
	wantHarmless(t, s)
	if strings.Contains(s, ".") {
		t.Errorf("token %q: it has a dot", s)
	}
}

// wantHarmless fails when s has a byte that means something to a NATS server: a wildcard,
// what ends a protocol field, or 0x7F, which is stored but not indexed.
func wantHarmless(t *testing.T, s string) {
	t.Helper()
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '*' || c == '>' || c == '$' {
			t.Errorf("%q: byte %d is %#02x", s, i, c)
		}
	}
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %q", want)
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("error %q, want %q in it", err, want)
	}
}

// wantNamed fails unless the error says which part is wrong.
func wantNamed(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if strings.HasPrefix(err.Error(), p) {
			return
		}
	}
	t.Errorf("error %q begins with none of %q", err, parts)
}
