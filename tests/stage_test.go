package tests

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/internal/natsd"
)

// A stage is three nodes of one context, each a process, what they stand on, and lines
// between them that can be cut.
type stage struct {
	t       *testing.T
	program func() (string, error)
	nodes   map[string]*process
	flags   map[string][]string
	servers []*natsServer      // external ones; none when the nodes bring their own
	toNATS  map[string][]*line // of a node: to the servers, or between its server and the others
	toPeer  map[string]*line   // from the other nodes to this one
	clients []string           // where these connect
	admin   string             // the flags of an operator
	disk    *disk              // of one of the servers; may be nil
	full    string             // the node or server that it is of
	// database is where the nodes keep read models: in files of their own when it is empty.
	database string

	// straight has no lines and no disk: for measurements.
	straight bool
	timeout  time.Duration // of a request, at the nodes
	lease    time.Duration
}

const stageLease = 1500 * time.Millisecond

var stageNames = []string{"n1", "n2", "n3"}

func newStage(t *testing.T, program func() (string, error), change []func(*stage)) *stage {
	t.Helper()
	s := &stage{
		t: t, program: program, nodes: map[string]*process{}, flags: map[string][]string{},
		toNATS: map[string][]*line{}, toPeer: map[string]*line{}, timeout: 3 * time.Second, lease: stageLease,
	}
	for _, f := range change {
		f(s)
	}
	if !s.straight {
		s.disk = newDisk(t, diskSize)
	}
	return s
}

func straight(s *stage) { s.straight = true }

// hasty has nodes give up before others could take over: what they say then is put to the
// test, too.
func hasty(s *stage) { s.timeout = 2 * stageLease / 3 }

// patient has nodes outlast a machine that stands still for a while: what happens in order has
// nothing to do with leases.
func patient(s *stage) { s.timeout, s.lease = 10*time.Second, 10*time.Second }

// way gives the address by which a node reaches another one, or a server.
func (s *stage) way(address string, note func(*line)) string {
	if s.straight {
		return address
	}
	l := newLine(s.t, address)
	note(l)
	return l.address()
}

// common are the flags that nodes on any stage have. The other nodes reach this one over a
// line.
func (s *stage) common(name string, peerPort int) []string {
	listen := fmt.Sprintf("127.0.0.1:%d", peerPort)
	return []string{
		"--name", name, "--lease", s.lease.String(), "--request-timeout", s.timeout.String(),
		"--peer-listen", listen, "--peer-advertise", s.way(listen, func(l *line) { s.toPeer[name] = l }),
	}
}

// stageOn puts three nodes onto so many external NATS servers.
func stageOn(t *testing.T, servers int, program func() (string, error), change ...func(*stage)) *stage {
	t.Helper()
	s := newStage(t, program, change)
	s.full = fmt.Sprint("s", servers)
	root := t.TempDir()
	s.servers = startNATS(t, servers, func(name string) string { return s.folder(root, name) })
	for _, one := range s.servers {
		s.clients = append(s.clients, one.url())
	}
	ports := freePorts(t, 4)
	for i, name := range append(slices.Clone(stageNames), "n4") {
		var urls []string
		for _, one := range s.servers {
			way := s.way(strings.TrimPrefix(one.url(), "nats://"), func(l *line) { s.toNATS[name] = append(s.toNATS[name], l) })
			urls = append(urls, "nats://"+way)
		}
		s.flags[name] = append(s.common(name, ports[i]), "--nats", strings.Join(urls, ","), "--replicas", fmt.Sprint(len(urls)),
			"--database", cmp.Or(s.database, "sqlite:"+filepath.Join(s.t.TempDir(), name)))
	}
	s.admin = "--nats=" + strings.Join(s.clients, ",")
	s.startAll()
	return s
}

// stageOfThree has three nodes bring their own servers, which form a cluster.
func stageOfThree(t *testing.T, program func() (string, error), change ...func(*stage)) *stage {
	t.Helper()
	s := newStage(t, program, change)
	s.full = "n3"
	root, ports := t.TempDir(), freePorts(t, 9)
	var own []string
	for i := range stageNames {
		// The servers tell each other where they see one another, which is at 127.0.0.1.
		// Nobody listens there: the only way leads over the lines.
		own = append(own, fmt.Sprintf("127.0.1.%d:%d", i+1, ports[i]))
	}
	for i, name := range stageNames {
		var all []string
		for j, other := range stageNames {
			address := own[j]
			if i != j {
				address = s.way(own[j], func(l *line) {
					s.toNATS[name] = append(s.toNATS[name], l)
					s.toNATS[other] = append(s.toNATS[other], l)
				})
			}
			all = append(all, other+"="+address)
		}
		client := fmt.Sprintf("127.0.0.1:%d", ports[3+i])
		s.clients = append(s.clients, "nats://"+client)
		s.flags[name] = append(s.common(name, ports[6+i]), "--data", s.folder(root, name), "--listen", client, "--cluster", strings.Join(all, ","))
	}
	s.admin = "--data=" + s.folder(root, "n1")
	s.startAll()
	return s
}

// diskSize holds the log of a run several times.
const diskSize = 256 << 20

func (s *stage) folder(root, name string) string {
	if name == s.full && s.disk != nil {
		root = s.disk.folder
	}
	return filepath.Join(root, name)
}

// startAll starts the first three nodes at once: embedded servers wait for one another.
func (s *stage) startAll() {
	s.t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for _, name := range stageNames {
		wg.Go(func() {
			p, err := s.launch(name)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = fmt.Errorf("%s: %w", name, err)
				return
			}
			s.nodes[name] = p
		})
	}
	wg.Wait()
	if failed != nil {
		s.t.Fatal(failed)
	}
}

func (s *stage) launch(name string) (*process, error) {
	path, err := s.program()
	if err != nil {
		return nil, err
	}
	return launch(s.t, path, s.flags[name]...)
}

func (s *stage) start(name string) {
	s.t.Helper()
	p, err := s.launch(name)
	if err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
	s.nodes[name] = p
}

// dial connects to the servers, the preferred one first.
func (s *stage) dial(preferred int) *nats.Conn {
	s.t.Helper()
	n := preferred % len(s.clients)
	urls := append(slices.Clone(s.clients[n:]), s.clients[:n]...)
	return dial(s.t, strings.Join(urls, ","), nats.DontRandomize(), nats.Timeout(time.Second))
}

// core connects with the rights of a node.
func (s *stage) core() *nats.Conn {
	s.t.Helper()
	if len(s.servers) > 0 {
		return s.dial(0)
	}
	return s.coreOf("n1")
}

func freePorts(t *testing.T, n int) []int {
	t.Helper()
	addresses, err := natsd.FreeAddresses(n)
	if err != nil {
		t.Fatal(err)
	}
	var ports []int
	for _, a := range addresses {
		var port int
		if _, err := fmt.Sscanf(a, "127.0.0.1:%d", &port); err != nil {
			t.Fatal(err)
		}
		ports = append(ports, port)
	}
	return ports
}
