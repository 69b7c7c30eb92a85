package jetstream

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
)

// What a read asks for.
const (
	last       = "the last of the subject"
	at         = "that at a sequence"
	whether    = "whether the subject has any"
	count      = "how many the subject has"
	leaderLast = "the leader for the last of the subject"
	leaderAt   = "the leader for that at a sequence"
	ofSnapshot = "the newest snapshot"
)

// asks says what a read asks for.
func (f *fake) asks(m *nats.Msg) string {
	kind := strings.TrimPrefix(m.Subject, string(f.context)+".api.")
	switch {
	case kind == "info":
		return count
	case kind == "leader" && strings.Contains(string(m.Data), "last_by_subj"):
		return leaderLast
	case kind == "leader":
		return leaderAt
	case strings.HasPrefix(kind, "direct.") && len(m.Data) == 0:
		return last
	case strings.HasPrefix(kind, "snapshots."):
		return ofSnapshot
	case strings.Contains(string(m.Data), "multi_last"):
		return whether
	}
	return at
}

// An odd answers one read otherwise than the fake does.
type odd func(*fake, *nats.Msg)

func says(text string) odd { return func(f *fake, m *nats.Msg) { f.respond(m, text) } }

func refuses(code int) odd { return func(f *fake, m *nats.Msg) { f.respond(m, f.refusal(code)) } }

func status(code, text string) odd {
	return func(f *fake, m *nats.Msg) {
		f.send(m, nil, nats.Header{"Status": {code}, "Description": {text}})
	}
}

func headers(subject, seq string) odd {
	return func(f *fake, m *nats.Msg) {
		f.send(m, f.bodies[f.last], nats.Header{"Nats-Subject": {subject}, "Nats-Sequence": {seq}})
	}
}

// answer has some reads answered oddly.
func (f *fake) answer(odds map[string]odd) {
	f.read = func(m *nats.Msg) bool {
		o, ok := odds[f.asks(m)]
		if ok {
			o(f, m)
		}
		return !ok
	}
}

