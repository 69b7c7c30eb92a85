// Package feed shows every event of the log to NATS clients, one message an event, as a
// CloudEvent on <context>.evt.<type>.<id>.<Event>, in a stream of its own with a retention of
// its own. Events are in their newest form.
//
// For each partition of the log one node writes. It writes many messages at a time, all or
// none, and with them a mark that says how much of the log they are: each batch has to find
// the mark that its writer knows. So whatever becomes of a writer, or of an answer to one,
// the next begins where the stream says, and of two only one goes on: there is no gap and no
// repeat.
package feed
