// Package runner keeps projections up to date: it follows the log, has events handled in
// batches, parks what a handler refuses, carries what is in the outbox, and builds new
// generations beside those that serve.
//
// What the nodes of a context agree on about a projection stands in a [Register]: which
// generation serves, whether it is paused, what an operator has ordered. How far a unit is and
// why it does not go on stands there, too. How far it is done with stands in its sink alone:
// that checkpoint is the fence between two nodes that both believe to work on it.
package runner
