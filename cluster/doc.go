// Package cluster knows which node owns an aggregate and takes requests there. It is
// the [holdfast.Sender] and [holdfast.Viewer] of a node.
//
// Membership is Proto.Actor's; who owns an aggregate and how a request reaches it are
// ours, because placement must be checked by the owner. There is one member so far, so
// nothing travels. Placement is a hint all the same: the log's expected sequence is the
// judge.
package cluster
