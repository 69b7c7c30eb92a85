// Package inbox takes commands that are to be executed later. A client leaves one with a
// JetStream publish on <context>.inbox.<type>.<id>.<Command>, and what became of it is told on
// <context>.outcome.<command id>.
//
// A [Door] answers clients on every node: it checks the command, stores it in the stream
// <CONTEXT>_INBOX and acknowledges. A [Runner] executes what is stored, on one node at a time,
// in order for each aggregate, and tries again until there is an outcome: first the outcome is
// published, then the command removed. What is done again after a crash changes nothing, since
// each command has an id under which it takes effect once, and one outcome. A command that the
// runtime cannot handle is parked with the reason, and all later ones of its aggregate wait
// behind it, until an operator has it tried again or skipped; so they do when another runner
// begins.
package inbox
