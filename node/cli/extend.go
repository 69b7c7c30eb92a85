package cli

import (
	"os"
	"strings"

	"github.com/spf13/pflag"
)

// What other commands of the same binary share with the verbs.

// BindEnv lets HOLDFAST_<NAME> set each flag that is there, and says so in its help.
func BindEnv(fs *pflag.FlagSet) {
	fs.VisitAll(func(f *pflag.Flag) {
		env := "HOLDFAST_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		f.Annotations = map[string][]string{envKey: {env}}
		f.Usage += " (" + env + ")"
	})
}

// ReadEnv sets the flags that were not given from the environment; getenv is os.Getenv
// when it is nil.
func ReadEnv(fs *pflag.FlagSet, getenv func(string) string) error {
	if getenv == nil {
		getenv = os.Getenv
	}
	return readEnv(fs, getenv)
}

// Usage marks an error as one of the command line: [ExitUsage].
func Usage(err error) error { return usage(err) }

// End gives an error its exit code. What the command itself has told already is not told
// again.
func End(code int, told bool, err error) error { return &endError{code: code, told: told, err: err} }
