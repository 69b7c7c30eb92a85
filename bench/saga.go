package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/bench/report"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/sagas"
)

// shares is a saga of three steps, of each kind one: an account pays 2, and two others get 1
// each.
var shares = sagas.Define("shares",
	sagas.Begin(share.begun),
	sagas.BeginOn("account", onOpened),
	sagas.Step("pay", sagas.Do("account", share.pay), sagas.Undo("account", share.payBack), sagas.Timeout(time.Minute)),
	sagas.Pivot("one", sagas.Do("account", share.giveOne)),
	sagas.Retryable("other", sagas.Do("account", share.giveOther)),
)

const stepsOfShares = 3

// A share is the data of the saga: whose it is, and who gets it.
type share struct{ from, one, other string }

// sharedOut is the command with which it begins. To names both who get something.
func (s share) sharedOut() *bankpb.Transfer {
	return &bankpb.Transfer{From: s.from, To: s.one + " " + s.other, Amount: 2}
}

func (share) begun(_ string, c *bankpb.Transfer) share {
	one, other, _ := strings.Cut(c.To, " ")
	return share{c.From, one, other}
}

// onOpened has a saga begin when an account is opened that is called so.
func onOpened(_ *bankpb.AccountOpened, from sagas.Source) (string, *bankpb.Transfer) {
	if !strings.HasPrefix(from.Ref.ID, heralds) {
		return "", nil
	}
	return from.Ref.ID, share{from: "a-0", one: "a-1", other: "a-2"}.sharedOut()
}

// heralds are the accounts whose opening begins a saga.
const heralds = "herald-"

func (s share) pay() (string, *bankpb.Withdraw)      { return s.from, &bankpb.Withdraw{Amount: 2} }
func (s share) payBack() (string, *bankpb.Deposit)   { return s.from, &bankpb.Deposit{Amount: 2} }
func (s share) giveOne() (string, *bankpb.Deposit)   { return s.one, &bankpb.Deposit{Amount: 1} }
func (s share) giveOther() (string, *bankpb.Deposit) { return s.other, &bankpb.Deposit{Amount: 1} }

// sharing has 64 callers begin sagas and wait for their end, beside as many that send the
// commands themselves, and no saga; and one that waits until what happened has led to a command.
type sharing struct {
	ids     []string // of the accounts
	callers int
	stage   *stage
	plain   *plain
	watch   *watcher
	serial  atomic.Int64 // of the sagas
	begun   atomic.Int64

	mu   sync.Mutex
	want map[string]tally
}

// riches of an account are more than it will ever pay.
const riches = 1 << 40

func newSaga(o options) workload {
	return &sharing{ids: idsOf(o.atMost(1000)), callers: o.atMost(64), want: map[string]tally{}}
}

// prepare implements workload.
func (w *sharing) prepare(ctx context.Context, s *stage) ([]part, error) {
	w.stage = s
	size, err := s.commitSize(ctx, 0)
	if err != nil {
		return nil, err
	}
	if w.plain, err = newPlain(ctx, s, size, 2); err != nil {
		return nil, err
	}
	if w.watch, err = s.runSagas(ctx, shares); err != nil {
		return nil, err
	}
	err = atOnce(w.ids, func(id string) error {
		if err := w.open(ctx, id); err != nil {
			return err
		}
		return w.pay(ctx, payment{id, riches})
	})
	if err != nil {
		return nil, fmt.Errorf("open accounts: %w", err)
	}
	raw, err := w.plain.publishers(1, subjects(evenly(w.ids), w.plain.subjectOf))
	return []part{
		{name: "steps", ours: w.steps, raw: []turn{w.bare}},
		{name: "begin", ours: w.beginning, raw: raw, judged: []string{"p50"}},
	}, err
}

// note notes what was answered.
func (w *sharing) note(id string, balance int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.want[id]
	w.want[id] = tally{t.events + 1, t.balance + balance}
}

func (w *sharing) open(ctx context.Context, id string) error {
	if _, err := w.stage.members[0].Send(ctx, account(id), &bankpb.OpenAccount{Owner: "ada"}); err != nil {
		return fmt.Errorf("open the account %s: %w", id, err)
	}
	w.note(id, 0)
	return nil
}