// TestLoadOddAnswers reads a log of three commits from servers that do not have it all,
// or say what no server does: it is never taken for less than it is.
func TestLoadOddAnswers(t *testing.T) {
	none, unreadable := status("404", "No Results"), status("404", "Message Not Found")
	on := newSite(t)
	for name, c := range map[string]struct {
		replicated bool
		odds       map[string]odd
		want       holdfast.Code
	}{
		"all is well":                          {false, nil, ""},
		"replicated":                           {true, nil, ""},
		"the last cannot be read":              {false, map[string]odd{last: unreadable, whether: unreadable, leaderLast: refuses(codeNoMessage)}, holdfast.CodeCorrupt},
		"replicated, the last cannot be read":  {true, map[string]odd{leaderLast: refuses(codeNoMessage), whether: none}, holdfast.CodeCorrupt},
		"only the leader can read the last":    {false, map[string]odd{last: unreadable, whether: unreadable}, ""},
		"the leader cannot be asked either":    {false, map[string]odd{last: unreadable, whether: unreadable, leaderLast: refuses(codeNotAvailable)}, holdfast.CodeUnavailable},
		"the count is refused":                 {false, map[string]odd{last: none, whether: unreadable, count: refuses(codeNotAvailable)}, holdfast.CodeUnavailable},
		"the count is nothing":                 {false, map[string]odd{last: none, whether: unreadable, count: says(`{}`)}, holdfast.CodeUnavailable},
		"the count is empty":                   {false, map[string]odd{last: none, whether: unreadable, count: status("503", "")}, holdfast.CodeUnavailable},
		"the index has no answer":              {false, map[string]odd{last: none, whether: status("503", "No Results"), count: refuses(codeNotAvailable)}, holdfast.CodeUnavailable},
		"the last is another's":                {false, map[string]odd{last: headers("x", "9")}, holdfast.CodeUnavailable},
		"the last has no sequence":             {false, map[string]odd{last: says(`x`)}, holdfast.CodeUnavailable},
		"the last is refused":                  {false, map[string]odd{last: status("408", "Bad Request")}, holdfast.CodeUnavailable},
		"replicated, the leader is refused":    {true, map[string]odd{leaderLast: refuses(codeNotEnabled)}, holdfast.CodeUnavailable},
		"replicated, the leader says nothing":  {true, map[string]odd{leaderLast: says(`{}`)}, holdfast.CodeUnavailable},
		"only the leader has an earlier one":   {false, map[string]odd{at: none}, ""},
		"nobody has an earlier one":            {false, map[string]odd{at: none, leaderAt: refuses(codeNoMessage)}, holdfast.CodeCorrupt},
		"nobody says who has an earlier one":   {false, map[string]odd{at: none, leaderAt: refuses(codeNotAvailable)}, holdfast.CodeUnavailable},
		"the leader says nothing of it":        {false, map[string]odd{at: none, leaderAt: says(`{}`)}, holdfast.CodeUnavailable},
		"an earlier one has another sequence":  {false, map[string]odd{at: headers("x", "9")}, holdfast.CodeUnavailable},
		"an earlier one cannot be asked for":   {false, map[string]odd{at: status("408", "Bad Request")}, holdfast.CodeUnavailable},
		"an earlier one is answered with junk": {false, map[string]odd{at: says(`x`)}, holdfast.CodeUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			f := on.fake(t)
			f.grow(3)
			f.store.partitions[0].replicated = c.replicated
			f.answer(c.odds)
			l, err := f.store.Load(t.Context(), fakeRef, "")
			if holdfast.CodeOf(err) != c.want {
				t.Fatalf("load: error is %v, want %q", err, c.want)
			}
			if c.want == "" && (len(l.Commits) != 3 || !l.Head.Equal(f.head())) {
				t.Fatalf("loaded %+v", l.Head)
			}
			n := 0
			for _, err = range f.store.Backwards(t.Context(), fakeRef, 0) {
				n++
			}
			if holdfast.CodeOf(err) != c.want || c.want == "" && n != 3 {
				t.Fatalf("backwards: %d commits, error is %v, want %q", n, err, c.want)
			}
		})
	}
}

// TestLoadOfWhatComesMeanwhile has the first commit come after the question for it.
func TestLoadOfWhatComesMeanwhile(t *testing.T) {
	f := newSite(t).fake(t)
	f.read = func(m *nats.Msg) bool {
		if f.asks(m) != last {
			return true
		}
		f.send(m, nil, nats.Header{"Status": {"404"}, "Description": {"Message Not Found"}})
		f.mu.Unlock()
		f.grow(1)
		f.mu.Lock()
		return false
	}
	if l, err := f.store.Load(t.Context(), fakeRef, ""); err != nil || l.Head.Version != 1 {
		t.Fatalf("loaded version %d, %v", l.Head.Version, err)
	}
}

// TestLoadWithoutTheSnapshotStream: the log has everything, and the load says what it did
// without.
func TestLoadWithoutTheSnapshotStream(t *testing.T) {
	on := newSite(t)
	for name, o := range map[string]odd{"refused": status("503", ""), "junk": says("x"), "lost": func(*fake, *nats.Msg) {}} {
		f := on.fake(t)
		f.grow(3)
		f.store.snapshots.direct = string(f.context) + ".api.snapshots"
		asked := make(chan bool, 1)
		f.answer(map[string]odd{ofSnapshot: func(f *fake, m *nats.Msg) {
			o(f, m)
			asked <- true
		}})
		loaded := make(chan persistence.Loaded, 1)
		go func() {
			l, err := f.store.Load(t.Context(), fakeRef, "f")
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			loaded <- l
		}()
		if <-asked; name == "lost" {
			await(t, "only that for the snapshot is outstanding", func() bool {
				p := f.store.reads.pipes[0]
				p.mu.Lock()
				defer p.mu.Unlock()
				return len(p.slots)-len(p.free) == 1
			})
			f.pass()
		}
		if l := <-loaded; l.Head.Version != 3 || l.Ignored == nil {
			t.Errorf("%s: loaded version %d, ignored %v", name, l.Head.Version, l.Ignored)
		}
	}
}

