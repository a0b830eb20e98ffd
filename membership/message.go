package membership

import (
	"fmt"
	"net/netip"
	"time"
)

// Header stands in front of every message of the group.
type Header struct {
	From Key    // the sender
	Inc  uint64 // its incarnation
	View ViewID // the view it has installed, or zero
}

// Packet is one message. Body is one of the types of this file, never a
// pointer.
type Packet struct {
	Header Header
	Body   Body
}

// Body is the kind-specific part of a Packet.
type Body interface{ Kind() Kind }

// Kind tells the bodies apart. The values are part of the wire format.
type Kind uint8

// The kinds of Body.
const (
	KindJoin Kind = iota + 1
	KindWelcome
	KindHeartbeat
	KindKeepAlive
	KindViewChange
	KindViewReq
	KindNotMember
	KindSuspect
	KindAlive
	KindProbe
	KindProbeAck
	KindProbeReq
	KindMergeReq
	KindMergeAck
	KindRedirect
	KindLeave
	KindHandover
	KindBye
	KindJoinReject
	KindRetryAfter
	KindForeign
	KindCall
)

var kinds = [...]string{KindJoin: "JOIN", KindWelcome: "WELCOME", KindHeartbeat: "HEARTBEAT", KindKeepAlive: "KEEPALIVE",
	KindViewChange: "VIEW", KindViewReq: "VIEW_REQ", KindNotMember: "NOT_MEMBER", KindSuspect: "SUSPECT", KindAlive: "ALIVE",
	KindProbe: "PROBE", KindProbeAck: "PROBE_ACK", KindProbeReq: "PROBE_REQ", KindMergeReq: "MERGE_REQ",
	KindMergeAck: "MERGE_ACK", KindRedirect: "REDIRECT", KindLeave: "LEAVE", KindHandover: "HANDOVER", KindBye: "BYE",
	KindJoinReject: "JOIN_REJECT", KindRetryAfter: "RETRY_AFTER", KindForeign: "FOREIGN", KindCall: "CALL"}

// String is the kind's name in capitals, as papers and traces write it.
func (k Kind) String() string {
	if int(k) < len(kinds) && kinds[k] != "" {
		return kinds[k]
	}
	return fmt.Sprintf("KIND(%d)", uint8(k))
}

