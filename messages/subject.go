package messages

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Kind says what a subject is for.
type Kind string

// The kinds, with the subjects that they stand in.
const (
	// KindLog: <context>.log.<partition>.<type>.<id>, one literal subject an aggregate.
	KindLog Kind = "log"
	// KindSnapshot: <context>.snap.<type>.<id>.
	KindSnapshot Kind = "snap"
	// KindCommand: <context>.cmd.<type>.<id>.<Command>.
	KindCommand Kind = "cmd"
	// KindGet: <context>.get.<type>.<id>.
	KindGet Kind = "get"
	// KindHistory: <context>.history.<type>.<id>.
	KindHistory Kind = "history"
	// KindEvent: <context>.evt.<type>.<id>.<Event>, in the feed.
	KindEvent Kind = "evt"
	// KindTimer: <context>.timer.<type>.<id>.<key>, a timer that is pending.
	KindTimer Kind = "timer"
	// KindDue: <context>.due.<type>.<id>.<key>, a timer that has fired.
	KindDue Kind = "due"
	// KindInbox: <context>.inbox.<type>.<id>.<Command>, a command to be executed later.
	KindInbox Kind = "inbox"
	// KindAccepted: <context>.accepted.<type>.<id>.<Command>, one that waits for that.
	KindAccepted Kind = "accepted"
	// KindOutcome: <context>.outcome.<command id>, what became of it.
	KindOutcome Kind = "outcome"
)

func (k Kind) named() bool { return k.ofCommand() || k == KindEvent }

func (k Kind) ofTimer() bool { return k == KindTimer || k == KindDue }

func (k Kind) ofCommand() bool { return k == KindCommand || k == KindInbox || k == KindAccepted }

// A Subject is one of ours. Which fields it has depends on its kind.
type Subject struct {
	Context   Context
	Kind      Kind
	Partition uint32 // of KindLog
	Type      string // not of KindOutcome
	ID        ID     // of KindOutcome the command's, else the aggregate's
	Name      string // the short name of the command or event, where the subject has one
	Key       string // the timer's, of KindTimer and KindDue
}

// String gives the subject as it stands on the wire.
func (s Subject) String() string {
	var b strings.Builder
	b.Grow(len(s.Context) + len(s.Type) + len(s.ID.encoded) + len(s.Name) + len(s.Key) + 20)
	b.WriteString(string(s.Context))
	b.WriteByte('.')
	b.WriteString(string(s.Kind))
	if s.Kind == KindLog {
		b.WriteByte('.')
		b.WriteString(strconv.FormatUint(uint64(s.Partition), 10))
	}
	if s.Kind != KindOutcome {
		b.WriteByte('.')
		b.WriteString(s.Type)
	}
	b.WriteByte('.')
	b.WriteString(s.ID.encoded)
	if s.Kind.named() {
		b.WriteByte('.')
		b.WriteString(s.Name)
	}
	if s.Kind.ofTimer() {
		b.WriteByte('.')
		b.WriteString(s.Key)
	}
	return b.String()
}

// forms tells for each kind how many tokens follow it, and how they are called.
var forms = map[Kind]struct {
	tokens int
	form   string
}{
	KindLog:      {3, "<context>.log.<partition>.<type>.<id>"},
	KindSnapshot: {2, "<context>.snap.<type>.<id>"},
	KindCommand:  {3, "<context>.cmd.<type>.<id>.<Command>"},
	KindGet:      {2, "<context>.get.<type>.<id>"},
	KindHistory:  {2, "<context>.history.<type>.<id>"},
	KindEvent:    {3, "<context>.evt.<type>.<id>.<Event>"},
	KindTimer:    {3, "<context>.timer.<type>.<id>.<key>"},
	KindDue:      {3, "<context>.due.<type>.<id>.<key>"},
	KindInbox:    {3, "<context>.inbox.<type>.<id>.<Command>"},
	KindAccepted: {3, "<context>.accepted.<type>.<id>.<Command>"},
	KindOutcome:  {1, "<context>.outcome.<command id>"},
}

