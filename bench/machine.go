package bench

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-run/holdfast/bench/report"
)

// lookAtMachine says what it is, and times its fsync in a folder.
func lookAtMachine(dir string) (report.Machine, error) {
	m := report.Machine{System: runtime.GOOS + "/" + runtime.GOARCH, CPU: processorName(), Cores: runtime.GOMAXPROCS(0)}
	var err error
	m.Fsync, err = timeFsync(dir)
	return m, err
}

// timeFsync appends 4 KiB and has them synced, a hundred times, and gives the median in
// microseconds.
func timeFsync(dir string) (median float64, err error) {
	const times, size = 100, 4 << 10
	f, err := os.CreateTemp(dir, "holdfast-bench-fsync-")
	if err != nil {
		return 0, fmt.Errorf("make a file to time fsync with: %w", err)
	}
	defer func() {
		f.Close()
		err = errors.Join(err, os.Remove(f.Name()))
	}()
	var took []time.Duration
	for range times {
		if _, err := f.Write(make([]byte, size)); err != nil {
			return 0, fmt.Errorf("write %s: %w", filepath.Base(f.Name()), err)
		}
		begin := time.Now()
		if err := f.Sync(); err != nil {
			return 0, fmt.Errorf("sync %s: %w", filepath.Base(f.Name()), err)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	return float64(report.Percentile(took, 0.5).Nanoseconds()) / 1e3, nil
}

// processorName is what Linux calls the processor; elsewhere it is empty.
func processorName() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// versions are those that the build knows.
func versions() report.Versions {
	v := report.Versions{Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Holdfast = info.Main.Version
	for _, m := range info.Deps {
		switch m.Path {
		case "github.com/nats-io/nats-server/v2":
			v.NATSServer = m.Version
		case "github.com/nats-io/nats.go":
			v.NATSGo = m.Version
		}
	}
	return v
}
