package seal

// windowSize is how many packets a packet may be overtaken by.
const windowSize = 2048

// window knows which of a sender's packets have come (RFC 6479).
type window struct {
	floor uint64 // nothing below is taken
	next  uint64 // one above the highest taken
	bits  [windowSize/64 + 1]uint64
}

// fresh tells whether take would take a packet.
func (w *window) fresh(n uint64) bool {
	return n >= w.floor && n+windowSize >= w.next && (n >= w.next || w.bits[w.word(n)]&(1<<(n%64)) == 0)
}

// take notes that a packet has come, and returns false if it came before, or is
// too old to tell.
func (w *window) take(n uint64) bool {
	if !w.fresh(n) {
		return false
	}
	if n >= w.next {
		words := uint64(len(w.bits))
		// All words between the one that held the highest and that of n are new.
		for i, clear := w.block(w.next)+1, uint64(0); i <= n/64 && clear < words; i, clear = i+1, clear+1 {
			w.bits[i%words] = 0
		}
		w.next = n + 1
	}
	w.bits[w.word(n)] |= 1 << (n % 64)
	return true
}

// block is the word, counted from the beginning, of the highest packet taken.
func (w *window) block(next uint64) uint64 {
	if next == 0 {
		return 0
	}
	return (next - 1) / 64
}

func (w *window) word(n uint64) uint64 { return n / 64 % uint64(len(w.bits)) }
