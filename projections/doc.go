// Package projections keeps read models up to date from the log. A projection is a name, the
// aggregate types that it reads, and one small function an event type; a [Sink] keeps what it
// makes, with the checkpoint in the same transaction, so that each event has its effect once.
//
// This package is the pure part: what a definition is, how a record of the log becomes events
// for handlers, and what a sink promises. projections/runner runs projections,
// projections/sqlsink and projections/kvsink keep what they make, projections/memory is the
// shortest correct sink, and projections/projectionstest is what all of them must pass.
package projections
