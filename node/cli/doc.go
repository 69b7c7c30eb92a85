// Package cli has the client verbs of a node's binary: send, apply, get and history,
// as cobra commands. They talk to a node as any NATS client would, by the subjects
// and headers of package messages, and never touch the log. The verbs of operators, sagas,
// projections and parked among them, talk in the same way, on subjects of their own.
//
// # Exit codes
//
// [ExitOK], [ExitFailure], [ExitUsage] and [ExitRejected]; [Execute] gives them.
//
// # How apply keeps its promise
//
// apply sends the lines of a file so that each takes effect once, in order within its
// aggregate, however often the run is killed and begun again. Three things hold this
// up; one pure type, schedule, decides for them all:
//
//   - Every line has a command id, given or derived from its number and content, so
//     sending it again is safe while the aggregate remembers the id. It remembers the
//     last 1,024, therefore no line is sent while 512 are answered and perhaps not yet
//     durable in the progress file.
//   - The progress file, FILE.LOG.progress, is of one file and one log, as the node names
//     it. It has a line of JSON that says what it is of, and then one byte for each line
//     of the file: its outcome, or that it has none yet. A byte is written when the line
//     is answered, which outlives the process, and synced together with others, which
//     outlives the machine. A power loss may keep any part of what was not synced: those
//     lines are sent again. The file stays when all is done, and a run begins with
//     writing it anew, as one durable step.
//   - A line waits for a sync when the log may not have what came before it: after a
//     line that was rejected, or that was accepted and recorded no event, which might be
//     decided otherwise if it were sent again later; and beyond a line that an earlier
//     run has settled while one before it was still open, since the 512 do not bound how
//     far those are apart.
//
// A line that failed and may be tried again stops its aggregate, not the others: the
// lines that follow it in the same aggregate wait for the next run.
package cli
