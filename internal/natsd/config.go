package natsd

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strconv"
)

const (
	defaultName       = "holdfast"
	defaultMaxPayload = 1 << 20
	// Above this nats-server itself warns.
	highestMaxPayload = 8 << 20
)

// Config is what a server is started with. DataDir and Context have no default.
type Config struct {
	// Name is the server's name, by which the other members of a cluster know
	// its data: it must be unique among them and stay the same. Default "holdfast".
	Name string
	// DataDir is the folder that holds everything of this server. It is made
	// when missing, and belongs to one server at a time.
	DataDir string
	// Listen is the host:port for clients; port 0 takes a random free one.
	// Empty means no listener: connections are in process only.
	Listen string
	// Context is the bounded context whose subjects clients may use, for
	// instance "demo": one subject token of letters, digits, "_" and "-".
	Context string
	// ClientUser and ClientPassword, when set, are what clients log in with.
	// When empty, whoever connects without credentials is a client; this is
	// refused unless Listen is a loopback address. A password has at most 72 bytes.
	ClientUser, ClientPassword string
	// RelaxedSync acknowledges messages before they are fsynced. What was
	// acknowledged may then be lost: only for benchmarks.
	RelaxedSync bool
	// MaxPayload is the largest message, headers included, in bytes: at most
	// 8 MiB, default 1 MiB.
	MaxPayload int32
	// CheckBlocksOf, when set, picks the streams whose blocks are read before
	// the server starts, which it then does not on a block that it would not
	// survive: [ErrDamagedBlock]. That takes as long as the disk does, so it
	// is for those who are going to read everything.
	CheckBlocksOf func(stream string) bool
	// TLS, when set, is required of clients that connect to Listen.
	TLS *tls.Config
	// Cluster makes the server a member of a JetStream cluster. Nil means
	// that it is alone.
	Cluster *Cluster
	// Logger receives what the server logs: notices at debug level, warnings
	// as such, errors and what is fatal to the server as errors. Default
	// slog.Default().
	Logger *slog.Logger
}

// Cluster is what a member of a JetStream cluster knows of the others. All
// members have the same Name, Routes and Secret.
type Cluster struct {
	// Name is the name of the cluster.
	Name string
	// Listen is the host:port at which this member awaits the others. The
	// port is fixed, not 0.
	Listen string
	// Routes are the host:port of all members, this one included. Their
	// number is the size of the cluster.
	Routes []string
	// Secret is the password that members show one another. It may only be
	// empty when Listen and Routes are loopback addresses.
	Secret string
	// TLS, when set, is used between members in both directions, and should demand
	// and show certificates. That of the member that is dialled is verified against
	// its host in Routes, which then are all names or all IP addresses.
	TLS *tls.Config
	// Joining, when set, is called once by [Start], before it waits for the
	// others, with what tells the names of those that the server is connected to.
	Joining func(connected func() []string)
}

// A FieldError says what is wrong with a field of a [Config], and what to do.
type FieldError struct {
	// Field is the wrong one, and Other, if not empty, the one that it does not
	// go with.
	Field, Other string
	// Problem is the sentence. It names no field.
	Problem string
}

// Error begins with the fields.
func (e *FieldError) Error() string {
	if e.Other != "" {
		return e.Field + " and " + e.Other + ": " + e.Problem
	}
	return e.Field + ": " + e.Problem
}

// Validate finds what a server cannot be started with, without looking at
// anything but c. The error about a field that clients see is a *[FieldError].
func (c Config) Validate() error {
	_, err := c.withDefaults()
	return err
}

var contextToken = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)

