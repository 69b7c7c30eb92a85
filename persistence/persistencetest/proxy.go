package persistencetest

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// A Proxy is a [Line] for any protocol on TCP: it stands between a client and a server.
type Proxy struct {
	target   string
	listener net.Listener
	done     sync.WaitGroup

	mu    sync.Mutex
	mode  mode
	held  []byte      // of requests
	left  int         // bytes of requests that pass before the line breaks
	pair  [2]net.Conn // client, server
	ended bool
}

type mode int

const (
	pass mode = iota
	loseAnswers
	loseRequests
	holdRequests
	cutRequests
)

var _ Line = (*Proxy)(nil)

// NewProxy starts a proxy for one connection at a time to the target, a host:port. It
// ends with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{target: target, listener: listener}
	p.done.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// Address is where the client connects.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

func (p *Proxy) close() {
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.listener.Close()
	p.Break()
	p.done.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		p.pair = [2]net.Conn{client, server}
		ended := p.ended
		p.mu.Unlock()
		if ended {
			p.Break()
		}
		p.done.Go(func() { p.copy(server, client, true) })
		p.done.Go(func() { p.copy(client, server, false) })
	}
}

// copy carries bytes one way, as the mode has it.
func (p *Proxy) copy(to, from net.Conn, requests bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if err := p.carry(to, buf[:n], requests); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *Proxy) carry(to io.Writer, b []byte, requests bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case requests && p.mode == loseRequests, !requests && p.mode == loseAnswers:
		return nil
	case requests && p.mode == holdRequests:
		p.held = append(p.held, b...)
		return nil
	case requests && p.mode == cutRequests:
		b = b[:min(len(b), p.left)]
		if p.left -= len(b); p.left == 0 {
			_, _ = to.Write(b) // it breaks in any case
			return net.ErrClosed
		}
	}
	_, err := to.Write(b)
	return err
}

func (p *Proxy) set(m mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = m
}

// LoseAnswers implements [Line].
func (p *Proxy) LoseAnswers() { p.set(loseAnswers) }

// LoseRequests implements [Line].
func (p *Proxy) LoseRequests() { p.set(loseRequests) }

// CutRequests has the line break when so many bytes more of requests have passed.
func (p *Proxy) CutRequests(bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode, p.left = cutRequests, bytes
}

// HoldRequests implements [Line].
func (p *Proxy) HoldRequests() { p.set(holdRequests) }

// Release implements [Line].
func (p *Proxy) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = pass
	held := p.held
	p.held = nil
	if server := p.pair[1]; server != nil && len(held) > 0 {
		if _, err := server.Write(held); err != nil && !errors.Is(err, net.ErrClosed) {
			server.Close()
		}
	}
}

// Break implements [Line].
func (p *Proxy) Break() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode, p.held = pass, nil
	for _, c := range p.pair {
		if c != nil {
			c.Close()
		}
	}
	p.pair = [2]net.Conn{}
}
