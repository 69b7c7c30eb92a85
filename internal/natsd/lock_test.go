package natsd_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/internal/natsd"
)

// childFolder, when set, makes this test binary a server on that folder.
const childFolder = "NATSD_TEST_CHILD"

func child(dir string) int {
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	s, err := natsd.Start(ctx, natsd.Config{DataDir: dir, Listen: "127.0.0.1:0", Context: demo, Logger: quiet()})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	nc, err := s.Connect(natsd.Node)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	js, err := jetstream.New(nc)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	log := jetstream.StreamConfig{Name: logName, Subjects: []string{demo + ".log.0.>"}}
	if _, err := js.CreateStream(ctx, log); err != nil {
		fmt.Println(err)
		return 1
	}
	for range 50 {
		if _, err := js.Publish(ctx, demo+".log.0.account.a-1", []byte("event")); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	for range 3 {
		runtime.GC() // nobody knows s any more, and the folder is still its own
	}
	fmt.Println("ready")
	select {} // until killed
}

func TestFolderBelongsToOne(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	first := start(t, cfg)
	err := refused(t, within(t), cfg)
	wantIs(t, err, natsd.ErrFolderInUse)
	wantText(t, err, cfg.DataDir, "pid "+strconv.Itoa(os.Getpid()))
	if _, err := natsd.ReadAdmin(cfg.DataDir); err != nil {
		t.Errorf("the refused start took the first one's admin away: %v", err)
	}
	first.Stop()
	start(t, cfg)
}

// A program that is started elsewhere in this process shares all open files
// from its fork to its exec; here it does so for as long as it lives.
func TestFolderIsFreeDespiteFork(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	s := start(t, cfg)
	cat := exec.CommandContext(t.Context(), "cat")
	cat.ExtraFiles = []*os.File{s.LockFile()}
	in, err := cat.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	start(t, cfg)
	if err := errors.Join(in.Close(), cat.Wait()); err != nil {
		t.Error(err)
	}
}

func TestFolderIsFreeAfterKill(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), childFolder+"="+cfg.DataDir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "ready" {
		t.Errorf("child said %q, %v", lines.Text(), lines.Err())
	}

	err = refused(t, within(t), cfg)
	wantIs(t, err, natsd.ErrFolderInUse)
	wantText(t, err, "pid "+strconv.Itoa(cmd.Process.Pid))
	old, err := natsd.ReadAdmin(cfg.DataDir)
	if err != nil {
		t.Errorf("ReadAdmin of the child: %v", err)
	}

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("child ended by itself")
	}
	cfg.CheckBlocksOf = isLog
	s := start(t, cfg)
	if got := count(t, connect(t, s, natsd.Node)); got != 50 {
		t.Errorf("%d messages after the kill, want the 50 that were acknowledged", got)
	}
	now, err := natsd.ReadAdmin(cfg.DataDir)
	if err != nil || now.URL != s.ClientURL() || now.Password == old.Password {
		t.Errorf("admin after the kill is %v, %v, before it was %v", now, err, old)
	}
}
