package bucket_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/internal/bucket"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/persistence/persistencetest"
)

func TestOpen(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s, err := natsd.Start(ctx, natsd.Config{DataDir: t.TempDir(), Context: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	conn, err := s.Connect(natsd.Node)
	if err != nil {
		t.Fatal(err)
	}
	config := jetstream.KeyValueConfig{Bucket: "TEST", LimitMarkerTTL: time.Minute}
	for range 2 { // the second time it is there
		kv, err := bucket.Open(ctx, conn, config)
		if err != nil {
			t.Fatal(err)
		}
		status, err := kv.Status(ctx)
		if err != nil || status.History() != 1 {
			t.Errorf("it keeps %d values: %v", status.History(), err)
		}
	}
	if kv, err := bucket.Open(ctx, conn, jetstream.KeyValueConfig{Bucket: "TEST", Description: "another"}); err != nil || kv.Bucket() != "TEST" {
		t.Errorf("one that is described otherwise is not opened as it is: %v", err)
	}
	config.Bucket, config.Replicas = "LARGE", 3 // for which there is no server
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	if _, err := bucket.Open(short, conn, config); err == nil || !strings.Contains(err.Error(), "open bucket LARGE") || short.Err() == nil {
		t.Errorf("it is not tried until the time is up: %v", err)
	}
}

// TestOpenAsksAgain what got lost on its way, or with a leader.
func TestOpenAsksAgain(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	s, err := natsd.Start(ctx, natsd.Config{DataDir: dir, Listen: "127.0.0.1:0", Context: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	admin, err := natsd.ReadAdmin(dir)
	if err != nil {
		t.Fatal(err)
	}
	line := persistencetest.NewProxy(t, strings.TrimPrefix(admin.URL, "nats://"))
	connect := func() (*nats.Conn, error) {
		return nats.Connect("nats://"+line.Address(), nats.UserInfo(admin.User, admin.Password), nats.Timeout(time.Minute),
			nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.IgnoreDiscoveredServers())
	}
	conn, err := connect()
	for err != nil && ctx.Err() == nil { // a busy machine may cut the handshake short
		conn, err = connect()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	line.LoseRequests()
	opened := make(chan error, 1)
	go func() {
		_, err := bucket.Open(ctx, conn, jetstream.KeyValueConfig{Bucket: "TEST"})
		opened <- err
	}()
	for conn.Stats().OutMsgs == 0 {
		<-time.After(time.Millisecond)
	}
	line.Break()
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

func TestConflict(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		jetstream.ErrKeyExists,
		&jetstream.APIError{ErrorCode: 10071},
		fmt.Errorf("update: %w", &jetstream.APIError{ErrorCode: 10164}), // of a replicated stream
	} {
		if !bucket.Conflict(err) {
			t.Errorf("%v is no conflict", err)
		}
	}
	for _, err := range []error{nil, errors.New("another"), jetstream.ErrKeyNotFound, &jetstream.APIError{ErrorCode: 10005}} {
		if bucket.Conflict(err) {
			t.Errorf("%v is a conflict", err)
		}
	}
}
