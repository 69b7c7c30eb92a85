package index

import (
	"slices"
	"strconv"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/projections"
)

// maxStory is how many events a story tells.
const maxStory = 1000

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
// those of sagas do, and so on. It returns ErrUnknown when the index has no event of such a
// command: it was rejected, found nothing to do, or is not there yet.
func Explain(r *projections.Rows, commandID string) (Story, error) {
	t := teller{rows: r, told: map[string]bool{}}
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
	first := found[0]
	first.Command.Caused = append(first.Command.Caused, commandsOf(found[1:])...)
	err = t.follow(&first.Command)
	return Story{Because: first.because, Command: first.Command, Cut: t.count >= maxStory}, err
}

type teller struct {
	rows  *projections.Rows
	told  map[string]bool // by command and aggregate
	count int
}

type found struct {
	Command
	because string
}

func commandsOf(all []found) (commands []Command) {
	for _, f := range all {
		commands = append(commands, f.Command)
	}
	return commands
}

// follow tells what follows from a command.
func (t *teller) follow(c *Command) error {
	for i := range c.Caused {
		if err := t.follow(&c.Caused[i]); err != nil {
			return err
		}
	}
	for i := range c.Events {
		if err := t.caused(&c.Events[i].Caused, c.Events[i].ID); err != nil {
			return err
		}
	}
	return t.caused(&c.Caused, c.ID)
}

func (t *teller) caused(into *[]Command, by string) error {
	all, err := t.commands("causation", by)
	if err != nil {
		return err
	}
	for _, f := range all {
		if err := t.follow(&f.Command); err != nil {
			return err
		}
		*into = append(*into, f.Command)
	}
	return nil
}

// commands gives the commands whose events have that value in a column, and that have not been
// told, in the order of their first events.
func (t *teller) commands(column, value string) ([]found, error) {
	if t.count >= maxStory {
		return nil, nil
	}
	var all []found
	query := "SELECT " + columns + " FROM events WHERE " + column + " = $1 ORDER BY time, part, sequence, place LIMIT " + strconv.Itoa(maxStory-t.count)
	err := each(t.rows, query, []any{text(value)}, func(e Event) error {
		t.count++
		i := slices.IndexFunc(all, func(f found) bool { return f.ID == e.CommandID && f.Ref == e.Ref })
		if i < 0 {
			i = len(all)
			all = append(all, found{because: e.CausationID, Command: Command{
				ID: e.CommandID, Name: e.Command, Ref: e.Ref, User: e.User, CorrelationID: e.CorrelationID, Time: e.Time,
			}})
		}
		all[i].Events = append(all[i].Events, Fact{Event: e})
		return nil
	})
	all = slices.DeleteFunc(all, func(f found) bool {
		key := f.ID + " " + f.Ref
		again := t.told[key]
		t.told[key] = true
		return again
	})
	return all, err
}

// eventID is the id under which history and the feed show an event.
func eventID(ref string, version uint64) string { return ref + "@" + strconv.FormatUint(version, 10) }
