package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/messages"
)

// ExplainCommand makes the verb explain, for operators.
func ExplainCommand(cfg Config, access Access) *cobra.Command {
	cfg = cfg.withDefaults()
	o := &operating{access: access, serving: indexing}
	cmd := &cobra.Command{
		Use:   "explain COMMAND-ID",
		Short: "Tell what a command has led to, as a tree",
		Long: `Tell what the command with that id has led to: the events that it was decided to have, the
commands that follow from each, as those of sagas do, their events, and so on, with times
and on whose behalf. The id is that which the client gave or was told (Nats-Msg-Id, --id);
history and events show it.
` + exitHelp + ".",
		Example: cfg.example(`  node explain order-17
  node explain checkout/o-1:pay --json`),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	o.bind(cmd.PersistentFlags())
	check := func(args []string) error {
		if err := messages.CheckCommandID(args[0]); err != nil {
			return usagef("%q is no id of a command: %w", args[0], err)
		}
		return nil
	}
	cmd.RunE = o.runner(cfg, check, func(ctx context.Context, c *client, args []string) error {
		return o.explain(ctx, c, args[0])
	})
	return cmd
}

// A story is a node's answer.
type story struct {
	Because string       `json:"because"`
	Command storyCommand `json:"command"`
	Cut     bool         `json:"cut"`
}

type storyCommand struct {
	ID     string         `json:"id"`
	Name   string         `json:"name"`
	Ref    string         `json:"ref"`
	User   string         `json:"user"`
	Time   string         `json:"time"`
	Events []storyFact    `json:"events"`
	Caused []storyCommand `json:"caused"`
}

type storyFact struct {
	indexedEvent
	Caused []storyCommand `json:"caused"`
}

func (o *operating) explain(ctx context.Context, c *client, id string) error {
	body, err := json.Marshal(map[string]string{"commandId": id})
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := c.ask(ctx, request{subject: messages.IndexSubject(c.context, messages.IndexExplain), body: body}, &raw); err != nil {
		return err
	}
	if o.json {
		return writeJSON(c.cfg.Out, raw)
	}
	var s story
	if err := decodeAnswer(raw, &s); err != nil {
		return err
	}
	return c.cfg.tellStory(s)
}

// tellStory writes a story as a tree.
func (c Config) tellStory(s story) error {
	var b strings.Builder
	c.tellCommand(&b, "", "", s.Command)
	if s.Because != "" {
		fmt.Fprintf(&b, "because of %s\n", oneLine(s.Because))
	}
	if s.Cut {
		b.WriteString("there is more than is told here: explain a command within it\n")
	}
	_, err := io.WriteString(c.Out, b.String())
	return err
}

// tellCommand writes a command, and below it what it has led to. head begins its line, and
// margin those below.
func (c Config) tellCommand(b *strings.Builder, head, margin string, cmd storyCommand) {
	by := ""
	if cmd.User != "" {
		by = " for " + cmd.User
	}
	fmt.Fprintf(b, "%s%s  %s to %s%s  %s\n", head, shortTime(cmd.Time), c.paint(bold, oneLine(shortName(cmd.Name))), oneLine(cmd.Ref), oneLine(by), oneLine(cmd.ID))
	rest := len(cmd.Events) + len(cmd.Caused)
	branch := func() (head, below string) {
		if rest--; rest == 0 {
			return margin + "└─ ", margin + "   "
		}
		return margin + "├─ ", margin + "│  "
	}
	for _, e := range cmd.Events {
		head, below := branch()
		fmt.Fprintf(b, "%s%s  %s\n", head, c.paint(green, oneLine(shortName(e.Event))), oneLine(e.ID))
		for i, caused := range e.Caused {
			if i == len(e.Caused)-1 {
				c.tellCommand(b, below+"└─ ", below+"   ", caused)
			} else {
				c.tellCommand(b, below+"├─ ", below+"│  ", caused)
			}
		}
	}
	for _, caused := range cmd.Caused {
		head, below := branch()
		c.tellCommand(b, head, below, caused)
	}
}
