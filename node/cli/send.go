package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

type sendOptions struct {
	options
	encoded  bool
	meta     commandMeta
	expect   uint64
	expected bool // --expect was given
}

func sendCommand(cfg Config) *cobra.Command {
	o := &sendOptions{}
	cmd := &cobra.Command{
		Use:   "send REF COMMAND [JSON | @FILE | -]",
		Short: "Send a command to an aggregate and wait until what it decided is durable",
		Long: `Send a command to the aggregate REF, written type/id, and wait until what it decided
is durable. The command's data is a JSON object: as an argument, from a file (@FILE) or
from standard input (-); without one it is {}.

When nobody answers in time, or the node cannot execute the command just now, it is
sent again with the same id, until --timeout. The aggregate executes an id only once.
` + exitHelp + rejectedHelp,
		Example: strings.ReplaceAll(`  node send account/a-1 OpenAccount '{"owner":"Ann"}'
  node send account/a-1 Deposit '{"amount":100}' --id order-17 --expect 1
  node send account/a-1 CloseAccount --user ann@example.org
  node send 'account/a 1' Deposit @deposit.json --json`, "  node", "  "+cfg.Program),
		Args:              cobra.RangeArgs(2, 3),
		ValidArgsFunction: completer(cfg, &o.options, true),
	}
	fs := cmd.Flags()
	o.bind(fs, askTimeout, "how long to go on trying")
	fs.BoolVar(&o.encoded, "encoded", false, encodedHelp)
	fs.StringVar(&o.meta.id, "id", "", "`id` of the command, which makes sending it again safe (default a random one)")
	fs.Uint64Var(&o.expect, "expect", 0, "`version` at which the aggregate must be; 0 = nothing may have happened yet")
	fs.StringVar(&o.meta.user, "user", "", "`name` of the user on whose behalf the command is sent")
	fs.StringVar(&o.meta.correlation, "correlation", "", "`id` of the story to which the command belongs")
	fs.StringVar(&o.meta.causation, "causation", "", "`id` of the message that caused the command")
	bindEnv(fs, "user")
	cmd.RunE = cfg.runner(&o.options, func(ctx context.Context, args []string) error {
		o.expected = fs.Changed("expect")
		return runSend(ctx, cfg, o, args)
	})
	return cmd
}

func runSend(ctx context.Context, cfg Config, o *sendOptions, args []string) error {
	cmd, err := o.command(cfg, args)
	if err != nil {
		return err
	}
	c, err := connect(ctx, cfg, &o.options)
	if err != nil {
		return about(err, cmd.ref(), cmd.meta.id)
	}
	defer c.close()
	a, err := c.send(ctx, cmd, func(pause time.Duration, because *callError) {
		fmt.Fprintf(cfg.Err, "%s; trying again with the same id %s in %v\n",
			oneLine(because.Code+": "+because.Message), cmd.meta.id, pause.Round(10*time.Millisecond))
	})
	if err != nil {
		return err
	}
	if o.json {
		return writeJSON(cfg.Out, a)
	}
	_, err = fmt.Fprintln(cfg.Out, printable(cfg.acceptanceLine(a)))
	return err
}

// command makes the command of the arguments and flags.
func (o *sendOptions) command(cfg Config, args []string) (*command, error) {
	typ, id, err := argRef(args[0], o.encoded)
	if err != nil {
		return nil, err
	}
	cmd := &command{typ: typ, id: id, name: args[1], data: []byte("{}"), meta: o.meta}
	if o.expected {
		cmd.expected = &o.expect
	}
	if len(args) == 3 {
		if cmd.data, err = readData(cfg.In, args[2]); err != nil {
			return nil, err
		}
	}
	if cmd.meta.id == "" {
		cmd.meta.id = rand.Text()
	}
	if err := checkData(cmd.data); err != nil {
		return nil, usage(err)
	}
	if err := cmd.check("--"); err != nil {
		return nil, usage(err)
	}
	return cmd, nil
}

func readData(in io.Reader, arg string) ([]byte, error) {
	from := in
	switch {
	case arg == "-":
	case strings.HasPrefix(arg, "@"):
		f, err := os.Open(arg[1:])
		if err != nil {
			return nil, usagef("data: %w", err)
		}
		defer func() { _ = f.Close() }() // it was only read
		if info, err := f.Stat(); err == nil && info.IsDir() {
			return nil, usagef("data: %s is a folder", arg[1:])
		}
		from = f
	default:
		return []byte(arg), nil
	}
	data, err := io.ReadAll(io.LimitReader(from, maxData+1))
	if err != nil {
		return nil, fmt.Errorf("read data: %w", err)
	}
	if len(data) > maxData {
		return nil, errors.New("data: it has more than 8 MiB, which no server takes: send less at once")
	}
	return data, nil
}

func (c Config) acceptanceLine(a acceptance) string {
	names := make([]string, len(a.Events))
	for i, full := range a.Events {
		names[i] = shortName(full)
	}
	events := strings.Join(names, ", ")
	switch {
	case a.Duplicate && events == "":
		return fmt.Sprintf("%s had accepted this command id before: version %d, position %s", a.Ref, a.Version, a.Position)
	case a.Duplicate:
		return fmt.Sprintf("%s had accepted this command id before: %s, version %d, position %s", a.Ref, events, a.Version, a.Position)
	case events == "":
		return fmt.Sprintf("%s: nothing needed to happen, version %d, position %s", a.Ref, a.Version, a.Position)
	default:
		return fmt.Sprintf("%s: %s, version %d, position %s", a.Ref, events, a.Version, a.Position)
	}
}
