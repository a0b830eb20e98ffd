package sim

// item is something that will happen.
type item struct {
	at   int64 // ns of virtual time
	seq  uint64
	kind itemKind
	proc *Process  // for all but itemDatagram and itemCall
	to   *endpoint // for itemDatagram
	pkt  *Packet
	call func()
}

type itemKind uint8

const (
	itemDatagram itemKind = iota
	itemFrame
	itemTimer
	itemCall
)

func (a *item) before(b *item) bool { return a.at < b.at || a.at == b.at && a.seq < b.seq }

// queue is a heap of items by time, then sequence, four children a node.
type queue []item

func (q *queue) push(x item) {
	h := append(*q, x)
	i := len(h) - 1
	for i > 0 {
		p := (i - 1) / 4
		if !x.before(&h[p]) {
			break
		}
		h[i] = h[p]
		i = p
	}
	h[i] = x
	*q = h
}

func (q *queue) pop() item {
	h := *q
	top, last := h[0], h[len(h)-1]
	h[len(h)-1] = item{}
	h = h[:len(h)-1]
	*q = h
	if len(h) == 0 {
		return top
	}
	i := 0
	for {
		best := 4*i + 1
		if best >= len(h) {
			break
		}
		for c := best + 1; c < min(4*i+5, len(h)); c++ {
			if h[c].before(&h[best]) {
				best = c
			}
		}
		if !h[best].before(&last) {
			break
		}
		h[i] = h[best]
		i = best
	}
	h[i] = last
	return top
}
