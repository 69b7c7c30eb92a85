package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/internal/natsd"
)

// redact gives the URLs of NATS servers, which have commas between them, without what may
// be a password or a token. Its error quotes nothing of them, for the same reason.
func redact(urls string) (string, error) {
	var out []string
	for one := range strings.SplitSeq(urls, ",") {
		one = strings.TrimSpace(one)
		if !strings.Contains(one, "://") {
			one = "nats://" + one // as nats.go has it
		}
		u, err := url.Parse(one)
		if err != nil { // which repeats the text
			return "", errors.New("it is not a URL: want nats://host:4222, with characters such as % or @ in a password written %25 or %40")
		}
		if u.Hostname() == "" {
			return "", errors.New("it names no host: want nats://host:4222")
		}
		out = append(out, u.Scheme+"://"+u.Host)
	}
	return strings.Join(out, ","), nil
}

// connect connects to an external NATS server. Its error shows no password.
func (c Config) connect(opts ...nats.Option) (*nats.Conn, error) {
	server, err := redact(c.NATS)
	if err != nil {
		return nil, &ConfigError{Field: "NATS", Problem: err.Error()}
	}
	if c.Credentials != "" {
		opts = append(opts, nats.UserCredentials(c.Credentials))
	}
	nc, err := natsd.Dial(c.NATS, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", server, err)
	}
	return nc, nil
}

// reconnectWait is how long each connection waits between two attempts to reconnect.
const reconnectWait = 500 * time.Millisecond

// A link watches the connections of a node to its NATS server, all of them as one: what
// happens to the server is logged once.
type link struct {
	log    *slog.Logger
	server string
	closed chan struct{} // a connection was, and not by the node

	mu      sync.Mutex
	leaving bool
	down    map[*nats.Conn]bool
	told    string // the last error since one of them is down
	err     error  // why closed is
}

func newLink(log *slog.Logger, server string) *link {
	return &link{log: log, server: server, closed: make(chan struct{}), down: map[*nats.Conn]bool{}}
}

func (l *link) options() []nats.Option {
	return []nats.Option{
		nats.ReconnectBufSize(-1), // nothing may be sent behind our back after a reconnect
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		// Otherwise a login that is refused twice, while the server is being set up anew,
		// would close the connection for good.
		nats.IgnoreAuthErrorAbort(),
		nats.DisconnectErrHandler(l.onDisconnect),
		nats.ReconnectHandler(l.onReconnect),
		nats.ClosedHandler(l.onClosed),
		nats.ErrorHandler(l.onError),
	}
}

func (l *link) onDisconnect(nc *nats.Conn, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leaving {
		return
	}
	l.down[nc] = true
	if len(l.down) == 1 {
		l.told = ""
		l.log.Warn("the NATS server is lost: nobody is served until it is back", "nats", l.server, "error", err)
	}
}

func (l *link) onReconnect(nc *nats.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.down, nc)
	if len(l.down) == 0 && !l.leaving {
		l.log.Info("the NATS server is back", "nats", l.server)
	}
}

// onClosed hears of the end of a connection, which nobody but the node should bring about.
func (l *link) onClosed(nc *nats.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leaving || l.err != nil {
		return
	}
	cause := nc.LastError()
	if cause == nil {
		cause = nats.ErrConnectionClosed
	}
	l.err = fmt.Errorf("a connection to the NATS server at %s is closed for good: %w", l.server, cause)
	close(l.closed)
}

func (l *link) onError(nc *nats.Conn, sub *nats.Subscription, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down[nc] { // each attempt to reconnect may say the same
		if l.told == err.Error() {
			return
		}
		l.told = err.Error()
	}
	subject := ""
	if sub != nil {
		subject = sub.Subject
	}
	l.log.Error("NATS connection", "nats", l.server, "subject", subject, "error", err)
}

// leave says that from now on the node itself closes the connections.
func (l *link) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leaving = true
}

// why gives the reason once closed is closed.
func (l *link) why() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}
