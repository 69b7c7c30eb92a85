// Package jetstream is the store of package persistence on NATS JetStream.
//
// # Streams
//
// The log of a context is one stream a partition, <CONTEXT>_LOG_<p>, with one literal
// subject an aggregate; the snapshots are one stream, <CONTEXT>_SNAPSHOTS. [Open] makes
// them, and compares the live settings of streams that exist with those that the
// guarantees rest on: a weaker one is refused with a [SettingError].
//
// # Appending
//
// A commit is one message whose headers are its id and the sequence that must be the
// subject's last: the server refuses it when it is not, and of two writers that believe
// in the same head one commits. An answer that does not say for certain what became of
// the commit is settled by reading: the aggregate's next commit after the expected one
// is ours, somebody else's, or not there.
//
// A single server that fsyncs each message writes one after the other. There
// ([Config.SyncAlways]) commits of other aggregates gather while some are being written,
// and go out as one atomic batch, which costs a few fsyncs. Each still has its id and its
// expectation, and hears its own answer: when one of a batch is refused all go out again,
// alone, and of a batch without an answer each is settled as above.
//
// # Reading
//
// Nothing on this path searches: the last message of a subject is found by the
// server's index, the commits before it by their sequences, which every commit has
// for 33 commits back. So the cost of a load is in the number of commits read and not
// in the length of the log. On a replicated stream the last message is asked of the
// stream's leader, since any replica may lag behind what it has acknowledged.
//
// # Scanning
//
// A scan reads the store of one server, by way of consumers that are there: a consumer
// with one replica is at any of the stream's servers, by chance, and stays. How far that
// server has come is asked of it too, since the leader, which is asked for the end, counts
// what the others have written down and not what they have in their stores.
//
// # Following
//
// A follower has a consumer, too, to which the server gives a commit as soon as it has
// stored it. Of a batch that is before the disk has it, so the follower waits for that. It is made anew, after the last record that was given, when it or the
// connection to it has gone, when messages are missing, and when it stands still while the
// log grows. Sequences have no gaps, so a record that is left out is seen, by the next one or
// by the consumer's heartbeat, and asked of the leader and then of any replica; what nobody
// has, although the log goes on after it, is ErrCorrupt.
package jetstream
