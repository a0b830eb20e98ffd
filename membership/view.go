package membership

import (
	"bytes"
	"cmp"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"sort"
)

// Key identifies a peer for good. Nothing in this package interprets it.
type Key = [16]byte

// Epoch names one coordinatorship. Its counter is what people are shown as the
// term; the rest says who opened it, so that two halves of a divided group
// never share one even when their counters are equal.
type Epoch struct {
	Ctr    uint64 // only grows
	Leader Key    // the coordinator
	Inc    uint64 // its incarnation
}

// Compare orders epochs by counter, then leader, then incarnation.
func (e Epoch) Compare(o Epoch) int {
	return cmp.Or(cmp.Compare(e.Ctr, o.Ctr), bytes.Compare(e.Leader[:], o.Leader[:]), cmp.Compare(e.Inc, o.Inc))
}

// ViewID names a view. Views are totally ordered by it.
type ViewID struct {
	Epoch Epoch
	Seq   uint32 // number of the view within its epoch, from 0
}

// Compare orders view IDs by epoch, then number.
func (v ViewID) Compare(o ViewID) int {
	return cmp.Or(v.Epoch.Compare(o.Epoch), cmp.Compare(v.Seq, o.Seq))
}

// IsZero reports whether v names no view.
func (v ViewID) IsZero() bool { return v == ViewID{} }

// String is the view ID as traces show it: term, the leader's first bytes,
// number.
func (v ViewID) String() string {
	return fmt.Sprintf("%d.%x.%d", v.Epoch.Ctr, v.Epoch.Leader[:2], v.Seq)
}

// Member is one participant as a view lists it.
type Member struct {
	Key  Key
	Inc  uint64         // the run of the process that is meant
	ID   uint32         // assigned by the coordinator, unique in the view
	Addr netip.AddrPort // its unicast endpoint
	Name string         // chosen by a person; may collide
}

// View is what the group is, as a coordinator announced it. A View is
// immutable once made.
type View struct {
	ID ViewID
	// Class is floor(log2(members)) when the epoch was opened. Of two
	// coordinators that meet, the one with the lower (Class, Epoch) yields.
	Class uint8
	// Number counts the views along a group's life, for people: one more than
	// the greatest Number of the views it was made from.
	Number  uint64
	NextID  uint32   // greater than every ID assigned so far
	Members []Member // ascending by ID
}

// Coordinator is the member that made the view; ok is false for the zero View.
func (v View) Coordinator() (m Member, ok bool) { return v.Find(v.ID.Epoch.Leader) }

// Find returns the member with key k.
func (v View) Find(k Key) (m Member, ok bool) {
	for _, m := range v.Members {
		if m.Key == k {
			return m, true
		}
	}
	return Member{}, false
}

// Lists reports whether the view lists this very incarnation of a peer.
func (v View) Lists(k Key, inc uint64) bool {
	m, ok := v.Find(k)
	return ok && m.Inc == inc
}

// ByID returns the member with the given ID.
func (v View) ByID(id uint32) (m Member, ok bool) {
	i := sort.Search(len(v.Members), func(i int) bool { return v.Members[i].ID >= id })
	if i < len(v.Members) && v.Members[i].ID == id {
		return v.Members[i], true
	}
	return Member{}, false
}

// Equal reports whether two views say the same.
func (v View) Equal(o View) bool {
	return v.ID == o.ID && v.Class == o.Class && v.Number == o.Number && v.NextID == o.NextID && slices.Equal(v.Members, o.Members)
}

// classOf is the class of a group of n members.
func classOf(n int) uint8 {
	if n < 1 {
		return 0
	}
	return uint8(bits.Len(uint(n)) - 1)
}

// Reason is why a member is no longer in a view.
type Reason uint8

// The reasons of a Departure.
const (
	ReasonLeft   Reason = 1 // it said goodbye
	ReasonFailed Reason = 2 // it was verified to be silent, or its endpoint refused
)

// String is "left" or "failed".
func (r Reason) String() string {
	switch r {
	case ReasonLeft:
		return "left"
	case ReasonFailed:
		return "failed"
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

// Departure is a member that a view no longer lists.
type Departure struct {
	Key    Key
	Inc    uint64
	Reason Reason
}

// ViewCause is why a view was made.
type ViewCause uint8

// The causes of a view.
const (
	CauseFirst    ViewCause = 1 // a group was founded
	CauseJoin     ViewCause = 2 // members were admitted
	CauseLeave    ViewCause = 3 // members said goodbye
	CauseDead     ViewCause = 4 // members were evicted
	CauseMerge    ViewCause = 5 // groups became one
	CauseElected  ViewCause = 6 // a coordinator was elected
	CauseHandover ViewCause = 7 // the coordinator passed its office on
	CauseRename   ViewCause = 8 // a member changed its name or endpoint
)

var viewCauses = [...]string{CauseFirst: "first", CauseJoin: "join", CauseLeave: "leave", CauseDead: "dead",
	CauseMerge: "merge", CauseElected: "elected", CauseHandover: "handover", CauseRename: "rename"}

// String is the cause in one lower-case word.
func (c ViewCause) String() string {
	if int(c) < len(viewCauses) && viewCauses[c] != "" {
		return viewCauses[c]
	}
	return fmt.Sprintf("cause(%d)", uint8(c))
}
