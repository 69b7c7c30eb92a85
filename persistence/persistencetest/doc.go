// Package persistencetest is the conformance suite of package persistence: what holds
// for one store must hold for every other, on one server and on three.
//
// A store's own test opens a [Log], says what can be done to it from outside, and calls
// [Run]. What a log cannot have done to it is not tested on it.
package persistencetest
