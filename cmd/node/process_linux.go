package main

import (
	"os/exec"
	"syscall"
)

// bind has the kernel kill the process when this one ends, however it does: to be exact,
// when the thread does that started it, and Go keeps its threads.
func bind(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
