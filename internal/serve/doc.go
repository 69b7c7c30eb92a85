// Package serve answers NATS requests: it takes no more of them on than its limits allow,
// has each handled on its own, whatever becomes of that, and tells what went wrong in the
// form that docs/wire.md has for errors.
//
// A request that cannot be answered is not handled either. How requests come in, and what
// they mean, is its callers' affair: the gateway's, and the desk's of package sagas.
package serve
