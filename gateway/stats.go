package gateway

import (
	"errors"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/holdfast-run/holdfast/internal/serve"
	"github.com/holdfast-run/holdfast/messages"
)

// Stats counts what an endpoint has done since the start. It also stands, as JSON, in the
// data of the endpoint's micro statistics, whose own error count and processing time know
// nothing of requests that are answered later.
type Stats = serve.Stats

// Stats of the endpoint for requests of that kind: messages.KindCommand,
// messages.KindGet, messages.KindHistory or messages.KindView.
func (g *Gateway) Stats(kind messages.Kind) Stats {
	for _, e := range g.endpoints {
		if e.kind == kind {
			return e.Stats()
		}
	}
	return Stats{}
}

// InFlight is how many requests are under way.
func (g *Gateway) InFlight() int {
	n := g.requests.InFlight()
	if g.queries != nil {
		n += g.queries.InFlight()
	}
	return n
}

func (g *Gateway) microStats(e *micro.Endpoint) any {
	return g.Stats(messages.Kind(e.Name))
}

// asyncError hears of trouble with a subscription.
func (g *Gateway) asyncError(_ micro.Service, err *micro.NATSError) {
	for _, e := range g.endpoints {
		if e.subject == err.Subject && errors.Is(err, nats.ErrSlowConsumer) {
			e.Overflowed()
			g.cfg.Logger.Warn("requests were lost: they came faster than they could be counted", "subject", e.subject)
			return
		}
	}
	g.cfg.Logger.Warn("trouble with a subscription", "subject", err.Subject, "error", strings.TrimPrefix(err.Description, "nats: "))
}
