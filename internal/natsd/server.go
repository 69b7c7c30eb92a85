package natsd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// Holdfast's streams are on disk; this is what others may take. On disk
	// the server's own choice is right: three quarters of what the file system
	// offers, so that it refuses to append before the disk is full.
	maxMemory = 1 << 30

	pollInterval   = 5 * time.Millisecond
	firstAttempt   = 250 * time.Millisecond
	longestAttempt = 4 * time.Second
	// Who does not answer three pings is gone, in silence: a machine that lost its power, a
	// process that is frozen. Until then it is sent its part of the requests. The server's
	// own choice would be minutes.
	pingClients = 5 * time.Second
	pingMembers = 2 * time.Second
	// The usual two seconds can be too short on a machine under load.
	connectTimeout = 5 * time.Second
	// handshakes is how often a connection within the process is tried: when the process
	// stands still for seconds, it takes too long, or the server's first ping comes before
	// the answer that the client's library waits for, which that does not bear.
	handshakes = 5
)

// Server is a running nats-server. [Start] makes it, Stop ends it.
type Server struct {
	cfg         Config
	credentials credentials
	log         *serverLog
	lock        *folderLock
	nats        *server.Server
	stop        sync.Once

	mu      sync.Mutex
	stopped bool
	conns   []*nats.Conn
}

// Start runs a server and returns it as soon as clients can connect and
// JetStream answers; a member of a cluster therefore waits for a majority, and for a
// while to have what the others have. It waits as long as ctx allows (though it does not
// interrupt the recovery of what is stored), and on an error it leaves nothing
// behind but files. ctx has no part in the server's life afterwards.
//
// The error is [ErrFolderInUse] when another server owns the folder,
// [ErrWrongFolder] when it is not this server's, syscall.EADDRINUSE when a port
// is taken, [ErrDamagedBlock] when Config.CheckBlocksOf has it found one, and
// otherwise says what the server said. A server that finds data which it cannot
// serve does not start.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("start nats-server: %w", err)
	}
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("start nats-server: %w", err)
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("start nats-server: make data folder %s: %w", cfg.DataDir, err)
	}
	lock, err := lockFolder(cfg.DataDir)
	if err != nil {
		return nil, fmt.Errorf("start nats-server: %w", err)
	}
	s := &Server{cfg: cfg, credentials: newCredentials(), log: newServerLog(cfg.Logger, cfg.Name), lock: lock}
	if err := s.run(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start nats-server on %s: %w", cfg.DataDir, err), s.shutdown())
	}
	return s, nil
}

func (s *Server) run(ctx context.Context) error {
	if err := removeAdmin(s.cfg.DataDir); err != nil {
		return err
	}
	if err := s.checkBlocks(ctx); err != nil {
		return err
	}
	if err := s.checkPlace(); err != nil {
		return err
	}
	o, err := s.options()
	if err != nil {
		return err
	}
	s.awaitPorts(ctx)
	if s.nats, err = server.NewServer(o); err != nil {
		return err
	}
	s.nats.SetLoggerV2(s.log, false, false, false)
	// Not left before it is done, even when ctx ends: a shutdown in the middle
	// of it would miss what is only opened afterwards.
	s.nats.Start()
	if c := s.cfg.Cluster; c != nil && c.Joining != nil {
		c.Joining(s.connectedMembers)
	}
	if err := s.awaitJetStream(ctx); err != nil {
		return err
	}
	if err := s.checkRecovered(); err != nil {
		return err
	}
	if err := s.awaitCurrent(ctx); err != nil {
		return err
	}
	s.log.setStarted()
	if s.cfg.Listen == "" {
		return nil
	}
	if err := s.resolveListen(); err != nil {
		return err
	}
	return writeAdmin(s.cfg.DataDir, Admin{URL: s.ClientURL(), User: adminUser, Password: s.credentials.admin})
}

func (s *Server) options() (*server.Options, error) {
	o := &server.Options{}
	if err := addAccounts(o, s.cfg.Context); err != nil {
		return nil, err
	}
	if err := addUsers(o, s.cfg, s.credentials); err != nil {
		return nil, err
	}
	o.ServerName = s.cfg.Name
	o.NoSigs = true
	o.DisableJetStreamBanner = true
	o.JetStream = true
	o.StoreDir = s.cfg.DataDir
	o.JetStreamMaxMemory = maxMemory
	o.SyncAlways = !s.cfg.RelaxedSync
	o.MaxPayload = s.cfg.MaxPayload
	o.PingInterval = pingClients
	o.AuthTimeout = 2 * connectTimeout.Seconds() // It includes the one for TLS.
	if s.cfg.Listen == "" {
		o.DontListen = true
	} else {
		host, port, err := splitAddress(s.cfg.Listen)
		if err != nil {
			return nil, err
		}
		if host == "" {
			host = "0.0.0.0"
		}
		o.Host, o.Port = host, port
		if port == 0 {
			o.Port = server.RANDOM_PORT
		}
		o.TLSConfig, o.TLSTimeout = s.cfg.TLS, connectTimeout.Seconds()
	}
	if s.cfg.Cluster != nil {
		return o, s.cfg.addCluster(o)
	}
	return o, nil
}

