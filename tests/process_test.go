package tests

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/internal/pgtest"
)

// built is the folder of the binary, when there is one.
var built string

// binary builds cmd/node once a run of the tests.
var binary = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp("", "holdfast-tests-")
	if err != nil {
		return "", err
	}
	built = folder
	path := filepath.Join(folder, "node")
	if out, err := exec.Command("go", "build", "-o", path, "../cmd/node").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the node: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	if config := os.Getenv(natsEnv); config != "" {
		os.Exit(serveNATS(config))
	}
	code := m.Run()
	pgtest.Stop()
	if built != "" {
		os.RemoveAll(built)
	}
	os.Exit(code)
}

// A process is a real node, started from the real binary.
type process struct {
	cmd *exec.Cmd
	url string
}

var serving = regexp.MustCompile(`serves the context \S+ at (\S+)\. `)

// startProcess runs a node on the folder, and returns when it serves.
func startProcess(tb testing.TB, folder, listen string, args ...string) *process {
	tb.Helper()
	return startRun(tb, append([]string{"--data", folder, "--listen", listen}, args...)...)
}

// startRun starts a node with these flags, and returns when it serves.
func startRun(tb testing.TB, args ...string) *process {
	tb.Helper()
	path, err := binary()
	if err != nil {
		tb.Fatal(err)
	}
	p, err := launch(tb, path, args...)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// launch starts a node of the program with these flags, and returns when it serves.
func launch(tb testing.TB, program string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(program, append([]string{"run", "--log-level", "error"}, args...)...)}
	p.cmd.Stderr = os.Stderr
	p.cmd.Dir = tb.TempDir() // for what it is not told where to keep
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	tb.Cleanup(p.kill)
	lines := bufio.NewReader(out)
	late := time.AfterFunc(2*time.Minute, func() { _ = p.cmd.Process.Kill() })
	line, err := lines.ReadString('\n')
	late.Stop()
	found := serving.FindStringSubmatch(line)
	if err != nil || found == nil {
		return nil, fmt.Errorf("the node said %q and not where it serves: %w", line, err)
	}
	p.url = found[1]
	go func() { _, _ = io.Copy(io.Discard, lines) }() // until the node ends
	return p, nil
}

// kill is SIGKILL. It bears repetition.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended already
	_ = p.cmd.Wait()
}

func (p *process) address() string { return strings.TrimPrefix(p.url, "nats://") }

// runNode runs a command of the binary and gives what it wrote and its exit code.
func runNode(tb testing.TB, args ...string) (stdout, stderr string, code int) {
	tb.Helper()
	path, err := binary()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); cmd.ProcessState == nil {
		tb.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// dial connects as any client, and reconnects for ever.
func dial(tb testing.TB, url string, options ...nats.Option) *nats.Conn {
	tb.Helper()
	nc, err := natsd.Dial(url, append(options, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectBufSize(-1))...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	return nc
}

// A reply is what a client hears, success or not.
type reply struct {
	Status    int // of the micro convention; 0 on success
	Ref       string
	Version   uint64
	Position  string
	Time      time.Time
	Events    []json.RawMessage
	Duplicate bool
	State     map[string]any
	Next      uint64
	Error     struct{ Code, Message string }

	header nats.Header
	body   []byte
}

// ask makes one request. The error is that there was no answer.
func ask(nc *nats.Conn, subject, body string, header map[string]string) (reply, error) {
	return askWithin(10*time.Second, nc, subject, body, header)
}

func askWithin(d time.Duration, nc *nats.Conn, subject, body string, header map[string]string) (reply, error) {
	m := nats.NewMsg(subject)
	m.Data = []byte(body)
	for k, v := range header {
		m.Header.Set(k, v)
	}
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	answer, err := nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return reply{}, err
	}
	r := reply{header: answer.Header, body: answer.Data}
	r.Status, _ = strconv.Atoi(answer.Header.Get("Nats-Service-Error-Code"))
	if err := json.Unmarshal(answer.Data, &r); err != nil {
		return r, fmt.Errorf("the answer is not JSON: %w\n%s", err, answer.Data)
	}
	return r, nil
}

// mustAsk asks until there is an answer that stands, and fails the test when there is none. A
// command is sent with one id each time.
func mustAsk(tb testing.TB, nc *nats.Conn, subject, body string, header map[string]string) reply {
	tb.Helper()
	all := map[string]string{nats.MsgIdHdr: nuid.Next()}
	if !strings.HasPrefix(subject, "demo.cmd.") {
		all = map[string]string{}
	}
	maps.Copy(all, header)
	for end := time.Now().Add(2 * time.Minute); ; <-time.After(20 * time.Millisecond) {
		r, err := ask(nc, subject, body, all)
		if err == nil && !passes(r.Status) {
			return r
		}
		if time.Now().After(end) {
			tb.Fatalf("%s: %v %s", subject, err, r.body)
		}
	}
}

// passes tells what a node says that is busy: the same request may be sent again.
func passes(status int) bool { return status == 429 || status == 503 || status == 504 }

// A recorded event, as the history shows it.
type recordedEvent struct {
	Version        uint64
	ID, Type, User string
	Command        string
	CommandID      string
	CorrelationID  string
	CausationID    string
	Trace          string
	Time           time.Time
	Data           map[string]any
}

// history reads all pages.
func history(tb testing.TB, nc *nats.Conn, subject string) []recordedEvent {
	tb.Helper()
	var all []recordedEvent
	for from := uint64(1); from != 0; {
		r := mustAsk(tb, nc, subject, fmt.Sprintf(`{"from":%d,"limit":500}`, from), nil)
		if r.Status == 404 {
			return nil
		}
		if r.Status != 0 {
			tb.Fatalf("%s: %s", subject, r.body)
		}
		for _, raw := range r.Events {
			var e recordedEvent
			if err := json.Unmarshal(raw, &e); err != nil {
				tb.Fatal(err)
			}
			all = append(all, e)
		}
		from = r.Next
	}
	return all
}
