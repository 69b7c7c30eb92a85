package tests

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A client in another language: the official NATS client for Node.js drives the node in
// JSON, with nothing of ours.
func TestNodeJSClient(t *testing.T) {
	folder := installNPM(t)
	p := startProcess(t, t.TempDir(), "127.0.0.1:0")
	client := exec.Command("node", "client.mjs", p.url)
	client.Dir = folder
	var errs bytes.Buffer
	client.Stderr = &errs
	out, err := client.Output()
	if err != nil {
		t.Fatalf("the client: %v\n%s%s", err, out, &errs)
	}
	steps := map[string]npmStep{}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var s npmStep
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			t.Fatalf("%v: %s", err, lines.Text())
		}
		steps[s.Step] = s
	}
	checkNPM(t, steps)
}

// installNPM gives a folder with the clients of npm/, and what they need.
func installNPM(t *testing.T) (folder string) {
	t.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("skipped: %s is not installed, so nothing was tried with the NATS clients for Node.js", tool)
		}
	}
	folder = t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "client.mjs", "reader.mjs", "feed.mjs"} {
		b, err := os.ReadFile(filepath.Join("npm", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	install := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--prefer-offline")
	install.Dir = folder
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	return folder
}

type npmStep struct {
	Step, Status, Version, Position, Duplicate string
	Body                                       struct {
		Ref       string
		Version   uint64
		Events    []json.RawMessage
		Duplicate bool
		State     struct {
			Owner, Balance string
			Open           bool
		}
		Error struct{ Code, Message string }
		Name  string
	}
}

func checkNPM(t *testing.T, steps map[string]npmStep) {
	t.Helper()
	check := func(what string, ok bool, s npmStep) {
		t.Helper()
		if !ok {
			t.Errorf("%s: got %+v", what, s)
		}
	}
	s := steps["open"]
	check("the first command is version 1", s.Body.Version == 1 && s.Version == "1" && s.Body.Ref == "account/npm-=C3=A9" && !s.Body.Duplicate, s)
	s = steps["deposit"]
	check("a deposit with its condition", s.Body.Version == 2 && s.Position != "" && len(s.Body.Events) == 1, s)
	repeat := steps["repeat"]
	check("its repetition has the first answer", repeat.Body.Version == 2 && repeat.Position == s.Position && repeat.Body.Duplicate && repeat.Duplicate == "true", repeat)
	s = steps["reject"]
	check("the domain's no", s.Status == "422" && s.Body.Error.Code == "insufficient_funds" && s.Body.Error.Message != "", s)
	s = steps["malformed"]
	check("a malformed body", s.Status == "400" && s.Body.Error.Code == "malformed", s)
	s = steps["get"]
	check("the state", s.Body.State.Owner == "Ada" && s.Body.State.Balance == "250" && s.Body.State.Open, s)
	s = steps["past"]
	check("the state as of version 1", s.Body.Version == 1 && s.Body.State.Balance == "0", s)
	s = steps["history"]
	check("the history from version 2", len(s.Body.Events) == 1, s)
	s = steps["after"]
	check("two hundred at the same time", s.Body.Version == 202 && s.Body.State.Balance == "450", s)
	s = steps["ping"]
	check("the service is found", s.Body.Name == "holdfast-demo", s)
}
