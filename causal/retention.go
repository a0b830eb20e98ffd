package causal

import (
	"bytes"
	"cmp"
	"slices"
	"time"
)

// Retention says how much of what was said a log keeps. Beyond either limit
// the payloads of the oldest blocks, in the order of the history, are dropped,
// here and in the Store. Their headers stay: the digest, all positions and
// counts, and what other nodes can take over are the same with and without
// the payloads; the messages have no Data any more. What other nodes keep is
// their own affair, and nothing that was dropped is fetched again.
//
// A payload is dropped only if all members hold its block, and nothing will be
// inserted before it (see Log.Stable and Log.Final). So the limits are
// exceeded by what a member lacks yet. A writer that forked is not waited for:
// nothing of it ever becomes stable.
type Retention struct {
	// MaxAge is how long a payload is kept, from when it came here; if it came
	// from the Store, from its wall clock. Zero is for ever.
	MaxAge time.Duration
	// MaxBytes is how many bytes of payload are kept. Up to an eighth more, and
	// at least 1 MiB, may be held for a second. Zero is no limit. Whole blocks
	// are dropped, so own ones are no larger than an eighth of it.
	MaxBytes int64
}

const (
	sweepDelay = time.Second // between looking for what is to be dropped
	sweepBytes = 1 << 20     // of new payload after which to look at once

	// storeBlocks and storeBytes are how much is to be dropped in the Store
	// before that is told.
	storeBlocks = 1024
	storeBytes  = 4 << 20
)

// retention is how far payloads have been dropped.
type retention struct {
	at      time.Time // when to look next; zero if there is nothing to drop
	opened  int64     // when the log got its first time, in milliseconds
	heights uint64    // of these all blocks but those in late are done
	late    []uint32  // blocks that came below, or could not be dropped yet
	bytes   uint64    // payload held when last looked
	done    uint32    // the first blocks in the order of delivery that are done
	told    uint32    // of those, how many the Store has been told
	freed   int       // bytes of payload to be dropped in the Store
}

func (r Retention) on() bool { return r.MaxAge > 0 || r.MaxBytes > 0 }

// retain notes a new block.
func (m *Memory) retain(i uint32) {
	if r := &m.kept; m.cfg.Retention.on() {
		if m.blocks.at(i).height <= r.heights {
			r.late = append(r.late, i)
		}
		if t := m.now.Add(sweepDelay); r.opened != 0 && (r.at.IsZero() || t.Before(r.at)) {
			r.at = t
		}
	}
}

// sweep drops what the retention allows no longer, if it is time to.
func (m *Memory) sweep() {
	r, limit := &m.kept, m.cfg.Retention
	if !limit.on() || m.closed || m.now.IsZero() {
		return
	}
	if r.opened == 0 {
		r.opened = m.now.UnixMilli()
		r.at = m.now
	}
	full := limit.MaxBytes > 0 && m.bytes > uint64(limit.MaxBytes) &&
		m.bytes > r.bytes+max(sweepBytes, uint64(limit.MaxBytes)/8)
	if !full && (r.at.IsZero() || m.now.Before(r.at)) {
		return
	}
	m.persist()
	m.refinal()
	if len(r.late) > 0 {
		slices.SortFunc(r.late, func(a, b uint32) int {
			x, y := m.blocks.at(a), m.blocks.at(b)
			return cmp.Or(cmp.Compare(x.height, y.height), cmp.Compare(x.wall, y.wall), bytes.Compare(x.hash[:], y.hash[:]))
		})
		r.late = slices.DeleteFunc(r.late, func(i uint32) bool {
			if m.due(m.blocks.at(i)) && m.droppable(m.blocks.at(i)) {
				m.drop(i)
				return true
			}
			return false
		})
	}
	m.sweepHeights()
	for r.done < m.blocks.n && m.blocks.at(r.done).flags&(flagDone|flagGone) != 0 {
		r.done++
	}
	m.tellStore(false)
	r.bytes = m.bytes
	r.at = m.sweepAt()
}

