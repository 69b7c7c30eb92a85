package tests

import (
	"bytes"
	"context"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// A pulse is that of the log's leader, as a raw publisher feels it: what nobody answers, no
// node can.
type pulse struct {
	s     *stage
	avoid *atomic.Int64 // the node that is being restarted
	conns map[string]*nats.Conn
	end   chan struct{}
	done  chan time.Duration
}

func (s *stage) pulse(avoid *atomic.Int64) *pulse {
	p := &pulse{s: s, avoid: avoid, conns: map[string]*nats.Conn{}, end: make(chan struct{}), done: make(chan time.Duration, 1)}
	go p.run()
	return p
}

// stop gives the longest time for which the leader was not to be felt.
func (p *pulse) stop() time.Duration {
	close(p.end)
	return <-p.done
}

func (p *pulse) run() {
	var longest time.Duration
	defer func() {
		for _, nc := range p.conns {
			nc.Close()
		}
		p.done <- longest
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for last := time.Now(); ; {
		if p.beats() {
			longest = max(longest, time.Since(last))
			last = time.Now()
		}
		select {
		case <-tick.C:
		case <-p.end:
			longest = max(longest, time.Since(last))
			return
		}
	}
}

// beats reports whether the leader refuses what nobody could expect.
func (p *pulse) beats() bool {
	m := nats.NewMsg("demo.log.0.account.raw")
	m.Header.Set("Nats-Expected-Last-Subject-Sequence", "999999999")
	for i, name := range stageNames {
		if int64(i) == p.avoid.Load() {
			continue
		}
		nc := p.conn(name)
		if nc == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		answer, err := nc.RequestMsgWithContext(ctx, m)
		cancel()
		if err == nil && len(answer.Data) > 0 && !bytes.Contains(answer.Data, []byte(`"code":503`)) {
			return true
		}
	}
	return false
}

// conn connects to a node's own server, which has another password after each start, or to one
// that is there for all.
func (p *pulse) conn(name string) *nats.Conn {
	if nc := p.conns[name]; nc != nil && nc.IsConnected() {
		return nc
	}
	url, options := p.s.clients[0], []nats.Option{nats.IgnoreDiscoveredServers(), nats.NoReconnect(), nats.Timeout(200 * time.Millisecond)}
	if len(p.s.servers) == 0 {
		admin, err := p.s.adminOf(name)
		if err != nil {
			return nil
		}
		url, options = strings.TrimSpace(admin.URL), append(options, nats.UserInfo(admin.User, admin.Password))
	}
	nc, err := nats.Connect(url, options...)
	if err != nil {
		return nil
	}
	p.conns[name] = nc
	return nc
}
