package node_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/examples/shop"
	"github.com/holdfast-run/holdfast/node"
	"github.com/holdfast-run/holdfast/node/cli"
	"github.com/holdfast-run/holdfast/sagas"
)

// What cannot be is refused before anything is started, in the words of whoever gave it.
func TestRunRefusesBadValues(t *testing.T) {
	const nobody = "nats://127.0.0.1:1"
	for _, c := range []struct {
		says string
		args []string
	}{
		{"--partitions: it is 4294967297: choose 1 to 1024", []string{"--partitions", "4294967297"}},
		{"--partitions: it is -1", []string{"--partitions", "-1"}},
		{"--partitions: it is 1025", []string{"--partitions", "1025"}},
		{"--replicas: it is 2: choose 1 or 3", []string{"--replicas", "2"}},
		{"--replicas: it is 0", []string{"--replicas", "0"}},
		{"--replicas: the embedded NATS server is alone", []string{"--replicas", "3"}},
		{"--queue: it is -5", []string{"--queue", "-5"}},
		{"--queue: it is 0", []string{"--queue", "0"}},
		{"--max-active: it is -5", []string{"--max-active", "-5"}},
		{"--max-in-flight: it is -5", []string{"--max-in-flight", "-5"}},
		{"--idle: it is -1s", []string{"--idle", "-1s"}},
		{"--idle: it is 0s", []string{"--idle", "0s"}},
		{"--request-timeout: it is -1s", []string{"--request-timeout", "-1s"}},
		{"--feed-age: it is 1ms: choose 1s or more", []string{"--feed-age", "1ms"}},
		{"--feed-age: it is 0s", []string{"--feed-age", "0"}},
		{"--feed-bytes: it is -1", []string{"--feed-bytes", "-1"}},
		{"--feed-bytes: it is 0", []string{"--feed-bytes", "0"}},
		{`invalid argument "xml" for "--feed-format" flag: want json or protobuf`, []string{"--feed-format", "xml"}},
		{`--listen: "foo"`, []string{"--listen", "foo"}},
		{"--listen: ", []string{"--listen", "127.0.0.1:99999"}},
		{"--listen and --client-password", []string{"--listen", "0.0.0.0:0"}},
		{"--client-user and --client-password: give both or neither", []string{"--client-user", "ann"}},
		{"--client-user: ", []string{"--client-user", "holdfast-admin", "--client-password", "x"}},
		{"--context: ", []string{"--context", "A.b"}},
		{"--listen and --nats: ", []string{"--nats", nobody, "--listen", "127.0.0.1:0"}},
		{"--data and --nats: ", []string{"--nats", nobody, "--data", "x"}},
		{"--client-user and --nats: ", []string{"--nats", nobody, "--client-user", "x"}},
		{"--client-password and --nats: ", []string{"--nats", nobody, "--client-password", "x"}},
		{"--credentials and --nats: ", []string{"--credentials", "x"}},
		{"--nats: it names no host", []string{"--nats", "nats://"}},
		{"--nats: it is not a URL", []string{"--nats", "nats://127.0.0.1:port"}},
	} {
		out, errs, code := run(append([]string{"run"}, c.args...)...)
		if code != cli.ExitUsage || !strings.Contains(errs, "error: "+c.says) {
			t.Errorf("%v: exit code %d, want %d and %q in:\n%s%s", c.args, code, cli.ExitUsage, c.says, out, errs)
		}
	}
	for _, args := range [][]string{{"--credentials", "x"}, {"--nats", nobody, "--data", "x"}, {"--context", "A.b"}} {
		if out, errs, code := run(append([]string{"verify"}, args...)...); code != cli.ExitUsage || !strings.Contains(errs, args[0]) {
			t.Errorf("verify %v: exit code %d\n%s%s", args, code, out, errs)
		}
	}
}

