package natsd_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/internal/natsd"
)

func TestStartStopRepeated(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	warnings := &journal{}
	cfg.Logger = slogTo(warnings)
	for i := range 10 {
		s := start(t, cfg)
		if got := s.ClusterSize(); got != 1 {
			t.Errorf("round %d: ClusterSize = %d, want 1", i, got)
		}
		nc := connect(t, s, natsd.Node)
		if _, err := stream(t, nc).AccountInfo(within(t)); err != nil {
			t.Errorf("round %d: JetStream: %v", i, err)
		}
		s.Stop()
		if !nc.IsClosed() {
			t.Errorf("round %d: Stop left a connection open", i)
		}
	}
	if got := warnings.complaints(); got != "" {
		t.Errorf("logged:\n%s", got)
	}
}

func TestStopBearsRepetition(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.Listen = freeAddresses(t, 1)[0] // which nobody else takes when it is free again
	s := start(t, cfg)
	url := s.ClientURL()
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			s.Stop()
			// Whoever returns from Stop finds the server gone.
			if nc, err := nats.Connect(url); err == nil {
				nc.Close()
				t.Error("connected after Stop")
			}
		})
	}
	all.Wait()
	s.Stop()
	if _, err := s.Connect(natsd.Node); err == nil {
		t.Error("Connect after Stop succeeded")
	} else {
		wantText(t, err, "stopped")
	}
}

func TestConnectRefusesUnknownRole(t *testing.T) {
	t.Parallel()
	_, err := start(t, config(t)).Connect("holdfast-admin")
	if err == nil {
		t.Fatal("Connect succeeded")
	}
	wantText(t, err, `"holdfast-admin"`, "Node, Gateway or Publisher")
}

func TestConnectKeepsServerAndUser(t *testing.T) {
	t.Parallel()
	s, other := start(t, config(t)), start(t, config(t))
	nc := connect(t, s, natsd.Node, nats.UserInfo("somebody", ""), nats.Name("reader"),
		func(o *nats.Options) error { o.Url = other.ClientURL(); return nil })
	makeLog(t, nc, 1)
	if got := nc.Opts.Name; got != "reader" {
		t.Errorf("name = %q, want the one asked for", got)
	}
	if _, err := stream(t, connect(t, s, natsd.Node)).Stream(within(t), logName); err != nil {
		t.Errorf("the connection led elsewhere: %v", err)
	}
}

// TestConnectTriesAgain, but not for ever.
func TestConnectTriesAgain(t *testing.T) {
	t.Parallel()
	s := start(t, config(t))
	tries, most := 0, 2
	failing := func(*nats.Options) error {
		if tries++; tries <= most {
			return errors.New("not now")
		}
		return nil
	}
	connect(t, s, natsd.Node, failing)
	tries, most = 0, 1000
	if _, err := s.Connect(natsd.Node, failing); err == nil || tries >= most {
		t.Errorf("after %d tries: %v", tries, err)
	}
}

