package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
)

// servedFolder names the folder of the server that a process of its own is to be.
const servedFolder = "HOLDFAST_TEST_SERVED_FOLDER"

// TestServeUntilKilled is such a process.
func TestServeUntilKilled(t *testing.T) {
	folder := os.Getenv(servedFolder)
	if folder == "" {
		t.Skip("it is for TestCoalesceOverKills")
	}
	server, err := natsd.Start(t.Context(), natsd.Config{
		DataDir: folder, Listen: "127.0.0.1:0", Context: "unused", Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	_, _ = io.Copy(io.Discard, os.Stdin) // until the one who started it is gone
}

// serve starts such a process, and gives connections to it.
func serve(t *testing.T, folder string) (kill func(), connect func() *nats.Conn) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestServeUntilKilled$")
	cmd.Env = append(os.Environ(), servedFolder+"="+folder)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		stdin.Close()
	})
	t.Cleanup(kill)
	var admin natsd.Admin
	deadline := time.Now().Add(long)
	for {
		if admin, err = natsd.ReadAdmin(folder); err == nil {
			var nc *nats.Conn
			if nc, err = nats.Connect(admin.URL, nats.UserInfo(admin.User, admin.Password)); err == nil {
				nc.Close()
				break
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server does not start: %v", err)
		}
	}
	return kill, func() *nats.Conn {
		return dial(t, admin.URL, nats.UserInfo(admin.User, admin.Password), nats.ReconnectBufSize(-1), nats.NoReconnect())
	}
}

// TestCoalesceOverKills kills the server again and again while batches are under way: what was
// acknowledged is there, what was not is there once or not at all, and the log is sound.
func TestCoalesceOverKills(t *testing.T) {
	t.Parallel()
	const aggregates = 600
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	folder := t.TempDir()
	heads := make([]persistence.Head, aggregates) // that were acknowledged
	for round := range rounds {
		kill, connect := serve(t, folder)
		ctx, cancel := context.WithTimeout(t.Context(), 2*long)
		store, err := jetstream.Open(ctx, jetstream.Config{
			Context: "crowd", SyncAlways: true, AppendTimeout: quick, ReadTimeout: patient, Publish: connect(), Read: []*nats.Conn{connect()},
			Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for i := range heads {
			ref := holdfast.Ref{Type: "crowd", ID: fmt.Sprint(i)}
			all.Go(func() {
				l, err := store.Load(ctx, ref, "")
				if v := l.Head.Version; err != nil || v < heads[i].Version || v > heads[i].Version+1 {
					t.Errorf("round %d: the log has version %d of %s, and %d was acknowledged, %v", round, v, ref, heads[i].Version, err)
				}
				heads[i] = l.Head
			})
		}
		all.Wait()
		verifyLog(t, store)
		if round == rounds-1 {
			kill()
		} else {
			time.AfterFunc(100*time.Millisecond+time.Duration(round)*7*time.Millisecond, kill)
		}
		for i := range heads {
			ref := holdfast.Ref{Type: "crowd", ID: fmt.Sprint(i)}
			all.Go(func() {
				for {
					h, err := tryAppend(t, store, ref, heads[i])
					if err != nil {
						if !errors.Is(err, holdfast.ErrUncertain) && !errors.Is(err, holdfast.ErrUnavailable) {
							t.Errorf("append to %s: %v", ref, err)
						}
						return
					}
					heads[i] = h
				}
			})
		}
		all.Wait()
		t.Logf("round %d: %+v", round, store.Stats())
		store.Close()
		cancel()
	}
}