func TestValidate(t *testing.T) {
	if err := (node.Config{Types: domain.Types}).Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	if err := (node.Config{Types: domain.Types, NATS: "one:4222, nats://u:p@two", Replicas: 3, Partitions: 1024}).Validate(); err != nil {
		t.Errorf("an external cluster: %v", err)
	}
	var wrong *node.ConfigError
	if err := (node.Config{}).Validate(); !errors.As(err, &wrong) || wrong.Field != "Types" {
		t.Errorf("without types: %v", err)
	}
	if err := (node.Config{Types: domain.Types, NATSSyncAlways: true}).Validate(); !errors.As(err, &wrong) || wrong.Field != "NATSSyncAlways" {
		t.Errorf("what is said of an external server without one: %v", err)
	}
	if err := (node.Config{Types: domain.Types, NATS: "nats://one", RelaxedSync: true}).Validate(); !errors.As(err, &wrong) || wrong.Field != "RelaxedSync" {
		t.Errorf("an external server that is told not to fsync: %v", err)
	}
}

// No message shows what may be a password or a token.
func TestSecretsStaySecret(t *testing.T) {
	for _, url := range []string{
		"nats://u:sek%rit@127.0.0.1:1", "nats://u:sekrit@127.0.0.1:port", "nats://ok,nats://u:sekrit@", // malformed
		"nats://u:sekrit@127.0.0.1:1", "nats://sekrit@127.0.0.1:1", "u:sekrit@127.0.0.1:1", "nats://127.0.0.1:1,sekrit@127.0.0.1:2",
	} {
		for _, verb := range []string{"run", "verify"} {
			out, errs, code := run(verb, "--nats", url)
			if code == cli.ExitOK || strings.Contains(out+errs, "sek") {
				t.Errorf("%s --nats %s: exit code %d\n%s%s", verb, url, code, out, errs)
			}
		}
	}
}

// Sagas that do not fit the types are refused, with what is wrong.
func TestValidateSagas(t *testing.T) {
	err := node.Config{Types: []holdfast.Definition{bank.Account}, Sagas: []*sagas.Saga{shop.Checkout}}.Validate()
	if e, ok := errors.AsType[*node.ConfigError](err); !ok || e.Field != "Sagas" || !strings.Contains(e.Problem, `there is no aggregate type "order"`) {
		t.Errorf("got %v", err)
	}
	if err := (node.Config{Sagas: domain.Sagas, Types: domain.Types, Hosts: []string{"checkout", "account"}}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestValidatePeers(t *testing.T) {
	for what, c := range map[string]struct {
		config node.Config
		field  string
	}{
		"all is well":         {node.Config{PeerListen: "127.0.0.1:0", Lease: time.Second, Hosts: []string{"account"}}, ""},
		"behind an address":   {node.Config{PeerListen: "0.0.0.0:4300", PeerAdvertise: "10.0.0.1:4300"}, ""},
		"no port":             {node.Config{PeerListen: "10.0.0.1"}, "PeerListen"},
		"no port to tell":     {node.Config{PeerListen: "10.0.0.1:4300", PeerAdvertise: "10.0.0.1"}, "PeerAdvertise"},
		"which address":       {node.Config{PeerListen: "0.0.0.0:4300"}, "PeerAdvertise"},
		"which of all":        {node.Config{PeerListen: ":4300"}, "PeerAdvertise"},
		"which of the sixths": {node.Config{PeerListen: "[::]:4300"}, "PeerAdvertise"},
		"a short lease":       {node.Config{Lease: time.Millisecond}, "Lease"},
		"a stranger's type":   {node.Config{Hosts: []string{"parcel"}}, "Hosts"},
	} {
		c.config.Types = domain.Types
		err := c.config.Validate()
		wrong, ok := errors.AsType[*node.ConfigError](err)
		if ok && wrong.Field != c.field || !ok && (err != nil || c.field != "") {
			t.Errorf("%s: %v, want one about %q", what, err, c.field)
		}
	}
}
