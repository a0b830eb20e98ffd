package membership

import "time"

// Event is something that happened: one of Searching, Installed, Suspected,
// Restored, Flapping, Evicted and Woke.
type Event interface{ event() }

// Searching says that a Join was sent and how often that has happened since
// this node last had a view.
type Searching struct{ Try int }

// Installed says that a view was installed.
type Installed struct {
	View  View
	Prev  View // the view before; its Members are nil if there was none
	Cause ViewCause
	// Joined and Left are the differences to Prev. A member that came back
	// with a new incarnation between the two views is in Joined alone.
	Joined []Member
	Left   []Departure
	// Gap is how long this node had no coordinator, if the view brought another
	// one: since the old one's stream broke, if its process is known to have
	// died, and otherwise since it was heard last.
	Gap time.Duration
}

// Suspected says that a member has been silent for too long and is being
// verified. Only the coordinator watches all members; the others watch the
// coordinator.
type Suspected struct {
	Member Member
	Silent time.Duration
	Why    string // "silent", "reset", "refused" or "timeout"
}

// Restored says that a suspected member is well.
type Restored struct{ Member Member }

// Flapping says that the coordinator has given up a member more often within a
// minute than it lets pass: it has to wait before it may join again, longer each
// time.
type Flapping struct {
	Member    Member
	Evictions int // within the last minute
}

// Evicted says that the group went on without this node, which joins again.
type Evicted struct{ View ViewID }

// Woke says that this process stood still, or its host slept: by its timers, or
// by what Slept said. It sees how the group is before it takes anybody for dead.
type Woke struct{ After time.Duration }

func (Woke) event()      {}
func (Flapping) event()  {}
func (Searching) event() {}
func (Installed) event() {}
func (Suspected) event() {}
func (Restored) event()  {}
func (Evicted) event()   {}
