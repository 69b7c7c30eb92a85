package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

const (
	defaultServer  = "nats://127.0.0.1:4222"
	defaultContext = "demo"
	askTimeout     = 10 * time.Second
	applyTimeout   = time.Minute
)

// options are the flags that every verb has.
type options struct {
	server, context              string
	login, password, credentials string
	ca                           string
	timeout                      time.Duration
	json                         bool
}

// envKey annotates a flag that an environment variable can set.
const envKey = "holdfast_env"

// bindEnv lets HOLDFAST_<NAME> set the flags, and says so in their help.
func bindEnv(fs *pflag.FlagSet, names ...string) {
	for _, name := range names {
		f := fs.Lookup(name)
		env := "HOLDFAST_" + strings.ToUpper(name)
		f.Annotations = map[string][]string{envKey: {env}}
		f.Usage += " (" + env + ")"
	}
}

// readEnv sets the flags that were not given from the environment.
func readEnv(fs *pflag.FlagSet, getenv func(string) string) error {
	var errs []error
	fs.VisitAll(func(f *pflag.Flag) {
		env := f.Annotations[envKey]
		if len(env) == 0 || f.Changed {
			return
		}
		if v := getenv(env[0]); v != "" {
			if err := fs.Set(f.Name, v); err != nil {
				errs = append(errs, fmt.Errorf("%s (instead of --%s): %w", env[0], f.Name, err))
			}
		}
	})
	return errors.Join(errs...)
}

func (o *options) bind(fs *pflag.FlagSet, timeout time.Duration, timeoutHelp string) {
	fs.StringVar(&o.server, "server", defaultServer, "`URL` of the NATS server; several with commas between them")
	fs.StringVar(&o.context, "context", defaultContext, "`name` of the bounded context that the node serves")
	fs.DurationVar(&o.timeout, "timeout", timeout, timeoutHelp)
	fs.BoolVar(&o.json, "json", false, "write JSON, one document a line")
	fs.StringVar(&o.login, "login", "", "`name` to log in with at the NATS server")
	fs.StringVar(&o.password, "password", "", "password to log in with; better given in the environment")
	fs.StringVar(&o.credentials, "credentials", "", "`file` with NATS credentials, instead of --login and --password")
	fs.StringVar(&o.ca, "ca", "", "`file` with the certificate authority that the server's TLS certificate is of")
	bindEnv(fs, "server", "context", "timeout", "json", "login", "password", "credentials", "ca")
}

func (o *options) check() error {
	if _, err := messages.ParseContext(o.context); err != nil {
		return fmt.Errorf("--context: %w", err)
	}
	if o.timeout <= 0 {
		return fmt.Errorf("--timeout %v: want more than nothing, for instance 10s", o.timeout)
	}
	if o.login != "" && o.credentials != "" {
		return errors.New("--login and --credentials: give one of them (variables of the environment count)")
	}
	if o.password != "" && o.login == "" {
		return errors.New("--password: it needs --login (variables of the environment count)")
	}
	for one := range strings.SplitSeq(o.server, ",") {
		u, err := parseServer(one)
		if err != nil {
			// The error of url.Parse repeats the text, which may hold a password.
			return errors.New("--server: it is not a URL: want " + defaultServer)
		}
		if u.Host == "" {
			return fmt.Errorf("--server %s: it names no host: want %s", u.Redacted(), defaultServer)
		}
	}
	return nil
}

// parseServer reads one of the servers as NATS does: the scheme may be missing.
func parseServer(one string) (*url.URL, error) {
	if one = strings.TrimSpace(one); !strings.Contains(one, "://") {
		one = "nats://" + one
	}
	return url.Parse(one)
}

// servers gives the URLs of --server without passwords.
func (o *options) servers() string {
	var out []string
	for one := range strings.SplitSeq(o.server, ",") {
		if u, err := parseServer(one); err == nil {
			out = append(out, u.Redacted())
		}
	}
	return strings.Join(out, ", ")
}

// checkGiven refuses flags that were given nothing, as a variable that is not set gives
// it: what was to be said with them would be lost without a word.
func checkGiven(fs *pflag.FlagSet) error {
	var errs []error
	fs.Visit(func(f *pflag.Flag) {
		if f.Value.Type() == "string" && f.Value.String() == "" {
			errs = append(errs, fmt.Errorf("--%s: it is given and empty: leave it out, or give it a value (is a variable not set?)", f.Name))
		}
	})
	return errors.Join(errs...)
}

// runner makes the RunE of a verb: it reads the environment, checks the common
// options, and puts the error of run on Out when JSON is wanted.
func (c Config) runner(o *options, run func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return c.runChecked(o.check, &o.json, run)
}

func (c Config) runChecked(check func() error, asJSON *bool, run func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := readEnv(cmd.Flags(), c.Getenv); err != nil {
			return usage(err)
		}
		if err := checkGiven(cmd.Flags()); err != nil {
			return usage(err)
		}
		if err := check(); err != nil {
			return usage(err)
		}
		err := run(cmd.Context(), args)
		if err == nil || !*asJSON {
			return err
		}
		end := asEnd(err)
		if end.code == ExitUsage || end.told {
			return end
		}
		if err := writeJSON(c.Out, failureDocument(end.err)); err != nil {
			return err
		}
		return &endError{code: end.code, told: true, err: end.err}
	}
}

// parseRef reads REF: a raw id unless encoded.
func parseRef(s string, encoded bool) (typ string, id messages.ID, err error) {
	if encoded {
		return messages.ParseRef(s)
	}
	ref, err := holdfast.ParseRef(s)
	if err != nil {
		return "", id, err
	}
	if typ, err = messages.ParseType(ref.Type); err != nil {
		return "", id, err
	}
	id, err = messages.EncodeID(ref.ID)
	return typ, id, err
}

const encodedHelp = "the id is in its encoded form already (=20 for a space)"

// argRef reads the argument REF.
func argRef(s string, encoded bool) (typ string, id messages.ID, err error) {
	if typ, id, err = parseRef(s, encoded); err != nil {
		return "", id, usagef("REF: %w", err)
	}
	return typ, id, nil
}
