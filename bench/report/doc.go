// Package report is what is made of measurements: medians and spreads of them, one document
// that a program can read, a table that a person can, and the comparison of two documents.
// It measures nothing itself.
package report
