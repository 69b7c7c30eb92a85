package messages_test

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast/messages"
)

const (
	hour  = int64(3_600_000_000_000)
	start = int64(1_773_480_413_000_000_000) // 2026-03-14T09:26:53Z
)

// The golden commits are the first five of account/a-1 in the context bank, and stand at
// the sequences 10, 17, 42, 43 and 1,000,043.
var goldenSequences = []uint64{10, 17, 42, 43, 1_000_043}

func goldenCommits() []*messages.Commit {
	opened := &messages.Event{Type: "bank.v1.AccountOpened", Schema: 1, Data: []byte("\x0a\x03ada")}
	deposited := &messages.Event{Type: "bank.v1.Deposited", Schema: 1, Data: []byte{0x08, 0x64}}
	withdrawn := &messages.Event{Type: "bank.v1.Withdrawn", Schema: 1, Data: []byte{0x08, 0xac, 0x02}}
	return []*messages.Commit{
		{Format: 1, Id: "N1", FirstVersion: 1, LastVersion: 1, Time: start, Changes: []*messages.Change{
			{CommandId: "c-1", Command: "bank.v1.OpenAccount", CorrelationId: "c-1", User: "ada", Time: start, Events: []*messages.Event{opened}},
		}},
		{Format: 1, Id: "N2", FirstVersion: 2, LastVersion: 3, Time: start + hour, Changes: []*messages.Change{
			{CommandId: "c-2", Command: "bank.v1.Deposit", CorrelationId: "c-2", Time: start + hour, Events: []*messages.Event{deposited, deposited}},
		}},
		{Format: 1, Id: "N3", FirstVersion: 4, LastVersion: 4, Time: start + 2*hour, Changes: []*messages.Change{
			{CommandId: "c-3", Command: "bank.v1.Withdraw", CorrelationId: "c-3", Time: start + 2*hour, Events: []*messages.Event{withdrawn}},
		}},
		{Format: 1, Id: "N4", FirstVersion: 5, LastVersion: 7, Time: start + 3*hour, Changes: []*messages.Change{
			{
				CommandId: "c-4", Command: "bank.v1.Deposit", CorrelationId: "story-7", CausationId: "transfer/t-1@2", User: "Lövelace",
				Trace: trace, Time: start + 3*hour - 1, Events: []*messages.Event{deposited},
			},
			{CommandId: "c-5", Command: "bank.v1.CloseAccount", CorrelationId: "c-5", Time: start + 3*hour, Events: []*messages.Event{
				{Type: "bank.v1.Withdrawn", Schema: 1, Data: []byte{0xde, 0xad, 0xbe, 0xef}, KeyId: "k-1"},
				{Type: "bank.v1.AccountClosed", Schema: 1},
			}},
		}},
		{Format: 1, Id: "N5", FirstVersion: 8, LastVersion: 7, Time: start + 4*hour, Changes: []*messages.Change{
			{CommandId: "c-6", Command: "bank.v1.CloseAccount", CorrelationId: "c-6", Time: start + 4*hour},
		}},
	}
}

// A sealed is one message of the log, with the digest that it follows.
type sealed struct {
	prev, digest messages.Digest
	body         []byte
}

// goldenChain seals the golden commits one after the other.
func goldenChain(t testing.TB) []sealed {
	t.Helper()
	prev := messages.FirstDigest("bank", "account", mustID(t, "a-1"))
	var before []uint64
	var out []sealed
	for i, c := range goldenCommits() {
		c.SetBefore(before)
		body, digest, err := c.Seal(prev)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, sealed{prev, digest, body})
		prev, before = digest, append([]uint64{goldenSequences[i]}, before...)
	}
	return out
}

// goldenSnapshot is one of version 4, which the third commit brought.
func goldenSnapshot(t testing.TB) *messages.Snapshot {
	t.Helper()
	third := goldenChain(t)[2]
	return &messages.Snapshot{
		Format: 1, Fingerprint: "8c1f0a5e77d24b90", Version: 4, Sequence: 42, Trail: []uint64{25, 7}, Digest: third.digest[:], Time: start + 2*hour,
		Recent: []uint32{messages.IDFingerprint("c-1"), messages.IDFingerprint("c-2"), messages.IDFingerprint("c-3")},
		State:  []byte("\x0a\x03ada\x10\x9c\xfe\xff\xff\xff\xff\xff\xff\xff\x01\x18\x01"),
	}
}

// goldens tells what each golden file holds. There is no switch that rewrites them: a
// byte that moves here cannot be read in a log that was written before.
var goldens = []struct {
	file    string
	commits []int
}{
	{"chain.golden", []int{0, 1, 2}},
	{"commit.golden", []int{3}},
	{"empty.golden", []int{4}},
}

