package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// previous builds the node of the commit before this one. There is none in a copy of the
// sources without their history.
func previous(t *testing.T) string {
	t.Helper()
	if _, err := binary(); err != nil {
		t.Fatal(err)
	}
	name, err := exec.Command("git", "rev-parse", "--verify", "HEAD~1").Output()
	if err != nil {
		t.Skip("these sources have no history from which the previous version could be built")
	}
	folder, path := t.TempDir(), filepath.Join(built, "previous")
	script := fmt.Sprintf("cd .. && git archive %s | tar -x -C '%s' && cd '%s' && go build -o '%s' ./cmd/node", strings.TrimSpace(string(name)), folder, folder, path)
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("build the previous version: %v\n%s", err, out)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// Three nodes of the previous version are replaced by those of this one, under load, and
// one goes back: no request fails, unless the log stands still for longer than requests wait.
func TestRollingUpgrade(t *testing.T) {
	old := previous(t)
	s := stageOn(t, 1, func() (string, error) { return old, nil }, straight, patient)
	b := s.barrage(150, 500)
	<-time.After(time.Second)
	pulse := s.pulse(&b.avoid)
	s.program = binary
	s.roll(b, func(name string) {
		s.stop(name)
		s.start(name)
	})
	s.program = func() (string, error) { return old, nil }
	s.stop("n2")
	s.start("n2")
	<-time.After(time.Second)
	shots := b.stop()
	b.nothingFailed(shots, pulse.stop())
	s.verify()
}