// withDefaults returns c with what was left empty filled in, or an error that
// names the field that is wrong.
func (c Config) withDefaults() (Config, error) {
	if c.Name == "" {
		c.Name = defaultName
	}
	if c.MaxPayload == 0 {
		c.MaxPayload = defaultMaxPayload
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.DataDir == "" {
		return c, errors.New("DataDir is empty: name the folder that is to hold the data")
	}
	if !contextToken.MatchString(c.Context) {
		return c, fmt.Errorf("Context %q: needs letters, digits, _ or -, the first of them a letter or digit", c.Context)
	}
	if c.MaxPayload < 0 || c.MaxPayload > highestMaxPayload {
		return c, fmt.Errorf("MaxPayload %d: choose 1 to %d bytes", c.MaxPayload, highestMaxPayload)
	}
	if err := c.validateClients(); err != nil {
		return c, err
	}
	return c, c.validateCluster()
}

func (c Config) validateClients() error {
	if (c.ClientUser == "") != (c.ClientPassword == "") {
		return &FieldError{Field: "ClientUser", Other: "ClientPassword", Problem: "give both or neither"}
	}
	if isReservedUser(c.ClientUser) {
		return &FieldError{Field: "ClientUser", Problem: fmt.Sprintf("%q is a user of Holdfast's own: choose another name", c.ClientUser)}
	}
	if len(c.ClientPassword) > 72 {
		return &FieldError{Field: "ClientPassword", Problem: fmt.Sprintf("it has %d bytes: choose one of at most 72", len(c.ClientPassword))}
	}
	if c.Listen == "" {
		return nil
	}
	host, _, err := splitAddress(c.Listen)
	if err != nil {
		return &FieldError{Field: "Listen", Problem: fmt.Sprintf("%q: %v", c.Listen, err)}
	}
	if c.ClientPassword == "" && !isLoopback(host) {
		return &FieldError{
			Field: "Listen", Other: "ClientPassword",
			Problem: fmt.Sprintf("%q can be reached from other machines: give clients a name and a password to log in with, or listen on 127.0.0.1", c.Listen),
		}
	}
	return nil
}

func (c Config) validateCluster() error {
	cl := c.Cluster
	if cl == nil {
		return nil
	}
	if cl.Name == "" {
		return errors.New("Cluster.Name is empty: give all members the same name")
	}
	// The server waits for its client listener before it opens the one for routes.
	if c.Listen == "" {
		return errors.New("Listen is empty: a member of a cluster needs one, for instance 127.0.0.1:0")
	}
	host, port, err := splitAddress(cl.Listen)
	if err != nil {
		return &FieldError{Field: "Cluster.Listen", Problem: fmt.Sprintf("%q: %v", cl.Listen, err)}
	}
	if port == 0 {
		return &FieldError{Field: "Cluster.Listen", Problem: fmt.Sprintf("%q: choose a fixed port, the other members have to know it", cl.Listen)}
	}
	if len(cl.Routes) < 2 {
		return &FieldError{Field: "Cluster.Routes", Problem: fmt.Sprintf("there are %d addresses: list all members, this one included", len(cl.Routes))}
	}
	reachable, byIP := !isLoopback(host), 0
	for i, r := range cl.Routes {
		host, port, err := splitAddress(r)
		if err != nil {
			return &FieldError{Field: "Cluster.Routes", Problem: fmt.Sprintf("%q: %v", r, err)}
		}
		if ip := net.ParseIP(host); port == 0 || host == "" || ip != nil && ip.IsUnspecified() {
			return &FieldError{Field: "Cluster.Routes", Problem: fmt.Sprintf("%q: name the host and the port at which the others reach it", r)}
		}
		// The server counts them, and waits for a majority of that many.
		if slices.Contains(cl.Routes[:i], r) {
			return &FieldError{Field: "Cluster.Routes", Problem: fmt.Sprintf("%q is there twice: list each member once", r)}
		}
		reachable = reachable || !isLoopback(host)
		if net.ParseIP(host) != nil {
			byIP++
		}
	}
	// The server would look for the first host name in the certificates of addresses, too.
	if cl.TLS != nil && byIP != 0 && byIP != len(cl.Routes) {
		return &FieldError{Field: "Cluster.Routes", Problem: "some have host names and some IP addresses, and certificates are only verified well when all are of one kind: give all of them names, or all addresses"}
	}
	if reachable && cl.Secret == "" {
		return &FieldError{
			Field:   "Cluster.Secret",
			Problem: "there is none, though a member can be reached from other machines: give all members the same one, or have all of them listen on 127.0.0.1",
		}
	}
	return nil
}

func splitAddress(address string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, errors.New("needs the form host:port, for instance 127.0.0.1:4222")
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("port %q: choose a number from 0 to 65535", p)
	}
	return host, int(n), nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
