package natsd

import (
	"fmt"
	"strings"

	"github.com/holdfast-run/holdfast/messages"
)

// Publisher writes what clients may read: full rights in PUBLIC, where nobody else
// connects. Its inboxes are not below _INBOX, which clients can have the server send to.
const Publisher Role = "holdfast-publisher"

const (
	publicAccount = "PUBLIC"
	// publisherInbox begins the inboxes of Publisher.
	publisherInbox = "_PUBLISHER"
	// inboxes are those of clients.
	inboxes = "_INBOX.>"
)

// DoorPrefix begins the subjects in PUBLIC on which clients ask for consumers: what they
// ask on $JS.API.CONSUMER.CREATE.> arrives on _DOOR.CREATE.>, and
// $JS.API.CONSUMER.DURABLE.CREATE.> on _DOOR.DURABLE.CREATE.>. The one who asks for a
// consumer chooses where it delivers, and the server publishes there without asking, so
// that JetStream may not have these requests as they come.
const DoorPrefix = "_DOOR"

// A share is a service of one account that another imports.
type share struct {
	subject string // as the one who answers has it
	as      string // as clients have it, if otherwise
	stream  bool   // one request has many answers
}

// readerShares are what EDGE imports from PUBLIC: of JetStream's interface that which a
// reader needs. What lies in PUBLIC is for clients to read, so that the stream may be any.
var readerShares = []share{
	// With this one missing, the server would import all of the interface into EDGE.
	{subject: "$JS.API.INFO"},
	{subject: "$JS.API.STREAM.INFO.*"},
	{subject: "$JS.API.STREAM.NAMES"},
	{subject: "$JS.API.STREAM.MSG.GET.*"},
	{subject: "$JS.API.DIRECT.GET.*", stream: true},
	{subject: "$JS.API.DIRECT.GET.*.>", stream: true},
	{subject: "$JS.API.CONSUMER.INFO.*.*"},
	{subject: "$JS.API.CONSUMER.LIST.*"},
	{subject: "$JS.API.CONSUMER.NAMES.*"},
	{subject: "$JS.API.CONSUMER.DELETE.*.*"},
	{subject: "$JS.API.CONSUMER.MSG.NEXT.*.*", stream: true},
	{subject: "$JS.ACK.>"},
	{subject: "$JS.FC.>"},
	{subject: DoorPrefix + ".CREATE.>", as: "$JS.API.CONSUMER.CREATE.>"},
	{subject: DoorPrefix + ".DURABLE.CREATE.>", as: "$JS.API.CONSUMER.DURABLE.CREATE.>"},
}

// readerSubjects are what clients may publish to for the sake of readerShares. Of
// JetStream's interface it is all, so that they hear at once that nobody answers what
// has not been imported; a subject that may not be published to is met with silence.
var readerSubjects = []string{"$JS.API.>", "$JS.ACK.>", "$JS.FC.>"}

// publicSubjects are what clients may subscribe to.
func publicSubjects(context string) []string {
	c := messages.Context(context)
	return []string{c.FeedSubjects(), c.OutcomeSubjects()}
}

// exportServices and the others below write what stands in the text form of an account.
func exportServices(shares []share) string {
	var b strings.Builder
	for _, s := range shares {
		response := "singleton"
		if s.stream {
			response = "stream"
		}
		fmt.Fprintf(&b, "{service: %q, response: %s, accounts: [%s]}\n", s.subject, response, edgeAccount)
	}
	return b.String()
}

func importServices(account string, shares []share) string {
	var b strings.Builder
	for _, s := range shares {
		fmt.Fprintf(&b, "{service: {account: %s, subject: %q}", account, s.subject)
		if s.as != "" {
			fmt.Fprintf(&b, ", to: %q", s.as)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

func exportStreams(subjects []string) string {
	var b strings.Builder
	for _, s := range subjects {
		fmt.Fprintf(&b, "{stream: %q, accounts: [%s]}\n", s, edgeAccount)
	}
	return b.String()
}

func importStreams(account string, subjects []string) string {
	var b strings.Builder
	for _, s := range subjects {
		fmt.Fprintf(&b, "{stream: {account: %s, subject: %q}}\n", account, s)
	}
	return b.String()
}
