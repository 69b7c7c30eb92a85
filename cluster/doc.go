// Package cluster knows which node owns an aggregate and takes requests there. It is
// the [holdfast.Sender] and [holdfast.Viewer] of a node.
//
// Members and their traffic are Proto.Actor's cluster; who owns an aggregate and how a
// request reaches it are ours, because placement must be checked by the owner and a
// request may be repeated only when it was certainly not executed. Placement is a hint
// all the same: the log's expected sequence is the judge.
package cluster
