package tests

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"testing"
)

// The feed with the official NATS client for Node.js, subscribed and as a durable consumer.
func TestNodeJSFeed(t *testing.T) {
	folder := installNPM(t)
	s := startNATS(t, 1, func(string) string { return t.TempDir() })[0]
	startRun(t, "--nats", s.url())
	const count = 20
	client := exec.Command("node", "feed.mjs", s.url(), fmt.Sprint(count))
	client.Dir = folder
	var errs bytes.Buffer
	client.Stderr = &errs
	out, err := client.Output()
	if err != nil {
		t.Fatalf("the client: %v\n%s%s", err, out, &errs)
	}
	seen := map[string]int{}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var e struct {
			Via, Subject string
			Header       map[string]string
			Data         struct{ Owner, Amount string }
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%v: %s", err, lines.Text())
		}
		seen[e.Via]++
		n := seen[e.Via]
		name, data := "Deposited", e.Data.Amount == fmt.Sprint(n-1)
		if n == 1 {
			name, data = "AccountOpened", e.Data.Owner == "Ada"
		}
		want := map[string]string{
			"ce-specversion": "1.0", "ce-id": fmt.Sprintf("account/npm-=C3=A9@%d", n), "ce-source": "/demo/account/npm-=C3=A9",
			"ce-type": "bank.v1." + name, "ce-subject": "account/npm-=C3=A9", "ce-sequence": fmt.Sprintf("%020d", n), "Content-Type": "application/json",
		}
		for header, value := range want {
			if e.Header[header] != value {
				t.Errorf("%s %d: %s is %q, want %q", e.Via, n, header, e.Header[header], value)
			}
		}
		if e.Subject != "demo.evt.account.npm-=C3=A9."+name || !data {
			t.Errorf("%s %d: %s", e.Via, n, lines.Text())
		}
	}
	if seen["subscription"] != count || seen["consumer"] != count {
		t.Errorf("the client saw %v, want %d each", seen, count)
	}
}
