package holdfasttest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank"
	pb "github.com/holdfast-run/holdfast/examples/bank/bankpb"
	coop "github.com/holdfast-run/holdfast/examples/coop/coopv1pb"
	"github.com/holdfast-run/holdfast/holdfasttest"
	"github.com/holdfast-run/holdfast/messages"
)

// The lines of a golden file of the bank that is in order.
const (
	openedLine    = `bank.v1.AccountOpened CgNBZGE= {"owner":"Ada"}`
	depositedLine = `bank.v1.Deposited CGQ= {"amount":"100"}`
	withdrawnLine = `bank.v1.Withdrawn CDI= {"amount":"50"}`
	closedLine    = `bank.v1.AccountClosed - {}`
)

// golden writes a golden file and says what the kit says of it.
func golden(t *testing.T, update string, def holdfast.Definition, lines []string, samples ...holdfast.Event) (said, path string) {
	t.Helper()
	t.Setenv("HOLDFAST_UPDATE", update)
	path = filepath.Join(t.TempDir(), "events.golden")
	if lines != nil {
		writeFile(t, path, strings.Join(lines, "\n"))
	}
	return verdictOn(t, func(t holdfasttest.TB) { holdfasttest.Golden(t, def, path, samples...) }), path
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestGoldenFileInOrder(t *testing.T) {
	said, _ := golden(t, "", bank.Account, []string{"# a comment", "", openedLine, depositedLine, withdrawnLine, closedLine},
		&pb.Deposited{Amount: 100}, &pb.AccountClosed{})
	if said != "" {
		t.Error(said)
	}
}

func TestGoldenFileOutOfOrder(t *testing.T) {
	panics := holdfast.Define("purse", holdfast.Evolve(func(s purse, e *pb.Deposited) purse {
		s.coins = []int64{s.coins[e.Amount]}
		return s
	}))
	dislikes := holdfast.Define("purse", holdfast.Evolve(func(s purse, e *pb.Deposited) purse {
		if e.Amount == 3 {
			panic("three")
		}
		return s
	}))
	inFull := []string{openedLine, depositedLine, withdrawnLine, closedLine}
	with := func(line string) []string { return append([]string{line}, inFull...) }
	for _, tt := range []struct {
		name    string
		def     holdfast.Definition
		lines   []string
		samples events
		want    string
	}{
		{"no file", bank.Account, nil, nil, "account: read golden file: open "},
		{"event in no line", bank.Account, inFull[1:], nil, "the event bank.v1.AccountOpened is in no line; give a sample of it"},
		{"field in no line", bank.Account, append([]string{`bank.v1.Deposited - {}`}, inFull[0], inFull[2], inFull[3]), nil, "the field bank.v1.Deposited.amount has a value in no line"},
		{"sample in no line", bank.Account, inFull, events{&pb.Deposited{Amount: 7}}, `the sample bank.v1.Deposited {"amount":"7"} is not in the file; HOLDFAST_UPDATE=1 go test adds it`},
		{"event that is known no more", bank.Account, with(`bank.v1.Credited CGQ= {"amount":"100"}`), nil, "line 1: corrupt: type account has neither Evolve nor Upcast for the recorded event bank.v1.Credited"},
		{"field that moved", bank.Account, with(`bank.v1.Deposited EGQ= {"amount":"100"}`), nil, "line 1: bank.v1.Deposited: its bytes mean something else than they did"},
		{"field that is gone", bank.Account, with(`bank.v1.Deposited CGQQBQ== {"amount":"100"}`), nil, `is   {"amount":"100"} and unknown fields 1005`},
		{"field of another name", bank.Account, with(`bank.v1.Deposited CGQ= {"cents":"100"}`), nil, "was  {\"cents\":\"100\"}\n    is   {\"amount\":\"100\"}"},
		{"field of another kind", bank.Account, with(`bank.v1.Deposited CgNBZGE= {"amount":"Ada"}`), nil, "line 1: bank.v1.Deposited: its bytes mean something else"},
		{"another value", bank.Account, with(`bank.v1.Deposited CGU= {"amount":"100"}`), nil, "line 1: bank.v1.Deposited: its bytes mean something else"},
		{"bytes that cannot be read", bank.Account, with(`bank.v1.Deposited CA== {"amount":"100"}`), nil, "line 1: corrupt: the event bank.v1.Deposited cannot be decoded"},
		{"bytes in no base64", bank.Account, with(`bank.v1.Deposited C {"amount":"100"}`), nil, "line 1: bank.v1.Deposited: its bytes are no base64"},
		{"fields in no JSON", bank.Account, with(`bank.v1.Deposited CGQ= amount`), nil, "line 1: bank.v1.Deposited: its fields are no JSON"},
		{"line that is too short", bank.Account, with(`bank.v1.Deposited CGQ=`), nil, "line 1: want an event's full name"},
		{"event that cannot be evolved", panics, []string{depositedLine}, nil, "evolving it when nothing has happened panics, and evolving must never fail: runtime error"},
		{"sample that cannot be evolved", dislikes, []string{depositedLine}, events{&pb.Deposited{Amount: 3}}, "evolving it when nothing has happened panics, and evolving must never fail: three"},
		{"sample of another type", bank.Account, inFull, events{&coop.ChildAdded{}}, "the sample coop.v1.ChildAdded has neither Evolve nor Upcast"},
		{"sample that is nil", bank.Account, inFull, events{nil}, "a sample is nil"},
		{"sample that cannot be recorded", bank.Account, inFull, events{&pb.AccountOpened{Owner: "\xff"}}, "the sample bank.v1.AccountOpened cannot be recorded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			said, _ := golden(t, "", tt.def, tt.lines, tt.samples...)
			wantSaid(t, said, tt.want)
		})
	}
}

