package tests

import (
	"flag"
	"syscall"
	"testing"
	"time"
)

func signal(t *testing.T, p *process, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func (s *stage) verify() {
	s.t.Helper()
	verified(s.t, s.admin)
}

// verified has the log verified, as soon as all replicas can be looked at, and gives what is said.
func verified(t *testing.T, admin string) string {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; <-time.After(100 * time.Millisecond) {
		out, errs, code := runNode(t, "verify", admin)
		if code == 0 {
			return out
		}
		if time.Now().After(end) {
			t.Errorf("verify: exit code %d\n%s%s", code, out, errs)
			return out
		}
	}
}

// slack is what a busy machine may take longer than is claimed.
const slack = 2 * time.Second

const warmUp = time.Second

// enginePatience is for how long requests wait for a log to be led: docs/adr/0011.
const enginePatience = 1250 * time.Millisecond

var calmTime = flag.Duration("calm", time.Second, "how long percentiles are taken of what is undisturbed; of a disk's 99th, 4s are worth reading")

// A node is killed under load: the others take over when its lease is over.
func TestFailOver(t *testing.T) {
	calm := *calmTime
	s := stageOn(t, 1, binary, straight)
	b := s.barrage(300, 1000)
	<-time.After(warmUp + calm)
	killed, pulse := time.Now(), s.pulse(&b.avoid)
	s.nodes["n2"].kill()
	<-time.After(max(calm, stageLease+slack))
	s.start("n2")
	<-time.After(time.Second)
	shots, still := b.stop(), pulse.stop()
	b.check(shots, killed, still)
	longest, waited := outage(shots, killed)
	others := func(s shot) bool { return !waited[s.account] && s.status != 1 }
	before, after := p99(shots, killed.Add(-calm), killed.Add(-100*time.Millisecond), others), p99(shots, killed, killed.Add(calm), others)
	t.Logf("%d of 300 accounts waited; the last of them answered %v after the kill; the lease is %v; p99 of the others: %v before, %v after: %.2f times",
		len(waited), longest, stageLease, before, after, float64(after)/float64(before))
	if longest > stageLease+slack+still {
		t.Errorf("want %v at the most: for %v the machine stood still", stageLease+slack+still, still)
	}
	s.verify()
}

// Every node is restarted in turn under load, one is told to leave, and a fourth one comes
// and goes: no request fails, unless the servers' own stand still for longer than requests
// wait for them.
func TestRollingRestart(t *testing.T) {
	for name, set := range map[string]func(*testing.T) *stage{
		"three": func(t *testing.T) *stage { return stageOn(t, 3, binary, straight, patient) },
		"own":   func(t *testing.T) *stage { return stageOfThree(t, binary, straight, patient) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			calm := *calmTime
			s := set(t)
			b := s.barrage(150, 300)
			<-time.After(warmUp + calm)
			begun, pulse := time.Now(), s.pulse(&b.avoid)
			s.roll(b, func(name string) {
				s.stop(name)
				s.start(name)
			})
			s.roll(b, func(name string) {
				if name == "n2" {
					s.leave(name)
					s.start(name)
				}
			})
			if len(s.servers) > 0 {
				s.start("n4")
				<-time.After(500 * time.Millisecond)
				s.stop("n4")
			}
			shots := b.stop()
			b.nothingFailed(shots, pulse.stop())
			before, during := p99(shots, begun.Add(-calm), begun, every), p99(shots, begun, time.Now(), every)
			t.Logf("p99: %v before, %v during: %.2f times", before, during, float64(during)/float64(before))
			s.verify()
		})
	}
}

// nothingFailed fails the test for every shot that did, unless nobody could write to the log for
// longer than requests wait for that.
func (b *barrage) nothingFailed(shots []shot, still time.Duration) {
	b.t.Helper()
	if still > enginePatience {
		b.t.Logf("for %v nobody could write to the log: what failed then is none of the nodes' doing", still)
		b.check(shots, time.Now(), 0)
		return
	}
	b.check(shots, time.Time{}, 0)
	b.allSucceeded(shots)
}

// roll does something to each node in turn, while clients use the servers of the others.
func (s *stage) roll(b *barrage, do func(name string)) {
	for i, name := range stageNames {
		if len(s.servers) == 0 {
			b.avoid.Store(int64(i))
			<-time.After(100 * time.Millisecond) // what is on its way arrives
		}
		do(name)
		for !b.connected() {
			<-time.After(10 * time.Millisecond)
		}
		<-time.After(500 * time.Millisecond)
	}
	b.avoid.Store(-1)
}
