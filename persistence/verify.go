package persistence

import (
	"context"
	"fmt"
	"slices"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// A Fault is a kind of [Finding].
type Fault string

// The faults.
const (
	// FaultMissing: commits are not in the log, or the server cannot read them.
	FaultMissing Fault = "missing"
	// FaultAltered: a commit is not as it was written, or the one before it is not.
	FaultAltered Fault = "altered"
	// FaultUndecodable: a message is no commit that this build can read.
	FaultUndecodable Fault = "undecodable"
	// FaultMisplaced: a commit stands where it was not written by an append of this
	// aggregate.
	FaultMisplaced Fault = "misplaced"
	// FaultUnreadable: an event cannot be read by the type's definition.
	FaultUnreadable Fault = "unreadable"
	// FaultUnknownType: the log has a type that nothing is defined for.
	FaultUnknownType Fault = "unknown_type"
)

// A Finding is one fault in the log. What follows from it in later commits is not
// another one.
type Finding struct {
	Fault Fault
	// Ref of the aggregate; zero when it is not known, as of a last commit that is gone.
	Ref holdfast.Ref
	// Position at which it shows, the first one when there are several.
	Position holdfast.Position
	// What is wrong, as a sentence.
	What string
}

// VerifyConfig says what to verify.
type VerifyConfig struct {
	Context messages.Context
	// Partitions of the log.
	Partitions uint32
	Filter     Filter
	// Replica to read, as in [ScanOptions].
	Replica string
	// Definitions by the name of their type. Without any, events are not decoded.
	Definitions map[string]holdfast.Definition
	// Report hears of each finding, as soon as it is certain.
	Report func(Finding)
	// Progress, if not nil, hears after each record how much of the log is behind it.
	Progress func(done, total uint64)
}

// A Verified says what has been verified.
type Verified struct {
	Commits, Events, Aggregates, Findings uint64
}

// Verify reads the log and reports what is wrong with it: gaps, altered and misplaced
// commits, lost messages, events that cannot be read. It takes some hundred bytes of
// memory an aggregate. The error is that of [Scanner.Scan]; what has been found before
// it has been reported.
func Verify(ctx context.Context, s Scanner, cfg VerifyConfig) (Verified, error) {
	partitions, err := s.Describe(ctx)
	if err != nil {
		return Verified{}, err
	}
	cfg.Partitions = uint32(len(partitions))
	var kept []Partition
	var before, total uint64
	for _, p := range partitions {
		if cfg.Replica == "" || slices.Contains(p.Replicas, cfg.Replica) {
			kept = append(kept, p)
			total += p.Last
		}
	}
	v := NewVerifier(cfg)
	current := 0
	unread, err := s.Scan(ctx, ScanOptions{Filter: cfg.Filter, Replica: cfg.Replica}, func(r Record) error {
		v.Add(r)
		if cfg.Progress != nil {
			for ; kept[current].Number < r.Position.Partition(); current++ {
				before += kept[current].Last
			}
			done := before + r.Position.Sequence()
			total = max(total, done) // what was appended meanwhile is read too
			cfg.Progress(done, total)
		}
		return nil
	})
	if err != nil {
		return v.Verified(), fmt.Errorf("verify log: %w", err)
	}
	for _, p := range kept {
		v.End(p)
	}
	v.endFiltered(unread)
	return v.Verified(), nil
}

// A Verifier is fed with the records of a log, each partition in its order, and reports
// what is wrong. It is not safe for concurrent use.
type Verifier struct {
	cfg    VerifyConfig
	counts Verified
	chains map[string]link
	// loose are the places from which a chain may go on after a finding.
	loose   map[string][]link
	next    map[uint32]uint64  // the sequence that must come, a partition
	holes   map[uint32]*ranges // of which no commit has told whose they were
	missing uint64             // commits that have been reported as such
	told    map[string]bool    // what is reported once: types and events
}

// A link is where a chain ends, in as little memory as will do.
type link struct {
	version, sequence uint64
	time              int64
	digest            messages.Digest
	// blind: the commit at sequence could not be read, so anything may follow it.
	blind bool
}

func linkOf(c Commit) link {
	l := link{version: c.LastVersion, sequence: c.Position.Sequence(), time: c.Time}
	copy(l.digest[:], c.Digest)
	return l
}

// NewVerifier makes one that has seen nothing yet.
func NewVerifier(cfg VerifyConfig) *Verifier {
	return &Verifier{
		cfg:    cfg,
		chains: map[string]link{},
		loose:  map[string][]link{},
		next:   map[uint32]uint64{},
		holes:  map[uint32]*ranges{},
		told:   map[string]bool{},
	}
}

// Verified says what has been verified so far.
func (v *Verifier) Verified() Verified {
	v.counts.Aggregates = uint64(len(v.chains))
	return v.counts
}

func (v *Verifier) report(f Finding) {
	v.counts.Findings++
	v.cfg.Report(f)
}

// Add takes the next record.
func (v *Verifier) Add(r Record) {
	v.countHoles(r.Position)
	ref, first, ok := v.place(r)
	if !ok || !v.cfg.Filter.Match(ref) {
		return
	}
	v.counts.Commits++
	key := ref.Type + "." + ref.ID
	head, known := v.chains[key]
	if !known {
		head = link{digest: first.Digest}
	}
	c, err := Open(r.Position, r.Body)
	if err != nil {
		v.report(Finding{Fault: FaultUndecodable, Ref: ref, Position: r.Position, What: sentence(err)})
		v.chains[key] = head
		v.loosen(key, head, link{sequence: r.Position.Sequence(), blind: true})
		return
	}
	v.follow(key, ref, head, c)
	v.checkEvents(ref, c)
}

// countHoles notes sequences that were passed over.
func (v *Verifier) countHoles(p holdfast.Position) {
	if !v.cfg.Filter.All() {
		return
	}
	next := max(v.next[p.Partition()], 1)
	if p.Sequence() > next {
		v.hole(p.Partition(), next, p.Sequence()-1)
	}
	v.next[p.Partition()] = p.Sequence() + 1
}

func (v *Verifier) hole(partition uint32, first, last uint64) {
	if v.holes[partition] == nil {
		v.holes[partition] = &ranges{}
	}
	v.holes[partition].add(first, last)
}

// place says which aggregate a record is of.
func (v *Verifier) place(r Record) (holdfast.Ref, Head, bool) {
	sub, err := messages.ParseSubject(r.Subject)
	if err != nil || sub.Kind != messages.KindLog || sub.Context != v.cfg.Context {
		v.report(Finding{Fault: FaultMisplaced, Position: r.Position, What: fmt.Sprintf("%q is the subject of no aggregate of %s", r.Subject, v.cfg.Context)})
		return holdfast.Ref{}, Head{}, false
	}
	ref := holdfast.Ref{Type: sub.Type, ID: sub.ID.Raw()}
	want := messages.PartitionOf(sub.Type, sub.ID, v.cfg.Partitions)
	if sub.Partition != want || r.Position.Partition() != want {
		v.report(Finding{Fault: FaultMisplaced, Ref: ref, Position: r.Position, What: fmt.Sprintf("it stands in partition %d under partition %d, but its aggregate is in %d", r.Position.Partition(), sub.Partition, want)})
		return ref, Head{}, false
	}
	return ref, HeadAt(sub), true
}

// End takes note that a partition has been read to its end.
func (v *Verifier) End(p Partition) {
	if !v.cfg.Filter.All() {
		return
	}
	if next := max(v.next[p.Number], 1); next <= p.Last {
		v.hole(p.Number, next, p.Last)
		v.next[p.Number] = p.Last + 1
	}
	holes := v.holes[p.Number]
	if holes == nil {
		return
	}
	for _, h := range *holes {
		what := "nothing can be read here, and no commit tells whose it was: perhaps the last of an aggregate"
		if n := h.last - h.first + 1; n > 1 {
			what = fmt.Sprintf("from here to %d, %d commits cannot be read, and no other tells whose they were", h.last, n)
		}
		v.report(Finding{Fault: FaultMissing, Position: holdfast.NewPosition(p.Number, h.first), What: what})
	}
	*holes = nil
}

// endFiltered reports what a filtered scan knows only by number.
func (v *Verifier) endFiltered(unread uint64) {
	if v.cfg.Filter.All() || unread <= v.missing {
		return
	}
	v.report(Finding{
		Fault: FaultMissing, Ref: holdfast.Ref(v.cfg.Filter),
		What: fmt.Sprintf("%d commits cannot be read, and no other tells where they stood", unread-v.missing),
	})
}
