package natsd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// A greeter greets each client as one of its answers has it, the last of them for ever.
type greeter struct {
	listener net.Listener
	answers  []string // to the client's first ping; nothing for silence
	met      atomic.Int32
	all      sync.WaitGroup
}

func startGreeter(t *testing.T, answers ...string) *greeter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &greeter{listener: l, answers: answers}
	g.all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			answer := answers[min(int(g.met.Add(1)), len(answers))-1]
			g.all.Go(func() { greet(client, answer) })
		}
	})
	t.Cleanup(func() { l.Close(); g.all.Wait() })
	return g
}

func greet(client net.Conn, answer string) {
	defer client.Close()
	_, _ = io.WriteString(client, `INFO {"server_id":"g","version":"2.15.2","proto":1,"max_payload":1048576}`+"\r\n") // or it has gone
	for lines := bufio.NewScanner(client); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "PING") && answer != "" {
			_, _ = io.WriteString(client, answer+"\r\n")
		}
	}
}

func TestDialBearsWithASlowServer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answers  []string
		patience time.Duration
		met      int32 // at least
		fails    func(error) bool
	}{
		"its ping is first": {[]string{"PING", "PONG"}, 30 * time.Second, 2, nil},
		"slow at first":     {[]string{"", "PONG"}, 2 * time.Second, 2, nil},
		"always too slow":   {[]string{""}, 200 * time.Millisecond, greetings, slow},
		"no":                {[]string{"-ERR 'Authorization Violation'", "PONG"}, 30 * time.Second, 1, func(err error) bool { return errors.Is(err, nats.ErrAuthorization) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := startGreeter(t, c.answers...)
			nc, err := Dial(fmt.Sprint("nats://", g.listener.Addr()), nats.Timeout(c.patience), nats.NoReconnect())
			if err == nil {
				nc.Close()
			}
			if (err == nil) != (c.fails == nil) || err != nil && !c.fails(err) {
				t.Errorf("got %v", err)
			}
			for end := time.Now().Add(30 * time.Second); g.met.Load() < c.met; <-time.After(time.Millisecond) { // it may greet later
				if time.Now().After(end) {
					t.Fatalf("it was met %d times, want %d", g.met.Load(), c.met)
				}
			}
		})
	}
	if _, err := Dial("nats://127.0.0.1:1"); !errors.Is(err, nats.ErrNoServers) {
		t.Errorf("where nobody listens: %v", err)
	}
}