// An upcast that a full message leads astray is found in the golden file, too.
func TestGoldenFileFollowsUpcasts(t *testing.T) {
	def := define(nil, nil, holdfast.Upcast[purse](func(old *pb.Withdrawn) events {
		if old.Amount > 0 {
			return events{&pb.AccountClosed{}}
		}
		return nil
	}))
	said, _ := golden(t, "", def, []string{depositedLine, withdrawnLine})
	wantSaid(t, said, "line 2: bank.v1.Withdrawn cannot be evolved", "neither Evolve nor Upcast for the event bank.v1.AccountClosed")
}

// Fields of messages within messages, of lists and of maps need a value too.
func TestGoldenFileCoversFieldsWithin(t *testing.T) {
	def := holdfast.Define("purse",
		holdfast.Evolve(func(s purse, _ *coop.Family) purse { return s }),
		holdfast.Evolve(func(s purse, _ *messages.CommandReply) purse { return s }),
		holdfast.Evolve(func(s purse, _ *messages.HistoryReply) purse { return s }),
		holdfast.Evolve(func(s purse, _ *structpb.Struct) purse { return s }), // of google.protobuf: no proof wanted
	)
	said, path := golden(t, "1", def, nil,
		&coop.Family{Children: []*coop.Child{{ChildName: "Ada"}, {Age: 7}}},
		&messages.HistoryReply{Ref: "a/1", Next: 1},
		&structpb.Struct{Fields: map[string]*structpb.Value{"a": structpb.NewStringValue("b"), "c": structpb.NewListValue(&structpb.ListValue{})}},
	)
	wantSaid(t, said,
		"the field coop.v1.Child.grade has a value in no line", "the field coop.v1.Family.status has",
		"the event holdfast.v1.CommandReply is in no line", "the field holdfast.v1.HistoryReply.events has")
	for _, part := range []string{"coop.v1.Child.age", "coop.v1.Child.child_name", "google.protobuf", "holdfast.v1.HistoryEvent."} {
		if strings.Contains(said, part) {
			t.Errorf("the kit said\n%s\nin which %s has no place", said, part)
		}
	}
	if got := strings.Count(readFile(t, path), "\n"); got != 3+3 {
		t.Errorf("the file has %d lines, want the head and 3 samples:\n%s", got, readFile(t, path))
	}
}

func TestGoldenFileIsAddedTo(t *testing.T) {
	samples := events{&pb.AccountOpened{Owner: "Ada"}, &pb.Deposited{Amount: 100}, &pb.Withdrawn{Amount: 50}, &pb.AccountClosed{}}
	said, path := golden(t, "1", bank.Account, nil, samples...)
	if said != "" {
		t.Fatal(said)
	}
	first := readFile(t, path)
	if !strings.HasSuffix(first, "\n"+strings.Join([]string{openedLine, depositedLine, withdrawnLine, closedLine}, "\n")+"\n") || !strings.HasPrefix(first, "# ") {
		t.Errorf("the new file is\n%s", first)
	}

	again := func() string {
		return verdictOn(t, func(t holdfasttest.TB) { holdfasttest.Golden(t, bank.Account, path, samples...) })
	}
	if said := again(); said != "" || readFile(t, path) != first {
		t.Errorf("a second run changed the file to\n%s\nand said %s", readFile(t, path), said)
	}
	t.Setenv("HOLDFAST_UPDATE", "")
	if said := again(); said != "" {
		t.Errorf("a run without update said %s", said)
	}
}

// What stands in the file stays, wrong or not, and an update does not make it right.
func TestGoldenFileLosesNothing(t *testing.T) {
	lines := []string{"# mine", `bank.v1.Deposited EGQ= {"amount":"100"}`, openedLine, withdrawnLine, closedLine}
	said, path := golden(t, "1", bank.Account, lines, &pb.Deposited{Amount: 100})
	wantSaid(t, said, "line 2: bank.v1.Deposited: its bytes mean something else")
	if got, want := readFile(t, path), strings.Join(lines, "\n")+"\n"+depositedLine+"\n"; got != want {
		t.Errorf("the file is\n%s\nwant\n%s", got, want)
	}
}

func TestGoldenFileThatCannotBeWritten(t *testing.T) {
	t.Setenv("HOLDFAST_UPDATE", "1")
	path := filepath.Join(t.TempDir(), "missing", "events.golden")
	said := verdictOn(t, func(t holdfasttest.TB) {
		holdfasttest.Golden(t, bank.Account, path, &pb.AccountOpened{Owner: "Ada"})
	})
	wantSaid(t, said, "write golden file")
}

// The file that Golden writes is the one that Recorded reads.
func TestGoldenFileIsWhatRecordedReads(t *testing.T) {
	_, path := golden(t, "1", bank.Account, nil, &pb.AccountOpened{Owner: "Ada"}, &pb.AccountClosed{})
	defer func() {
		if r, _ := recover().(string); !strings.Contains(r, "the log may hold bank.v1.AccountOpened, which has neither Evolve nor Upcast") {
			t.Errorf("Define said %q", r)
		}
	}()
	define(nil, nil, holdfast.Recorded[purse](readFile(t, path)))
}
