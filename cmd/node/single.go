package main

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-run/holdfast/node"
)

// single is one node, in this process.
type single struct {
	*demo
	folder string
	node   *node.Node
	mended bool // a read model that could not handle something
}

func (s *single) begin(ctx context.Context) error {
	s.title("A node, in a folder of its own")
	if err := s.start(ctx); err != nil {
		return err
	}
	s.say("It serves the context demo, on an embedded NATS server that fsyncs before it answers.")
	return nil
}

func (s *single) start(ctx context.Context) (err error) {
	if s.node, err = node.Start(ctx, node.Config{
		Context: "demo", Types: domain.Types, Sagas: domain.Sagas, Projections: append(slices.Clip(domain.Projections), cards(s.mended)), Data: s.folder, Listen: "127.0.0.1:0",
		Log: slog.New(slog.DiscardHandler), // the story is told here
	}); err != nil {
		return err
	}
	return s.client.connect(s.node.ClientURL())
}

// end stops in order, if there is a node.
func (s *single) end(ctx context.Context) error {
	if s.node == nil {
		return nil
	}
	s.client.close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	n := s.node
	s.node = nil
	return n.Stop(ctx)
}

// crash stops the node without ceremony, with whatever is on its way, and starts it again
// on the same folder.
func (s *single) crash(ctx context.Context) error {
	gone, cancel := context.WithCancel(ctx)
	cancel()
	_ = s.node.Stop(gone) // that it did not wait is what was wanted
	return s.start(ctx)
}

func (s *single) strike(ctx context.Context, _ string) error {
	s.say("")
	s.say("    ⚡ The node is stopped without ceremony, and started again on what it had made durable.")
	s.say("")
	return s.crash(ctx)
}

// recovered has nothing to say: it took no longer than the start of the node.
func (s *single) recovered(context.Context, string, time.Duration) error { return nil }

func (s *single) meanwhile(ctx context.Context) (says string, err error) {
	return "the node was stopped without\n  ceremony in the middle, and the import sent again what had not been answered", s.crash(ctx)
}

func (s *single) show(ctx context.Context, args ...string) error {
	s.say("$ node %s", strings.Join(args, " "))
	return s.verb(ctx, s.out, s.folder, args...)
}

func (s *single) verify(ctx context.Context) error {
	s.title("The log, verified")
	if err := s.end(ctx); err != nil {
		return err
	}
	s.say("$ node verify")
	return s.verb(ctx, s.out, s.folder, "verify")
}
