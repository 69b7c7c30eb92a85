package feed

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// Pauses between two attempts.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second
	// settled is how long nothing has to go wrong until what did before is past.
	settled = 5 * time.Second
)

// A partition is one of the log, which this node writes while it holds its seat.
type partition struct {
	feed   *Feed
	number uint32
	first  func(context.Context) (uint64, error)
	log    *slog.Logger

	mu     sync.Mutex
	here   bool
	done   uint64 // of which this node knows that it is written
	unread uint64
	err    error // why it does not go on
}

// work writes what is not written, until ctx ends. Whatever goes wrong, it begins again where
// the stream says.
func (p *partition) work(ctx context.Context, done uint64, note func(uint64)) error {
	p.begin(done)
	defer p.end()
	for wait := firstPause; ; wait = min(2*wait, lastPause) {
		written, err := p.run(ctx, note)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if written {
			wait = firstPause
		}
		p.failed(err, wait)
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// run follows the log from where the stream says, and reports whether it has written
// something.
func (p *partition) run(ctx context.Context, note func(uint64)) (written bool, err error) {
	if err := p.feed.awaitStream(ctx, false); err != nil {
		return false, err
	}
	at, fence, err := p.feed.lastMark(ctx, p.number)
	if err != nil {
		return false, err
	}
	if fence == 0 { // its age was up, or there never was one
		at = mark{Done: p.known()}
	}
	p.wrote(at.Done, note) // which whoever wrote it may not have heard
	defer time.AfterFunc(p.feed.config.settled, p.fine).Stop()
	ctx, cancel := context.WithCancel(ctx)
	steps, ended := make(chan step, ahead), make(chan error, 1)
	go func() {
		ended <- p.follow(ctx, at, steps)
		close(steps)
	}()
	defer func() {
		cancel()
		if lost := <-ended; err == nil {
			err = lost
		}
	}()
	for marks, more := 0, true; more; marks++ {
		var b batch
		if b, more = gather(ctx, steps); b.steps == 0 {
			continue
		}
		if len(b.messages) > 0 {
			if fence, err = p.write(ctx, b, fence); err != nil {
				return written, err
			}
			written = true
		}
		p.wrote(b.mark.Done, note)
		if marks%p.feed.config.sweep == 0 {
			if err := p.feed.sweep(ctx, p.number); err != nil {
				p.log.Debug("old marks of the feed are not removed", "error", err)
			}
		}
	}
	return written, nil
}

// follow makes steps of what stands in the log after a mark.
func (p *partition) follow(ctx context.Context, at mark, steps chan<- step) error {
	return p.feed.config.Log.Follow(ctx, holdfast.NewPosition(p.number, at.Done), func(rec persistence.Record) error {
		skip := 0
		if rec.Position.Sequence() == at.Done+1 {
			skip = at.Events
		}
		for _, s := range p.steps(rec, skip) {
			select {
			case steps <- s:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
}

// steps gives one for each event of a record but the first so many, one at least.
func (p *partition) steps(rec persistence.Record, skip int) []step {
	seq := rec.Position.Sequence()
	all := mark{Done: seq}
	sub, err := messages.ParseSubject(rec.Subject)
	var c persistence.Commit
	if err == nil {
		c, err = persistence.Open(rec.Position, rec.Body)
	}
	if err != nil {
		// Whoever owns the aggregate refuses it as well, and verify tells of it.
		p.log.Error("a commit cannot be read: its events are missing in the feed", "position", rec.Position.String(), "subject", rec.Subject, "error", err)
		p.notRead()
		return []step{{mark: all}}
	}
	var out []step
	done, version := 0, c.FirstVersion
	for _, change := range c.Changes {
		for _, event := range change.Events {
			if done++; done > skip {
				s := p.step(recorded{sub, rec.Position, version, change, event})
				s.mark = mark{Done: seq - 1, Events: done}
				out = append(out, s)
			}
			version++
		}
	}
	if len(out) == 0 {
		return []step{{mark: all}}
	}
	out[len(out)-1].mark = all
	return out
}

func (p *partition) step(e recorded) step {
	s, ok := p.feed.render(e)
	if !ok {
		level := slog.LevelDebug
		n := p.notRead()
		if n&(n-1) == 0 { // there may be very many
			level = slog.LevelWarn
		}
		p.log.Log(context.Background(), level, "an event is not shown in its newest form", "unread", n, "position", e.position.String(), "event", e.event.Type, "reason", s.messages[0].Header.Get(messages.HeaderUnread))
	}
	return s
}

// write writes a batch with its mark, and gives the mark's sequence. Of two writers that know
// the same mark before it, one is refused. With any error it is not known whether it was
// written, or will be: the next run finds out, or is refused in turn.
func (p *partition) write(ctx context.Context, b batch, fence uint64) (uint64, error) {
	body, err := json.Marshal(b.mark)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	m := &nats.Msg{Subject: p.feed.config.Context.FeedMark(p.number), Data: body, Header: nats.Header{headerExpected: {strconv.FormatUint(fence, 10)}}}
	return publishBatch(ctx, p.feed.config.line, p.feed.stream, nuid.Next(), append(b.messages, m))
}

func (p *partition) begin(done uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.here, p.done = true, max(p.done, done)
}

func (p *partition) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.here, p.err = false, nil
}

func (p *partition) known() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

// wrote notes how far the log is written, which an old backup of the stream may undo.
func (p *partition) wrote(done uint64, note func(uint64)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = max(p.done, done)
	note(p.done)
}

func (p *partition) fine() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = nil
}

// notRead counts what cannot be read.
func (p *partition) notRead() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unread++
	return p.unread
}

// failed notes why this node does not go on. What passes soon is not worth a warning.
func (p *partition) failed(err error, wait time.Duration) {
	if err == nil {
		err = errors.New("the log is not followed any more")
	}
	p.mu.Lock()
	p.err = err
	p.mu.Unlock()
	level := slog.LevelDebug
	if wait >= time.Second {
		level = slog.LevelWarn
	}
	p.log.Log(context.Background(), level, "the feed does not go on; trying again", "error", err)
}