// The bodies. To whom each goes, and what it means:
type (
	// Join (group): "register me". Only a coordinator answers.
	Join struct {
		MaxCtr uint64         // highest epoch counter the sender ever saw
		Addr   netip.AddrPort // its endpoint
		Name   string
	}
	// Welcome (unicast, reliable): the answer to Join. It is idempotent.
	Welcome struct {
		View View
	}
	// Heartbeat (group; unicast to a rival or a deaf member): the coordinator
	// of the header's view is well.
	Heartbeat struct {
		Class uint8   // of the view
		Size  uint32  // members of the view
		Seq   uint64  // counts this coordinator's heartbeats to the group; 0 in a unicast one
		Hash  [8]byte // of the view
	}
	// KeepAlive (coordinator): a member is well.
	KeepAlive struct {
		Seq uint64 // the last heartbeat heard of the present epoch
	}
	// ViewChange (group as a delta; unicast, reliable, as a repair): a view,
	// as the difference to Base, or in full when Base is zero.
	ViewChange struct {
		ID     ViewID
		Base   ViewID
		Class  uint8 // this and the next two are those of the View
		Number uint64
		NextID uint32
		Cause  ViewCause
		Joined []Member    // added to Base, or replacing the entry with the same key
		Left   []Departure // taken out of Base; in a full view, why members are gone
	}
	// ViewReq (any holder): "send me your view, I am behind".
	ViewReq struct {
		Have ViewID
	}
	// NotMember (unicast): the view in the header does not list you: rejoin.
	NotMember struct {
		Max uint64 // highest epoch counter the sender ever saw
	}
	// Suspect (group): "I do not hear the coordinator of this epoch", or, with
	// Proof, "its endpoint refuses": whoever hears it no longer vouches for
	// the coordinator until it hears the coordinator itself.
	Suspect struct {
		Epoch Epoch
		Proof bool
	}
	// Alive (unicast): the coordinator itself, or a witness, says that the
	// coordinator of the epoch was heard Age ago.
	Alive struct {
		Epoch Epoch
		Age   time.Duration
	}
	// Probe (unicast): "are you (Subject, Inc)?". The answer repeats the nonce.
	Probe struct {
		Subject Key
		Inc     uint64
		Nonce   uint64
	}
	// ProbeAck (unicast): "(Subject, Inc) is well". A witness that saw the
	// answer forwards it.
	ProbeAck struct {
		Subject Key
		Inc     uint64
		Nonce   uint64
	}
	// ProbeReq (witness): "probe this member for me".
	ProbeReq struct {
		Subject Key
		Inc     uint64
		Addr    netip.AddrPort
		Nonce   uint64
	}
	// MergeReq (rival coordinator, reliable if large): "take my members over".
	// To is set when it goes to a member of the sender's own group, which
	// hands it on to the coordinator of that epoch.
	MergeReq struct {
		View   View    // whole, or without Members when only the hash is repeated
		Hash   [8]byte // of the View
		MaxCtr uint64  // highest epoch counter the sender ever saw
		To     Epoch
	}
	// MergeAck (unicast): a MergeReq arrived. Want asks for the whole view.
	MergeAck struct {
		View ViewID // of the MergeReq
		Want bool
	}
	// Redirect (unicast): "not me: ask the coordinator of this view".
	Redirect struct {
		View  ViewID
		Class uint8          // of the view
		Addr  netip.AddrPort // that coordinator's endpoint
	}
	// Leave (coordinator): "I am going".
	Leave struct {
	}
	// Handover (successor): "coordinate in my place", valid in the header's
	// view only.
	Handover struct {
	}
	// Bye (group): the coordinator goes without having handed over.
	Bye struct {
	}
	// JoinReject (unicast): a newer incarnation of the same peer is known.
	JoinReject struct {
		Known uint64 // the newer incarnation
	}
	// RetryAfter (unicast): a joiner that failed too often must wait.
	RetryAfter struct {
		After time.Duration
	}
	// Foreign (coordinator): a witness heard the heartbeat of another
	// coordinator.
	Foreign struct {
		View  ViewID         // the other coordinator's
		Addr  netip.AddrPort // its endpoint
		Class uint8          // of that view
		Size  uint32         // its members
	}
	// Call (group): a member asks for an election although the coordinator
	// may be well; all members of the header's view are candidates.
	Call struct {
	}
)

func (Join) Kind() Kind       { return KindJoin }
func (Welcome) Kind() Kind    { return KindWelcome }
func (Heartbeat) Kind() Kind  { return KindHeartbeat }
func (KeepAlive) Kind() Kind  { return KindKeepAlive }
func (ViewChange) Kind() Kind { return KindViewChange }
func (ViewReq) Kind() Kind    { return KindViewReq }
func (NotMember) Kind() Kind  { return KindNotMember }
func (Suspect) Kind() Kind    { return KindSuspect }
func (Alive) Kind() Kind      { return KindAlive }
func (Probe) Kind() Kind      { return KindProbe }
func (ProbeAck) Kind() Kind   { return KindProbeAck }
func (ProbeReq) Kind() Kind   { return KindProbeReq }
func (MergeReq) Kind() Kind   { return KindMergeReq }
func (MergeAck) Kind() Kind   { return KindMergeAck }
func (Redirect) Kind() Kind   { return KindRedirect }
func (Leave) Kind() Kind      { return KindLeave }
func (Handover) Kind() Kind   { return KindHandover }
func (Bye) Kind() Kind        { return KindBye }
func (JoinReject) Kind() Kind { return KindJoinReject }
func (RetryAfter) Kind() Kind { return KindRetryAfter }
func (Foreign) Kind() Kind    { return KindForeign }
func (Call) Kind() Kind       { return KindCall }
