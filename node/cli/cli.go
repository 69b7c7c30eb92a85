package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// The exit codes of a node's binary.
const (
	// ExitOK: it was done.
	ExitOK = 0
	// ExitFailure: it was not done, or not all of it, or nobody knows.
	ExitFailure = 1
	// ExitUsage: the command line is wrong; nothing was tried.
	ExitUsage = 2
	// ExitRejected: the domain said no, and nothing else went wrong.
	ExitRejected = 3
)

const (
	exitHelp = `
Exit codes: 0 done, 1 failed, 2 wrong usage`
	rejectedHelp = `, 3 rejected by the domain.`
)

// Config is what the verbs have of the world. The zero value is the process's own
// streams, taken for files and not for a terminal; see [Standard].
type Config struct {
	// Program is the binary's name, for examples and remedies. Default "node".
	Program string
	// In, Out and Err are the streams; Out has results, Err has what people are told.
	In       io.Reader
	Out, Err io.Writer
	// Terminal says that a person watches Out: colours may be used.
	Terminal bool
	// ErrTerminal says that a person watches Err: colours and a progress bar may be used.
	ErrTerminal bool
	// Getenv reads an environment variable. Default os.Getenv.
	Getenv func(string) string
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Wait returns after d, or with ctx's error when ctx ends first. Default: a timer.
	Wait func(ctx context.Context, d time.Duration) error
}

// Standard is the process's own streams and clock.
func Standard(program string) Config {
	return Config{
		Program:     program,
		Terminal:    term.IsTerminal(int(os.Stdout.Fd())),
		ErrTerminal: term.IsTerminal(int(os.Stderr.Fd())),
	}.withDefaults()
}

func (c Config) withDefaults() Config {
	if c.Program == "" {
		c.Program = "node"
	}
	if c.In == nil {
		c.In = os.Stdin
	}
	if c.Out == nil {
		c.Out = os.Stdout
	}
	if c.Err == nil {
		c.Err = os.Stderr
	}
	if c.Getenv == nil {
		c.Getenv = os.Getenv
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Wait == nil {
		c.Wait = waitTimer
	}
	return c
}

func waitTimer(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Commands makes the verbs, to be added to a root command and run by [Execute]. They
// stop when the context of the command ends.
func Commands(cfg Config) []*cobra.Command {
	cfg = cfg.withDefaults()
	return []*cobra.Command{sendCommand(cfg), applyCommand(cfg), getCommand(cfg), historyCommand(cfg)}
}

// Execute runs root's command line, tells its error on cfg.Err and returns the exit
// code. An error that comes before a command's RunE is one of usage. The context of
// the commands ends with ctx and at the first interrupt or termination signal; a
// second one ends the process.
func Execute(ctx context.Context, root *cobra.Command, cfg Config) int {
	cfg = cfg.withDefaults()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, stop)()

	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetIn(cfg.In)
	root.SetOut(cfg.Out)
	root.SetErr(cfg.Err)
	reached := false
	markReached(root, &reached)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !reached {
		err = usage(err)
	}
	return cfg.tell(cmd, err)
}

func markReached(cmd *cobra.Command, reached *bool) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			*reached = true
			return run(cmd, args)
		}
	}
	for _, child := range cmd.Commands() {
		markReached(child, reached)
	}
}

// tell says what went wrong, unless that has been said, and gives the exit code.
func (c Config) tell(cmd *cobra.Command, err error) int {
	if err == nil {
		return ExitOK
	}
	end := asEnd(err)
	if !end.told {
		fmt.Fprintln(c.Err, c.headline(end))
	}
	if end.code == ExitUsage {
		fmt.Fprintf(c.Err, "Run '%s --help' for usage.\n", cmd.CommandPath())
	}
	return end.code
}

func (c Config) headline(end *endError) string {
	text := printable(end.Error())
	c.Terminal = c.ErrTerminal
	if end.code == ExitRejected {
		return c.paint(yellow, "rejected: ") + text
	}
	return c.paint(red, "error: ") + text
}

// An endError is how a command ended, when not well.
type endError struct {
	code int
	told bool // whoever ran the command knows already
	err  error
}

func (e *endError) Error() string { return e.err.Error() }
func (e *endError) Unwrap() error { return e.err }

func asEnd(err error) *endError {
	if end, ok := errors.AsType[*endError](err); ok {
		return end
	}
	if call, ok := errors.AsType[*callError](err); ok && call.Status == statusRejected {
		return &endError{code: ExitRejected, err: err}
	}
	return &endError{code: ExitFailure, err: err}
}

func usage(err error) error { return &endError{code: ExitUsage, err: err} }

func usagef(format string, args ...any) error { return usage(fmt.Errorf(format, args...)) }
