package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-run/holdfast/internal/natsd"
)

// A ClusterNode is one of the nodes whose embedded NATS servers form a cluster.
type ClusterNode struct {
	// Name is the node's [Config.Name].
	Name string
	// Address is the host:port at which its server listens for those of the others.
	Address string
}

// clusterName is one that a NATS server may have and a flag can tell.
var clusterName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)

// validateCluster looks at what natsd does not know of.
func (c Config) validateCluster() error {
	wrong := func(problem string, args ...any) error {
		return &ConfigError{Field: "Cluster", Problem: fmt.Sprintf(problem, args...)}
	}
	if len(c.Cluster) == 0 {
		if c.ClusterSecret != "" {
			return &ConfigError{Field: "ClusterSecret", Other: "Cluster", Problem: "the secret is for the servers of a cluster: name them, or leave it out"}
		}
		return nil
	}
	switch n := len(c.Cluster); {
	case n == 1:
		return wrong("one node needs no cluster: leave it out, or name three nodes")
	case n == 2:
		return wrong("it names two nodes, and two cannot outvote each other, so that both stop when one does: name three, or leave it out")
	case n%2 == 0:
		return wrong("it names %d nodes, of which no more may fail than of %d: name an odd number", n, n-1)
	}
	for i, one := range c.Cluster {
		if !clusterName.MatchString(one.Name) {
			return wrong("the name %q needs letters, digits, _ or -, the first of them a letter or digit", one.Name)
		}
		if slices.ContainsFunc(c.Cluster[:i], func(o ClusterNode) bool { return o.Name == one.Name }) {
			return wrong("the name %q is there twice: give each node its own", one.Name)
		}
	}
	if _, ok := c.clusterAddress(); !ok {
		return &ConfigError{
			Field: "Name", Other: "Cluster",
			Problem: fmt.Sprintf("%q is none of %s: say which of them this node is", c.Name, strings.Join(c.others(nil), ", ")),
		}
	}
	return nil
}

// clusterAddress is that of this node among Cluster.
func (c Config) clusterAddress() (address string, ok bool) {
	i := slices.IndexFunc(c.Cluster, func(o ClusterNode) bool { return o.Name == c.Name })
	if i < 0 {
		return "", false
	}
	return c.Cluster[i].Address, true
}

// peerListen is where the other nodes can reach this one when nothing is said.
func (c Config) peerListen() string {
	address, _ := c.clusterAddress()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	return net.JoinHostPort(host, "0")
}

// serverCluster is nil for a server that is alone. Its name keeps the nodes of two
// contexts apart, should the one name an address of the other.
func (c Config) serverCluster() *natsd.Cluster {
	if len(c.Cluster) == 0 {
		return nil
	}
	out := &natsd.Cluster{Name: c.Context, Secret: c.ClusterSecret}
	out.Listen, _ = c.clusterAddress()
	for _, one := range c.Cluster {
		out.Routes = append(out.Routes, one.Address)
	}
	return out
}

// clusterFieldOf says which field of the [Config] a field of the server is made of.
func clusterFieldOf(field string) string {
	switch field {
	case "Cluster.Secret":
		return "ClusterSecret"
	case "Cluster.Listen", "Cluster.Routes":
		return "Cluster"
	}
	return field
}

// others are the names of those of the cluster that are neither this node nor among there.
func (c Config) others(there []string) []string {
	var names []string
	for _, one := range c.Cluster {
		if one.Name != c.Name && !slices.Contains(there, one.Name) {
			names = append(names, one.Name)
		}
	}
	return names
}

// tellEvery is how often a node that waits for others says so.
const tellEvery = 3 * time.Second

// A patience tells on the log, now and then, what a start is waiting for.
type patience struct {
	log       *slog.Logger
	others    func(there []string) []string
	connected chan func() []string // filled once the server knows
	enough    chan struct{}
	done      chan struct{}
}

// beginPatience has one tell until its end is called.
func (c Config) beginPatience() *patience {
	p := &patience{
		log: c.Log, others: c.others,
		connected: make(chan func() []string, 1), enough: make(chan struct{}), done: make(chan struct{}),
	}
	go p.tell()
	return p
}

func (p *patience) end() {
	close(p.enough)
	<-p.done
}

func (p *patience) tell() {
	defer close(p.done)
	connected := func() []string { return nil }
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for {
		select {
		case connected = <-p.connected:
		case <-tick.C:
			if missing := p.others(connected()); len(missing) > 0 {
				p.log.Info("waiting for the other servers: " + strings.Join(missing, ", "))
			} else {
				p.log.Info("waiting for the servers to agree on who leads: all of them are there")
			}
		case <-p.enough:
			return
		}
	}
}

// startServer starts the embedded server.
func (n *Node) startServer(ctx context.Context) (err error) {
	config := n.config.serverConfig(n.secure)
	if config.Cluster != nil {
		config.Cluster.Joining = func(connected func() []string) { n.patience.connected <- connected }
	}
	n.server, err = natsd.Start(ctx, config)
	return err
}

// A clusterFlag reads name=host:port,name=host:port.
type clusterFlag struct{ to *[]ClusterNode }

// String shows nothing when nothing is set, as the help wants it.
func (f clusterFlag) String() string {
	if f.to == nil {
		return ""
	}
	var out []string
	for _, one := range *f.to {
		out = append(out, one.Name+"="+one.Address)
	}
	return strings.Join(out, ",")
}

// Set adds to what is there, so that the flag may be repeated.
func (f clusterFlag) Set(text string) error {
	for one := range strings.SplitSeq(text, ",") {
		name, address, found := strings.Cut(strings.TrimSpace(one), "=")
		if !found {
			return errors.New("want name=host:port of every node, with commas between them")
		}
		*f.to = append(*f.to, ClusterNode{Name: name, Address: address})
	}
	return nil
}

// Type is what the help calls the value.
func (f clusterFlag) Type() string { return "nodes" }
