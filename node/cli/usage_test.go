package cli_test

import (
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/micro"

	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/node/cli"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{
		"send", "apply", "get", "history", "parked", "parked show", "parked retry", "parked skip", "inbox", "feed",
	} {
		got := newTerminal(t, nil).must(append(strings.Fields(verb), "--help")...)
		path := filepath.Join("testdata", strings.ReplaceAll(verb, " ", "-")+".help")
		if *rewrite {
			if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s --help: got\n%s\nwant\n%s", verb, got, want)
		}
	}
}

func TestWrongUsageNamesTheFlagAndTheRemedy(t *testing.T) {
	t.Parallel()
	file := writeLines(t, `{}`)
	for _, c := range []struct {
		args string
		want string
	}{
		{"fly", `unknown command "fly" for "node"`},
		{"send account/a", "accepts between 2 and 3 arg(s), received 1"},
		{"send account/a Deposit {} --jsn", "unknown flag: --jsn"},
		{"send account Deposit", `REF: ref "account": want type/id, as in account/a-1`},
		{"send Account/a Deposit", `REF: type "Account": want a small letter`},
		{"send account/a.b Deposit --encoded", "must be written =2E"},
		{"send account/" + strings.Repeat("é", 30) + " Deposit", "REF: id: it takes 180 bytes encoded, the limit is 128"},
		{"send account/a De.posit", `command "De.posit": want a letter`},
		{"send account/a Deposit {", "data: want one JSON object"},
		{"send account/a Deposit 7", "data: want one JSON object"},
		{"send account/a Deposit {}{}", "data: want one JSON object"},
		{"send account/a Deposit \xff{}", "data: it is not UTF-8"},
		{"send account/a Deposit @/does/not/exist", "data: open /does/not/exist"},
		{"send account/a Deposit --expect -1", `invalid argument "-1" for "--expect"`},
		{"send account/a Deposit --id a\tb", "--id: header Nats-Msg-Id"},
		{"send account/a Deposit --user \x01", "--user: header Holdfast-User"},
		{"send account/a Deposit --correlation " + strings.Repeat("c", 129), "--correlation: header Holdfast-Correlation-Id"},
		{"send account/a Deposit --context Demo", `--context: context "Demo"`},
		{"send account/a Deposit --timeout 0s", "--timeout 0s: want more than nothing"},
		{"send account/a Deposit --timeout 5", `invalid argument "5" for "--timeout"`},
		{"send account/a Deposit --login a --credentials b", "--login and --credentials: give one of them"},
		{"send account/a Deposit --password b", "--password: it needs --login"},
		{"send account/a Deposit --credentials /does/not/exist", "--credentials: open /does/not/exist"},
		{"send account/a Deposit --ca /does/not/exist", "--ca: open /does/not/exist"},
		{"send account/a Deposit --server nats://", "--server nats:: it names no host"},
		{"send account/a Deposit --server nats://a:secret@", "--server nats://a:xxxxx@: it names no host"},
		{"send account/a Deposit --server nats://a:secret@%", "--server: it is not a URL"},
		{"get", "accepts 1 arg(s), received 0"},
		{"get account/a --as-of yesterday", `--as-of "yesterday": want a time such as`},
		{"get account/a --as-of 2026-03-14T09:26:53Z --as-of-version 3", "[as-of as-of-version]"},
		{"history account/a --limit 0", "--limit 0: want at least 1, or --all"},
		{"history account/a --limit 5 --all", "[all limit]"},
		{"history account/a --from -5", `invalid argument "-5" for "--from"`},
		{"apply", "accepts 1 arg(s), received 0"},
		{"apply /does/not/exist", "FILE: stat /does/not/exist"},
		{"apply .", "FILE: . is a folder"},
		{"apply /dev/null", "FILE: /dev/null is not a regular file, so no progress can be kept of it: pipe it in with '-'"},
		{"send account/a Deposit @.", "data: . is a folder"},
		{"send account/a Deposit --id=", "--id: it is given and empty"},
		{"send account/a Deposit --user=", "--user: it is given and empty"},
		{"send account/a Deposit --server=", "--server: it is given and empty"},
		{"send account/a Deposit --context=", "--context: it is given and empty"},
		{"send account/a Deposit --credentials=", "--credentials: it is given and empty"},
		{"get account/a --as-of=", "--as-of: it is given and empty"},
		{"apply " + file + " --batch=", "--batch: it is given and empty"},
		{"apply " + file + " --concurrency 0", "--concurrency 0: want 1 to 10000"},
		{"apply - --restart", "--restart: there is no progress to forget"},
	} {
		got := newTerminal(t, nil).run(strings.Split(c.args, " ")...)
		if got.code != cli.ExitUsage || got.out != "" || !strings.Contains(got.err, c.want) || !strings.Contains(got.err, " --help' for usage.\n") {
			t.Errorf("node %s: got %+v\nwant exit code 2 and %q", c.args, got, c.want)
		}
		if strings.Contains(got.err, "secret") {
			t.Errorf("node %s: it shows the password: %s", c.args, got.err)
		}
	}
}

