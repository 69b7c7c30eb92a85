package tests

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"
)

// A fault is one thing that is done to a stage, and undone after a while.
type fault struct {
	what, who string
	lasts     time.Duration
	then      time.Duration // all is well until the next one
}

func (f fault) String() string {
	return fmt.Sprintf("%s %s for %v", f.what, f.who, f.lasts.Round(time.Millisecond))
}

// schedule gives the faults of a run, the same ones for the same seed.
func (s *stage) schedule(random *rand.Rand, length time.Duration) []fault {
	kinds := []string{"kill", "freeze", "cut", "mute", "isolate", "restart", "leave", "leader", "clock"}
	if len(s.servers) > 0 {
		kinds = append(kinds, "server", "join")
	}
	if s.disk != nil {
		kinds = append(kinds, "disk")
	}
	random.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	var all []fault
	for i, peace := 0, time.Duration(0); peace < length; i++ { // more than there is time for
		f := fault{
			what: kinds[i%len(kinds)], who: stageNames[random.IntN(len(stageNames))],
			lasts: stageLease/2 + time.Duration(random.Int64N(int64(3*stageLease))),
			then:  time.Duration(random.Int64N(int64(2 * stageLease))),
		}
		switch f.what {
		case "server":
			f.who = s.servers[random.IntN(len(s.servers))].config.Name
		case "disk":
			f.who = s.full
		case "join":
			f.who = "n4"
		}
		all = append(all, f)
		peace += f.then
	}
	return all
}

// inflict does it, waits, and undoes it.
func (s *stage) inflict(f fault) {
	s.t.Helper()
	wait := func() { <-time.After(f.lasts) }
	switch f.what {
	case "kill":
		s.nodes[f.who].kill()
		wait()
		s.start(f.who)
	case "freeze":
		signal(s.t, s.nodes[f.who], syscall.SIGSTOP)
		wait()
		signal(s.t, s.nodes[f.who], syscall.SIGCONT)
	case "cut", "mute", "isolate":
		var lines []*line
		if f.what != "mute" {
			lines = append(lines, s.toNATS[f.who]...)
		}
		if f.what != "cut" {
			lines = append(lines, s.toPeer[f.who])
		}
		for _, l := range lines {
			l.cut()
		}
		wait()
		for _, l := range lines {
			l.mend()
		}
	case "restart":
		s.stop(f.who)
		s.start(f.who)
	case "leave":
		s.leave(f.who)
		s.start(f.who)
	case "join":
		for begun := time.Now(); time.Since(begun) < f.lasts; {
			s.start(f.who)
			s.stop(f.who)
		}
	case "clock":
		signal(s.t, s.nodes[f.who], syscall.SIGUSR1)
		wait()
		signal(s.t, s.nodes[f.who], syscall.SIGUSR2)
	case "leader":
		s.moveLeaders()
	case "server":
		server := s.servers[slices.IndexFunc(s.servers, func(n *natsServer) bool { return n.config.Name == f.who })]
		server.kill()
		wait()
		server.start(s.t)
	case "disk":
		s.disk.fill(s.t)
		wait()
		s.disk.clear(s.t)
		s.revive()
	}
	<-time.After(f.then)
}

func (s *stage) stop(name string) {
	s.t.Helper()
	signal(s.t, s.nodes[name], syscall.SIGTERM)
	if err := s.nodes[name].cmd.Wait(); err != nil {
		s.t.Errorf("%s: %v", name, err)
	}
}

// leave has a node leave by the operator's command. While the servers elect a leader that
// may fail, and the node is then told otherwise.
func (s *stage) leave(name string) {
	s.t.Helper()
	_, _, code := runNode(s.t, "leave", name, s.admin)
	if code != 0 {
		s.stop(name)
		return
	}
	if err := s.nodes[name].cmd.Wait(); err != nil {
		s.t.Errorf("%s: %v", name, err)
	}
}

// revive restarts what had a full disk: a NATS server that could not write has given up
// JetStream until then.
func (s *stage) revive() {
	s.t.Helper()
	if len(s.servers) == 0 {
		s.nodes[s.full].kill()
		s.start(s.full)
		return
	}
	server := s.servers[len(s.servers)-1]
	server.kill()
	server.start(s.t)
}

// moveLeaders has those streams elect another leader whose leader can be reached.
func (s *stage) moveLeaders() {
	if len(s.servers) == 1 {
		return // there is no other one
	}
	nc := s.core()
	defer nc.Close()
	for _, stream := range []string{"DEMO_LOG_0", "KV_DEMO_MEMBERS"} {
		answer, err := nc.Request("$JS.API.STREAM.LEADER.STEPDOWN."+stream, nil, 2*time.Second)
		if err != nil {
			s.t.Logf("%s kept its leader: %v", stream, err)
			continue
		}
		var r struct{ Error *struct{ Description string } }
		if err := json.Unmarshal(answer.Data, &r); err != nil || r.Error != nil {
			s.t.Logf("%s kept its leader: %s", stream, answer.Data)
		}
	}
}
