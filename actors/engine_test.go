package actors_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/actors"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/memory"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the scripts in testdata/engine with what the engine does now")

// TestEngine plays the scripts. A script is a conversation with an engine whose log is a
// memory store: a call, a line of dashes, and the effects that it had. If one fails, run
// go test ./actors -run TestEngine -rewrite and look at the difference; commit it only
// if you understand what caused it.
func TestEngine(t *testing.T) {
	files, err := filepath.Glob("testdata/engine/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	briefly := false
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := newStage(t)
			got := s.play(want)
			briefly = briefly || s.briefly
			if *rewrite {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			} else if !bytes.Equal(got, want) {
				t.Errorf("%s tells another story now:\n%s", file, got)
			}
		})
	}
	if !briefly {
		t.Error("no append was ever answered with nothing else to be done")
	}
}

// A stage is an engine, its log, and what it is waiting for.
type stage struct {
	t        *testing.T
	store    *memory.Store
	ref      holdfast.Ref
	engine   *actors.Engine
	settings *actors.Settings
	names    map[*actors.Request]string
	pending  *actors.Append
	last     *actors.Append // the one before
	finds    []actors.Find
	passed   []*actors.Request
	load     actors.Load // the last one
	brief    bool        // nothing but answers is to come of the append
	briefly  bool        // that was so once
	lag      int
	out      bytes.Buffer
}

func newStage(t *testing.T) *stage {
	s := &stage{
		t: t, store: memory.New("test"), ref: holdfast.Ref{Type: "account", ID: "a-1"},
		settings: &actors.Settings{Queue: 4, Limit: 400}, names: map[*actors.Request]string{},
	}
	s.activate()
	return s
}

func (s *stage) activate() { s.engine = actors.NewEngine(ledgerType, s.ref, s.settings) }

// play answers each call of a script with its effects; prose and blank lines stay.
func (s *stage) play(script []byte) []byte {
	lines := bufio.NewScanner(bytes.NewReader(script))
	inEffects := false
	var call string
	for lines.Scan() {
		line := lines.Text()
		switch {
		case line == "----":
			fmt.Fprintln(&s.out, line)
			s.call(strings.Fields(call))
			replied := true
			s.engine.Each(func(e actors.Effect) {
				_, reply := e.(actors.Reply)
				replied = replied && reply
				s.show(e)
			})
			if s.brief && !replied {
				s.t.Errorf("it was not as brief as was said:\n%s", s.out.String())
			}
			s.brief = false
			inEffects = true
		case line == "":
			fmt.Fprintln(&s.out)
			inEffects = false
		case !inEffects:
			call = line
			fmt.Fprintln(&s.out, line)
		}
	}
	return s.out.Bytes()
}

func (s *stage) call(words []string) {
	verb, args := words[0], words[1:]
	if verb == "found" && len(s.finds) == 0 || verb == "appended" && s.pending == nil {
		s.t.Fatalf("nothing waits for %v after:\n%s", words, s.out.String())
	}
	switch verb {
	case "ask": // ask NAME Command amount|owner [id=…] [expect=N] [at=SECONDS]
		s.engine.Ask(s.request(args))
	case "get":
		r := &actors.Request{Ref: s.ref}
		s.names[r] = args[0]
		s.engine.Ask(r)
	case "loaded":
		s.loaded(args)
	case "appended":
		s.appended(args)
	case "found":
		f, r := s.finds[0], s.finds[0].Request
		s.finds = s.finds[1:]
		if len(args) > 0 && args[0] == "nothing" { // the fingerprint was another id's
			s.engine.Found(r, nil, nil)
			return
		}
		if len(args) > 0 {
			s.engine.Found(r, nil, failure(args[0]))
			return
		}
		first, err := actors.FindForTest(context.Background(), s.log(), f, actors.Window)
		s.engine.Found(r, first, err)
	case "elsewhere": // another writer commits
		s.elsewhere(s.request(args))
	case "lag": // lag N: of the log's last commits, who is asked knows nothing
		s.lag, _ = strconv.Atoi(args[0])
	case "crowd": // crowd N at=SECONDS: many others deposit
		s.crowd(args)
	case "ghost": // the append that was in doubt arrives after all
		s.store.Append(s.ref, s.last.After, s.last.Changes, func(persistence.Head, error) {})
	case "passivate":
		s.engine.Passivate()
	case "drain":
		s.engine.Drain()
	case "abandon":
		s.engine.Abandon()
	case "activate":
		s.activate()
	case "hand": // what another activation passed on goes to this one
		for _, r := range s.passed {
			if s.names[r] == args[0] {
				s.engine.Ask(r)
			}
		}
	default:
		s.t.Fatalf("unknown call %q", verb)
	}
}

func failure(code string) error {
	return holdfast.Errorf(holdfast.Code(code), "as the script says")
}

func (s *stage) request(args []string) *actors.Request {
	r := &actors.Request{Ref: s.ref}
	r.Meta = holdfast.Meta{ID: args[0], At: time.Unix(100, 0)}
	s.names[r] = args[0]
	amount, _ := strconv.ParseInt(args[2], 10, 64)
	switch args[1] {
	case "OpenAccount":
		r.Command = &bankpb.OpenAccount{Owner: args[2]}
	case "Deposit":
		r.Command = &bankpb.Deposit{Amount: amount}
	case "Withdraw":
		r.Command = &bankpb.Withdraw{Amount: amount}
	case "CloseAccount":
		r.Command = &bankpb.CloseAccount{}
	case "Void":
		r.Command = &messages.Void{}
	}
	for _, arg := range args[3:] {
		key, value, _ := strings.Cut(arg, "=")
		n, _ := strconv.ParseUint(value, 10, 64)
		switch key {
		case "id":
			r.Meta.ID = value
		case "expect":
			v := holdfast.Version(n)
			r.Expected = &v
		case "once":
			r.Once = time.Unix(int64(n), 0)
		case "at":
			r.Meta.At = time.Unix(int64(n), 0)
		}
	}
	actors.PrepareForTest(r)
	return r
}

