package bench

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// A hop is the least that it takes to ask another node: a call by gRPC over loopback, which brings
// back what it takes there.
type hop struct {
	conn  *grpc.ClientConn
	bytes *wrapperspb.BytesValue
}

const (
	hopService = "holdfast.bench.Hop"
	hopMethod  = "Call"
	// hopBytes are about as many as a request between nodes takes.
	hopBytes = 200
)

// hop starts a server for it, which is stopped with the stage.
func (s *stage) hop() (*hop, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for bare calls: %w", err)
	}
	server, h := grpc.NewServer(), &hop{bytes: wrapperspb.Bytes(make([]byte, hopBytes))}
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: hopService, HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: hopMethod, Handler: echo}},
	}, nil)
	go func() { _ = server.Serve(listener) }() // until it is stopped
	h.conn, err = grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	s.stops = append(s.stops, func(context.Context) error {
		defer server.Stop()
		if h.conn == nil {
			return nil
		}
		return h.conn.Close()
	})
	return h, err
}

//nolint:revive // the order of the parameters is gRPC's
func echo(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	in := new(wrapperspb.BytesValue)
	return in, decode(in)
}

// call asks, and waits for the answer.
func (h *hop) call(ctx context.Context) error {
	if err := h.conn.Invoke(ctx, "/"+hopService+"/"+hopMethod, h.bytes, new(wrapperspb.BytesValue)); err != nil {
		return fmt.Errorf("a bare call: %w", err)
	}
	return nil
}
