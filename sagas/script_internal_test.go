package sagas

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/messages"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the scripts in testdata with what the machine does now")

// TestSteps plays the scripts in testdata/steps. A script is the life of a journey: what it
// is told, a line of dashes, and what it records. If one fails, run go test ./sagas -rewrite
// and look at the difference; commit it only if you understand what caused it.
func TestSteps(t *testing.T) { playAll(t, "steps", journey) }

// TestReactions plays those in testdata/reactions, of a guard.
func TestReactions(t *testing.T) { playAll(t, "reactions", guard) }

func playAll(t *testing.T, folder string, def *Saga) {
	files, err := filepath.Glob("testdata/" + folder + "/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := (&stage{run: newRun(t, def.Type()), asked: folder == "tasks"}).play(want)
			if *rewrite {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			} else if !bytes.Equal(got, want) {
				t.Errorf("%s tells another story now:\n%s", file, got)
			}
		})
	}
}

type stage struct {
	*run
	asked bool // it tells what is asked for, not the events
	begun time.Time
	out   bytes.Buffer
}

func (s *stage) play(script []byte) []byte {
	s.begun = s.at
	lines := bufio.NewScanner(bytes.NewReader(script))
	effects, call := false, ""
	for lines.Scan() {
		switch line := lines.Text(); {
		case line == "----":
			fmt.Fprintln(&s.out, line)
			s.call(strings.Fields(call))
			effects = true
		case line == "":
			fmt.Fprintln(&s.out)
			effects = false
		case !effects:
			call = line
			fmt.Fprintln(&s.out, line)
		}
	}
	return s.out.Bytes()
}

func (s *stage) call(words []string) {
	before := len(s.events)
	err := s.send(s.command(words[0], words[1:]))
	if s.asked {
		s.tasks(before)
		return
	}
	for _, e := range s.events[before:] {
		fmt.Fprintln(&s.out, s.describe(e))
	}
	switch {
	case err != nil:
		fmt.Fprintln(&s.out, "no:", err)
	case len(s.events) == before:
		fmt.Fprintln(&s.out, "nothing")
	default:
		fmt.Fprintln(&s.out, "=", s.status())
	}
}

// command reads a call: at the end of each may stand after=DURATION.
func (s *stage) command(verb string, args []string) holdfast.Command {
	if n := len(args) - 1; n >= 0 && strings.HasPrefix(args[n], "after=") {
		d, err := time.ParseDuration(strings.TrimPrefix(args[n], "after="))
		if err != nil {
			s.t.Fatal(err)
		}
		s.at = s.at.Add(d)
		args = args[:n]
	}
	rest := func(n int) string { return strings.Join(args[min(n, len(args)):], " ") }
	switch verb {
	case "begin":
		return &bankpb.OpenAccount{Owner: rest(0)}
	case "answer": // answer STEP do|undo|void ATTEMPT [happened] [CODE [sentence]]
		return &messages.SagaReport{Answer: s.answer(args)}
	case "hear": // hear [AMOUNT]
		amount := int64(1)
		_, _ = fmt.Sscan(rest(0), &amount)
		return &messages.SagaHear{Heard: &messages.SagaHeard{From: &messages.SagaSource{Ref: "account/x"}, Event: mustPack(&bankpb.Deposited{Amount: amount})}}
	case "hear-strangely":
		return &messages.SagaHear{Heard: &messages.SagaHeard{Event: mustPack(&bankpb.AccountClosed{})}}
	case "break", "mend":
		broken = verb == "break"
		return &messages.SagaWake{}
	case "wake":
		return &messages.SagaWake{}
	case "retry":
		return &messages.SagaRetry{Step: args[0], Reason: rest(1)}
	case "skip-parked":
		return &messages.SagaSkip{Reason: rest(0)}
	case "skip":
		return &messages.SagaSkip{Step: args[0], Reason: rest(1)}
	case "edit":
		return &messages.SagaEdit{Step: args[0], Command: mustPack(&bankpb.Withdraw{Amount: 100}), Reason: rest(1)}
	case "edit-wrongly":
		return &messages.SagaEdit{Step: args[0], Command: mustPack(&bankpb.Deposit{Amount: 100}), Reason: rest(1)}
	case "resume":
		return &messages.SagaResume{Reason: rest(0)}
	case "cancel":
		return &messages.SagaCancel{Reason: rest(0)}
	case "force":
		return &messages.SagaForce{Status: args[0], Reason: rest(1)}
	}
	s.t.Fatalf("unknown call %q", verb)
	return nil
}

