package cluster

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc/credentials/insecure"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence/persistencetest"
)

// behind has the other members reach this one over a line that can fail.
func (r *ring) behind() (*persistencetest.Proxy, func(*Config)) {
	r.t.Helper()
	free, err := natsd.FreeAddresses(1)
	if err != nil {
		r.t.Fatal(err)
	}
	t, ok := r.t.(*testing.T)
	if !ok {
		r.t.Fatal("a line is for tests")
	}
	line := persistencetest.NewProxy(t, free[0])
	return line, func(c *Config) { c.Listen, c.Advertise = free[0], line.Address() }
}

// A member that does not answer holds up those who ask it, until their time is up, and
// nobody else; and no more of them than the limit.
func TestSilentPeer(t *testing.T) {
	r := startRing(t)
	line, slowly := r.behind()
	roomy := func(c *Config) { c.Host.Queue = 2 * mostCalls }
	one, fine, slow := r.member(), r.member(), r.member(roomy, slowly)
	for _, m := range []*Member{one, fine, slow} {
		eventually(t, "all see three", func() bool { return sees(m, 3) && !m.current.Load().scene.Load().moving })
	}
	there, here := ownedBy(t, slow, one), ownedBy(t, fine, one)
	for _, ref := range []holdfast.Ref{there, here} {
		if _, err := one.Send(t.Context(), ref, &bankpb.OpenAccount{Owner: "Ada"}); err != nil {
			t.Fatal(err)
		}
	}
	r.store.set(true)
	stuck, cancel := context.WithCancel(context.Background())
	var askers sync.WaitGroup
	for range mostCalls {
		askers.Go(func() {
			if _, err := one.Send(stuck, there, &bankpb.Deposit{Amount: 1}); !errors.Is(err, holdfast.ErrUncertain) && !errors.Is(err, holdfast.ErrUnavailable) {
				// On a slow machine some have not reached it yet when the line is held: theirs was not sent.
				t.Errorf("who asks the silent one hears %v", err)
			}
		})
	}
	p := peerOf(one, slow)
	eventually(t, "all have asked", func() bool { return len(p.slots) == mostCalls })
	if _, err := one.Send(t.Context(), there, &bankpb.Deposit{Amount: 1}); !errors.Is(err, holdfast.ErrOverloaded) {
		t.Errorf("one more hears %v", err)
	}
	line.HoldRequests() // not sooner: a line that carries nothing is given up after some seconds
	soon, expire := context.WithTimeout(t.Context(), patience)
	defer expire()
	for range 100 {
		if _, err := one.View(soon, here); err != nil {
			t.Errorf("who asks another one hears %v", err)
		}
	}
	cancel()
	askers.Wait()
	line.Release()
}

func peerOf(m, of *Member) *peer {
	m.peers.mu.Lock()
	defer m.peers.mu.Unlock()
	return m.peers.byID[of.current.Load().id]
}

// Who does not know the secret is refused, and so is what is too large; neither was
// executed.
func TestPeerRefuses(t *testing.T) {
	r := startRing(t)
	one, two := r.member(), r.member()
	eventually(t, "both see two", func() bool { return sees(one, 2) && sees(two, 2) })
	owner := one.current.Load().scene.Load().member(two.current.Load().id)
	ref := ownedBy(t, two, one)
	strangers := newPeers("a guess", nil, one.peers.crier)
	defer strangers.close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for what, c := range map[string]struct {
		peers *peers
		q     *messages.PeerRequest
		want  error
	}{
		"a stranger": {strangers, &messages.PeerRequest{To: owner.ID, Type: ref.Type, Id: []byte(ref.ID)}, holdfast.ErrUnavailable},
		"too much":   {one.peers, &messages.PeerRequest{To: owner.ID, Type: ref.Type, Id: make([]byte, largestCall)}, holdfast.ErrTooLarge},
	} {
		if _, err := c.peers.call(ctx, owner, c.q); !errors.Is(err, c.want) {
			t.Errorf("%s hears %v, want %v", what, err, c.want)
		}
	}
}

// A slow caller answers when it may.
type slowCaller struct{ asked, may chan struct{} }

func (c slowCaller) answerPeer(context.Context, *messages.PeerRequest) *messages.PeerAnswer {
	c.asked <- struct{}{}
	<-c.may
	return &messages.PeerAnswer{}
}

// Whoever is asked and goes is heard out, but not for long, and not at all when this node goes, too.
func TestPart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answers, stops bool
		want           error
	}{
		"it has answered":  {true, false, nil},
		"it never answers": {false, false, holdfast.ErrUncertain},
		"this one stops":   {false, true, holdfast.ErrUncertain},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			slow := slowCaller{make(chan struct{}, 1), make(chan struct{})}
			server := newPeerServer(slow, "", insecure.NewCredentials())
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var all sync.WaitGroup
			all.Go(func() { _ = server.Serve(l) })
			defer all.Wait()
			defer server.Stop()
			var answer sync.Once
			may := func() { answer.Do(func() { close(slow.may) }) }
			defer may()
			ps := newPeers("", insecure.NewCredentials(), nil)
			defer ps.close()
			heard := make(chan error, 1)
			all.Go(func() {
				_, err := ps.call(context.Background(), &member{record: record{ID: "gone", Address: l.Addr().String()}}, &messages.PeerRequest{})
				heard <- err
			})
			<-slow.asked
			ps.keep(func(string) bool { return false })
			if c.answers {
				may()
			}
			if c.stops {
				ps.close()
				ps.close()
			}
			if err := <-heard; !errors.Is(err, c.want) {
				t.Errorf("heard %v, want %v", err, c.want)
			}
		})
	}
}
