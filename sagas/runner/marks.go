package runner

import "sync"

// marks tells up to where all has been done.
type marks struct {
	note func(done uint64)

	mu    sync.Mutex
	open  map[uint64]int // how many tasks of a record are not done
	order []uint64       // the records with such, as they came
	last  uint64         // the last record that came
}

// begin says that a record came, with so many tasks.
func (m *marks) begin(seq uint64, tasks int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = seq
	if tasks > 0 {
		m.open[seq] = tasks
		m.order = append(m.order, seq)
	}
	m.tell()
}

// end says that one of a record's tasks is done.
func (m *marks) end(seq uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.open[seq]--; m.open[seq] == 0 {
		delete(m.open, seq)
	}
	m.tell()
}

func (m *marks) tell() {
	for len(m.order) > 0 && m.open[m.order[0]] == 0 {
		m.order = m.order[1:]
	}
	done := m.last
	if len(m.order) > 0 {
		done = m.order[0] - 1
	}
	m.note(done)
}
