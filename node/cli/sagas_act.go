package cli

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/messages"
)

// An action is what an operator can do to a saga.
type action struct {
	verb        messages.DeskVerb
	use, short  string
	long        string
	example     string
	most, least int      // arguments behind REF
	names       []string // of these, in the body
	completes   func(cmd *cobra.Command, o *operating, cfg Config, args []string) []string
}

var actions = []action{
	{
		verb: messages.DeskRetry, use: "retry REF STEP", short: "Try a step again, now",
		long: `Try a step of the saga REF again, now: one whose attempts are used up, or that waits for the
next one. Do it when what was in its way is gone.`,
		example: `  node sagas retry checkout/o-1 confirm --reason 'the order is mended'
  node sagas retry checkout/o-1 pay --reason 'the bank is back' --as ann@example.org`,
		least: 1, most: 1, names: []string{"step"}, completes: stepsOf,
	},
	{
		verb: messages.DeskSkip, use: "skip REF [STEP]", short: "Go on as if a step had been done",
		long: `Have the saga REF go on as if a step had been done, or undone, after somebody has done by other
means what it was to do. It is not undone later. Without a STEP, what could not be taken in
and was parked first is left out.`,
		example: `  node sagas skip checkout/o-1 notify --reason 'told by phone'
  node sagas skip checkout/o-1 --reason 'a test event, which concerns nobody'`,
		most: 1, names: []string{"step"}, completes: stepsOf,
	},
	{
		verb: messages.DeskEdit, use: "edit REF STEP", short: "Send another command for a step",
		long: `Send another command in the place of the one that a step of the saga REF has sent, of the same
kind: with other data, or to another aggregate. It goes out when it is certain that the one
before is not executed any more. 'sagas show' shows what was sent.`,
		example: `  node sagas edit checkout/o-1 notify --command '{"to":"ada","text":"It is on its way."}' --reason 'a wrong address'
  node sagas edit checkout/o-1 notify --command @mail.json --to mail/o-2 --reason 'a wrong address'`,
		least: 1, most: 1, names: []string{"step"}, completes: stepsOf,
	},
	{
		verb: messages.DeskResume, use: "resume REF", short: "Let a stuck saga try again",
		long: `Let the stuck saga REF try again all that it is stuck with: its steps whose attempts are used
up, and what it could not take in. Do it when what was in the way of all is gone, or a new
release has mended a bug.`,
		example: `  node sagas resume checkout/o-1 --reason 'release 1.2.1 reads that event'`,
	},
	{
		verb: messages.DeskCancel, use: "cancel REF", short: "Undo what a saga has done",
		long: `Have the saga REF undo what it has done, or do what it does when it is not wanted any more. A
saga that is past the point of no return, or undone already, refuses.`,
		example: `  node sagas cancel checkout/o-1 --reason 'the customer has changed her mind'`,
	},
	{
		verb: messages.DeskForce, use: "force REF STATUS", short: "End a saga as it is",
		long: `End the saga REF as it is, and call it completed, compensated or cancelled. Nothing is undone,
and nothing that is under way is called back: see first to what is open, with 'sagas show'.`,
		example: `  node sagas force checkout/o-1 compensated --reason 'refunded by hand, voucher 4711'`,
		least:   1, most: 1, names: []string{"status"},
		completes: func(*cobra.Command, *operating, Config, []string) []string {
			return []string{"completed", "compensated", "cancelled"}
		},
	},
}

type actOptions struct {
	*operating
	action
	reason, as, id  string
	command, editTo string
	expect          uint64
	expected        bool // --expect was given
}

func sagaActCommands(cfg Config, common *operating) []*cobra.Command {
	var all []*cobra.Command
	for _, a := range actions {
		all = append(all, sagaActCommand(cfg, &actOptions{operating: common, action: a}))
	}
	return all
}

func sagaActCommand(cfg Config, o *actOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use: o.use, Short: o.short,
		Long: o.long + `

It is a command to the saga: who did it, when and why stands in its history. When nobody
answers in time it is sent again with the same id, until --timeout.
` + exitHelp + rejectedHelp,
		Example: cfg.example(o.example),
		Args: func(_ *cobra.Command, args []string) error {
			if n := len(args) - 1; n < o.least || n > o.most {
				return fmt.Errorf("want '%s': %d arguments are given", o.use, len(args))
			}
			return nil
		},
		ValidArgsFunction: o.completeRef(cfg, o.completes),
	}
	fs := cmd.Flags()
	fs.StringVar(&o.reason, "reason", "", "why, for whoever looks at the saga later; required")
	fs.StringVar(&o.as, "as", "", "`name` of who does it (default who runs the command, as the operating system says)")
	fs.StringVar(&o.id, "id", "", "`id` of the command, which makes sending it again safe (default a random one)")
	fs.Uint64Var(&o.expect, "expect", 0, "`version` at which the saga must be, as 'sagas show' tells it")
	if o.verb == messages.DeskEdit {
		fs.StringVar(&o.command, "command", "", "the other command's data: a `JSON` object, @FILE or - for standard input; required")
		fs.StringVar(&o.editTo, "to", "", "`REF` to send it to, written type/id (default where the one before was sent)")
	}
	var body []byte
	check := func(args []string) (err error) {
		o.expected = fs.Changed("expect")
		body, err = o.order(cfg, args)
		return err
	}
	cmd.RunE = o.runner(cfg, check, func(ctx context.Context, c *client, args []string) error { return o.act(ctx, c, args[0], body) })
	return cmd
}

