// Package runner does what sagas ask for: it reads their intents in the log and sends the
// commands, tells them what became of these, tells them of the events that they want to hear
// of, and wakes them when it is time.
//
// For each saga type and partition of the log one node does so at a time. It keeps how far
// all has been done; what was done beyond that is done again by the next one, which changes
// nothing: every command has an id that follows from the log.
package runner
