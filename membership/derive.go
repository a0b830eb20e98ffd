package membership

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
)

// Every view is made by one of the functions of this file, each a pure
// function of views that came before. That is why these hold for every view,
// whatever was lost on the way:
//
//   - IDs are distinct, and ascend along Members.
//   - NextID is greater than each ID in the view, and not less than the NextID
//     of any view that it was made from.
//   - A member keeps its ID from view to view, unless a merge finds it taken.
//   - The coordinator is a member, with the incarnation that its epoch names.

// Limits of what is accepted from others.
const (
	// MaxName is the longest name of a member, in bytes.
	MaxName = 255
	// MaxMembers is the largest group.
	MaxMembers = 1 << 16

	maxCtr  = 1<<63 - 1 // counters and incarnations from here on are refused
	maxJump = 1 << 32   // how far a counter may be ahead of all seen so far
	maxID   = 1 << 31   // NextID never exceeds it
)

// found is the view of a new group: its founder alone, with ID 1.
func found(self Member, ctr, number uint64) View {
	self.ID = 1
	return View{
		ID:      ViewID{Epoch: Epoch{Ctr: ctr, Leader: self.Key, Inc: self.Inc}},
		Number:  number + 1,
		NextID:  2,
		Members: []Member{self},
	}
}

// amend is the view that the coordinator of v makes of it: without those who
// left, with those who joined. A member that joins under a key that v lists
// replaces that entry and keeps its ID. The view opens a new epoch if its
// class differs from that of v, or if fresh says so; ctr is the epoch's
// counter in that case, and exceeds every counter seen.
func amend(v View, ctr uint64, fresh bool, joined []Member, left []Departure) View {
	n := View{ID: v.ID, Class: v.Class, Number: v.Number + 1}
	n.Members, n.NextID = revise(v.Members, v.NextID, joined, left)
	if c := classOf(len(n.Members)); c != v.Class || fresh || v.ID.Seq == 1<<32-1 {
		n.Class = c
		n.ID.Epoch.Ctr, n.ID.Seq = ctr, 0
	} else {
		n.ID.Seq++
	}
	return n
}

// succeed is the first view of a coordinator that follows another one: base
// without those who left.
func succeed(base View, self Member, ctr uint64, joined []Member, left []Departure) View {
	n := View{ID: ViewID{Epoch: Epoch{Ctr: ctr, Leader: self.Key, Inc: self.Inc}}, Number: base.Number + 1}
	n.Members, n.NextID = revise(base.Members, base.NextID, joined, left)
	n.Class = classOf(len(n.Members))
	return n
}

func revise(members []Member, next uint32, joined []Member, left []Departure) ([]Member, uint32) {
	gone := make(map[Key]uint64, len(left))
	for _, d := range left {
		gone[d.Key] = d.Inc
	}
	back := make(map[Key]Member, len(joined))
	for _, j := range joined {
		back[j.Key] = j
	}
	out := make([]Member, 0, len(members)+len(joined))
	for _, m := range members {
		if j, ok := back[m.Key]; ok {
			j.ID = m.ID
			out = append(out, j)
			delete(back, m.Key)
		} else if inc, ok := gone[m.Key]; !ok || inc != m.Inc {
			out = append(out, m)
		}
	}
	for _, j := range joined {
		if _, ok := back[j.Key]; ok && next < maxID {
			j.ID = next
			next++
			out = append(out, j)
			delete(back, j.Key)
		}
	}
	return out, next
}

