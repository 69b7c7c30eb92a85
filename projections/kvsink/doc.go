// Package kvsink keeps the documents of projections in NATS KV, where any client can watch
// them.
//
// A generation of a projection is one bucket, and with it one stream: the documents are the
// bucket's keys, and what the sink keeps for itself (checkpoints, what is parked, the outbox)
// is in the same stream under subjects of its own, which those who use the bucket do not see.
//
//	$KV.<bucket>.<key>                                         a document
//	$VIEW.<bucket>.checkpoint.<partition>.<shard>
//	$VIEW.<bucket>.parked.<partition>.<shard>.<key>.<sequence>.<index>.<part>
//	$VIEW.<bucket>.skipped.<partition>.<shard>.<sequence>.<index>.<part>
//	$VIEW.<bucket>.outbox.<partition>.<shard>.<id>
//
// The key of a document is written as ids are in subjects ([messages.ID]), up to three times
// as long as it is; those of what is parked and in the outbox are hashes.
//
// # Transactions
//
// That all is in one stream makes transactions of JetStream's atomic batches: a batch holds
// the documents, each with the revision that it was read at, and at its end the checkpoint of
// the unit, with the revision that it was read at. A node that has lost its unit may go on as
// long as it likes: what it sends is refused as a whole, since another one has moved the
// checkpoint. So a node need not know that it was replaced.
//
// A batch may have some hundred messages at the most. A commit with more of them is several,
// each of whole events: the checkpoint then says within which the commit stands, and when the
// commit is done again, what those events did is left out.
//
// Each document says besides up to which event of each unit it holds all ([value]), so that
// even a stream that was put back in the middle of a batch is not counted twice.
package kvsink