// openJetStream gives JetStream in CORE, on a connection that the caller closes.
func (s *Server) openJetStream() (jetstream.JetStream, error) {
	nc, err := s.Connect(Node)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	return js, nil
}

// awaitJetStream returns when JetStream answers in CORE.
func (s *Server) awaitJetStream(ctx context.Context) error {
	select {
	case err := <-s.log.fatal:
		return err
	default:
	}
	js, err := s.openJetStream()
	if err != nil {
		return err
	}
	defer js.Conn().Close()
	return s.poll(ctx, func(ctx context.Context) error {
		_, err := js.AccountInfo(ctx)
		return err
	})
}

// poll calls try until it succeeds, the server fails or ctx ends. A request
// that comes too early may stay without an answer, so each try has a limit of
// its own; it grows, so that a slow machine arrives as well.
func (s *Server) poll(ctx context.Context, try func(context.Context) error) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for limit := firstAttempt; ; limit = min(2*limit, longestAttempt) {
		attempt, cancel := context.WithTimeout(ctx, limit)
		err := try(attempt)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case fatal := <-s.log.fatal:
			return fatal
		case <-ctx.Done():
			return fmt.Errorf("await JetStream: %w (%w)", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

// Connect returns an in-process connection with the rights of role. It
// reconnects for ever unless opts say otherwise; opts may not choose another
// server or user. The caller closes it, before Stop if anything is to be
// drained: Stop closes what it finds open.
func (s *Server) Connect(role Role, opts ...nats.Option) (*nats.Conn, error) {
	password, ok := s.credentials.of(role)
	if !ok {
		return nil, fmt.Errorf("connect: role %q does not exist: use Node, Gateway or Publisher", role)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil, fmt.Errorf("connect as %s: the server has been stopped", role)
	}
	all := append([]nats.Option{nats.Name(string(role)), nats.MaxReconnects(-1), nats.Timeout(connectTimeout)}, opts...)
	if role == Publisher {
		all = append(all, nats.CustomInboxPrefix(publisherInbox))
	}
	all = append(all, nats.InProcessServer(s.nats), nats.UserInfo(string(role), password))
	nc, err := dial("", handshakes, func(error) bool { return true }, all)
	if err != nil {
		return nil, fmt.Errorf("connect as %s: %w", role, err)
	}
	s.conns = append(slices.DeleteFunc(s.conns, (*nats.Conn).IsClosed), nc)
	return nc, nil
}

// ClientURL is where clients connect, from this machine if the server listens
// at all addresses, or "" when it does not listen.
func (s *Server) ClientURL() string {
	host, port, err := net.SplitHostPort(s.cfg.Listen)
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	u := url.URL{Scheme: "nats", Host: net.JoinHostPort(host, port)}
	if s.cfg.TLS != nil {
		u.Scheme = "tls"
	}
	return u.String()
}

// resolveListen replaces a port that was left to chance by the one taken.
func (s *Server) resolveListen() error {
	host, _, err := net.SplitHostPort(s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("resolve Listen: %w", err)
	}
	addr, ok := s.nats.Addr().(*net.TCPAddr)
	if !ok {
		return fmt.Errorf("resolve Listen %s: the server does not listen", s.cfg.Listen)
	}
	s.cfg.Listen = net.JoinHostPort(host, strconv.Itoa(addr.Port))
	return nil
}

// Stop shuts the server down and waits until it is: connections of [Server.Connect]
// that are still open are closed, leaders step down, streams are flushed, the
// folder is given up. Calling it again does no more than wait. Drain
// subscriptions and connections before, in that order.
func (s *Server) Stop() {
	s.stop.Do(func() {
		if err := s.shutdown(); err != nil {
			// Nothing that a caller could do: data and lock are safe, and an
			// admin.json that is left has a password that no server accepts.
			s.cfg.Logger.Error("stop nats-server", "error", err)
		}
	})
}

func (s *Server) shutdown() error {
	err := removeAdmin(s.cfg.DataDir)
	s.mu.Lock()
	s.stopped = true
	conns := s.conns
	s.conns = nil
	s.mu.Unlock()
	for _, nc := range conns {
		nc.Close()
	}
	if s.nats != nil {
		s.nats.Shutdown()
		s.nats.WaitForShutdown()
	}
	return errors.Join(err, s.lock.release())
}
