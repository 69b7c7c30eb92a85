// Package natsd runs the nats-server that is built into Holdfast: one of them
// for a node that needs no other infrastructure, or several that form one
// JetStream cluster.
//
// # Accounts
//
// A server has two accounts, so that no client can write to the log:
//
//   - CORE has JetStream, and in it the log. Here are the node itself
//     ([Node], [Gateway]), which connects in process only, and the operator's
//     commands on the same machine ([ReadAdmin]).
//   - EDGE is where clients are. It has no JetStream and imports from CORE
//     only the subjects that clients may ask: <context>.cmd, .get and
//     .history, and the service discovery $SRV.
//
// A reply that crosses the two accounts is renamed by the server, and a
// request whose reply subject is exempt from that ($JS.ACK) is refused.
// Therefore a client cannot make the node answer into the log by naming a log
// subject as its reply subject. [Gateway] is the second line of defence: such
// a connection may not publish there at all, and also in CORE nobody can make
// it do so. Whatever answers requests has to use it.
//
// # Clients
//
// A client may publish to the imported subjects and subscribe below _INBOX
// (a custom inbox prefix has to begin with "_INBOX."). The clients of one
// server share a user and trust one another that far: a client that
// subscribes to _INBOX.> sees the replies of the others. It never sees their
// commands.
//
// # Durability
//
// Every acknowledgement of JetStream means that the message has been fsynced,
// unless [Config.RelaxedSync] says otherwise. A data folder belongs to one
// server at a time, which a lock that dies with the process makes sure of.
package natsd
