package tests

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A disk is a small file system of its own, which can be filled up.
type disk struct {
	folder string // its root
}

// newDisk makes one of so many bytes, nil where the system lets nobody but its
// administrator do that. It is mounted where only a process that holds it sees it, and
// reached by way of that one.
func newDisk(t *testing.T, size int) *disk {
	t.Helper()
	point := t.TempDir()
	mount := fmt.Sprintf("mount -t tmpfs -o size=%d disk '%s' && echo mounted && exec cat", size, point)
	holder := exec.Command("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount)
	in, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Logf("no disk is filled: %v", err)
		return nil
	}
	t.Cleanup(func() {
		in.Close()
		_ = holder.Wait()
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Log("no disk is filled: this system lets nobody mount one")
		return nil
	}
	return &disk{folder: fmt.Sprintf("/proc/%d/root%s", holder.Process.Pid, point)}
}

// fill leaves no byte.
func (d *disk) fill(t *testing.T) {
	t.Helper()
	f, err := os.Create(filepath.Join(d.folder, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}

// clear undoes fill.
func (d *disk) clear(t *testing.T) {
	t.Helper()
	if err := os.Remove(filepath.Join(d.folder, "filler")); err != nil {
		t.Fatal(err)
	}
}
