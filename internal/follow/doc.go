// Package follow has one node at a time do what follows from a log, and keeps how far it has
// come, for the next one.
//
// That only one does is a matter of economy: for moments there may be two, so that whatever
// is done must bear repetition. How far the log is done with is written by compare-and-set,
// and never by one who has been replaced.
package follow
