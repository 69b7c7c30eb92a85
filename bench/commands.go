package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/bench/report"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
)

// What the workloads of commands have in common: callers that pay into accounts, beside
// publishes of as many bytes to as many subjects, with the same expectation. An account is
// opened before it is measured.
type deposits struct {
	ids     []string // of the accounts
	callers []int    // of each part
	pick    picker[string]
	// earlier is about how many commits an account has when it is paid into: a commit names
	// its last 33, which makes it longer.
	earlier int

	stage    *stage
	plain    *plain
	answered map[string]*atomic.Int64 // how many deposits of an account, by its id
}

// fullTrail commits of an aggregate are as many as a commit names at the most, and some.
const fullTrail = 40

func account(id string) holdfast.Ref { return holdfast.Ref{Type: "account", ID: id} }

// prepare implements workload.
func (w *deposits) prepare(ctx context.Context, s *stage) ([]part, error) {
	w.stage = s
	size, err := s.commitSize(ctx, w.earlier)
	if err != nil {
		return nil, err
	}
	if err := w.openAll(ctx); err != nil {
		return nil, err
	}
	if w.plain, err = newPlain(ctx, s, size, 2); err != nil {
		return nil, err
	}
	var parts []part
	for _, n := range w.callers {
		p := part{ours: w.turn(n)}
		if len(w.callers) > 1 {
			p.name = strconv.Itoa(n)
		}
		if p.raw, err = w.plain.publishers(n, subjects(w.pick, w.plain.subjectOf)); err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// openAll opens the accounts.
func (w *deposits) openAll(ctx context.Context) error {
	w.answered = make(map[string]*atomic.Int64, len(w.ids))
	for _, id := range w.ids {
		w.answered[id] = new(atomic.Int64)
	}
	err := atOnce(w.ids, func(id string) error {
		return w.stage.untilRoom(func() error {
			_, err := w.stage.members[0].Send(ctx, account(id), &bankpb.OpenAccount{Owner: "ada"})
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("open accounts: %w", err)
	}
	return nil
}

// untilRoom asks again as long as a request is refused because too many aggregates are active.
func (s *stage) untilRoom(ask func() error) error {
	for end := time.Now().Add(patience); ; {
		err := ask()
		if !errors.Is(err, holdfast.ErrOverloaded) || time.Now().After(end) {
			return err
		}
		s.crowded.Add(1)
		<-time.After(breath)
	}
}

// atOnce does something for each of the ids, many of them at a time, and gives one of the
// errors.
func atOnce(ids []string, do func(id string) error) error {
	const callers = 256
	rest := make(chan string)
	var mu sync.Mutex
	var failed error
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for id := range rest {
				if err := do(id); err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
				}
			}
		})
	}
	for _, id := range ids {
		rest <- id
	}
	close(rest)
	all.Wait()
	return failed
}

// turn has so many callers send commands to the first node.
func (w *deposits) turn(callers int) turn {
	sender := w.stage.members[0]
	return func(ctx context.Context, d time.Duration) (report.Sample, error) {
		return crowd[string]{callers, w.pick}.run(ctx, d, "holdfast", func(_ int, id string) error {
			if _, err := sender.Send(context.WithoutCancel(ctx), account(id), &bankpb.Deposit{Amount: 1}); err != nil {
				return fmt.Errorf("pay into the account %s: %w", id, err)
			}
			w.count(id)
			return nil
		})
	}
}

// count notes that a deposit was answered.
func (w *deposits) count(id string) { w.answered[id].Add(1) }

// verify implements workload.
func (w *deposits) verify(ctx context.Context) (string, error) {
	want := map[string]tally{}
	var all int64
	for id, n := range w.answered {
		paid := n.Load()
		want[id], all = tally{events: paid + 1, balance: paid}, all+paid
	}
	if err := w.stage.verify(ctx, want); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d deposits were answered, all are in the log once, and the balances add up", all), w.plain.verify(ctx)
}

// publishers gives the raw sides for so many callers: the pipelined publisher, and what one
// does with nats.go.
func (p *plain) publishers(callers int, pick picker[*subject]) ([]turn, error) {
	const many = 1000 // goroutines, above which nobody would have so many wait
	own := p.synchronous
	if callers > many {
		own = p.asynchronous
	}
	library, err := own(p.conns[1], callers, pick)
	return []turn{p.pipelined(p.conns[0], callers, pick), library}, err
}

// commitSize is how many bytes a commit of one deposit takes when its account has so many
// commits already; of the opening, when it has none.
func (s *stage) commitSize(ctx context.Context, earlier int) (int, error) {
	ref := account("probe")
	if _, err := s.members[0].Send(ctx, ref, &bankpb.OpenAccount{Owner: "ada"}); err != nil {
		return 0, fmt.Errorf("open an account: %w", err)
	}
	for range earlier {
		if _, err := s.members[0].Send(ctx, ref, &bankpb.Deposit{Amount: 1}); err != nil {
			return 0, fmt.Errorf("pay into an account: %w", err)
		}
	}
	return s.lastSize(ctx, ref)
}

// lastSize is how many bytes the last commit of an aggregate takes.
func (s *stage) lastSize(ctx context.Context, ref holdfast.Ref) (int, error) {
	for c, err := range s.stores[0].Backwards(ctx, ref, 0) {
		if err != nil {
			return 0, fmt.Errorf("look at a commit: %w", err)
		}
		return len(c.Body), nil
	}
	return 0, nil
}
