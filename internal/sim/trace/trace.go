// Package trace checks what the nodes of a group installed against the safety
// properties of the protocol. It knows nothing of how the views came about, so
// the same checker judges a simulated run, at each view as it is installed,
// and the JSON traces of real processes, afterwards.
//
// The properties, by the names that a Violation carries:
//
//	S1  an epoch is opened by one incarnation, whose counters only grow
//	S2  equal view IDs mean equal views
//	S3  the views that one incarnation installs only grow
//	S4  a node is in each view that it installs, with its own incarnation
//	S5  the coordinator of a view, which is the holder of its epoch, is in it
//	S6  IDs: distinct and ascending in a view, below NextID, which never
//	    shrinks; kept from a view to the next one made of it, but for a
//	    collision in a merge; never assigned twice within an epoch
package trace

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
)

// Key identifies a peer for good.
type Key = [16]byte

// Member is one entry of a View.
type Member struct {
	Key Key
	Inc uint64 // 0: not known
	ID  uint32
}

// View is a view as a trace shows it.
type View struct {
	Term   uint64 // counter of the epoch
	Leader Key
	Inc    uint64 // the leader's incarnation; 0: not known
	Number uint64 // orders the views of one epoch
	NextID uint32 // 0: not known
	// Merge says that the view was made of several groups, and First that it
	// was made of none. They matter in what the leader itself installs.
	Merge, First bool
	// Members are ascending by ID.
	Members []Member
}

// Compare orders views by epoch, then number.
func (v *View) Compare(o *View) int {
	return cmp.Or(v.epoch().compare(o.epoch()), cmp.Compare(v.Number, o.Number))
}

// String names the view.
func (v *View) String() string {
	return fmt.Sprintf("%d.%x/%d.%d", v.Term, v.Leader[:2], v.Inc, v.Number)
}

func (v *View) epoch() epoch { return epoch{v.Term, v.Leader, v.Inc} }

func (v *View) find(k Key) (Member, bool) {
	i := slices.IndexFunc(v.Members, func(m Member) bool { return m.Key == k })
	if i < 0 {
		return Member{}, false
	}
	return v.Members[i], true
}

type epoch struct {
	term   uint64
	leader Key
	inc    uint64
}

func (e epoch) compare(o epoch) int {
	return cmp.Or(cmp.Compare(e.term, o.term), bytes.Compare(e.leader[:], o.leader[:]), cmp.Compare(e.inc, o.inc))
}

// Install says that a process installed a view.
type Install struct {
	Process string // names one run of a process
	Node    Key
	Inc     uint64 // 0: not known
	View    *View  // not changed afterwards
}

// Violation is a property that did not hold.
type Violation struct {
	Property string // "S1" to "S6"
	Process  string
	View     *View
	Text     string
}

func (v *Violation) Error() string {
	return fmt.Sprintf("%s at %s, view %v: %s", v.Property, v.Process, v.View, v.Text)
}

// Checker collects installed views and says what does not fit. The order of
// the calls matters for the views of one process only, unless Ordered is set.
// The zero value is ready for use.
type Checker struct {
	// Ordered says that the calls of Install are in the order in which the
	// views were installed across all processes. Then a view must have been
	// installed by its coordinator before anybody else. Otherwise that is
	// looked at by Finish.
	Ordered bool

	views    map[id]*View
	last     map[string]*View  // by process
	opened   map[string]uint64 // by process: the term it opened last
	held     map[epoch]bool    // epochs that their own leader installed
	assigned map[assignment]Key
	installs int
}

type id struct {
	epoch  epoch
	number uint64
}

type assignment struct {
	process string
	epoch   epoch
	id      uint32
}

// Views is the number of different views, and installs how often one was
// installed.
func (c *Checker) Views() (views, installs int) { return len(c.views), c.installs }