// order makes the body of the request, or says what is wrong.
func (o *actOptions) order(cfg Config, args []string) ([]byte, error) {
	if _, _, err := argRef(args[0], o.encoded); err != nil {
		return nil, err
	}
	if strings.TrimSpace(o.reason) == "" {
		return nil, usagef("--reason: say why, for whoever looks at the saga later")
	}
	if o.as == "" {
		var err error
		if o.as, err = osUser(); err != nil {
			return nil, err
		}
	}
	if o.id == "" {
		o.id = rand.Text()
	}
	for flag, header := range map[string]string{"as": messages.HeaderUser, "id": messages.HeaderID} {
		if _, err := messages.ParseRequestHeader(messages.KindCommand, map[string][]string{header: o.header()[header]}); err != nil {
			return nil, usagef("--%s: %w", flag, err)
		}
	}
	body := map[string]any{"reason": o.reason}
	for i, value := range args[1:] {
		body[o.names[i]] = value
	}
	if o.verb == messages.DeskEdit {
		if err := o.edit(cfg, body); err != nil {
			return nil, err
		}
	}
	return json.Marshal(body)
}

// edit puts into the body what stands in the place of a step's command.
func (o *actOptions) edit(cfg Config, body map[string]any) error {
	if o.command == "" {
		return usagef("--command: say what is to be sent instead, as a JSON object; 'sagas show' shows what was sent")
	}
	data, err := readData(cfg.In, o.command)
	if err == nil {
		err = checkData(data)
	}
	if err == nil && !startsObject(data) {
		err = errNoObject
	}
	if err != nil {
		return usagef("--command: %w", err)
	}
	body["command"] = json.RawMessage(data)
	if o.editTo != "" {
		typ, id, err := parseRef(o.editTo, o.encoded)
		if err != nil {
			return usagef("--to: %w", err)
		}
		body["to"] = messages.FormatRef(typ, id)
	}
	return nil
}

func (o *actOptions) header() map[string][]string {
	h := map[string][]string{messages.HeaderUser: {o.as}, messages.HeaderID: {o.id}}
	if o.expected {
		h[messages.HeaderExpectedVersion] = []string{strconv.FormatUint(o.expect, 10)}
	}
	return h
}

// A sagaOutcome is the answer to an action, as it is printed.
type sagaOutcome struct {
	acceptance
	// Status is where the saga stands now; empty when it could not be said.
	Status string `json:"status"`
}

func (o *actOptions) act(ctx context.Context, c *client, arg string, body []byte) error {
	typ, id, err := argRef(arg, o.encoded)
	if err != nil {
		return err
	}
	ref := messages.FormatRef(typ, id)
	answer, attempts, err := c.call(ctx, request{
		subject: messages.DeskSubject{Context: c.context, Verb: o.verb, Saga: typ, ID: id}.String(),
		header:  o.header(), body: body, grace: answerGrace,
		retrying: func(pause time.Duration, because *callError) {
			fmt.Fprintf(c.cfg.Err, "%s; trying again with the same id %s in %v\n",
				oneLine(because.Code+": "+because.Message), o.id, pause.Round(10*time.Millisecond))
		},
	})
	out := sagaOutcome{acceptance: acceptance{Ref: ref, ID: o.id, Attempts: attempts}}
	if err == nil {
		err = decodeAnswer(answer, &out)
	}
	switch {
	case err != nil:
		return about(err, ref, o.id)
	case o.json:
		return writeJSON(c.cfg.Out, out)
	}
	_, err = fmt.Fprintln(c.cfg.Out, oneLine(out.line(o)))
	return err
}

func (out sagaOutcome) line(o *actOptions) string {
	text := fmt.Sprintf("%s: %s, by %s", out.Ref, o.verb, o.as)
	if out.Duplicate {
		text = fmt.Sprintf("%s: this was done before, with the same id", out.Ref)
	}
	if out.Status != "" {
		text += "; it is " + out.Status
	}
	return fmt.Sprintf("%s, version %d", text, out.Version)
}

// completeRef completes REF to the sagas that are not over, and what follows it.
func (o *operating) completeRef(cfg Config, more func(*cobra.Command, *operating, Config, []string) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		const none = cobra.ShellCompDirectiveNoFileComp
		switch {
		case len(args) == 0:
			return o.briefly(cmd, cfg).refs(), none
		case len(args) == 1 && more != nil:
			return more(cmd, o, cfg, args), none
		}
		return nil, none
	}
}

// stepsOf gives the names of the steps of the saga that is named.
func stepsOf(cmd *cobra.Command, o *operating, cfg Config, args []string) (names []string) {
	typ, id, err := argRef(args[0], o.encoded)
	if err != nil {
		return nil
	}
	_ = o.withClient(cmd, cfg, func(ctx context.Context, c *client) error {
		s, err := c.sagaShown(ctx, typ, id)
		var state struct{ Steps []struct{ Name string } }
		if err == nil {
			err = json.Unmarshal(s.State, &state)
		}
		for _, step := range state.Steps {
			names = append(names, step.Name)
		}
		return err
	})
	return names
}
