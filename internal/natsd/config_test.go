package natsd_test

import (
	"crypto/tls"
	"log/slog"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/internal/natsd"
)

func slogTo(h slog.Handler) *slog.Logger { return slog.New(h) }

// pairOf is a cluster of two of which only one is there.
func pairOf(t *testing.T) *natsd.Cluster {
	t.Helper()
	routes := freeAddresses(t, 2)
	return &natsd.Cluster{Name: "pair", Listen: routes[0], Routes: routes}
}

func TestConfigRefused(t *testing.T) {
	t.Parallel()
	cluster := func(change func(*natsd.Cluster)) func(*natsd.Config) {
		return func(c *natsd.Config) {
			c.Cluster = &natsd.Cluster{
				Name: "c", Listen: "127.0.0.1:6222", Routes: []string{"127.0.0.1:6222", "127.0.0.1:6223"},
			}
			change(c.Cluster)
		}
	}
	tests := []struct {
		name   string
		change func(*natsd.Config)
		says   []string
	}{
		{"NoDataDir", func(c *natsd.Config) { c.DataDir = "" }, []string{"DataDir", "name the folder"}},
		{"NoContext", func(c *natsd.Config) { c.Context = "" }, []string{`Context ""`, "letters"}},
		{"WildcardContext", func(c *natsd.Config) { c.Context = ">" }, []string{`Context ">"`, "letters"}},
		{"DottedContext", func(c *natsd.Config) { c.Context = "a.b" }, []string{`Context "a.b"`, "letters"}},
		{"ReservedContext", func(c *natsd.Config) { c.Context = "_INBOX" }, []string{`Context "_INBOX"`, "first"}},
		{"NoPort", func(c *natsd.Config) { c.Listen = "127.0.0.1" }, []string{`Listen: "127.0.0.1"`, "host:port"}},
		{"WrongPort", func(c *natsd.Config) { c.Listen = "127.0.0.1:65536" }, []string{`"65536"`, "65535"}},
		{"PayloadTooLarge", func(c *natsd.Config) { c.MaxPayload = 8<<20 + 1 }, []string{"MaxPayload", "8388608"}},
		{"PayloadNegative", func(c *natsd.Config) { c.MaxPayload = -1 }, []string{"MaxPayload"}},
		{"UserOnly", func(c *natsd.Config) { c.ClientUser = "u" }, []string{"ClientUser", "ClientPassword", "both"}},
		{"PasswordOnly", func(c *natsd.Config) { c.ClientPassword = "p" }, []string{"ClientUser", "ClientPassword", "both"}},
		{
			"PasswordTooLong", func(c *natsd.Config) { c.ClientUser, c.ClientPassword = "u", strings.Repeat("p", 73) },
			[]string{"ClientPassword", "72"},
		},
		{
			"ReservedUser", func(c *natsd.Config) { c.ClientUser, c.ClientPassword = string(natsd.Node), "p" },
			[]string{"ClientUser", "another name"},
		},
		{"AnonymousEverywhere", func(c *natsd.Config) { c.Listen = "0.0.0.0:0" }, []string{"ClientPassword", "127.0.0.1"}},
		{"AnonymousNoHost", func(c *natsd.Config) { c.Listen = ":0" }, []string{"ClientPassword", "127.0.0.1"}},
		{"AnonymousIPv6", func(c *natsd.Config) { c.Listen = "[::]:0" }, []string{"ClientPassword", "127.0.0.1"}},
		{"AnonymousHost", func(c *natsd.Config) { c.Listen = "example.org:4222" }, []string{"ClientPassword", "127.0.0.1"}},
		{"ClusterUnnamed", cluster(func(c *natsd.Cluster) { c.Name = "" }), []string{"Cluster.Name"}},
		{"ClusterNoPort", cluster(func(c *natsd.Cluster) { c.Listen = "127.0.0.1:0" }), []string{"Cluster.Listen", "fixed port"}},
		{"ClusterNoAddress", cluster(func(c *natsd.Cluster) { c.Listen = "" }), []string{"Cluster.Listen", "host:port"}},
		{"ClusterNoSecret", cluster(func(c *natsd.Cluster) { c.Listen = "0.0.0.0:6222" }), []string{"Cluster.Secret"}},
		{"ClusterOfOne", cluster(func(c *natsd.Cluster) { c.Routes = c.Routes[:1] }), []string{"Cluster.Routes", "all members"}},
		{"ClusterBadRoute", cluster(func(c *natsd.Cluster) { c.Routes = []string{"a", "b"} }), []string{"Cluster.Routes", "host:port"}},
		{"ClusterRouteWithoutHost", cluster(func(c *natsd.Cluster) { c.Routes[1] = ":6223" }), []string{"Cluster.Routes", "name the host"}},
		{"ClusterRouteToAll", cluster(func(c *natsd.Cluster) { c.Routes[1] = "0.0.0.0:6223" }), []string{"Cluster.Routes", "name the host"}},
		{"ClusterRouteWithoutPort", cluster(func(c *natsd.Cluster) { c.Routes[1] = "127.0.0.1:0" }), []string{"Cluster.Routes", "the port"}},
		{"ClusterRouteAway", cluster(func(c *natsd.Cluster) { c.Routes[1] = "10.0.0.2:6222" }), []string{"Cluster.Secret", "the same one"}},
		{"ClusterRouteTwice", cluster(func(c *natsd.Cluster) { c.Routes[1] = c.Routes[0] }), []string{"Cluster.Routes", "once"}},
		{"ClusterMixedHosts", cluster(func(c *natsd.Cluster) {
			c.TLS, c.Routes[1] = &tls.Config{MinVersion: tls.VersionTLS13}, "localhost:6223"
		}), []string{"Cluster.Routes", "all addresses"}},
		{"ClusterInProcess", func(c *natsd.Config) {
			cluster(func(*natsd.Cluster) {})(c)
			c.Listen = ""
		}, []string{"Listen", "127.0.0.1:0"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := config(t)
			tt.change(&cfg)
			wantText(t, refused(t, within(t), cfg), tt.says...)
		})
	}
}