// Install takes one record, and returns the first *Violation that it is.
func (c *Checker) Install(in Install) error {
	if c.views == nil {
		c.views, c.last = map[id]*View{}, map[string]*View{}
		c.opened, c.held, c.assigned = map[string]uint64{}, map[epoch]bool{}, map[assignment]Key{}
	}
	c.installs++
	v, prev := in.View, c.last[in.Process]
	fail := func(property, format string, args ...any) error {
		return &Violation{property, in.Process, v, fmt.Sprintf(format, args...)}
	}
	c.last[in.Process] = v
	leads := v.Leader == in.Node && (in.Inc == 0 || v.Inc == 0 || in.Inc == v.Inc)

	// S3
	if prev != nil && v.Compare(prev) <= 0 {
		return fail("S3", "installed after %v", prev)
	}
	// S2
	name := id{v.epoch(), v.Number}
	if first, ok := c.views[name]; ok {
		if !same(first, v) {
			return fail("S2", "another view has this ID: %+v and %+v", *first, *v)
		}
	} else {
		if c.Ordered && !leads {
			return fail("S5", "its coordinator has not installed it")
		}
		c.views[name] = v
		// S6 within the view
		if err := distinct(v); err != "" {
			return fail("S6", "%s: %+v", err, *v)
		}
	}
	// S5
	if m, ok := v.find(v.Leader); !ok || m.Inc != v.Inc && m.Inc != 0 && v.Inc != 0 {
		return fail("S5", "the coordinator is not in it: %+v", *v)
	}
	// S4
	if m, ok := v.find(in.Node); !ok || m.Inc != in.Inc && m.Inc != 0 && in.Inc != 0 {
		return fail("S4", "the node (%x, %d) is not in it: %+v", in.Node[:2], in.Inc, *v)
	}
	if !leads {
		return nil
	}
	// S1
	c.held[v.epoch()] = true
	if prev == nil || prev.epoch() != v.epoch() {
		if before, ok := c.opened[in.Process]; ok && v.Term <= before {
			return fail("S1", "the same process has opened term %d before", before)
		}
		c.opened[in.Process] = v.Term
	}
	// S6 from view to view
	if prev == nil || v.First {
		prev = &View{}
	}
	if v.NextID != 0 && v.NextID < prev.NextID {
		return fail("S6", "NextID shrank from %d to %d", prev.NextID, v.NextID)
	}
	for _, m := range v.Members {
		old, ok := prev.find(m.Key)
		if ok && old.ID == m.ID {
			continue
		}
		if ok {
			if !v.Merge {
				return fail("S6", "%x had ID %d and has %d", m.Key[:2], old.ID, m.ID)
			}
			if !slices.ContainsFunc(v.Members, func(o Member) bool { return o.ID == old.ID }) {
				return fail("S6", "%x had ID %d and has %d, but nobody took it", m.Key[:2], old.ID, m.ID)
			}
		}
		if v.Merge {
			continue // an ID that another group assigned
		}
		a := assignment{in.Process, v.epoch(), m.ID}
		if k, ok := c.assigned[a]; ok {
			return fail("S6", "ID %d was assigned to %x before and now to %x", m.ID, k[:2], m.Key[:2])
		}
		c.assigned[a] = m.Key
		if prev.NextID != 0 && m.ID < prev.NextID {
			return fail("S6", "ID %d was assigned anew below NextID %d", m.ID, prev.NextID)
		}
	}
	return nil
}

// Finish says what can only be said at the end: that the leader of each epoch
// installed a view of it.
func (c *Checker) Finish() error {
	for n, v := range c.views {
		if !c.held[n.epoch] {
			return &Violation{"S1", "", v, "its leader never opened the epoch"}
		}
	}
	return nil
}

func same(a, b *View) bool {
	return a == b || a.NextID == b.NextID && slices.Equal(a.Members, b.Members)
}

func distinct(v *View) string {
	keys := make(map[Key]bool, len(v.Members))
	for i, m := range v.Members {
		switch {
		case m.ID == 0:
			return "an ID is zero"
		case i > 0 && m.ID == v.Members[i-1].ID:
			return "two members have one ID"
		case i > 0 && m.ID < v.Members[i-1].ID:
			return "the members are not in order"
		case keys[m.Key]:
			return "a member is listed twice"
		case v.NextID != 0 && m.ID >= v.NextID:
			return "an ID is not below NextID"
		}
		keys[m.Key] = true
	}
	return ""
}
