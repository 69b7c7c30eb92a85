// Package desk is where operators see to sagas: which are not over, what one has done and
// waits for, and what is to become of it. docs/wire.md tells what stands on the wire.
//
// A [List] has the sagas that are not over, in a NATS KV bucket. Whoever runs the sagas puts
// them on it and takes them off; what was left on it by mistake is taken off when it is seen.
//
// A [Desk] answers requests on <context>.sagas.>. These are for operators: clients must not
// reach them. What an operator does to a saga is a command to it, so that who did it, when
// and why stands in its history.
package desk
