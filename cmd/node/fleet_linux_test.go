package main

import "testing"

// Not even a demo that is killed leaves its nodes behind.
func TestKilledDemoLeavesNoProcess(t *testing.T) {
	// Those that have more to say would die of it, since nobody listens.
	cmd, _, nodes := startDemo(t, "The log is kept")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it has been killed
	gone(t, nodes)
}
