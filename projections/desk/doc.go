// Package desk is where operators see to projections: where each stands and why, which events
// are parked, and what is to become of them. docs/wire.md tells what stands on the wire.
//
// A [Desk] answers requests on <context>.projections.>. These are for operators: clients must
// not reach them. What an operator wants stands in the register, where those who run the
// projections see it.
package desk
