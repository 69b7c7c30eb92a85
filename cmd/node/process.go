package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
)

// A process is a node that runs by itself, on its folder.
type process struct {
	name, folder string

	cmd    *exec.Cmd
	log    *tail
	served chan string   // where it serves, once it does
	ended  chan struct{} // closed when it has, with err
	err    error
}

var serves = regexp.MustCompile(`serves the context \S+ at (\S+)\. `)

// start starts the node among the others of cluster, as the flag names them. It is killed
// when ctx ends.
func (p *process) start(ctx context.Context, cluster string) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the program: %w", err)
	}
	cmd := exec.CommandContext(ctx, program, "run", "--name", p.name, "--cluster", cluster, "--data", p.folder,
		"--listen", "127.0.0.1:0", "--context", "demo", "--log-level", "warn")
	for _, v := range os.Environ() { // what the user has set for nodes of his own is not for this one
		if !strings.HasPrefix(v, "HOLDFAST_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	return p.launch(cmd)
}

func (p *process) launch(cmd *exec.Cmd) error {
	p.cmd, p.log, p.served, p.ended = cmd, &tail{}, make(chan string, 1), make(chan struct{})
	cmd.Stderr = p.log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	bind(cmd)
	if err := cmd.Start(); err != nil {
		close(p.ended)
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	go p.follow(out)
	return nil
}

// follow reads what the node says until it ends.
func (p *process) follow(out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if at := serves.FindStringSubmatch(lines.Text()); at != nil {
			p.served <- at[1]
		}
	}
	p.err = p.cmd.Wait()
	close(p.ended)
}

// await returns the URL of the node when it serves.
func (p *process) await(ctx context.Context) (url string, err error) {
	select {
	case url := <-p.served:
		return url, nil
	case <-p.ended:
		return "", p.failed("has ended")
	case <-ctx.Done():
		return "", p.failed("does not serve: " + context.Cause(ctx).Error())
	}
}

// failed is an error with the last that the node had to say.
func (p *process) failed(what string) error {
	return fmt.Errorf("%s %s; the end of its log:\n%s", p.name, what, p.log)
}

// kill is SIGKILL. It bears repetition, and a node that was never started.
func (p *process) kill() {
	if p.ended == nil {
		return
	}
	if p.running() {
		_ = p.cmd.Process.Kill() // it may have ended
	}
	<-p.ended
}

// terminate has the node stop in order, as SIGTERM does, and waits for it until ctx ends.
func (p *process) terminate(ctx context.Context) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.ended:
		if p.err != nil {
			return p.failed("did not stop in order: " + p.err.Error())
		}
		return nil
	case <-ctx.Done():
		return p.failed("does not stop")
	}
}

// running reports whether the node has been started and has not ended.
func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return p.ended != nil
	}
}

// A tail is the end of what was written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// Write never fails.
func (t *tail) Write(b []byte) (int, error) {
	const most = 2000
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if over := len(t.text) - most; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