func TestInProcessOnly(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.Listen = ""
	// Left by a server that listened and was killed.
	if err := os.WriteFile(filepath.Join(cfg.DataDir, "admin.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, cfg)
	if got := s.ClientURL(); got != "" {
		t.Errorf("ClientURL = %q, want none", got)
	}
	nc := connect(t, s, natsd.Node)
	makeLog(t, nc, 1)
	appendTo(t, nc, 1)
	_, err := natsd.ReadAdmin(cfg.DataDir)
	wantIs(t, err, natsd.ErrNoAdmin)
}

func TestConfigNamesPort(t *testing.T) {
	t.Parallel()
	var s, again *natsd.Server
	err := error(syscall.EADDRINUSE)
	for n := 0; n < 10 && errors.Is(err, syscall.EADDRINUSE); n++ { // if another one gets its port meanwhile
		s = start(t, config(t))
		cfg := s.Config()
		if want := "nats://" + cfg.Listen; s.ClientURL() != want || strings.HasSuffix(want, ":0") {
			t.Errorf("ClientURL = %q, Listen = %q", s.ClientURL(), cfg.Listen)
		}
		s.Stop()
		again, err = natsd.Start(within(t), cfg)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(again.Stop)
	if again.ClientURL() != s.ClientURL() {
		t.Errorf("ClientURL = %q after a restart, %q before", again.ClientURL(), s.ClientURL())
	}
}

func TestDataSurvivesRestart(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	s := start(t, cfg)
	nc := connect(t, s, natsd.Node)
	makeLog(t, nc, 1)
	appendTo(t, nc, 100)
	s.Stop()
	if got := count(t, connect(t, start(t, cfg), natsd.Node)); got != 100 {
		t.Errorf("%d messages after a restart, want 100", got)
	}
}

func TestSyncAlways(t *testing.T) {
	t.Parallel()
	for _, relaxed := range []bool{false, true} {
		cfg := config(t)
		cfg.RelaxedSync = relaxed
		if got := start(t, cfg).SyncAlways(); got == relaxed {
			t.Errorf("RelaxedSync %v: SyncAlways is %v", relaxed, got)
		}
	}
}

func TestMaxPayload(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ set, want int32 }{{0, 1 << 20}, {2048, 2048}} {
		cfg := config(t)
		cfg.MaxPayload = tt.set
		if got := connect(t, start(t, cfg), natsd.Node).MaxPayload(); got != int64(tt.want) {
			t.Errorf("MaxPayload %d: the server announces %d, want %d", tt.set, got, tt.want)
		}
	}
}

// TestPortGivenUp: a port that is given up in a moment is waited for.
func TestPortGivenUp(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", freeAddresses(t, 1)[0])
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(t)
	cfg.Listen = taken.Addr().String()
	defer time.AfterFunc(time.Second/2, func() { taken.Close() }).Stop()
	start(t, cfg)
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", freeAddresses(t, 1)[0]) // which nobody else takes afterwards
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cfg := config(t)
	cfg.Listen = taken.Addr().String()
	logged := &journal{}
	cfg.Logger = slogTo(logged)
	err = refused(t, within(t), cfg)
	wantIs(t, err, syscall.EADDRINUSE)
	wantText(t, err, cfg.Listen, cfg.DataDir)
	if got := logged.String(); !strings.HasPrefix(got, "ERROR") || !strings.Contains(got, cfg.Listen) {
		t.Errorf("logged %q, want an error that names the port", got)
	}
	taken.Close()
	start(t, cfg) // Neither folder nor port is held by the one that failed.
}

func TestStartCancelled(t *testing.T) {
	t.Parallel()
	t.Run("Before", func(t *testing.T) {
		t.Parallel()
		cfg := config(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		wantIs(t, refused(t, ctx, cfg), context.Canceled)
		if left, err := os.ReadDir(cfg.DataDir); err != nil || len(left) > 0 {
			t.Errorf("left %v, %v in the folder", left, err)
		}
	})
	t.Run("While", func(t *testing.T) {
		t.Parallel()
		// Alone of two it finds no majority, and JetStream never answers.
		cfg := config(t)
		cfg.Cluster = pairOf(t)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		wantIs(t, refused(t, ctx, cfg), context.DeadlineExceeded)
		cfg.Cluster = nil
		start(t, cfg)
	})
}

func TestBadFolder(t *testing.T) {
	t.Parallel()
	file := func(t *testing.T, path string) {
		t.Helper()
		if err := os.WriteFile(path, []byte("not a folder"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name, says string
		spoil      func(t *testing.T, cfg *natsd.Config)
	}{
		{"IsFile", "make data folder", func(t *testing.T, cfg *natsd.Config) {
			t.Helper()
			cfg.DataDir = filepath.Join(cfg.DataDir, "data")
			file(t, cfg.DataDir)
		}},
		{"BelowFile", "make data folder", func(t *testing.T, cfg *natsd.Config) {
			t.Helper()
			file(t, filepath.Join(cfg.DataDir, "data"))
			cfg.DataDir = filepath.Join(cfg.DataDir, "data", "below")
		}},
		{"LockIsFolder", "open lock", func(t *testing.T, cfg *natsd.Config) {
			t.Helper()
			if err := os.Mkdir(filepath.Join(cfg.DataDir, "holdfast.lock"), 0o700); err != nil {
				t.Fatal(err)
			}
		}},
		{"StoreIsFile", "Can't start JetStream", func(t *testing.T, cfg *natsd.Config) {
			t.Helper()
			file(t, filepath.Join(cfg.DataDir, "jetstream"))
		}},
		{"AdminIsFolder", "remove admin", func(t *testing.T, cfg *natsd.Config) {
			t.Helper()
			if err := os.MkdirAll(filepath.Join(cfg.DataDir, "admin.json", "x"), 0o700); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := config(t)
			tt.spoil(t, &cfg)
			wantText(t, refused(t, within(t), cfg), tt.says, cfg.DataDir)
		})
	}
}

func TestDamagedStream(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		messages int
		spoil    func(folder string) error
		says     string
	}{
		{"Altered", 3, func(f string) error {
			return os.WriteFile(filepath.Join(f, "meta.inf"), []byte("{}"), 0o600)
		}, "checksums do not match"},
		{"Missing", 3, func(f string) error { return os.Remove(filepath.Join(f, "meta.inf")) }, "Missing stream metafile"},
		{"HalfDeleted", 3, halfDelete, ""},
		// Cut off while it was made, nothing stored: that can be made anew.
		{"Unfinished", 0, func(f string) error { return os.Remove(filepath.Join(f, "meta.inf")) }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := config(t)
			s := start(t, cfg)
			nc := connect(t, s, natsd.Node)
			makeLog(t, nc, 1)
			appendTo(t, nc, tt.messages)
			s.Stop()
			if err := tt.spoil(filepath.Join(cfg.DataDir, "jetstream", "CORE", "streams", logName)); err != nil {
				t.Fatal(err)
			}
			if tt.says == "" {
				makeLog(t, connect(t, start(t, cfg), natsd.Node), 1)
				return
			}
			err := refused(t, within(t), cfg)
			wantIs(t, err, natsd.ErrUnrecovered)
			wantText(t, err, logName, tt.says, "backup")
		})
	}
}

// halfDelete leaves a stream as a server does that is killed while it deletes
// it: with a dot before its name. There is enough of it to outlast the start,
// at which the deletion goes on.
func halfDelete(folder string) error {
	gone := filepath.Join(filepath.Dir(folder), "."+filepath.Base(folder))
	if err := os.Rename(folder, gone); err != nil {
		return err
	}
	for i := range 1000 {
		if err := os.WriteFile(filepath.Join(gone, "msgs", fmt.Sprintf("%d.blk", i+2)), []byte("x"), 0o600); err != nil {
			return err
		}
	}
	return nil
}