func (s *stage) loaded(args []string) {
	if len(args) > 0 {
		s.engine.Loaded(persistence.Loaded{}, failure(args[0]))
		return
	}
	s.engine.Loaded(actors.ReadForTest(s.load, context.Background(), s.log()))
}

// appended performs the append, or not, and tells the engine the truth, or not.
func (s *stage) appended(args []string) {
	how := strings.Join(args, " ")
	pending := s.pending
	s.last, s.pending = pending, nil
	if how == "" || how == "lost" {
		s.store.Append(s.ref, pending.After, pending.Changes, func(h persistence.Head, err error) {
			if how == "lost" {
				err = failure(string(holdfast.CodeUncertain))
			}
			s.brief = err == nil && s.engine.Brief()
			s.briefly = s.briefly || s.brief
			s.engine.Appended(h, err)
		})
		return
	}
	s.engine.Appended(persistence.Head{}, failure(how))
}

func (s *stage) elsewhere(r *actors.Request) {
	other := actors.NewEngine(ledgerType, s.ref, s.settings)
	other.Ask(r)
	var load actors.Load
	other.Each(func(e actors.Effect) { load, _ = e.(actors.Load) })
	other.Loaded(actors.ReadForTest(load, context.Background(), s.store))
	other.Each(func(e actors.Effect) {
		if a, ok := e.(*actors.Append); ok {
			s.store.Append(s.ref, a.After, a.Changes, func(_ persistence.Head, err error) {
				if err != nil {
					s.t.Fatal(err)
				}
			})
		}
	})
}

func (s *stage) crowd(args []string) {
	n, _ := strconv.Atoi(args[0])
	for i := range n {
		s.engine.Ask(s.request([]string{fmt.Sprintf("crowd-%s-%d", args[1], i), "Deposit", "1", args[1]}))
		s.engine.Each(func(e actors.Effect) { s.pending, _ = e.(*actors.Append) })
		s.appended(nil)
		s.engine.Each(func(actors.Effect) {})
	}
}

func (s *stage) show(e actors.Effect) {
	switch f := e.(type) {
	case actors.Reply:
		fmt.Fprintf(&s.out, "reply %s: %s\n", s.names[f.Request], describe(actors.AnswerForTest(f.Request)))
	case actors.Pass:
		s.passed = append(s.passed, f.Request)
		fmt.Fprintf(&s.out, "pass %s\n", s.names[f.Request])
	case actors.Load:
		s.load = f
		fmt.Fprintf(&s.out, "load%s\n", map[bool]string{false: " without snapshot"}[f.Snapshot])
		if f.Ignored != nil {
			fmt.Fprintf(&s.out, "ignored: %v\n", f.Ignored)
		}
	case actors.Find:
		s.finds = append(s.finds, f)
		fmt.Fprintf(&s.out, "find %s\n", s.names[f.Request])
	case *actors.Append:
		s.pending = f
		fmt.Fprintf(&s.out, "append after version %d:%s\n", f.After.Version, describeChanges(f.Changes))
	case *actors.Save:
		fmt.Fprintf(&s.out, "save version %d, %d ids: %s\n", f.Head.Version, len(f.Recent), compact(f.State))
		state, _ := proto.Marshal(f.State)
		err := s.store.SaveSnapshot(context.Background(), s.ref, persistence.Snapshot{
			Head: f.Head, Fingerprint: ledgerType.Fingerprint(), Recent: f.Recent, State: state,
		})
		if err != nil {
			s.t.Fatal(err)
		}
	case actors.Stop:
		fmt.Fprintf(&s.out, "stop%s\n", map[bool]string{true: " because of a bug"}[f.Bug != nil])
	}
}

func describeChanges(changes []*messages.Change) string {
	var b strings.Builder
	for _, ch := range changes {
		fmt.Fprintf(&b, " %s@%d[", ch.CommandId, ch.Time/int64(time.Second))
		for i, e := range ch.Events {
			ev, err := persistence.DecodeEvent(ledgerType, e)
			if err != nil {
				return err.Error()
			}
			fmt.Fprintf(&b, "%s%s %s", map[bool]string{true: ", "}[i > 0], short(e.Type), compact(ev))
		}
		b.WriteString("]")
	}
	return b.String()
}

func describe(a actors.Answer) string {
	var no *holdfast.Rejection
	switch {
	case errors.As(a.Err, &no):
		return "rejected " + no.Error()
	case a.Err != nil:
		line, _, _ := strings.Cut(a.Err.Error(), "\n")
		return line
	case a.View.State != nil:
		return fmt.Sprintf("version %d at %s: %s", a.View.Version, a.View.Position, compact(a.View.State))
	}
	names := make([]string, len(a.Receipt.Events))
	for i, n := range a.Receipt.Events {
		names[i] = short(n)
	}
	return fmt.Sprintf("version %d at %s %v%s", a.Receipt.Version, a.Receipt.Position, names, map[bool]string{true: " duplicate"}[a.Receipt.Duplicate])
}

func short(full string) string { return full[strings.LastIndexByte(full, '.')+1:] }

// compact prints a message without the spaces that prototext varies on purpose.
func compact(m proto.Message) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(fmt.Sprint(m), ":", "=")), " ")
}
