package tests

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// jumpy builds a node whose clock on the wall jumps ahead by an hour at SIGUSR1, and back
// at SIGUSR2: all of the process sees it, its NATS server included, as if somebody had set
// the machine's clock. The clock that runs evenly goes on, as it does then.
var jumpy = sync.OnceValues(func() (string, error) {
	if _, err := binary(); err != nil {
		return "", err
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("find the standard library: %w", err)
	}
	source := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	text, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}
	const now = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	jumping := strings.Replace(string(text), now, "var jump int64\n\nfunc Jump(seconds int64) { jump = seconds }\n\n"+now+"\tsec += jump\n", 1)
	if jumping == string(text) {
		return "", fmt.Errorf("%s has another way to tell the time by now: change the text that this looks for", source)
	}
	listener, err := filepath.Abs("../cmd/node/jump.go")
	if err != nil {
		return "", err
	}
	replaced := map[string]string{source: filepath.Join(built, "time.go"), listener: filepath.Join(built, "jump.go")}
	overlay, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		return "", err
	}
	for name, content := range map[string]string{"time.go": jumping, "jump.go": jumpAtSignal, "overlay.json": string(overlay)} {
		if err := os.WriteFile(filepath.Join(built, name), []byte(content), 0o600); err != nil {
			return "", err
		}
	}
	path := filepath.Join(built, "jumpy")
	if out, err := exec.Command("go", "build", "-overlay", filepath.Join(built, "overlay.json"), "-o", path, "../cmd/node").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the node with a clock that jumps: %w\n%s", err, out)
	}
	return path, nil
})

const jumpAtSignal = `package main

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

func init() {
	jumps := make(chan os.Signal, 1)
	signal.Notify(jumps, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		for s := range jumps {
			if s == syscall.SIGUSR1 {
				time.Jump(3600)
			} else {
				time.Jump(0)
			}
		}
	}()
}
`
