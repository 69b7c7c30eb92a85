// Package projectionstest is the conformance suite of [projections.Sink]: what holds for one
// sink must hold for every other.
//
// A sink's own test opens a [Place] and calls [Run], which tests each form that the sink takes.
// What a place cannot have done to it is not tested on it.
package projectionstest
