package index

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/projections"
)

const (
	defaultLimit = 100
	maxLimit     = 1000
	// pageRoom is what an answer takes beside its events.
	pageRoom = 512
)

// A Query says which events to look for. What is empty does not matter.
type Query struct {
	// Event is the name of its message, short or full.
	Event string
	// Ref is an aggregate as type/encoded id, or the name of a type.
	Ref string
	// Since is the first time that counts, and Until the first that does not.
	Since, Until                                *time.Time
	CorrelationID, CausationID, CommandID, User string
	// After is the next of a page, and Limit how many events one has: 100 unless it says
	// otherwise, 1,000 at the most.
	After string
	Limit int
}

// A Page of events, the oldest first. Next is empty when there are no more.
type Page struct {
	Events []Event `json:"events"`
	Next   string  `json:"next"`
}

// Find looks for events, for a page that takes room bytes at the most but has one of them. It
// returns ErrMalformed for a query that cannot be, by the name of the field.
func Find(r *projections.Rows, q Query, room int) (Page, error) {
	page := Page{Events: []Event{}}
	s, err := q.statement()
	if err != nil {
		return page, err
	}
	room -= pageRoom
	err = each(r, s.String(), s.args, func(e Event) error {
		takes, err := size(e)
		if room -= takes; err != nil {
			return err
		}
		if n := len(page.Events); n == s.limit || n > 0 && room < 0 {
			page.Next = page.Events[n-1].place.String()
			return errEnough
		}
		page.Events = append(page.Events, e)
		return nil
	})
	return page, err
}

// A statement grows by conditions.
type statement struct {
	where []string
	args  []any
	limit int
}

func (s *statement) add(condition string, args ...any) {
	for _, a := range args {
		s.args = append(s.args, a)
		condition = strings.Replace(condition, "?", "$"+strconv.Itoa(len(s.args)), 1)
	}
	s.where = append(s.where, condition)
}

// String asks for one more than the limit, which tells whether there are more.
func (s *statement) String() string {
	text := "SELECT " + columns + " FROM events"
	if len(s.where) > 0 {
		text += " WHERE " + strings.Join(s.where, " AND ")
	}
	return text + " ORDER BY time, part, sequence, place LIMIT " + strconv.Itoa(s.limit+1)
}

func (q Query) statement() (*statement, error) {
	s := &statement{limit: q.Limit}
	switch {
	case q.Limit < 0 || q.Limit > maxLimit:
		return nil, malformed("limit: it is %d: want 1 to %d", q.Limit, maxLimit)
	case q.Limit == 0:
		s.limit = defaultLimit
	}
	if err := q.addNames(s); err != nil {
		return nil, err
	}
	if err := q.addTimes(s); err != nil {
		return nil, err
	}
	for _, f := range []struct{ column, value string }{
		{"correlation", q.CorrelationID}, {"causation", q.CausationID}, {"command_id", q.CommandID}, {"author", q.User},
	} {
		if f.value != "" {
			s.add(f.column+" = ?", text(f.value))
		}
	}
	if q.After == "" {
		return s, nil
	}
	at, err := parseCursor(q.After)
	if err != nil {
		return nil, err
	}
	s.add("(time, part, sequence, place) > (?, ?, ?, ?)", at.time, at.part, at.sequence, at.place)
	return s, nil
}

func (q Query) addTimes(s *statement) error {
	for _, f := range []struct {
		name, condition string
		at              *time.Time
	}{{"since", "time >= ?", q.Since}, {"until", "time < ?", q.Until}} {
		if f.at == nil {
			continue
		}
		if err := messages.CheckTime(*f.at); err != nil {
			return malformed("%s: %w", f.name, err)
		}
		s.add(f.condition, f.at.UnixNano())
	}
	if q.Since != nil && q.Until != nil && !q.Until.After(*q.Since) {
		return malformed("until: no event can be before it that is not before since: want a later time than since")
	}
	return nil
}

func (q Query) addNames(s *statement) error {
	switch {
	case q.Ref == "":
	case !strings.Contains(q.Ref, "/"):
		if _, err := messages.ParseType(q.Ref); err != nil {
			return malformed("ref: %w", err)
		}
		s.add("type = ?", q.Ref)
	default:
		typ, id, err := messages.ParseRef(q.Ref)
		if err != nil {
			return malformed("ref: %w", err)
		}
		s.add("ref = ?", messages.FormatRef(typ, id))
	}
	if q.Event == "" {
		return nil
	}
	if _, err := messages.ParseName(short(q.Event)); err != nil {
		return malformed("event: %q: want a message's name, short or full, as OrderPlaced or shop.v1.OrderPlaced", q.Event)
	}
	s.add("short = ?", short(q.Event))
	if strings.Contains(q.Event, ".") {
		s.add("event = ?", text(q.Event))
	}
	return nil
}

func (c cursor) String() string {
	return fmt.Sprintf("%d-%d-%d-%d", c.time, c.part, c.sequence, c.place)
}

func parseCursor(s string) (c cursor, err error) {
	if n, err := fmt.Sscanf(s, "%d-%d-%d-%d", &c.time, &c.part, &c.sequence, &c.place); err != nil || n != 4 || c.String() != s {
		return c, malformed("after: %q is no page's next", s)
	}
	return c, nil
}

func malformed(format string, args ...any) error {
	return holdfast.Errorf(holdfast.CodeMalformed, format, args...)
}