// TestContextEndsBeforeTheAnswer has time stand still and an answer not come: only the
// context ends the wait.
func TestContextEndsBeforeTheAnswer(t *testing.T) {
	on := newSite(t)
	load := func(ctx context.Context, f *fake) error {
		_, err := f.store.Load(ctx, fakeRef, "f")
		return err
	}
	backwards := func(from holdfast.Version) func(context.Context, *fake) error {
		return func(ctx context.Context, f *fake) (err error) {
			for _, err = range f.store.Backwards(ctx, fakeRef, from) {
				continue
			}
			return err
		}
	}
	for name, c := range map[string]struct {
		mute string
		call func(context.Context, *fake) error
	}{
		"load, the last": {last, load},
		"load, whether it is new": {whether, func(ctx context.Context, f *fake) error {
			f.store.partitions[0].newcomers.likely.Store(true)
			return load(ctx, f)
		}},
		"load, the snapshot":    {ofSnapshot, load},
		"load, the others":      {at, load},
		"backwards, the last":   {last, backwards(0)},
		"backwards, the others": {at, backwards(0)},
		"backwards, far":        {at, backwards(1)},
		"describe": {count, func(ctx context.Context, f *fake) error {
			_, err := f.store.Describe(ctx)
			return err
		}},
		"save a snapshot": {"", func(ctx context.Context, f *fake) error {
			return f.store.SaveSnapshot(ctx, fakeRef, persistence.Snapshot{Head: f.head(), Fingerprint: "f"})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := on.fake(t)
			f.grow(50)
			f.store.snapshots.direct = string(f.context) + ".api.snapshots"
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			f.answer(map[string]odd{c.mute: func(*fake, *nats.Msg) { cancel() }})
			if c.mute == "" {
				requests := on.listen(t, string(f.context)+".snap.>")
				go func() {
					<-requests
					cancel()
				}()
			}
			ended := make(chan error, 1)
			go func() { ended <- c.call(ctx, f) }()
			select {
			case err := <-ended:
				if !errors.Is(err, holdfast.ErrUnavailable) || !errors.Is(err, context.Canceled) {
					t.Errorf("error is %v, want unavailable and canceled", err)
				}
			case <-time.After(patience):
				t.Error("it still waits")
			}
		})
	}
}

// TestSaveSnapshotAnswers: a snapshot is saved when the stream says so.
func TestSaveSnapshotAnswers(t *testing.T) {
	on := newSite(t)
	for name, c := range map[string]struct {
		answer odd
		want   holdfast.Code
	}{
		"taken":     {func(f *fake, m *nats.Msg) { f.respond(m, `{"stream":"`+f.context.SnapshotStream()+`","seq":7}`) }, ""},
		"too large": {refuses(10054), holdfast.CodeTooLarge},
		"refused":   {refuses(10008), holdfast.CodeUnavailable},
		"elsewhere": {says(`{"stream":"OTHER","seq":7}`), holdfast.CodeUnavailable},
		"junk":      {says(`x`), holdfast.CodeUnavailable},
		"lost":      {func(*fake, *nats.Msg) {}, holdfast.CodeUnavailable},
	} {
		f := on.fake(t)
		requests := on.listen(t, string(f.context)+".snap.account.a-1")
		saved := make(chan error, 1)
		go func() {
			saved <- f.store.SaveSnapshot(t.Context(), fakeRef, persistence.Snapshot{Fingerprint: "f"})
		}()
		if c.answer(f, <-requests); name == "lost" {
			f.pass()
		}
		select {
		case err := <-saved:
			if holdfast.CodeOf(err) != c.want {
				t.Errorf("%s: error is %v, want %q", name, err, c.want)
			}
		case <-time.After(patience):
			t.Errorf("%s: it still waits", name)
		}
	}
}

