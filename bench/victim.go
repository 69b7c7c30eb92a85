package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/actors"
	"github.com/holdfast-run/holdfast/internal/natsd"
)

// A part that a victim plays: what its process is told on its standard input.
type victimPart struct {
	Mode  string
	Lease time.Duration
	// Admin is how it reaches the servers. When it is none, the victim is one of them.
	Admin  *natsd.Admin
	Folder string
	Listen string
	Routes []string // of which its own is the last one
}

// victimName is that of the victim's server and of its member.
const victimName = "victim"

// A victim is a member in a process of its own, with the last of three servers in it when there
// are that many.
type victim struct {
	part victimPart
	self []string

	cmd   *exec.Cmd
	in    io.Closer     // which ends it, too: when this process does
	ended chan struct{} // closed when the process has
	errs  bytes.Buffer  // what it had to say, once it has ended
}

// ready is what a victim says when it is a member.
const ready = "ready"

// start starts the process, and returns when it is a member.
func (v *victim) start(ctx context.Context) error {
	v.errs.Reset()
	v.cmd = exec.CommandContext(context.WithoutCancel(ctx), v.self[0], v.self[1:]...)
	v.cmd.Stderr = &v.errs
	in, err := v.cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := v.cmd.Start(); err != nil {
		return fmt.Errorf("start a node that will be killed: %w", err)
	}
	v.in, v.ended = in, make(chan struct{})
	served := make(chan struct{})
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if lines.Text() == ready {
				close(served)
			}
		}
		_ = v.cmd.Wait() // it was killed
		close(v.ended)
	}()
	if err := json.NewEncoder(in).Encode(v.part); err != nil {
		return errors.Join(err, v.failed())
	}
	select {
	case <-served:
		return nil
	case <-v.ended:
		return v.failed()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// failed kills it, and says what it had to say.
func (v *victim) failed() error {
	v.kill()
	return fmt.Errorf("the node that was to be killed has ended before: %s", v.errs.String())
}

// running reports whether there is one.
func (v *victim) running() bool {
	select {
	case <-v.ended:
		return false
	default:
		return v.ended != nil
	}
}

// shoot kills it, and does not wait until it is dead.
func (v *victim) shoot() {
	_ = v.cmd.Process.Kill() // it may have ended
}

// kill kills it if it is there. It bears repetition.
func (v *victim) kill() {
	if v.running() {
		v.shoot()
		v.in.Close()
		<-v.ended
	}
}

// self is the command line with which this program is to be a victim.
func self(bench *cobra.Command) ([]string, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the program: %w", err)
	}
	path := strings.Fields(bench.CommandPath())
	return append(append([]string{program}, path[1:]...), victimVerb), nil
}

const victimVerb = "victim"

// victimCommand is what this program runs in another process. It is for nobody else.
func victimCommand() *cobra.Command {
	return &cobra.Command{
		Use: victimVerb, Short: "Be the node that a benchmark kills", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return playVictim(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}

// playVictim is a member, until it is killed or in ends.
func playVictim(ctx context.Context, in io.Reader, out io.Writer) (err error) {
	told := bufio.NewReader(in)
	line, err := told.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("hear what to be: %w", err)
	}
	var p victimPart
	if err := json.Unmarshal(line, &p); err != nil {
		return fmt.Errorf("hear what to be: %w", err)
	}
	s := &stage{admin: p.Admin, setting: setting{host: actors.Config{MaxActive: maxActive}, lease: p.Lease}}
	for _, m := range modes {
		if m.name == p.Mode {
			s.mode = m
		}
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if s.admin == nil {
		server, err := natsd.Start(ctx, p.config())
		if err != nil {
			return err
		}
		s.servers = append(s.servers, server)
	}
	if err := s.join(ctx, 0, victimName); err != nil {
		return err
	}
	fmt.Fprintln(out, ready)
	left := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, told) // which ends with the process that has started this one
		close(left)
	}()
	select {
	case <-left:
	case <-ctx.Done():
	}
	return nil
}

// config is that of the victim's server.
func (p victimPart) config() natsd.Config {
	return member(natsd.Config{Context: string(contextName), Logger: slog.New(slog.DiscardHandler)}, p.Folder, victimName, p.Listen, p.Routes, len(p.Routes)-1)
}

// member is the configuration of one server of a cluster.
func member(c natsd.Config, folder, name, listen string, routes []string, i int) natsd.Config {
	c.Name, c.DataDir, c.Listen = name, filepath.Join(folder, name), listen
	c.Cluster = &natsd.Cluster{Name: string(contextName), Listen: routes[i], Routes: routes}
	return c
}

// startWithVictim starts the servers, of which the victim is the last one if there are several,
// and the victim.
func (s *stage) startWithVictim(ctx context.Context, config natsd.Config) error {
	s.victim = &victim{self: s.setting.self, part: victimPart{Mode: s.mode.name, Lease: s.setting.lease, Folder: s.folder}}
	if s.mode.servers == 1 {
		var err error
		if s.servers, err = natsd.StartCluster(ctx, 1, config); err != nil {
			return err
		}
		admin, err := natsd.ReadAdmin(s.servers[0].Config().DataDir)
		if err != nil {
			return err
		}
		s.victim.part.Admin = &admin
		return s.victim.start(ctx)
	}
	n := s.mode.servers
	addresses, err := natsd.FreeAddresses(2 * n)
	if err != nil {
		return err
	}
	routes, clients := addresses[:n], addresses[n:]
	s.victim.part.Listen, s.victim.part.Routes = clients[n-1], routes
	started := make([]*natsd.Server, n-1)
	errs := make([]error, n)
	var all sync.WaitGroup // none of them starts without the others
	for i := range started {
		all.Go(func() {
			started[i], errs[i] = natsd.Start(ctx, member(config, s.folder, memberName(i), clients[i], routes, i))
		})
	}
	all.Go(func() { errs[n-1] = s.victim.start(ctx) })
	all.Wait()
	return s.take(started, errs)
}
