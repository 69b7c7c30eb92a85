// Package cli has the client verbs of a node's binary: send, apply, get and history,
// as cobra commands. They talk to a node as any NATS client would, by the subjects
// and headers of package messages, and never touch the log.
//
// # Exit codes
//
// [ExitOK], [ExitFailure], [ExitUsage] and [ExitRejected]; [Execute] gives them.
//
// # How apply keeps its promise
//
// apply sends the lines of a file so that each takes effect once, in order within its
// aggregate, however often the run is killed and begun again. Three things hold this
// up, and one pure type, schedule, has them all:
//
//   - Every line has a command id, given or derived from its number and content, so
//     sending it again is safe while the aggregate remembers the id. It remembers the
//     last 1,024, therefore at most 256 lines of one aggregate are ever answered but
//     not yet on record in the progress file.
//   - The progress file, FILE.progress, says which lines are settled: all up to a
//     number, except for the aggregates that it lists, each with the line from which
//     on it is not. It is replaced as a whole and fsynced, and never says more than
//     what was answered.
//   - What the log does not remember is on record before the aggregate's next line is
//     sent: a line that was rejected, or that was accepted and recorded no event. Sent
//     again after the next one, it might be decided otherwise.
//
// A line that failed and may be tried again stops its aggregate, not the others: the
// lines that follow it in the same aggregate wait for the next run.
package cli
