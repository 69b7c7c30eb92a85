// Package pgtest gives tests a PostgreSQL of their own: its binaries are those of the machine,
// its data is gone with the tests. Where there are none, tests are skipped, unless the
// environment says HOLDFAST_TEST_POSTGRES=required.
package pgtest

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A Server is a PostgreSQL with a folder of its own, which listens on a socket there. It ends
// with the process that started it, however that ends.
type Server struct {
	dir, bin string
	as       *syscall.Credential // who runs it; nil: who runs the tests

	mu    sync.Mutex
	cmd   *exec.Cmd
	alive *os.File // what the server's end hangs on
	made  int      // databases
}

// shared is the server of this process's tests, made when the first one asks for a database.
var shared struct {
	sync.Mutex
	*Server
}

// Database makes an empty database on the server that the tests of a package share, and gives
// its URL. Their TestMain ends with [Stop].
func Database(tb testing.TB) string {
	tb.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.Server == nil {
		shared.Server = create(tb)
		if err := shared.Run(); err != nil {
			tb.Fatal(err)
		}
	}
	return shared.Database(tb)
}

// Stop ends the server that tests shared, if there is one.
func Stop() {
	shared.Lock()
	defer shared.Unlock()
	if shared.Server != nil {
		shared.remove()
		shared.Server = nil
	}
}

// Start gives a test a server that nobody else has, to be stopped and run again.
func Start(tb testing.TB) *Server {
	tb.Helper()
	s := create(tb)
	tb.Cleanup(s.remove)
	if err := s.Run(); err != nil {
		tb.Fatal(err)
	}
	return s
}

func create(tb testing.TB) *Server {
	tb.Helper()
	bin := binaries()
	if bin == "" {
		if os.Getenv("HOLDFAST_TEST_POSTGRES") == "required" {
			tb.Fatal("there is no PostgreSQL on this machine, and HOLDFAST_TEST_POSTGRES=required: install Debian's package postgresql")
		}
		tb.Skip("there is no PostgreSQL on this machine (Debian's package postgresql): what needs one is not tested")
	}
	//nolint:usetesting // it outlives the test that asked for it first
	dir, err := os.MkdirTemp("/tmp", "holdfast-pg") // the path of a socket must be short
	if err != nil {
		tb.Fatal(err)
	}
	s := &Server{dir: dir, bin: bin}
	if err := s.init(); err != nil {
		s.remove()
		tb.Fatal(err)
	}
	return s
}

// binaries finds the folder of the newest PostgreSQL.
func binaries() string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	slices.SortFunc(found, func(a, b string) int { return version(a) - version(b) })
	if len(found) > 0 {
		return filepath.Dir(found[len(found)-1])
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path)
	}
	return ""
}

func version(initdb string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(initdb))))
	return n
}

// init makes the files. PostgreSQL refuses to run as root: then it is its own user's.
func (s *Server) init() error {
	if os.Geteuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			return fmt.Errorf("PostgreSQL does not run as root: %w", err)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(s.dir, uid, gid); err != nil {
			return err
		}
		s.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	cmd := s.command(filepath.Join(s.bin, "initdb"), "-D", s.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.as, Setpgid: true}
	return cmd
}

// waits runs what follows it until it is told to end, or its input ends because the tests are
// gone: then the files go, too.
const waits = `dir=$1; shift; "$@" & pid=$!; read -r word; kill -INT $pid; wait $pid; test -n "$word" || rm -rf "$dir"`

// Run starts a server that does not run, and returns when it takes connections.
func (s *Server) Run() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		return nil
	}
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer out.Close()
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		in.Close()
		return err
	}
	defer log.Close()
	cmd := s.command("/bin/sh", "-c", waits, "sh", s.dir, filepath.Join(s.bin, "postgres"), "-D", s.data(), "-k", s.dir,
		"-c", "listen_addresses=", "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "shared_buffers=32MB",
		"-c", "max_connections=100", "-c", "unix_socket_permissions=0777")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = out, log, log
	if err := cmd.Start(); err != nil {
		in.Close()
		return err
	}
	s.cmd, s.alive = cmd, in
	if err := s.ready(); err != nil {
		s.stop()
		text, _ := os.ReadFile(log.Name())
		return fmt.Errorf("start PostgreSQL: %w\n%s", err, text)
	}
	return nil
}

func (s *Server) ready() error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		if err := s.psql("postgres", "SELECT 1"); err == nil {
			return nil
		}
	}
	return errors.New("it takes no connections for a minute")
}

func (s *Server) psql(database, statement string) error {
	cmd := s.command(filepath.Join(s.bin, "psql"), "-X", "-q", "-h", s.dir, "-U", "postgres", "-d", database, "-c", statement)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", statement, err, out)
	}
	return nil
}

// Database makes an empty database, and gives its URL.
func (s *Server) Database(tb testing.TB) string {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
	name := fmt.Sprintf("test%d", s.made)
	if err := s.psql("postgres", "CREATE DATABASE "+name); err != nil {
		tb.Fatal(err)
	}
	return fmt.Sprintf("postgres://postgres@/%s?host=%s", name, url.QueryEscape(s.dir))
}

// Stop ends the server as an operator would who is in haste: connections are cut. It bears
// repetition, and [Server.Run] starts it again.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop()
}

func (s *Server) stop() {
	if s.cmd == nil {
		return
	}
	_, _ = s.alive.WriteString("stop\n") // nobody reads it who is gone
	s.alive.Close()
	_ = s.cmd.Wait() // it was told to end: what it says then is of no interest
	s.cmd = nil
}

func (s *Server) remove() {
	s.Stop()
	os.RemoveAll(s.dir)
}
