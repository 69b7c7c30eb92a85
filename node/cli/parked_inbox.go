package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/holdfast-run/holdfast/messages"
)

// A parkedCommand is of a command in the inbox what people see.
type parkedCommand struct {
	Ref, Command, CommandID, Accepted, Code, Reason, Since string
	Attempts                                               int
	Wish                                                   *struct {
		Skip           bool
		By, Reason, At string
	}
	User   string
	Data   json.RawMessage
	Behind []struct{ Command, CommandID, Accepted string }
	More   bool
}

// key of a parked command is its aggregate, as it is named on the command line.
func (p parkedCommand) key() string {
	typ, id, err := messages.ParseRef(p.Ref)
	if err != nil {
		return p.Ref
	}
	return typ + "/" + id.Raw()
}

// checkKey checks the KEY of the inbox.
func checkKey(args []string) error {
	if args[0] != inInbox || len(args) < 2 {
		return nil
	}
	if _, _, err := parseRef(args[1], false); err != nil {
		return usagef("KEY: %w", err)
	}
	return nil
}

// parkedCommands gives what is parked of the inbox.
func (c *client) parkedCommands(ctx context.Context, limit uint64) (rows []parkedRow, err error) {
	subject := messages.ParkedSubject{Context: c.context, Verb: messages.ParkedList}.String()
	for after := ""; uint64(len(rows)) < limit; {
		var page struct {
			Parked []json.RawMessage
			Next   string
		}
		body, err := json.Marshal(map[string]any{"limit": min(limit-uint64(len(rows)), defaultHistory), "after": after})
		if err != nil {
			return nil, err
		}
		if err := c.ask(ctx, request{subject: subject, body: body}, &page); err != nil {
			return nil, err
		}
		for _, raw := range page.Parked {
			var p parkedCommand
			if err := decodeAnswer(raw, &p); err != nil {
				return nil, err
			}
			rows = append(rows, parkedRow{raw, inInbox, p.key(), p.CommandID, 1, p.Attempts, p.Since, p.Reason})
		}
		if page.Next == "" || page.Next == after { // or it would go on for ever
			break
		}
		after = page.Next
	}
	return rows, nil
}

func (o *parking) showCommandOf(ctx context.Context, c *client, key string) error {
	typ, id, err := parseRef(key, false)
	if err != nil {
		return usagef("KEY: %w", err)
	}
	subject := messages.ParkedSubject{Context: c.context, Verb: messages.ParkedShow, Type: typ, ID: id}
	var raw json.RawMessage
	if err := c.ask(ctx, request{subject: subject.String()}, &raw); err != nil || o.json {
		if err == nil {
			err = writeJSON(c.cfg.Out, raw)
		}
		return err
	}
	var p parkedCommand
	if err := decodeAnswer(raw, &p); err != nil {
		return err
	}
	c.cfg.showParkedCommand(p)
	return nil
}

func (c Config) showParkedCommand(p parkedCommand) {
	line := func(format string, args ...any) { fmt.Fprintln(c.Out, oneLine(fmt.Sprintf(format, args...))) }
	fmt.Fprintln(c.Out, c.paint(bold, oneLine(fmt.Sprintf("inbox %s: %s is parked", p.key(), p.Command))))
	line("%s  %s, accepted %s", p.CommandID, p.Command, when(c.Now(), p.Accepted))
	if p.User != "" {
		line("    by %s", p.User)
	}
	line("    failed: %s; tried %d times, parked %s", p.Reason, p.Attempts, when(c.Now(), p.Since))
	if w := p.Wish; w != nil {
		what := "to be tried again"
		if w.Skip {
			what = "to be skipped: " + w.Reason
		}
		line("    ordered by %s %s, and not done yet: %s", w.By, when(c.Now(), w.At), what)
	}
	var data bytes.Buffer
	if string(p.Data) == "null" {
		line("    this build does not know it")
	} else if json.Compact(&data, p.Data) == nil {
		line("    %s", data.String())
	}
	for _, b := range p.Behind {
		line("%s  %s, accepted %s", b.CommandID, b.Command, when(c.Now(), b.Accepted))
	}
	if p.More {
		line("and more")
	}
}

// wish has something done to what is parked of the inbox.
func (o *parking) wish(ctx context.Context, c *client, verb messages.ParkedVerb, args []string, as string, body map[string]any) error {
	typ, id, err := parseRef(args[1], false)
	if err != nil {
		return usagef("KEY: %w", err)
	}
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	var raw json.RawMessage
	err = c.ask(ctx, request{
		subject: messages.ParkedSubject{Context: c.context, Verb: verb, Type: typ, ID: id}.String(),
		header:  map[string][]string{messages.HeaderUser: {as}}, body: text, patience: acting,
	}, &raw)
	switch {
	case err != nil:
		return err
	case o.json:
		return writeJSON(c.cfg.Out, raw)
	}
	var a struct {
		Ref, CommandID string
		Done           bool
		Parked         *parkedCommand
	}
	if err := decodeAnswer(raw, &a); err != nil {
		return err
	}
	said := fmt.Sprintf("inbox %s %s: %s, by %s; ", args[1], a.CommandID, verb, as)
	switch {
	case !a.Done:
		said += "it is ordered, and not done yet: see 'parked'"
	case a.Parked == nil:
		said += "nothing is parked any more"
	default:
		said += fmt.Sprintf("%s is parked: %s", a.Parked.CommandID, a.Parked.Reason)
	}
	return c.cfg.say(said)
}
