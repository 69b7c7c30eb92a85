package jetstream

import (
	"context"

	"github.com/nats-io/nats.go"
)

const (
	// ahead is how many spans of a run are on their way at a time.
	ahead = 4
	// mostRun is how many messages a span of a run has: enough that the request and the message
	// that ends it are next to nothing, and no more than others may have to wait for.
	mostRun = 256
)

// A run reads messages that follow one another in the log, in their order: as bodies alone, by
// spans, some of which are on their way while the one before is taken.
type run struct {
	a         aggregate
	by        *lane
	next, end uint64 // what is still to be asked for
	spans     []span // that were, in order
	taken     int    // how many spans before those
	out       chan answer
}

type span struct {
	from uint64
	n    int
	came *answer
}

// run gives the bodies of the messages from one sequence up to another, and reports whether there
// were so many. each says whether one is what it must be.
func (l *lane) run(ctx context.Context, a aggregate, from, end uint64, each func(seq uint64, body []byte) (fits bool, err error)) (fits bool, err error) {
	r := &run{a: a, by: l, next: from, end: end, out: make(chan answer, ahead)}
	for {
		if err := r.ask(ctx); err != nil {
			return false, err
		}
		if len(r.spans) == 0 {
			return true, nil
		}
		parts, err := r.take(ctx)
		if err != nil || len(parts) == 0 {
			return false, err
		}
		from := r.spans[0].from
		for i, m := range parts {
			if fits, err := each(from+uint64(i), m.Data); err != nil || !fits {
				return false, err
			}
		}
		if err := r.pass(ctx, len(parts)); err != nil {
			return false, err
		}
	}
}

// ask asks for as many spans as may be on their way.
func (r *run) ask(ctx context.Context) error {
	for len(r.spans) < ahead && r.next < r.end {
		x := span{from: r.next, n: int(min(mostRun, r.end-r.next))}
		if err := r.send(ctx, x, r.taken+len(r.spans)); err != nil {
			return err
		}
		r.spans = append(r.spans, x)
		r.next += uint64(x.n)
	}
	return nil
}

func (r *run) send(ctx context.Context, x span, tag int) error {
	if err := r.by.ask(ctx, r.a.partition.quickSpan(x.from, x.n), tag, r.out); err != nil {
		return r.a.unavailable("read", err)
	}
	return nil
}

// take waits for the first span, and gives what came of it. A sequence is passed over when nothing
// can be read there, which whoever gets the bodies notices.
func (r *run) take(ctx context.Context) ([]*nats.Msg, error) {
	x := &r.spans[0]
	for x.came == nil {
		select {
		case got := <-r.out:
			r.spans[got.tag-r.taken].came = &got
		case <-ctx.Done():
			return nil, r.a.unavailable("read", context.Cause(ctx))
		}
	}
	if x.came.err != nil {
		return nil, r.a.unavailable("read", x.came.err)
	}
	return x.came.parts, nil
}

// pass notes that n of the first span have been taken, and asks for the rest, which was too much
// at once.
func (r *run) pass(ctx context.Context, n int) error {
	x := &r.spans[0]
	if n < x.n {
		*x = span{from: x.from + uint64(n), n: x.n - n}
		return r.send(ctx, *x, r.taken)
	}
	r.spans[0] = span{}
	r.spans, r.taken = r.spans[1:], r.taken+1
	return nil
}
