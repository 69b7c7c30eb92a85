package node_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/node"
	"github.com/holdfast-run/holdfast/node/cli"
)

// A door stands before a NATS server.
type door struct {
	t        *testing.T
	listener net.Listener
	target   string
	done     sync.WaitGroup

	mu      sync.Mutex
	shut    bool
	refused int
	open    map[net.Conn]net.Conn // of clients, with the server's end
}

// newDoor starts a server with a door before it, and gives the URL for a node.
func newDoor(t *testing.T) (*door, string) {
	t.Helper()
	admin := startExternal(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{t: t, listener: listener, target: strings.TrimPrefix(admin.URL, "nats://"), open: map[net.Conn]net.Conn{}}
	d.done.Go(d.accept)
	t.Cleanup(func() {
		listener.Close()
		d.set(true)
		d.done.Wait()
	})
	return d, "nats://" + admin.User + ":" + admin.Password + "@" + listener.Addr().String()
}

func (d *door) accept() {
	for {
		client, err := d.listener.Accept()
		if err != nil {
			return
		}
		d.done.Go(func() { d.serve(client) })
	}
}

func (d *door) serve(client net.Conn) {
	defer client.Close()
	d.mu.Lock()
	if d.shut {
		d.mu.Unlock()
		refuse(client)
		d.mu.Lock()
		d.refused++
		d.mu.Unlock()
		return
	}
	server, err := net.Dial("tcp", d.target)
	if err != nil {
		d.mu.Unlock()
		return
	}
	defer server.Close()
	d.open[client] = server
	d.mu.Unlock()
	d.done.Go(func() {
		_, _ = io.Copy(server, client) // until one of them ends
		server.Close()
	})
	_, _ = io.Copy(client, server) // the same
	d.mu.Lock()
	delete(d.open, client)
	d.mu.Unlock()
}

// refuse is a server that knows no login.
func refuse(client net.Conn) {
	const info = `INFO {"server_id":"door","version":"2.15.2","proto":1,"headers":true,"max_payload":1048576,"auth_required":true}` + "\r\n"
	if _, err := io.WriteString(client, info); err != nil {
		return
	}
	for lines := bufio.NewScanner(client); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "PING") {
			_, _ = io.WriteString(client, "-ERR 'Authorization Violation'\r\n") // a client that has gone need not know
			return
		}
	}
}

// set shuts the door, and throws everybody out, or opens it. It says how many were inside.
func (d *door) set(shut bool) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = shut
	inside := len(d.open)
	if shut {
		for client, server := range d.open {
			client.Close()
			server.Close()
		}
	}
	return inside
}

// condemn tells everybody inside something after which a NATS client does not come back.
func (d *door) condemn() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for client := range d.open {
		if _, err := io.WriteString(client, "-ERR 'Go Away'\r\n"); err != nil {
			d.t.Error(err)
		}
	}
}

// poll asks until it is so.
func poll(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick, deadline := time.NewTicker(10*time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("in vain: ", what)
		}
	}
}

// A journal is what a node logs.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// A server that is away for a while, and refuses the node's login again and again when it
// is back, is lost and found, and each is said once.
func TestServerLostAndFound(t *testing.T) {
	t.Parallel()
	d, url := newDoor(t)
	var log journal
	c := config(t)
	external(&c, url)
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	n := start(t, c)
	open(t, n)

	inside := d.set(true)
	poll(t, "each connection is refused three times", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.refused >= 3*inside
	})
	d.set(false)
	poll(t, "each connection is back", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.open) == inside
	})
	poll(t, "the node is well again", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_, err := n.Sender().Send(ctx, ada, &bankpb.Deposit{Amount: 1})
		return err == nil && strings.Contains(log.String(), "server is back")
	})
	select {
	case <-n.Done():
		t.Errorf("the node is done: %v", n.Err())
	default:
	}
	if n.Err() != nil {
		t.Errorf("it is not done, because %v", n.Err())
	}
	for _, message := range []string{"server is lost", "server is back", `error="nats: authorization violation"`} {
		if times := strings.Count(log.String(), message); times != 1 {
			t.Errorf("%q is logged %d times:\n%s", message, times, &log)
		}
	}
	if strings.Contains(log.String(), strings.Split(url, "@")[0]) {
		t.Errorf("the log shows the login:\n%s", &log)
	}
}

// The node itself ends its connections in silence.
func TestStopIsNoLoss(t *testing.T) {
	for name, change := range map[string]func(*node.Config){
		"embedded": func(*node.Config) {},
		"external": func(c *node.Config) {
			_, url := newDoor(t)
			external(c, url)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var log journal
			c := config(t)
			change(&c)
			c.Log = slog.New(slog.NewTextHandler(&log, nil))
			n := start(t, c)
			stop(t, n)
			if strings.Contains(log.String(), "is lost") || n.Err() != nil {
				t.Errorf("it has ended with %v, and logged:\n%s", n.Err(), &log)
			}
		})
	}
}

// A connection that NATS closes for good ends the program, so that whoever looks after it
// can start it again.
func TestRunEndsWithItsConnection(t *testing.T) {
	d, url := newDoor(t)
	reader, out := io.Pipe()
	var errs journal
	cfg := cli.Config{Program: "node", Out: out, Err: &errs, Getenv: func(string) string { return "" }}
	root := node.Command(domain, cfg)
	root.SetArgs([]string{"run", "--nats", url})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	code := make(chan int, 1)
	go func() {
		code <- cli.Execute(ctx, root, cfg)
		out.Close()
	}()
	lines := bufio.NewReader(reader)
	if line, err := lines.ReadString('\n'); err != nil || !strings.Contains(line, "serves") {
		t.Fatalf("it says %q, %v\n%s", line, err, &errs)
	}
	d.condemn()
	rest, err := io.ReadAll(lines)
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if got := <-code; got != cli.ExitFailure || ctx.Err() != nil || !strings.Contains(errs.String(), "closed for good") {
		t.Errorf("exit code %d\n%s%s", got, rest, &errs)
	}
}
