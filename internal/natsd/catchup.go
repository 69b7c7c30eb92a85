package natsd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// catchUp is how long a member waits, at the start, to have what the others have.
const catchUp = 10 * time.Second

// awaitCurrent returns when what this member stores is what the others have: until then
// none of them can be spared. A member that has more to fetch than catchUp allows goes on
// without, and says so.
func (s *Server) awaitCurrent(ctx context.Context) error {
	if s.cfg.Cluster == nil {
		return nil
	}
	folders, err := streamFolders(s.cfg.DataDir)
	if err != nil {
		return err
	}
	js, err := s.openJetStream()
	if err != nil {
		return err
	}
	defer js.Conn().Close()
	limited, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	for _, folder := range folders {
		name := filepath.Base(folder)
		err := s.poll(limited, func(ctx context.Context) error { return s.checkCurrent(ctx, js, name) })
		if limited.Err() != nil && ctx.Err() == nil {
			s.cfg.Logger.Warn("this server has not caught up with the others yet", "waited", catchUp, "error", err)
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkCurrent asks the leader of a stream, which alone knows how far the others are.
func (s *Server) checkCurrent(ctx context.Context, js jetstream.JetStream, name string) error {
	stream, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrInvalidStreamName) {
		return nil // deleted while this member was away, or half deleted before
	}
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", name, err)
	}
	cluster := stream.CachedInfo().Cluster
	if cluster == nil || cluster.Leader == s.cfg.Name {
		return nil
	}
	for _, r := range cluster.Replicas {
		if r.Name == s.cfg.Name && r.Current && r.Lag == 0 {
			return nil
		}
	}
	return fmt.Errorf("stream %s is not on this server as the others have it", name)
}