// merge is the first view of the epoch in which several groups became one.
// Members of mine keep their IDs; one of the others is renumbered only if its
// ID is taken. Of two incarnations of one key the higher stays. A member whose
// departed incarnation is known is not brought back.
func merge(mine View, others []View, ctr uint64, departed func(Key) uint64) View {
	n := View{
		ID:      ViewID{Epoch: Epoch{Ctr: ctr, Leader: mine.ID.Epoch.Leader, Inc: mine.ID.Epoch.Inc}},
		Number:  mine.Number,
		NextID:  mine.NextID,
		Members: slices.Clone(mine.Members),
	}
	// The order in which the requests arrived must not matter.
	others = slices.SortedFunc(slices.Values(others), func(a, b View) int { return b.ID.Compare(a.ID) })
	at := make(map[Key]int, len(n.Members))
	taken := make(map[uint32]bool, len(n.Members))
	for i, m := range n.Members {
		at[m.Key], taken[m.ID] = i, true
	}
	for _, o := range others {
		n.Number, n.NextID = max(n.Number, o.Number), max(n.NextID, o.NextID)
	}
	n.Number++
	for _, o := range others {
		for _, m := range o.Members {
			if i, ok := at[m.Key]; ok {
				if m.Inc > n.Members[i].Inc && m.Key != n.ID.Epoch.Leader {
					m.ID = n.Members[i].ID
					n.Members[i] = m
				}
				continue
			}
			if m.Inc <= departed(m.Key) {
				continue
			}
			if taken[m.ID] {
				if n.NextID >= maxID {
					continue
				}
				m.ID = n.NextID
				n.NextID++
			}
			at[m.Key], taken[m.ID] = len(n.Members), true
			n.Members = append(n.Members, m)
		}
	}
	slices.SortFunc(n.Members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	n.Class = classOf(len(n.Members))
	return n
}

// difference lists what to change in a to get b. A member whose entry changed
// in any way is in joined alone.
func difference(a, b View) (joined []Member, left []Departure) {
	old := make(map[Key]Member, len(a.Members))
	for _, m := range a.Members {
		old[m.Key] = m
	}
	for _, m := range b.Members {
		if o, ok := old[m.Key]; !ok || o != m {
			joined = append(joined, m)
		}
		delete(old, m.Key)
	}
	for _, m := range a.Members {
		if _, ok := old[m.Key]; ok {
			left = append(left, Departure{Key: m.Key, Inc: m.Inc, Reason: ReasonFailed})
		}
	}
	return joined, left
}

// view is the view that the message describes, as a change to base or, if its
// Base is zero, in full.
func (c ViewChange) view(base View) (View, error) {
	v := View{ID: c.ID, Class: c.Class, Number: c.Number, NextID: c.NextID}
	if c.Base.IsZero() {
		v.Members = slices.Clone(c.Joined)
		return v, check(v)
	}
	all := make(map[Key]Member, len(base.Members)+len(c.Joined))
	for _, m := range base.Members {
		all[m.Key] = m
	}
	for _, d := range c.Left {
		if m, ok := all[d.Key]; ok && m.Inc == d.Inc {
			delete(all, d.Key)
		}
	}
	for _, m := range c.Joined {
		all[m.Key] = m
	}
	v.Members = slices.SortedFunc(maps.Values(all), func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return v, check(v)
}

// check reports whether v is a view that could have been made.
func check(v View) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", errView, fmt.Sprintf(format, args...))
	}
	if v.ID.Epoch.Ctr == 0 || v.ID.Epoch.Ctr >= maxCtr {
		return bad("counter %d", v.ID.Epoch.Ctr)
	}
	if len(v.Members) == 0 || len(v.Members) > MaxMembers {
		return bad("%d members", len(v.Members))
	}
	if v.NextID > maxID || v.Class > 32 || v.Number == 0 || v.Number >= maxCtr {
		return bad("next ID %d, class %d, number %d", v.NextID, v.Class, v.Number)
	}
	keys := make(map[Key]bool, len(v.Members))
	var last uint32
	led := false
	for _, m := range v.Members {
		if !sound(m) || m.ID <= last || m.ID >= v.NextID || keys[m.Key] {
			return bad("member %x with ID %d after %d", m.Key, m.ID, last)
		}
		last, keys[m.Key] = m.ID, true
		led = led || m.Key == v.ID.Epoch.Leader && m.Inc == v.ID.Epoch.Inc
	}
	if !led {
		return bad("the coordinator is no member")
	}
	return nil
}

// sound reports whether a member's own data can be accepted from others.
func sound(m Member) bool {
	return m.Key != Key{} && m.Inc < maxCtr && len(m.Name) <= MaxName && len(m.Addr.Addr().Zone()) <= 64
}

// hash is equal for equal views.
func hash(v View) (sum [8]byte) {
	h := fnv.New64a()
	var b []byte
	id := func(e ViewID) {
		b = binary.BigEndian.AppendUint64(b, e.Epoch.Ctr)
		b = append(b, e.Epoch.Leader[:]...)
		b = binary.BigEndian.AppendUint64(b, e.Epoch.Inc)
		b = binary.BigEndian.AppendUint32(b, e.Seq)
	}
	id(v.ID)
	b = append(b, v.Class)
	b = binary.BigEndian.AppendUint64(b, v.Number)
	b = binary.BigEndian.AppendUint32(b, v.NextID)
	for _, m := range v.Members {
		b = append(b, m.Key[:]...)
		b = binary.BigEndian.AppendUint64(b, m.Inc)
		b = binary.BigEndian.AppendUint32(b, m.ID)
		b = m.Addr.AppendTo(b)
		b = append(b, 0)
		b = append(b, m.Name...)
		b = append(b, 0)
		h.Write(b)
		b = b[:0]
	}
	return [8]byte(h.Sum(nil))
}

// rank sorts members the highest rank first: by ID, descending, or ascending
// if seniority counts.
func rank(members []Member, seniority bool) []Member {
	r := slices.Clone(members)
	if !seniority {
		slices.Reverse(r)
	}
	return r
}

// successors are the n members that follow k in the order of IDs, cyclically;
// the coordinator is passed over. They are k's witnesses.
func successors(v View, k Key, n int) []Member {
	at := slices.IndexFunc(v.Members, func(m Member) bool { return m.Key == k })
	if at < 0 {
		return nil
	}
	var out []Member
	for i := 1; i < len(v.Members) && len(out) < n; i++ {
		if m := v.Members[(at+i)%len(v.Members)]; m.Key != v.ID.Epoch.Leader {
			out = append(out, m)
		}
	}
	return out
}

// higher reports whether (class, epoch) a is above b: of two coordinators that
// meet, the lower yields. The class comes first so that a node whose counter
// grew while it was alone never takes over the majority.
func higher(ac uint8, a Epoch, bc uint8, b Epoch) bool {
	return cmp.Or(cmp.Compare(ac, bc), a.Compare(b)) > 0
}

func above(a, b Key) bool { return bytes.Compare(a[:], b[:]) > 0 }

func compareKeys(a, b Key) int { return bytes.Compare(a[:], b[:]) }
