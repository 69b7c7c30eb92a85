package cluster

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// Limits of the traffic between members.
const (
	largestCall  = 16 << 20 // bytes of one call
	mostCalls    = 4096     // under way to one member
	pingAfter    = 2 * time.Second
	pingAnswered = 2 * time.Second
	connectWait  = 250 * time.Millisecond
	parting      = time.Second // until a connection to one who has gone is closed
	secretHeader = "holdfast-secret"
	callMethod   = "/holdfast.v1.Peer/Call"
	noMethod     = "/holdfast.v1.Peer/None" // which there is not
)

// A caller answers the calls of other members.
type caller interface {
	answerPeer(ctx context.Context, q *messages.PeerRequest) *messages.PeerAnswer
}

// newPeerServer makes the server for the other members. Who does not know the secret,
// which is in the register, is refused.
func newPeerServer(c caller, secret string, creds credentials.TransportCredentials) *grpc.Server {
	s := grpc.NewServer(
		grpc.Creds(creds),
		grpc.MaxRecvMsgSize(largestCall),
		grpc.MaxConcurrentStreams(2*mostCalls),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingAfter, Timeout: pingAnswered}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingAfter, PermitWithoutStream: true}),
		grpc.UnaryInterceptor(func(ctx context.Context, q any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			shown := metadata.ValueFromIncomingContext(ctx, secretHeader)
			if len(shown) != 1 || subtle.ConstantTimeCompare([]byte(shown[0]), []byte(secret)) != 1 {
				return nil, status.Error(codes.Unauthenticated, "this is for the nodes of the context")
			}
			return next(ctx, q)
		}),
	)
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "holdfast.v1.Peer", HandlerType: (*caller)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Call", Handler: handleCall}},
	}, c)
	return s
}

//nolint:revive // the order of the parameters is gRPC's
func handleCall(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
	q := new(messages.PeerRequest)
	if err := decode(q); err != nil {
		return nil, err
	}
	return intercept(ctx, q, &grpc.UnaryServerInfo{Server: srv, FullMethod: callMethod}, func(ctx context.Context, q any) (any, error) {
		return srv.(caller).answerPeer(ctx, q.(*messages.PeerRequest)), nil
	})
}

// peers are the connections to the other members, one each, made when needed.
type peers struct {
	secret string
	creds  credentials.TransportCredentials
	crier  *crier

	mu      sync.Mutex
	byID    map[string]*peer
	closed  bool
	stopped chan struct{} // closed with closed
	going   sync.WaitGroup
}

type peer struct {
	conn  *grpc.ClientConn
	slots chan struct{}
}

func newPeers(secret string, creds credentials.TransportCredentials, c *crier) *peers {
	return &peers{secret: secret, creds: creds, crier: c, byID: map[string]*peer{}, stopped: make(chan struct{})}
}

func (ps *peers) get(m *member) (*peer, error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if p := ps.byID[m.ID]; p != nil {
		return p, nil
	}
	if ps.closed {
		return nil, errors.New("the node is stopping")
	}
	// The host of the address is the one that the member's certificate has to name.
	conn, err := grpc.NewClient("passthrough:///"+m.Address,
		grpc.WithTransportCredentials(ps.creds),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(largestCall), grpc.MaxCallSendMsgSize(largestCall)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingAnswered, PermitWithoutStream: true}))
	if err != nil {
		return nil, fmt.Errorf("reach node %s at %s: %w", m.Name, m.Address, err)
	}
	p := &peer{conn: conn, slots: make(chan struct{}, mostCalls)}
	ps.byID[m.ID] = p
	return p, nil
}

// keep closes the connections to those who are no members any more: at once when nothing is
// under way there, else a little later. Who has left in good order has answered, which may not
// have been read yet; those who wait for one who has died fail then.
func (ps *peers) keep(is func(id string) bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for id, p := range ps.byID {
		if !is(id) {
			delete(ps.byID, id)
			ps.going.Go(func() { p.part(ps.stopped) })
		}
	}
}

// part closes the connection when nothing is under way, or the time for it is over.
func (p *peer) part(stopped <-chan struct{}) {
	defer p.conn.Close()
	over, look := time.NewTimer(parting), time.NewTicker(parting/100)
	defer over.Stop()
	defer look.Stop()
	for len(p.slots) > 0 {
		select {
		case <-look.C:
		case <-over.C:
			return
		case <-stopped:
			return
		}
	}
}

// close closes all connections: the calls that are under way fail at once. It bears repetition.
func (ps *peers) close() {
	ps.mu.Lock()
	if !ps.closed {
		ps.closed = true
		close(ps.stopped)
	}
	ps.mu.Unlock()
	ps.keep(func(string) bool { return false })
	ps.going.Wait()
}

// call asks a member. The error is a moved one when the request has certainly not been
// executed, and uncertain otherwise.
func (ps *peers) call(ctx context.Context, m *member, q *messages.PeerRequest) (*messages.PeerAnswer, error) {
	if size := proto.Size(q); size > largestCall {
		return nil, holdfast.Errorf(holdfast.CodeTooLarge, "the request takes %d bytes, and between nodes %d at the most", size, largestCall)
	}
	p, err := ps.get(m)
	if err != nil {
		return nil, moved("%v", err)
	}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	default:
		return nil, holdfast.Errorf(holdfast.CodeOverloaded, "%d requests are under way to node %s: send it again later", mostCalls, m.Name)
	}
	if !p.ready(ctx) {
		if why := p.why(ctx); why != "" {
			ps.crier.warn("to "+m.ID, "a node cannot be reached", "node", m.Name, "address", m.Address, "error", why)
		}
		return nil, moved("node %s at %s cannot be reached: send it again", m.Name, m.Address)
	}
	ctx = metadata.AppendToOutgoingContext(ctx, secretHeader, ps.secret)
	a := new(messages.PeerAnswer)
	err = p.conn.Invoke(ctx, callMethod, q, a)
	if err == nil {
		return a, nil
	}
	if code := status.Code(err); code == codes.Unauthenticated || code == codes.Unimplemented {
		return nil, holdfast.Errorf(holdfast.CodeUnavailable, "node %s at %s refuses this one: %v", m.Name, m.Address, err)
	}
	return nil, holdfast.Errorf(holdfast.CodeUncertain, "node %s at %s was lost before it answered: %v", m.Name, m.Address, err)
}

// ready waits a moment for the connection. Over one that is not there nothing is sent.
func (p *peer) ready(ctx context.Context) bool {
	if p.conn.GetState() == connectivity.Ready {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	for {
		s := p.conn.GetState()
		switch s {
		case connectivity.Ready:
			return true
		case connectivity.Shutdown:
			return false
		case connectivity.Idle:
			p.conn.Connect()
		case connectivity.TransientFailure:
			p.conn.ResetConnectBackoff()
		case connectivity.Connecting:
		}
		if !p.conn.WaitForStateChange(ctx, s) {
			return false
		}
	}
}

// why tells the reason for which there is no connection, "" when none is known. gRPC gives
// it to calls only; should there be a connection by now, this one does nothing.
func (p *peer) why(ctx context.Context) string {
	if p.conn.GetState() != connectivity.TransientFailure {
		return ""
	}
	err := p.conn.Invoke(ctx, noMethod, &messages.PeerRequest{}, &messages.PeerAnswer{})
	if status.Code(err) != codes.Unavailable {
		return ""
	}
	return status.Convert(err).Message()
}
