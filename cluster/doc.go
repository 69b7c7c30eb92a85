// Package cluster knows which node owns an aggregate and takes requests there. It is
// the [holdfast.Sender] and [holdfast.Viewer] of a node.
//
// # Who is there
//
// Every node keeps a record in a NATS KV bucket, the register, and renews it; one that is
// not renewed for as long as its lease expires. A node relies on its own lease for five
// sixths of that only, so it refuses requests before another one can take over. When the
// lease is lost, the node becomes another member, with nothing active.
//
// # Who owns what
//
// All who see the same members agree on the owner of an aggregate: [view.owner]. When
// ownership moves, the new owner waits until the one who may hold the aggregate has
// released it, which members say in their records: [view.holder]. Placement is a hint all
// the same: the log's expected sequence is the judge.
//
// # How a request travels
//
// A request is executed where its aggregate is owned, at home or by one call over gRPC.
// What was certainly not executed is tried again, at whoever owns the aggregate then; what
// may have been is answered as uncertain.
package cluster
