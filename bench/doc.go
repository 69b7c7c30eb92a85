// Package bench is the command bench: it measures Holdfast beside the raw engine that it stands
// on, on the machine of whoever runs it.
//
// A workload is run in rounds. In each, every side has its turn, in one process, on the same
// servers: Holdfast, and the raw sides, which are the least that a careful client of NATS could
// do by hand. What counts is the ratio of the two within a round, and of the rounds the median.
// What was answered is then found in the store. Package report makes documents and tables of it.
package bench