// A payment is into an account, or out of it.
type payment struct {
	id     string
	amount int64
}

func (w *sharing) pay(ctx context.Context, p payment) error {
	var c holdfast.Command = &bankpb.Deposit{Amount: p.amount}
	if p.amount < 0 {
		c = &bankpb.Withdraw{Amount: -p.amount}
	}
	if _, err := w.stage.members[0].Send(ctx, account(p.id), c); err != nil {
		return fmt.Errorf("pay into the account %s or out of it: %w", p.id, err)
	}
	w.note(p.id, p.amount)
	return nil
}

// bare sends the commands of sagas, one after the other.
func (w *sharing) bare(ctx context.Context, d time.Duration) (report.Sample, error) {
	pick := func(dice *rand.Rand) func() payment {
		next, turn := evenly(w.ids)(dice), 0
		return func() payment {
			turn++
			if turn%stepsOfShares == 1 {
				return payment{next(), -2}
			}
			return payment{next(), 1}
		}
	}
	return crowd[payment]{w.callers, pick}.run(ctx, d, "bare commands", func(_ int, p payment) error {
		return w.pay(context.WithoutCancel(ctx), p)
	})
}

// steps has sagas begun, each of which takes all its steps. It counts these.
func (w *sharing) steps(ctx context.Context, d time.Duration) (report.Sample, error) {
	pick := func(dice *rand.Rand) func() share {
		next := evenly(w.ids)(dice)
		return func() share { return share{next(), next(), next()} }
	}
	s, err := crowd[share]{w.callers, pick}.run(ctx, d, "holdfast", func(_ int, s share) error {
		return w.saga(context.WithoutCancel(ctx), s)
	})
	s.Ops *= stepsOfShares
	for i := range s.Times {
		s.Times[i] /= stepsOfShares
	}
	return s, err
}

// saga begins one and waits for its end.
func (w *sharing) saga(ctx context.Context, s share) error {
	id := "s-" + strconv.FormatInt(w.serial.Add(1), 10)
	over := w.watch.expect(id)
	if _, err := w.stage.members[0].Send(ctx, holdfast.Ref{Type: shares.Name(), ID: id}, s.sharedOut()); err != nil {
		return fmt.Errorf("begin the saga %s: %w", id, err)
	}
	return w.ended(id, s, over)
}

// ended returns when a saga has come to its end, and notes what it has done.
func (w *sharing) ended(id string, s share, over <-chan struct{}) error {
	w.begun.Add(1)
	select {
	case <-over:
	case <-time.After(patience):
		return fmt.Errorf("the saga %s has not ended after %v", id, patience)
	}
	w.note(s.from, -2)
	w.note(s.one, 1)
	w.note(s.other, 1)
	return nil
}

// beginning measures from the answer to a command, of whose event a saga begins, until the
// saga sends its first command. The next one waits for its end.
func (w *sharing) beginning(ctx context.Context, d time.Duration) (report.Sample, error) {
	s := report.Sample{By: "holdfast"}
	for end := time.Now().Add(d); time.Now().Before(end) && !ended(ctx); {
		id := heralds + strconv.FormatInt(w.serial.Add(1), 10)
		over, first := w.watch.expect(id), w.watch.expectFirst()
		if err := w.open(context.WithoutCancel(ctx), id); err != nil {
			return s, err
		}
		happened := time.Now()
		if err := w.ended(id, share{from: "a-0", one: "a-1", other: "a-2"}, over); err != nil {
			return s, err
		}
		s.Times = append(s.Times, (<-first).Sub(happened))
		s.Took += s.Times[len(s.Times)-1]
	}
	s.Ops = len(s.Times)
	return s, nil
}

// verify implements workload.
func (w *sharing) verify(ctx context.Context) (string, error) {
	if err := w.stage.verify(ctx, w.want); err != nil {
		return "", err
	}
	completed, err := w.stage.countSagas(ctx, shares)
	if err != nil {
		return "", err
	}
	if begun := w.begun.Load(); completed != begun {
		return "", fmt.Errorf("%d sagas have begun, and %d are completed in the log", begun, completed)
	}
	return fmt.Sprintf("%d sagas are completed in the log, each of their commands is there once, and the balances add up", completed), w.plain.verify(ctx)
}