// ParseSubject reads a subject. Its error names the part that is wrong.
func ParseSubject(s string) (Subject, error) {
	var few [6]string // which need not be on the heap: more is wrong
	tokens := slices.AppendSeq(few[:0], strings.SplitSeq(s, "."))
	if len(tokens) < 2 {
		return Subject{}, fmt.Errorf("subject %q: want <context>.<kind>.…", s)
	}
	sub := Subject{Kind: Kind(tokens[1])}
	form, ok := forms[sub.Kind]
	if !ok {
		return Subject{}, fmt.Errorf("subject %q: the kind %q is unknown", s, tokens[1])
	}
	var err error
	if sub.Context, err = ParseContext(tokens[0]); err != nil {
		return Subject{}, err
	}
	rest := tokens[2:]
	if len(rest) != form.tokens {
		return Subject{}, fmt.Errorf("subject %q: want %s, where a dot in an id is written =2E", s, form.form)
	}
	if sub.Kind == KindLog {
		p, err := strconv.ParseUint(rest[0], 10, 32)
		if err != nil || strconv.FormatUint(p, 10) != rest[0] {
			return Subject{}, fmt.Errorf("subject %q: the partition %q is not a number", s, rest[0])
		}
		sub.Partition, rest = uint32(p), rest[1:]
	}
	if sub.Kind == KindOutcome {
		sub.ID, err = ParseID(rest[0])
		return sub, err
	}
	if sub.Type, err = ParseType(rest[0]); err != nil {
		return Subject{}, err
	}
	if sub.ID, err = ParseID(rest[1]); err != nil {
		return Subject{}, err
	}
	if sub.Kind.named() {
		what := "command"
		if sub.Kind == KindEvent {
			what = "event"
		}
		if sub.Name, err = parseName(what, rest[2]); err != nil {
			return Subject{}, err
		}
	}
	if sub.Kind.ofTimer() {
		if sub.Key, err = ParseKey(rest[2]); err != nil {
			return Subject{}, err
		}
	}
	return sub, nil
}

// ParseType reads the name of an aggregate type: a small letter, then small letters,
// digits, '-' and '_', 64 at most.
func ParseType(s string) (string, error) {
	if !formed(s, 64, lower, inType) {
		return "", fmt.Errorf("type %q: want a small letter, then small letters, digits, '-' and '_', 64 at most", s)
	}
	return s, nil
}

// ParseName reads a message's short name: a letter, then letters, digits and '_', 128
// at most.
func ParseName(s string) (string, error) { return parseName("command", s) }

func parseName(what, s string) (string, error) {
	if !formed(s, 128, letter, inName) {
		return "", fmt.Errorf("%s %q: want a letter, then letters, digits and '_', 128 at most", what, s)
	}
	return s, nil
}

// ParseKey reads the key of a timer: letters, digits, '-' and '_', 64 at most.
func ParseKey(s string) (string, error) {
	if !formed(s, 64, plain, plain) {
		return "", fmt.Errorf("key %q: want letters, digits, '-' and '_', 1 to 64 of them", s)
	}
	return s, nil
}

// ParseRef reads "<type>/<encoded id>", the form in which bodies and the command line
// name an aggregate.
func ParseRef(s string) (typ string, id ID, err error) {
	typ, rest, ok := strings.Cut(s, "/")
	if !ok {
		return "", ID{}, fmt.Errorf("ref %q: want <type>/<id>, as in account/a-1", s)
	}
	if typ, err = ParseType(typ); err != nil {
		return "", ID{}, err
	}
	id, err = ParseID(rest)
	return typ, id, err
}

// FormatRef gives what [ParseRef] reads.
func FormatRef(typ string, id ID) string { return typ + "/" + id.encoded }
