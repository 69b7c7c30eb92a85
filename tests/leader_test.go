package tests

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/internal/natsd"
)

// A raw client that asks a stream's leader again and again until it answers.
type raw struct {
	first chan time.Time // of an answer after the wanted time
	done  chan struct{}
}

// publishRaw tells when the stream answers a publisher for the first time after since: as
// long as it refuses what nobody could expect, it has a leader.
func publishRaw(nc *nats.Conn, subject string, since time.Time, stop <-chan struct{}) *raw {
	m := nats.NewMsg(subject)
	m.Header.Set("Nats-Expected-Last-Subject-Sequence", "999999999")
	return askRaw(nc, m, since, stop)
}

// readRaw tells when the stream's leader answers a reader for the first time after since,
// for which JetStream as a whole needs a leader, too.
func readRaw(nc *nats.Conn, stream string, since time.Time, stop <-chan struct{}) *raw {
	m := nats.NewMsg("$JS.API.STREAM.MSG.GET." + stream)
	m.Data = []byte(`{"seq":1}`)
	return askRaw(nc, m, since, stop)
}

func askRaw(nc *nats.Conn, m *nats.Msg, since time.Time, stop <-chan struct{}) *raw {
	r := &raw{first: make(chan time.Time, 1), done: make(chan struct{})}
	go func() {
		defer close(r.done)
		for {
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			answer, err := nc.RequestMsgWithContext(ctx, m)
			cancel()
			if err == nil && len(answer.Data) > 0 && !bytes.Contains(answer.Data, []byte(`"code":503`)) && time.Now().After(since) {
				r.first <- time.Now()
				return
			}
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	return r
}

// gap is how long after since the stream answered.
func (r *raw) gap(t *testing.T, since time.Time) time.Duration {
	t.Helper()
	<-r.done
	select {
	case at := <-r.first:
		return at.Sub(since)
	default:
		t.Fatal("the raw publisher was never answered")
		return 0
	}
}

// leaderOf gives the server that leads a stream, "" while none does.
func leaderOf(nc *nats.Conn, stream string) string {
	answer, err := nc.Request("$JS.API.STREAM.INFO."+stream, nil, time.Second)
	if err != nil {
		return ""
	}
	var r struct{ Cluster struct{ Leader string } }
	if err := json.Unmarshal(answer.Data, &r); err != nil {
		return ""
	}
	return r.Cluster.Leader
}

// lead has a server lead a stream.
func (s *stage) lead(nc *nats.Conn, stream, server string) {
	s.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); leaderOf(nc, stream) != server; <-time.After(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("%s does not come to lead %s", server, stream)
		}
		// It may be asked in vain, while there is no leader or the server lags behind.
		_, _ = nc.Request("$JS.API.STREAM.LEADER.STEPDOWN."+stream, fmt.Appendf(nil, `{"placement":{"preferred":%q}}`, server), time.Second)
	}
}

// stillness begins to ping servers, and gives a function that ends it and tells how long one of
// them did not answer at the most: nobody can expect anything of them meanwhile.
func stillness(servers ...*nats.Conn) (end func() time.Duration) {
	stop, most := make(chan struct{}), make(chan time.Duration, len(servers))
	for _, nc := range servers {
		go func() {
			var longest time.Duration
			defer func() { most <- longest }()
			for last := time.Now(); ; {
				if nc.FlushTimeout(time.Minute) == nil {
					longest = max(longest, time.Since(last))
					last = time.Now()
				}
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		}()
	}
	return func() (longest time.Duration) {
		close(stop)
		for range servers {
			longest = max(longest, <-most)
		}
		return longest
	}
}

// A node is killed together with its server, which leads the log: the servers elect
// another leader, and the aggregates answer soon after that. In the second case it led the
// register as well, so no node can renew its lease until that has a leader, too.
func TestLeaderCrash(t *testing.T) {
	for name, register := range map[string]string{"log": "n3", "log and register": "n2"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := stageOfThree(t, binary, straight)
			core := s.coreOf("n1")
			s.lead(core, "DEMO_LOG_0", "n2")
			s.lead(core, "KV_DEMO_MEMBERS", register)
			b := s.barrage(150, 300)
			<-time.After(2 * time.Second)
			b.avoid.Store(1)
			<-time.After(200 * time.Millisecond)
			still := stillness(s.coreOf("n1"), s.coreOf("n3"))
			killed, stop := time.Now(), make(chan struct{})
			s.nodes["n2"].kill()
			inLog := publishRaw(core, "demo.log.0.account.raw", killed, stop)
			inRegister := publishRaw(s.coreOf("n1"), "$KV.DEMO_MEMBERS.raw", killed, stop)
			reader := readRaw(s.coreOf("n3"), "DEMO_LOG_0", killed, stop)
			late := time.AfterFunc(2*time.Minute, func() { close(stop) })
			<-inLog.done
			<-inRegister.done
			<-reader.done
			late.Stop()
			<-time.After(3 * time.Second)
			shots := b.stop()
			stood := still()
			b.check(shots, killed, stood)
			longest, waited := outage(shots, killed)
			log, reg, read := inLog.gap(t, killed), inRegister.gap(t, killed), reader.gap(t, killed)
			t.Logf("a raw publisher to the log was answered %v after the kill, one to the register %v, a raw reader of the log %v; %d of 150 accounts waited, the last of them for %v",
				log, reg, read, len(waited), longest)
			if raw := max(log, reg, read, stageLease) + stood; longest > raw+time.Second+slack {
				t.Errorf("want %v at the most", raw+time.Second+slack)
				b.tell(shots, killed, raw+time.Second)
			}
			s.start("n2")
			s.verify()
		})
	}
}

// coreOf connects to a node's own server with the rights of a node.
func (s *stage) coreOf(name string) *nats.Conn {
	s.t.Helper()
	admin, err := s.adminOf(name)
	if err != nil {
		s.t.Fatal(err)
	}
	return dial(s.t, strings.TrimSpace(admin.URL), nats.UserInfo(admin.User, admin.Password), nats.IgnoreDiscoveredServers())
}

func (s *stage) adminOf(name string) (natsd.Admin, error) {
	folder := ""
	for i, flag := range s.flags[name] {
		if flag == "--data" {
			folder = s.flags[name][i+1]
		}
	}
	return natsd.ReadAdmin(folder)
}
