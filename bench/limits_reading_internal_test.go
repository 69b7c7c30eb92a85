package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/bench/report"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/messages"
)

// lesserLoads get ten messages that are spread over the log: with headers, by their places; first the last
// one, since only that tells where the others are; and with the first one how many there are.
func lesserLoads(s *stage, w *load, parts []part) ([]part, error) {
	r, err := dialReader(s)
	if err != nil {
		return nil, err
	}
	for i, c := range w.classes() {
		if c.name != "10 spread" {
			continue
		}
		return beside(parts[i],
			part{name: "headers", ours: w.reading(c, "headers", r.withHeaders)},
			part{name: "trips", ours: w.reading(c, "trips", r.inTwo)},
			part{name: "counted", ours: w.reading(c, "counted", r.counted)},
			part{name: "loads", ours: parts[i].ours},
		), nil
	}
	return nil, fmt.Errorf("there is no load of ten")
}

func dialReader(s *stage) (*reader, error) {
	conns, err := s.dials(0, 1)
	if err != nil {
		return nil, err
	}
	return newReader(conns[0])
}

// ask asks the log.
func (r *reader) ask(subject, request string) error {
	return r.nc.PublishMsg(&nats.Msg{Subject: direct + contextName.LogStream(0) + subject, Reply: r.inbox, Data: []byte(request)})
}

func (r *reader) withHeaders(sequences []uint64, _ string, _ bool) error {
	for _, seq := range sequences {
		if err := r.ask("", fmt.Sprintf(`{"seq":%d}`, seq)); err != nil {
			return err
		}
	}
	return r.take(len(sequences), "")
}

// last gets the last message.
func (r *reader) last(id string) error {
	if err := r.ask("."+subjectOf(messages.KindLog, id), ""); err != nil {
		return err
	}
	return r.take(1, "")
}

// inTwo gets the last message, then the others.
func (r *reader) inTwo(sequences []uint64, id string, _ bool) error {
	if err := r.last(id); err != nil {
		return err
	}
	return r.bySequence(sequences[:len(sequences)-1], id, false)
}

// counted gets the first of the others with its headers and how many there are.
func (r *reader) counted(sequences []uint64, id string, _ bool) error {
	if err := r.last(id); err != nil {
		return err
	}
	if err := r.ask("", fmt.Sprintf(`{"seq":1,"next_by_subj":%q,"batch":1}`, subjectOf(messages.KindLog, id))); err != nil {
		return err
	}
	between := sequences[1 : len(sequences)-1]
	for _, seq := range between {
		if err := r.ask("", fmt.Sprintf(`{"seq":%d,%s}`, seq, bare)); err != nil {
			return err
		}
	}
	if err := r.take(1, ""); err != nil {
		return err
	}
	if err := r.take(1, endOfBatch); err != nil {
		return err
	}
	return r.take(len(between), "")
}

// lesserReturns get the last message of an account together with its snapshot, and publish; and load it as an
// aggregate is, and append. The commands come first, so that there are snapshots.
func lesserReturns(s *stage, w *returning, p part) ([]part, error) {
	r, err := dialReader(s)
	if err != nil {
		return nil, err
	}
	appended, history := s.appender(), newHistory(s)
	change, err := history.change("limit")
	if err != nil {
		return nil, err
	}
	one := func(by string, each func(id string) error) turn {
		return func(ctx context.Context, d time.Duration) (report.Sample, error) {
			return crowd[string]{1, inTurn(idsOf(w.accounts))}.run(ctx, d, by, func(_ int, id string) error { return each(id) })
		}
	}
	return beside(p,
		part{name: "commands", ours: p.ours},
		part{name: "getting", ours: one("getting", func(id string) error {
			if err := r.ask("."+subjectOf(messages.KindLog, id), ""); err != nil {
				return err
			}
			if err := r.bySequence(nil, id, true); err != nil {
				return err
			}
			if err := r.take(1, ""); err != nil {
				return err
			}
			return w.plain.publishOne(w.plain.conns[0], w.plain.subjectOf(id))
		})},
		part{name: "loading", ours: one("loading", func(id string) error {
			if _, err := s.stores[0].Load(context.Background(), account(id), bank.Account.Fingerprint()); err != nil {
				return err
			}
			return appended(id, change)
		})},
	), nil
}
