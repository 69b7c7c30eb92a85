package replay_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	store "github.com/holdfast-run/holdfast/persistence/memory"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/memory"
	"github.com/holdfast-run/holdfast/projections/replay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sums adds up what is deposited, and refuses 13.
var sums = projections.Define("sums", projections.From(bank.Account),
	projections.On(func(d *projections.Docs[int64], e *bankpb.Deposited, at projections.Event) error {
		if e.Amount == 13 {
			return errors.New("nobody takes 13")
		}
		return d.Change(at.Ref.ID, func(n int64) int64 { return n + e.Amount })
	}))

// A log is a store with accounts into which money is paid.
type log struct {
	*store.Store
	t     *testing.T
	heads map[string]persistence.Head
}

var dawn = time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)

// Scan has the log take a record each hour after dawn.
func (l *log) Scan(ctx context.Context, opts persistence.ScanOptions, each func(persistence.Record) error) (uint64, error) {
	return l.Store.Scan(ctx, opts, func(rec persistence.Record) error {
		rec.Time = dawn.Add(time.Duration(rec.Position.Sequence()) * time.Hour)
		return each(rec)
	})
}

func newLog(t *testing.T) *log {
	t.Helper()
	return &log{store.New("bank"), t, map[string]persistence.Head{}}
}

func (l *log) deposit(id string, amount int64) holdfast.Position {
	l.t.Helper()
	recorded, err := persistence.EncodeEvent(&bankpb.Deposited{Amount: amount})
	if err != nil {
		l.t.Fatal(err)
	}
	done := make(chan error, 1)
	change := &messages.Change{CommandId: "c", Command: "bank.v1.Deposit", Time: dawn.UnixNano(), Events: []*messages.Event{recorded}}
	l.Append(holdfast.Ref{Type: "account", ID: id}, l.heads[id], []*messages.Change{change}, func(h persistence.Head, err error) {
		l.heads[id] = h
		done <- err
	})
	if err := <-done; err != nil {
		l.t.Fatal(err)
	}
	return l.heads[id].Position
}

// run replays the log, and tells the result with what was made of a and b.
func (l *log) run(c replay.Config) (string, error) {
	l.t.Helper()
	sink := memory.New()
	c.Projection, c.Log, c.Sink = sums, l, sink
	result, err := replay.Run(l.t.Context(), c)
	if err != nil {
		return "", err
	}
	text := fmt.Sprint(result.Positions, result.Events, result.Left, result.Refused)
	for _, key := range []string{"a", "b"} {
		body, err := sums.Answer(l.t.Context(), sink, replay.Generation, key)
		if err != nil {
			l.t.Fatal(err)
		}
		text += fmt.Sprintf(" %s=%s", key, body)
	}
	return text, nil
}

func (l *log) is(want string, c replay.Config) {
	l.t.Helper()
	if got, err := l.run(c); err != nil || got != want {
		l.t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
}

func TestAsOfAPosition(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.deposit("a", 1)
	l.deposit("b", 10)
	third := l.deposit("a", 2)
	l.deposit("a", 4)
	l.is("[0-3] 3 0 [] a=3 b=10", replay.Config{At: []holdfast.Position{third}})
	l.is("[0-1] 1 0 [] a=1 b=", replay.Config{At: []holdfast.Position{holdfast.NewPosition(0, 1)}})
	l.is("[0-0] 0 0 [] a= b=", replay.Config{At: []holdfast.Position{{}}})
	for want, at := range map[string][]holdfast.Position{
		"0-5 is beyond the end of the log, 0-4":                                     {holdfast.NewPosition(0, 5)},
		"there is no position of partition 0: give one of each of the 1, or a time": {holdfast.NewPosition(1, 5)},
		"there are two positions of partition 0: give one":                          {third, third},
		"the log has no partition 1: it has 1":                                      {third, holdfast.NewPosition(1, 5)},
	} {
		if _, err := l.run(replay.Config{At: at}); !errors.Is(err, holdfast.ErrMalformed) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %s", at, err, want)
		}
	}
}

func TestAsOfATime(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.deposit("a", 1)
	l.deposit("a", 2)
	l.deposit("b", 4)
	l.is("[0-0] 0 0 [] a= b=", replay.Config{Time: dawn})
	l.is("[0-1] 1 0 [] a=1 b=", replay.Config{Time: dawn.Add(119 * time.Minute)})
	l.is("[0-2] 2 0 [] a=3 b=", replay.Config{Time: dawn.Add(2 * time.Hour)})
	l.is("[0-3] 3 0 [] a=3 b=4", replay.Config{Time: dawn.Add(24 * time.Hour)})
}

// TestRefused: what is refused, and what follows it, is left out, also in later batches; what
// came before it and what others have is not.
func TestRefused(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.deposit("a", 1)
	l.deposit("a", 13)
	l.deposit("a", 2)
	for range 3000 {
		l.deposit("b", 1)
	}
	l.deposit("a", 4)
	last := l.deposit("b", 13)
	var told []string
	l.is("[0-3005] 3001 4 [{account/a@2 account/a nobody takes 13} {account/b@3001 account/b nobody takes 13}] a=1 b=3000", replay.Config{
		At: []holdfast.Position{last}, Progress: func(done, total uint64) { told = append(told, fmt.Sprint(done, "/", total)) },
	})
	if fmt.Sprint(told) != "[2000/3005 3005/3005]" {
		t.Errorf("told was %v", told)
	}
}
