package tests

import (
	"net"
	"sync"
	"testing"
)

// A line stands between a node and a server, and can be cut: then nothing passes any
// more, and nobody is told.
type line struct {
	listener net.Listener
	target   string
	done     sync.WaitGroup

	mu    sync.Mutex
	open  bool
	again *sync.Cond // the line is open, or closed for good
	ended bool
	ends  map[net.Conn]bool
}

func newLine(tb testing.TB, target string) *line {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	l := &line{listener: listener, target: target, open: true, ends: map[net.Conn]bool{}}
	l.again = sync.NewCond(&l.mu)
	l.done.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				continue
			}
			l.done.Go(func() { l.carry(server, client) })
			l.done.Go(func() { l.carry(client, server) })
		}
	})
	tb.Cleanup(l.close)
	return l
}

func (l *line) address() string { return l.listener.Addr().String() }

// carry carries what one end says to the other while the line is open.
func (l *line) carry(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	l.mu.Lock()
	l.ends[from] = true
	ended := l.ended
	l.mu.Unlock()
	if ended {
		return
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		l.mu.Lock()
		for !l.open && !l.ended {
			l.again.Wait()
		}
		if err != nil {
			delete(l.ends, from)
		}
		l.mu.Unlock()
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// cut holds what is said from now on; mend lets it pass.
func (l *line) cut()  { l.set(false) }
func (l *line) mend() { l.set(true) }

func (l *line) set(open bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = open
	l.again.Broadcast()
}

func (l *line) close() {
	l.listener.Close()
	l.mu.Lock()
	l.ended = true
	for c := range l.ends {
		c.Close()
	}
	l.again.Broadcast()
	l.mu.Unlock()
	l.done.Wait()
}