func TestGoldenCommits(t *testing.T) {
	chain := goldenChain(t)
	for _, g := range goldens {
		t.Run(g.file, func(t *testing.T) {
			var text strings.Builder
			for n, i := range g.commits {
				if n > 0 {
					text.WriteByte('\n')
				}
				fmt.Fprintf(&text, "# Commit %d of bank account/a-1, at sequence %d. It follows the digest\n# %x\n",
					i+1, goldenSequences[i], chain[i].prev)
				text.WriteString(render(t, chain[i].body, commitNames, 0))
			}
			wantGolden(t, g.file, text.String())
			for n, body := range readGolden(t, g.file) {
				checkGoldenCommit(t, body, g.commits[n], chain[g.commits[n]])
			}
		})
	}
}

// checkGoldenCommit reads a golden body in two ways and compares both with the fixture.
func checkGoldenCommit(t *testing.T, body []byte, i int, want sealed) {
	t.Helper()
	fixture := goldenCommits()[i]
	plain, err := decodePlainCommit(body)
	if err != nil {
		t.Fatalf("commit %d: %v", i+1, err)
	}
	if !plain.follows(want.prev[:]) {
		t.Errorf("commit %d: the independent reader finds another digest", i+1)
	}
	if i == 0 && hex.EncodeToString(firstPlainDigest("bank", "account/a-1")) != hex.EncodeToString(want.prev[:]) {
		t.Error("the independent reader starts from another digest")
	}
	if got, want := fmt.Sprint(plain.before), fmt.Sprint(reversed(goldenSequences[:i])); got != want {
		t.Errorf("commit %d leads to %s, want %s", i+1, got, want)
	}
	plain.before, plain.content, plain.digest = nil, nil, nil
	if want := plainly(fixture); !reflect.DeepEqual(plain, want) {
		t.Errorf("commit %d: the independent reader found\n%+v, want\n%+v", i+1, plain, want)
	}

	opened, err := messages.OpenCommit(body)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(opened.Before()), fmt.Sprint(reversed(goldenSequences[:i])); got != want {
		t.Errorf("Before() = %s, want %s", got, want)
	}
	opened.Digest, opened.Previous, opened.Trail = nil, 0, nil
	if !proto.Equal(opened, fixture) {
		t.Errorf("OpenCommit gave %v, want %v", opened, fixture)
	}
}

func reversed(seqs []uint64) []uint64 {
	out := make([]uint64, 0, len(seqs))
	for i := range seqs {
		out = append(out, seqs[len(seqs)-1-i])
	}
	return out
}

// plainly says of a fixture what the independent reader should find in its bytes.
func plainly(c *messages.Commit) plainCommit {
	p := plainCommit{format: uint64(c.Format), id: c.Id, firstVersion: c.FirstVersion, lastVersion: c.LastVersion, time: c.Time}
	for _, ch := range c.Changes {
		pc := plainChange{ch.CommandId, ch.Command, ch.CorrelationId, ch.CausationId, ch.User, ch.Trace, ch.Time, nil}
		for _, e := range ch.Events {
			pc.events = append(pc.events, plainEvent{e.Type, uint64(e.Schema), e.Data, e.KeyId})
		}
		p.changes = append(p.changes, pc)
	}
	return p
}

func TestGoldenSnapshot(t *testing.T) {
	want := goldenSnapshot(t)
	body, err := goldenSnapshot(t).Seal()
	if err != nil {
		t.Fatal(err)
	}
	wantGolden(t, "snapshot.golden", "# Snapshot of bank account/a-1 at version 4, which the commit at sequence 42 brought.\n"+render(t, body, snapshotNames, 0))

	body = readGolden(t, "snapshot.golden")[0]
	got, err := decodePlainSnapshot(body)
	if err != nil {
		t.Fatal(err)
	}
	got.checksum = nil
	if want := (plainSnapshot{
		format: 1, fingerprint: want.Fingerprint, version: 4, sequence: 42, before: []uint64{17, 10}, digest: want.Digest,
		time: want.Time, recent: want.Recent, state: want.State,
	}); !reflect.DeepEqual(got, want) {
		t.Errorf("the independent reader found\n%+v, want\n%+v", got, want)
	}

	opened, err := messages.OpenSnapshot(body)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(opened.Before()); got != "[17 10]" {
		t.Errorf("Before() = %s", got)
	}
	opened.Checksum = nil
	if !proto.Equal(opened, want) {
		t.Errorf("OpenSnapshot gave %v, want %v", opened, want)
	}
}

func wantGolden(t *testing.T, file, got string) {
	t.Helper()
	want, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatalf("%v; it would hold\n%s", err, got)
	}
	if got != string(want) {
		t.Errorf("testdata/%s moved. Logs hold the old bytes for ever: a new form needs a new format number. It would hold\n%s", file, got)
	}
}

// readGolden gives the messages in a golden file, which blank lines divide. What follows
// # in a line is for people.
func readGolden(t testing.TB, file string) [][]byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for block := range strings.SplitSeq(string(text), "\n\n") {
		var digits strings.Builder
		for line := range strings.Lines(block) {
			code, _, _ := strings.Cut(line, "#")
			digits.WriteString(strings.Join(strings.Fields(code), ""))
		}
		body, err := hex.DecodeString(digits.String())
		if err != nil {
			t.Fatalf("testdata/%s: %v", file, err)
		}
		out = append(out, body)
	}
	return out
}