func (m *Memory) sweepHeights() {
	for r := &m.kept; r.heights < m.final; r.heights++ {
		late := len(r.late)
		for at := m.order.at(r.heights + 1).head; at != 0; {
			i := at - 1
			b := m.blocks.at(i)
			at = b.next
			switch {
			case b.flags&flagDone != 0:
			case !m.due(b):
				// The level is looked at again; what is not stable is then too.
				r.late = r.late[:late]
				return
			case m.droppable(b):
				m.drop(i)
			default:
				r.late = append(r.late, i)
			}
		}
	}
}

// sweepAt is when to look next: soon if something is overdue, when the oldest
// payload gets old otherwise.
func (m *Memory) sweepAt() time.Time {
	r, limit := &m.kept, m.cfg.Retention
	switch {
	case len(r.late) == 0 && r.heights == m.order.top():
		return time.Time{}
	case limit.MaxBytes > 0 && m.bytes > uint64(limit.MaxBytes):
		return m.now.Add(sweepDelay)
	case limit.MaxAge == 0:
		return time.Time{}
	}
	oldest := m.now
	if r.heights < m.order.top() && len(r.late) == 0 {
		oldest = m.now.Add(limit.MaxAge)
		for at := m.order.at(r.heights + 1).head; at != 0; at = m.blocks.at(at - 1).next {
			if b := m.blocks.at(at - 1); b.flags&flagDone == 0 {
				if t := time.UnixMilli(m.since(b)).Add(limit.MaxAge); t.Before(oldest) {
					oldest = t
				}
			}
		}
	}
	return later(oldest, m.now.Add(sweepDelay))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// since is when a block came, in milliseconds. Of one from the Store that is
// not known; its author's clock is not trusted beyond the opening of the Store.
func (m *Memory) since(b *block) int64 {
	if b.came > 0 {
		return b.came
	}
	return min(b.wall, m.kept.opened)
}

// due reports whether a block is beyond the limits.
func (m *Memory) due(b *block) bool {
	r := m.cfg.Retention
	return r.MaxBytes > 0 && m.bytes > uint64(r.MaxBytes) ||
		r.MaxAge > 0 && m.now.UnixMilli()-m.since(b) >= r.MaxAge.Milliseconds()
}

// droppable reports whether nobody may need a block's payload from here.
func (m *Memory) droppable(b *block) bool {
	w := &m.writers[b.writer]
	return b.height <= m.final && (len(w.branches) > 0 || b.first+uint64(b.count) <= w.stable+1)
}

// drop replaces a frame by one without the payload. It moves every frame that
// it is called for, so that the piece of the arena where it was can be freed.
func (m *Memory) drop(i uint32) {
	b := m.blocks.at(i)
	raw := strip(m.raw(i))
	if raw[0] == formHollow && b.flags&flagHollow == 0 {
		m.bytes -= uint64(b.size - b.data)
		m.kept.freed += int(b.size - b.data)
		b.flags |= flagHollow
	}
	room, at := m.arena.keep(len(raw))
	copy(room, raw)
	m.arena.release(b.chunk, b.size)
	b.chunk, b.off, b.size, b.data = at.chunk, at.off, uint32(len(raw)), uint32(len(raw))
	b.flags |= flagDone
	for k := range m.sent { // they would keep what is freed alive
		m.sent[k] = cached{}
	}
}

// tellStore drops in the Store the payloads of the blocks at its beginning
// that are done. There may be more records than blocks, if some were damaged,
// but not fewer, so that no payload is dropped that is held.
func (m *Memory) tellStore(all bool) {
	r := &m.kept
	if m.store == nil || m.broken || m.undecided || r.done == r.told ||
		!all && r.done-r.told < storeBlocks && r.freed < storeBytes {
		return
	}
	if err := m.store.DropPayloads(m.first+uint64(r.done), strip); err != nil {
		m.out.Err = err
		m.broken = true
		return
	}
	r.told, r.freed = r.done, 0
}
