package timers_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/sagas/timers"
)

// TestServerRestarts: what is pending, what becomes due meanwhile, and what has fired but
// is not handled, all comes after a restart, once.
func TestServerRestarts(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprintf("servers=%d", n), func(t *testing.T) {
			s := startServers(t, n)
			const patience = 5 * quick
			cfg := timers.Config{}.Hurry(patience, hurry)
			all := s.open(t, cfg)
			failing := start(t, all, func(context.Context, timers.Timer) error { return errors.New("not yet") })
			set(t, all, at("o-1", "fired", 0))
			failing.next()
			if err := failing.stop(); err != nil {
				t.Fatal(err)
			}
			set(t, all, at("o-1", "unseen", 0))
			awaitStatus(t, all, 0, 2)
			set(t, all, at("o-1", "overdue", 500*time.Millisecond), at("o-1", "pending", time.Hour), at("o-1", "cancelled", time.Hour))
			soon := at("o-1", "soon", 4*time.Second)
			set(t, all, soon)
			if err := all.Cancel(within(t, long), soon.For, "cancelled"); err != nil {
				t.Fatal(err)
			}
			s.restart(t, func() { <-time.After(time.Second) })

			all = s.open(t, cfg)
			r := start(t, all, nil)
			var got []arrival
			came := map[string]time.Time{}
			take := func(a arrival) {
				if a.when.Before(a.At) {
					t.Errorf("timer %s of %s came at %s", a.Timer, a.At, a.when)
				}
				// A busy server may not hear in its patience that it was handled.
				if first, again := came[a.Key]; !again {
					got, came[a.Key] = append(got, a), a.when
				} else if a.when.Sub(first) < patience/5 {
					t.Errorf("%s came again after %s", a.Timer, a.when.Sub(first))
				}
			}
			for len(got) < 4 {
				take(r.next())
			}
			awaitStatus(t, all, 1, 0)
			for len(r.came) > 0 {
				take(<-r.came)
			}
			if keys := strings.Join(keys(got), ", "); keys != "o-1 fired, o-1 overdue, o-1 soon, o-1 unseen" {
				t.Errorf("got %s", keys)
			}
		})
	}
}

// TestRunOutlivesTheServer: it goes on when the server is back, on the same connection.
func TestRunOutlivesTheServer(t *testing.T) {
	t.Parallel()
	s := startServers(t, 3)
	cfg := timers.Config{Conn: s.connect(t, 0)}.Hurry(quick, hurry)
	all := s.open(t, cfg)
	r := start(t, all, nil)
	for i := range 3 {
		want := at("o-1", fmt.Sprint("k", i), 0)
		set(t, all, want)
		for a := r.next(); a.Timer != want; a = r.next() { // one before may come again
		}
		down := 1 + i%2 // the connection is to the first
		s.list[down].Stop()
		s.start(t, down)
	}
	awaitStatus(t, all, 0, 0)
}

// killedEnv has the test binary be a process that will be killed: its own server, on the
// folder that it names.
const killedEnv = "HOLDFAST_TEST_KILLED"

// TestKill: of a process that is killed again and again, with its server, every timer
// that it has reported as set comes, though it dies with timers in hand.
func TestKill(t *testing.T) {
	t.Parallel()
	if folder := os.Getenv(killedEnv); folder != "" {
		beKilled(t, folder)
		return
	}
	folder := t.TempDir()
	reported := map[string]bool{}
	for round := range 3 {
		child := exec.CommandContext(within(t, long), os.Args[0], "-test.run=^TestKill$")
		child.Env = append(os.Environ(), killedEnv+"="+folder)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; n < 300+100*round && lines.Scan(); n++ {
			if key, ok := strings.CutPrefix(lines.Text(), "set "); ok {
				reported[key] = true
			}
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // what it said in its last moment
			if key, ok := strings.CutPrefix(lines.Text(), "set "); ok {
				reported[key] = true
			}
		}
		_ = child.Wait() // it was killed
	}
	if len(reported) < 100 {
		t.Fatalf("only %d timers were set", len(reported))
	}
	server := startOn(t, folder)
	s := &servers{list: []*natsd.Server{server}}
	t.Cleanup(s.stop)
	all := s.open(t, timers.Config{}.Hurry(quick, hurry))
	r := start(t, all, nil)
	for len(reported) > 0 {
		delete(reported, r.next().Key)
	}
	awaitStatus(t, all, 0, 0)
}

func startOn(t *testing.T, folder string) *natsd.Server {
	t.Helper()
	server, err := natsd.Start(within(t, long), natsd.Config{DataDir: folder, Context: "unused", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return server
}

// beKilled sets timers, one by one and in batches, reports those that are set, and never
// handles one.
func beKilled(t *testing.T, folder string) {
	t.Helper()
	s := &servers{list: []*natsd.Server{startOn(t, folder)}}
	all := s.open(t, timers.Config{})
	start(t, all, func(ctx context.Context, _ timers.Timer) error {
		<-ctx.Done()
		return nil
	})
	run := time.Now().UnixNano()
	for i := 0; ; i++ {
		list := batch(1+99*(i%2), fmt.Sprintf("%d-%d", run, i), time.Duration(i%20)*100*time.Millisecond)
		if err := all.SetAll(context.Background(), list); err != nil {
			t.Fatal(err)
		}
		for _, one := range list {
			fmt.Println("set " + one.Key)
		}
	}
}
