package index

import (
	"slices"
	"strconv"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/projections"
)

const (
	// maxStory is how many events a story tells, and maxDepth how many commands of which each
	// follows from the one before.
	maxStory = 1000
	maxDepth = 100
	// maxSeen is how many events are read of one cause: those that may be told, those that are
	// told already, and one more.
	maxSeen = 2*maxStory + 1
	// factRoom is what a fact takes beside the event: "caused":[] and a comma.
	factRoom = 16
)

// A Story is what a command has led to.
type Story struct {
	// Because is the event, or the id of the message, that the command says it follows from.
	Because string  `json:"because,omitempty"`
	Command Command `json:"command"`
	// Cut says that there is more than is told.
	Cut bool `json:"cut,omitempty"`
}

// A Command is one that recorded events, and Events are these.
type Command struct {
	ID            string    `json:"id"`
	Name          string    `json:"name"`
	Ref           string    `json:"ref"`
	User          string    `json:"user"`
	CorrelationID string    `json:"correlationId"`
	Time          time.Time `json:"time"`
	Events        []Fact    `json:"events"`
	// Caused are the commands that name this one as their cause, and none of its events.
	Caused []Command `json:"caused,omitempty"`
}

// A Fact is an event of a story, and Caused the commands that name it as their cause.
type Fact struct {
	Event
	Caused []Command `json:"caused,omitempty"`
}

// Explain tells what a command has led to: its events, the commands that follow from each, as
// those of sagas do, and so on; or so much of it as room bytes have. It returns ErrUnknown when
// the index has no event of such a command: it was rejected, found nothing to do, or is not
// there yet.
func Explain(r *projections.Rows, commandID string, room int) (Story, error) {
	t := teller{rows: r, told: map[string]bool{}, asked: map[string]bool{}, room: room - pageRoom}
	found, err := t.commands("command_id", commandID)
	if err != nil {
		return Story{}, err
	}
	if len(found) == 0 {
		return Story{}, holdfast.Errorf(holdfast.CodeUnknown,
			"the index has no event of the command %q: it was rejected, found nothing to do, has another id, or is so new that the index does not have it yet", commandID)
	}
	// One id may have been given to commands of several aggregates: they are told as one story,
	// of which the first is the command.
	story := Story{Because: found[0].because, Command: found[0].Command}
	err = t.follow(&story.Command, 1)
	for _, other := range found[1:] {
		if err == nil {
			err = t.follow(&other.Command, 2)
		}
		story.Command.Caused = append(story.Command.Caused, other.Command)
	}
	story.Cut = t.cut
	return story, err
}

// A teller asks for each cause once, and tells each command once: causes may go in circles.
type teller struct {
	rows  *projections.Rows
	told  map[string]bool // by command and aggregate
	asked map[string]bool // by cause
	count int             // of events
	room  int
	cut   bool
}

type found struct {
	Command
	because string
}

// follow tells what follows from a command that is so deep in the story.
func (t *teller) follow(c *Command, depth int) error {
	for i := range c.Events {
		if err := t.caused(&c.Events[i].Caused, c.Events[i].ID, depth); err != nil {
			return err
		}
	}
	return t.caused(&c.Caused, c.ID, depth)
}

func (t *teller) caused(into *[]Command, by string, depth int) error {
	if t.cut || t.asked[by] {
		return nil
	}
	t.asked[by] = true
	all, err := t.commands("causation", by)
	if err != nil {
		return err
	}
	if len(all) > 0 && depth == maxDepth {
		t.cut = true
		return nil
	}
	for _, f := range all {
		if err := t.follow(&f.Command, depth+1); err != nil {
			return err
		}
		*into = append(*into, f.Command)
	}
	return nil
}

// commands gives the commands whose events have that value in a column, and that have not been
// told, in the order of their first events.
func (t *teller) commands(column, value string) ([]found, error) {
	var all []found
	seen := 0
	query := "SELECT " + columns + " FROM events WHERE " + column + " = $1 ORDER BY time, part, sequence, place LIMIT " + strconv.Itoa(maxSeen)
	err := each(t.rows, query, []any{text(value)}, func(e Event) error {
		if seen++; seen == maxSeen {
			t.cut = true
		}
		if t.told[key(e)] {
			return nil
		}
		takes, err := size(e)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(f found) bool { return f.ID == e.CommandID && f.Ref == e.Ref })
		if i < 0 {
			takes += takes + factRoom // what a command says is in its events, too
		}
		if t.count++; t.count > maxStory || t.count > 1 && t.room < takes {
			t.cut = true
			return errEnough
		}
		t.room -= takes + factRoom
		if i < 0 {
			i = len(all)
			all = append(all, found{because: e.CausationID, Command: Command{
				ID: e.CommandID, Name: e.Command, Ref: e.Ref, User: e.User, CorrelationID: e.CorrelationID, Time: e.Time,
			}})
		}
		all[i].Events = append(all[i].Events, Fact{Event: e})
		return nil
	})
	for _, f := range all {
		t.told[key(f.Events[0].Event)] = true
	}
	return all, err
}

func key(e Event) string { return e.CommandID + " " + e.Ref }

// eventID is the id under which history and the feed show an event.
func eventID(ref string, version uint64) string { return ref + "@" + strconv.FormatUint(version, 10) }