func (s *stage) answer(args []string) *messages.SagaAnswered {
	a := &messages.SagaAnswered{Step: args[0], Way: messages.SagaWay(messages.SagaWay_value["SAGA_WAY_"+strings.ToUpper(args[1])])}
	_, _ = fmt.Sscan(args[2], &a.Attempt)
	if args = args[3:]; len(args) == 0 {
		return a
	}
	if args[0] == "happened" {
		a.Events = []string{"bank.v1.Withdrawn"}
		return a
	}
	a.Code, a.Message = args[0], strings.Join(args[1:], " ")
	if a.Code == string(holdfast.CodeRejected) {
		a.Reason, a.Message, _ = strings.Cut(a.Message, " ")
	}
	return a
}

func (s *stage) since(nanos int64) time.Duration {
	return time.Unix(0, nanos).Sub(s.begun).Round(10 * time.Millisecond)
}

func wayOf(w messages.SagaWay) string {
	return strings.ToLower(strings.TrimPrefix(w.String(), "SAGA_WAY_"))
}

func (s *stage) describe(e holdfast.Event) string {
	switch e := e.(type) {
	case *messages.SagaBegun:
		return "begun"
	case *messages.SagaHeard:
		return "heard of " + string(e.Event.MessageName()) + " of " + e.From.Ref
	case *messages.SagaIntended:
		text := fmt.Sprintf("intend to %s %s, attempt %d", wayOf(e.Way), e.Step, e.Attempt)
		if e.Way == void {
			text = fmt.Sprintf("intend to void what was to %s %s, attempt %d", wayOf(e.Of), e.Step, e.Attempt)
		}
		if e.Command != nil {
			text += fmt.Sprintf(": %s{%v} to %s", e.Command.MessageName().Name(), mustOpen(e.Command), e.To)
		}
		if e.Edits > 0 {
			text += fmt.Sprintf(", edited %d times", e.Edits)
		}
		if e.Deadline != 0 {
			text += fmt.Sprintf(", until %v", s.since(e.Deadline))
		}
		return text
	case *messages.SagaAnswered:
		text := fmt.Sprintf("%s %s was ", wayOf(e.Way), e.Step)
		switch {
		case e.Code == "" && len(e.Events) > 0:
			text += "accepted: it had happened"
		case e.Code == "":
			text += "accepted"
		default:
			text += why(e)
		}
		if e.Again != 0 {
			text += fmt.Sprintf(", again at %v", s.since(e.Again))
		}
		return text
	case *messages.SagaStepEnded:
		switch text := fmt.Sprintf("%s %s ", wayOf(e.Way), e.Step); {
		case e.Failed != "":
			return text + "failed: " + e.Failed
		case e.Skipped:
			return text + "skipped"
		default:
			return text + "ended"
		}
	case *messages.SagaTurned:
		return strings.TrimSpace(fmt.Sprintf("turn back: %s %s", e.Step, e.Reason))
	case *messages.SagaActed:
		return strings.TrimSpace(fmt.Sprintf("the operator's %s %s", e.Action, e.Step)) + ": " + e.Reason
	case *messages.SagaEnded:
		return strings.TrimSpace("end " + e.Status + " " + e.Reason)
	case *messages.SagaAlarmed:
		if e.At == 0 {
			return "no alarm " + e.Name
		}
		return fmt.Sprintf("alarm %s at %v", e.Name, s.since(e.At))
	case *messages.SagaRang:
		return "alarm " + e.Name + " rings"
	case *messages.SagaClosing:
		return strings.TrimSpace("close, to be " + e.Status + ": " + e.Reason)
	case *messages.SagaParked:
		return fmt.Sprintf("park %s: %s", e.Input.MessageName().Name(), e.Reason)
	case *messages.SagaUnparked:
		return "unpark"
	}
	return fmt.Sprintf("record %s{%v}", e.ProtoReflect().Descriptor().Name(), e)
}
