// Package natsd runs the nats-server that is built into Holdfast: one of them
// for a node that needs no other infrastructure, or several that form one
// JetStream cluster.
//
// # Accounts
//
// A server has three accounts, so that no client can write to a stream:
//
//   - CORE has JetStream, and in it the log. Here are the node itself
//     ([Node], [Gateway]), which connects in process only, and the operator's
//     commands on the same machine ([ReadAdmin]).
//   - PUBLIC has JetStream as well, and in it what clients may read: the feed,
//     the outcomes, the buckets of read models. Only the node connects there
//     ([Publisher]). Whatever lies in PUBLIC can be read by every client.
//   - EDGE is where clients are. It has no JetStream. It imports from CORE
//     only the subjects that clients may ask: <context>.cmd, .get, .history,
//     .inbox, .view and .views, and the service discovery $SRV; and from PUBLIC
//     the subjects of the feed and of outcomes, and as much of JetStream's
//     interface as a reader needs.
//
// A reply that crosses two accounts is renamed by the server, and a
// request whose reply subject is exempt from that ($JS.ACK) is refused.
// Therefore a client cannot make the node answer into the log by naming a log
// subject as its reply subject. [Gateway] is the second line of defence: such
// a connection may not publish there at all, and also in CORE nobody can make
// it do so. Whatever answers requests has to use it.
//
// Requests for consumers do not reach JetStream as clients send them: a
// consumer delivers wherever its maker says. They arrive below [DoorPrefix],
// where package internal/door judges them.
//
// # Clients
//
// A client may publish to the imported subjects and subscribe to the feed, to
// outcomes and below _INBOX (a custom inbox prefix has to begin with
// "_INBOX."). The clients of one server share a user and trust one another
// that far: a client that subscribes to _INBOX.> sees the replies of the
// others, and may delete their consumers. It never sees their commands.
//
// # Durability
//
// Every acknowledgement of JetStream means that the message has been fsynced,
// unless [Config.RelaxedSync] says otherwise. A data folder belongs to one
// server at a time, which a lock that dies with the process makes sure of.
package natsd