// TestDescribeOddAnswers: what is not known is not said to be nothing.
func TestDescribeOddAnswers(t *testing.T) {
	on := newSite(t)
	for name, o := range map[string]odd{"refused": refuses(codeNotAvailable), "junk": says("x"), "empty": status("503", "")} {
		f := on.fake(t)
		f.answer(map[string]odd{count: o})
		if got, err := f.store.Describe(t.Context()); !errors.Is(err, holdfast.ErrUnavailable) {
			t.Errorf("%s: %+v, %v, want unavailable", name, got, err)
		}
	}
}

// TestSettlersAreBounded has more appends to look up than are looked up at a time.
func TestSettlersAreBounded(t *testing.T) {
	f := newSite(t).fake(t)
	f.publish = func(m *nats.Msg) { f.respond(m, f.refusal(10158)) }
	f.read = func(*nats.Msg) bool { return false }
	after := f.head()
	for range 2 * settlers {
		f.begin(after)
	}
	await(t, "all are to be looked up, and some are", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.store.Stats().Settled == 2*settlers && f.reads == settlers && len(f.store.settlers) == settlers
	})
}

// TestAppendSentAgainInVain has the connection end before an append can be sent again.
func TestAppendSentAgainInVain(t *testing.T) {
	f := newSite(t).fake(t)
	f.grow(3)
	f.publish = func(m *nats.Msg) { f.respond(m, f.refusal(codeRacing)) }
	f.read = func(*nats.Msg) bool {
		f.store.publish.nc.Close()
		return true
	}
	// Who hears of the end first decides which of the two it is.
	if r := f.end(f.begin(f.head())); !errors.Is(r.err, holdfast.ErrUnavailable) && !errors.Is(r.err, holdfast.ErrUncertain) {
		t.Fatalf("error is %v, want unavailable or uncertain", r.err)
	}
}

// TestAppendIsNotSentAgainAfterAnother has another's commit come first while the stream
// holds a write for under way: there is nothing to try again.
func TestAppendIsNotSentAgainAfterAnother(t *testing.T) {
	f := newSite(t).fake(t)
	f.publish = func(m *nats.Msg) {
		f.become(others, m.Data)
		f.respond(m, f.refusal(codeRacing))
	}
	if r := f.end(f.begin(f.head())); !errors.Is(r.err, holdfast.ErrConflict) {
		t.Errorf("error is %v, want a conflict", r.err)
	}
	if len(f.arrived) != 1 {
		t.Errorf("it was sent %d times", len(f.arrived))
	}
}

// TestSettleDoesNotWaitForWhatIsDamaged has time stand still.
func TestSettleDoesNotWaitForWhatIsDamaged(t *testing.T) {
	f := newSite(t).fake(t)
	f.grow(1)
	f.publish = func(m *nats.Msg) {
		f.put([]byte("damaged"))
		f.respond(m, f.refusal(10158))
	}
	if r := f.end(f.begin(f.head())); !errors.Is(r.err, holdfast.ErrUncertain) {
		t.Errorf("error is %v, want uncertain", r.err)
	}
}

// TestAppendAnsweredWithAStatus: only that nobody listens says for certain that an append
// was not taken.
func TestAppendAnsweredWithAStatus(t *testing.T) {
	on := newSite(t)
	for code, want := range map[string]holdfast.Code{"503": holdfast.CodeUnavailable, "408": "", "": ""} {
		f := on.fake(t)
		f.publish = func(m *nats.Msg) {
			f.put(m.Data)
			status(code, "")(f, m)
		}
		if r := f.end(f.begin(f.head())); holdfast.CodeOf(r.err) != want {
			t.Errorf("status %q: error is %v, want %q", code, r.err, want)
		}
	}
}

// TestClosedConnectionIsNoticedAtOnce has time stand still.
func TestClosedConnectionIsNoticedAtOnce(t *testing.T) {
	f := newSite(t).fake(t)
	f.publish = func(m *nats.Msg) { f.become(mine, m.Data) }
	results := f.begin(f.head())
	<-f.arrived
	f.store.publish.nc.Close()
	if r := f.end(results); r.err != nil {
		t.Errorf("error is %v, but it is in the log", r.err)
	}
}
