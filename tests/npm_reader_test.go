package tests

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/internal/door"
	"github.com/holdfast-run/holdfast/internal/natsd"
)

// A reader in another language: the official NATS clients for Node.js read the feed and a
// read model, and hear that they may not write.
func TestNodeJSReader(t *testing.T) {
	folder := installNPM(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := natsd.Start(ctx, natsd.Config{DataDir: t.TempDir(), Listen: "127.0.0.1:0", Context: "demo", Logger: slog.New(slog.DiscardHandler)})
	must(err)
	defer s.Stop()
	nc, err := s.Connect(natsd.Publisher)
	must(err)
	js, err := jetstream.New(nc)
	must(err)
	d, err := door.Start(door.Config{Context: "demo", Conn: nc, Prefix: natsd.DoorPrefix, Logger: slog.New(slog.DiscardHandler)})
	must(err)
	defer func() { must(d.Stop(ctx)) }()
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "DEMO_FEED", Subjects: []string{"demo.evt.>"}, AllowDirect: true})
	must(err)
	view, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "demo_view_balances_1"})
	must(err)
	var events []string
	for i := range 4 {
		events = append(events, fmt.Sprintf("demo.evt.account.a-%d.Deposited", i))
		_, err = js.Publish(ctx, events[i], []byte("{}"))
		must(err)
	}
	_, err = view.PutString(ctx, "a-1", "100")
	must(err)

	client := exec.CommandContext(ctx, "node", "reader.mjs", s.ClientURL())
	client.Dir = folder
	var errs bytes.Buffer
	client.Stderr = &errs
	out, err := client.StdoutPipe()
	must(err)
	must(client.Start())
	steps := map[string]readerStep{}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var step readerStep
		must(json.Unmarshal(lines.Bytes(), &step))
		steps[step.Step] = step
		if step.Step == "watch" {
			_, err = view.PutString(ctx, "a-1", "250")
			must(err)
		}
	}
	if err := client.Wait(); err != nil {
		t.Fatalf("the client: %v\n%s", err, &errs)
	}
	checkReader(t, steps, events)
	if info, err := js.Stream(ctx, "DEMO_FEED"); err != nil || info.CachedInfo().State.Msgs != 4 {
		t.Errorf("the feed is not what it was: %v", err)
	}
}

type readerStep struct {
	Step, Value, Error string
	Subjects           []string
}

func checkReader(t *testing.T, steps map[string]readerStep, events []string) {
	t.Helper()
	for step, want := range map[string][]string{"fetch": events[:2], "consume": events[2:], "ordered": events} {
		if got := steps[step].Subjects; !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", step, got, want)
		}
	}
	for step, want := range map[string]string{"get": "100", "watch": "100", "change": "250"} {
		if got := steps[step].Value; got != want {
			t.Errorf("%s: got %q, want %q", step, got, want)
		}
	}
	for step, want := range map[string]string{"forge": "deliver_subject", "purge": "", "delete": ""} {
		if got := steps[step].Error; got == "" || !strings.Contains(got, want) {
			t.Errorf("%s: the error is %q, want one with %q", step, got, want)
		}
	}
}
