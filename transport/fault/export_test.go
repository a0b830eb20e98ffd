package fault

// Busy tells whether there is more to do than to hand on.
func (t *Transport) Busy() bool { return t.busy.Load() }

// Known is how many peers and endpoints are remembered.
func (t *Transport) Known() (peers, heard int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.peers), len(t.heard)
}