func TestWrongUsageIsToldOnce(t *testing.T) {
	t.Parallel()
	got := newTerminal(t, nil).run("send", "account/a", "Deposit", "")
	if got.code != cli.ExitUsage || strings.Count(got.err, "data: want one JSON object") != 1 {
		t.Errorf("got %+v, want exit code 2 and the sentence once", got)
	}
}

// TestServerWithoutAScheme: what NATS takes, --server takes.
func TestServerWithoutAScheme(t *testing.T) {
	t.Parallel()
	s := startStub(t)
	tm := newTerminal(t, s)
	tm.must("send", "account/a", "Deposit", "--server", strings.TrimPrefix(s.server.ClientURL(), "nats://"))
	if got := tm.run("get", "account/a", "--server", "127.0.0.256"); got.code != cli.ExitFailure || !strings.Contains(got.err, "nats://127.0.0.256 (--server)") {
		t.Errorf("got %+v, want exit code 1 and the address", got)
	}
}

func TestEnvironmentStandsInForFlags(t *testing.T) {
	t.Parallel()
	s := startStub(t)
	tm := newTerminal(t, s)
	tm.vars["HOLDFAST_JSON"] = "true"
	tm.vars["HOLDFAST_CONTEXT"] = "shop"
	tm.vars["HOLDFAST_TIMEOUT"] = "2s"
	if got := tm.run("get", "account/a"); got.code != 1 || !strings.Contains(got.out, "the context shop") {
		t.Errorf("got %+v, want JSON about the context shop", got)
	}
	if got := tm.run("get", "account/a", "--context", "demo"); got.code != 1 || !strings.Contains(got.out, `"status":404`) {
		t.Errorf("a flag beside the environment: got %+v, want the flag to win", got)
	}
	for name, value := range map[string]string{"HOLDFAST_TIMEOUT": "soon", "HOLDFAST_JSON": "perhaps", "HOLDFAST_CONCURRENCY": "many"} {
		tm := newTerminal(t, s)
		tm.vars[name] = value
		got := tm.run("apply", "-")
		if got.code != cli.ExitUsage || !strings.Contains(got.err, name+" (instead of --") {
			t.Errorf("%s=%s: got %+v, want exit code 2 and the variable's name", name, value, got)
		}
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	server, err := natsd.Start(t.Context(), natsd.Config{
		DataDir: t.TempDir(), Listen: "127.0.0.1:0", Context: "demo", ClientUser: "ann", ClientPassword: "secret",
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	conn, err := server.Connect(natsd.Gateway)
	if err != nil {
		t.Fatal(err)
	}
	s := &stub{t: t, server: server, conn: conn, accounts: map[string]*account{}, remember: 1024}
	s.serve()
	tm := newTerminal(t, s)
	got := tm.run("send", "account/a", "Deposit", "--id", "x")
	if want := "refuses the login: give --login and --password, or --credentials"; got.code != 1 || !strings.Contains(got.err, want) {
		t.Errorf("without a login: got %+v, want exit code 1 and %q", got, want)
	}
	tm.must("send", "account/a", "Deposit", "--login", "ann", "--password", "secret")
	tm.vars["HOLDFAST_LOGIN"], tm.vars["HOLDFAST_PASSWORD"] = "ann", "secret"
	tm.must("get", "account/a")
	tm.vars["HOLDFAST_PASSWORD"] = "wrong"
	if got := tm.run("get", "account/a"); got.code != 1 || !strings.Contains(got.err, "refuses the login") {
		t.Errorf("with a wrong password: got %+v, want exit code 1 and the remedy", got)
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	s := newStub(t)
	newTerminal(t, s).completes(":6\n", "send", "") // without a node
	addService(t, s, micro.Config{Name: "other", Version: "1.0.0"}, nil)
	addService(t, s, micro.Config{
		Name: "holdfast-demo", Version: "1.0.0", Metadata: map[string]string{"context": "demo", "types": "account, family"},
	}, map[string]string{"commands.account": "Deposit, OpenAccount", "commands.family": "AddChild"})
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"send", ""}, "account/\nfamily/\n:6\n"},
		{[]string{"get", "a"}, "account/\nfamily/\n:6\n"},
		{[]string{"send", "account/a-1", ""}, "Deposit\nOpenAccount\n:4\n"},
		{[]string{"send", "nothing/a-1", ""}, ":4\n"},
		{[]string{"send", "account/a-1", "Deposit", ""}, ":4\n"},
		{[]string{"get", "account/a-1", ""}, ":4\n"},
		{[]string{"send", "--context", "shop", ""}, ":6\n"},
		{[]string{"send", "--context", "SHOP", ""}, ":4\n"},
		{[]string{"apply", ""}, "ndjson\njsonl\n:8\n"},
	} {
		newTerminal(t, s).completes(c.want, c.args...)
	}
}

func addService(t *testing.T, s *stub, cfg micro.Config, commands map[string]string) {
	t.Helper()
	service, err := micro.AddService(s.conn, cfg)
	if err != nil {
		t.Fatal(err)
	}
	err = service.AddEndpoint("cmd", micro.HandlerFunc(func(micro.Request) {}),
		micro.WithEndpointSubject(cfg.Name+".cmd.>"), micro.WithEndpointMetadata(commands))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.conn.Flush(); err != nil {
		t.Fatal(err)
	}
}
