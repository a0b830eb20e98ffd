package membership

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestGroupsSettle runs groups through arbitrary faults. The reference model
// is as simple as can be: when all is well again the view is the set of those
// that run, each in its last incarnation.
func TestGroupsSettle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := newNetwork(rapid.Uint64().Draw(t, "seed"))
		n.check = func(nd *node, in Installed) { checkInstalled(t, nd, in) }
		var loss, late float64
		cuts := map[[2]string]bool{}
		side := map[string]int{}
		n.drop = func(from, to *node, s Send) bool {
			return cuts[[2]string{from.name, to.name}] || side[from.name] != side[to.name] || n.rng.Float64() < loss
		}
		n.delay = func() time.Duration {
			d := time.Millisecond + time.Duration(n.rng.Int64N(int64(10*time.Millisecond)))
			if n.rng.Float64() < late {
				d += time.Duration(n.rng.Int64N(int64(2 * time.Second)))
			}
			return d
		}
		running := map[int]*node{} // the model
		incs := map[int]uint64{}
		cfg := Config{Timing: Default()}
		if rapid.Bool().Draw(t, "phi") {
			cfg.Detector = NewPhi
		}
		start := func(i int) {
			incs[i]++
			running[i] = n.add(i, incs[i], cfg)
			running[i].start()
		}
		for i := range 3 {
			start(i + 1)
		}
		// Time passes after each action, sometimes enough to settle.
		pass := func(t *rapid.T) {
			n.run(time.Duration(rapid.SampledFrom([]int{0, 3, 300, 3000, 10000}).Draw(t, "ms")) * time.Millisecond)
		}
		pick := func(t *rapid.T) int { return rapid.IntRange(1, 6).Draw(t, "node") }
		t.Repeat(map[string]func(*rapid.T){
			"": pass,
			"start": func(t *rapid.T) {
				if i := pick(t); running[i] == nil {
					start(i)
				}
			},
			"restart": func(t *rapid.T) {
				if i := pick(t); running[i] != nil {
					running[i].kill()
					start(i)
				}
			},
			"crash": func(t *rapid.T) {
				if i := pick(t); running[i] != nil {
					running[i].kill()
					if rapid.Bool().Draw(t, "refused") {
						for _, nd := range running {
							n.after(time.Millisecond, func() { nd.input(Down{Addr: addrOf(i), Cause: CauseRefused}) })
						}
					}
					delete(running, i)
				}
			},
			"leave": func(t *rapid.T) {
				if i := pick(t); running[i] != nil && !running[i].suspended {
					running[i].input(Depart{})
					n.run(400 * time.Millisecond)
					require.True(t, running[i].left)
					delete(running, i)
				}
			},
			"suspend": func(t *rapid.T) {
				if i := pick(t); running[i] != nil {
					running[i].suspend()
				}
			},
			"resume": func(t *rapid.T) {
				if i := pick(t); running[i] != nil {
					running[i].resume()
				}
			},
			"elect": func(t *rapid.T) {
				if i := pick(t); running[i] != nil {
					running[i].input(Elect{})
				}
			},
			"rename": func(t *rapid.T) {
				if i := pick(t); running[i] != nil {
					running[i].input(Rename{Name: rapid.StringMatching("[a-z]{1,3}").Draw(t, "name")})
				}
			},
			"split": func(t *rapid.T) {
				for i := 1; i <= 6; i++ {
					side[fmt.Sprintf("n%d", i)] = rapid.IntRange(0, 2).Draw(t, "side")
				}
			},
			"cut": func(t *rapid.T) {
				cuts[[2]string{fmt.Sprintf("n%d", pick(t)), fmt.Sprintf("n%d", pick(t))}] = true
			},
			"heal": func(t *rapid.T) { clear(cuts); clear(side) },
			"weather": func(t *rapid.T) {
				loss, late = rapid.Float64Range(0, 0.3).Draw(t, "loss"), rapid.Float64Range(0, 0.2).Draw(t, "late")
			},
		})
		clear(cuts)
		clear(side)
		loss, late = 0, 0
		for i := 1; i <= 6; i++ {
			if running[i] != nil {
				running[i].resume()
			}
		}
		for range 600 {
			if n.run(100 * time.Millisecond); settled(n, running) == nil {
				break
			}
		}
		require.NoError(t, settled(n, running))
		before := len(n.coordinators())
		n.run(30 * time.Second)
		require.NoError(t, settled(n, running), "it stays so")
		require.Equal(t, before, len(n.coordinators()))
	})
}

// settled compares the group with the model.
func settled(n *network, running map[int]*node) error {
	if len(running) == 0 {
		return nil
	}
	if c := n.coordinators(); len(c) != 1 {
		return fmt.Errorf("%d coordinators", len(c))
	}
	if err := n.agreed(); err != nil {
		return err
	}
	v := n.coordinators()[0].m.View()
	if len(v.Members) != len(running) {
		return fmt.Errorf("%d run, the view is %s", len(running), show(v))
	}
	for _, nd := range running {
		m, ok := v.Find(nd.self.Key)
		if !ok || m.Inc != nd.m.Inc() || m.Name != nd.m.self.Name {
			return fmt.Errorf("%s/%d is missing or different in %s", nd.name, nd.m.Inc(), show(v))
		}
	}
	return nil
}

// FuzzStep gives a machine arbitrary messages in arbitrary states. It must not
// panic, nor install a view without itself, nor let a counter wrap, nor stand
// still, nor send without bound.
func FuzzStep(f *testing.F) {
	for seed := range uint64(40) {
		b := make([]byte, 4000)
		r := rand.New(rand.NewPCG(seed, seed))
		for i := range b {
			b[i] = byte(r.IntN(256))
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		src := &source{data: data}
		m, err := NewCoordinated(Config{Self: Member{Key: keyOf(1), Inc: 5, Addr: addrOf(1)}, Timing: Classic()})
		require.NoError(t, err)
		now := epoch0
		floor := ViewID{}
		take := func() {
			r := m.Ready()
			require.LessOrEqual(t, len(r.Send), 300)
			for _, e := range r.Events {
				if in, ok := e.(Installed); ok {
					require.NoError(t, check(in.View))
					require.True(t, in.View.Lists(keyOf(1), m.Inc()) || r.Err != nil || r.Inc != 0)
					require.Positive(t, in.View.ID.Compare(floor))
					floor = in.View.ID
				}
			}
			require.Less(t, m.max, uint64(maxCtr))
			for _, s := range r.Send {
				require.Equal(t, keyOf(1), s.Packet.Header.From)
				require.False(t, s.Group && s.Reliable)
				if vc, ok := s.Packet.Body.(ViewChange); ok && s.Group {
					require.LessOrEqual(t, size(vc), maxDatagram)
				}
			}
		}
		m.Step(now, Start{})
		start := succeed(amend(found(Member{Key: keyOf(2), Inc: 4, Addr: addrOf(2)}, 1, 0), 2, true, []Member{
			{Key: keyOf(1), Inc: 5, Addr: addrOf(1)}, {Key: keyOf(3), Inc: 4, Addr: addrOf(3)}, {Key: keyOf(4), Inc: 4, Addr: addrOf(4)}}, nil),
			Member{Key: keyOf(3), Inc: 4}, 3, nil, nil)
		if state := src.n(4); state > 0 { // a follower, or a coordinator
			m.Step(now, Receive{From: addrOf(3), Packet: Packet{Header: Header{From: keyOf(3), Inc: 4, View: start.ID}, Body: Welcome{View: start}}})
			if state > 2 {
				m.Step(now, Down{Addr: addrOf(3), Cause: CauseRefused})
				m.Step(now, Won{Base: start.ID})
				require.Equal(t, leading, m.state)
			}
		}
		take()
		for range 400 {
			if len(src.data) == 0 {
				break
			}
			switch src.n(8) {
			case 0:
				if at := m.Deadline(); !at.IsZero() {
					now = at
					m.Tick(now)
					next := m.Deadline()
					require.True(t, next.IsZero() || next.After(at), "Tick at the deadline must move it")
				}
			case 1:
				now = now.Add(time.Duration(src.n(1<<16)) * time.Millisecond)
				m.Tick(now)
			case 2:
				m.Step(now, src.input(m))
			default:
				h, b := src.header(m), src.body(m)
				if req, ok := b.(MergeReq); ok && src.n(4) > 0 {
					h = Header{From: req.View.ID.Epoch.Leader, Inc: req.View.ID.Epoch.Inc, View: req.View.ID}
				}
				m.Step(now, Receive{From: addrOf(src.n(5)), Packet: Packet{Header: h, Body: b}})
			}
			take()
		}
	})
}

// source draws messages from the fuzzer's bytes. Most of what it makes is
// nearly right, which is what finds its way deep into the machine.
type source struct{ data []byte }

func (s *source) n(below int) int {
	v := 0
	for k := 1; k < below; k <<= 8 {
		v <<= 8
		if len(s.data) > 0 {
			v |= int(s.data[0])
			s.data = s.data[1:]
		}
	}
	return v % below
}

func (s *source) ctr(m *Coordinated) uint64 {
	switch s.n(10) {
	case 0:
		return 1 << (s.n(64))
	case 1:
		return 1<<64 - 1
	default:
		return m.max + uint64(s.n(4)) - min(m.max, 2)
	}
}

func (s *source) key() Key {
	if s.n(20) == 0 {
		return Key{}
	}
	if s.n(20) == 0 {
		return keyOf(1) // this node's own
	}
	return keyOf(2 + s.n(4))
}

func (s *source) inc() uint64 {
	if s.n(20) == 0 {
		return ^uint64(0) - uint64(s.n(3))
	}
	return 4 + uint64(s.n(8)/7)
}

func (s *source) viewID(m *Coordinated) ViewID {
	if s.n(2) == 0 {
		v := m.View().ID
		v.Seq += uint32(s.n(3))
		return v
	}
	return ViewID{Epoch: s.epoch(m), Seq: uint32(s.n(3))}
}

func (s *source) epoch(m *Coordinated) Epoch {
	if s.n(3) == 0 {
		return m.View().ID.Epoch
	}
	return Epoch{Ctr: s.ctr(m), Leader: s.key(), Inc: s.inc()}
}

func (s *source) header(m *Coordinated) Header {
	h := Header{From: s.key(), Inc: s.inc(), View: s.viewID(m)}
	if s.n(2) == 0 {
		h.From, h.Inc = h.View.Epoch.Leader, h.View.Epoch.Inc
	}
	return h
}

func (s *source) members() (out []Member) {
	for range s.n(6) {
		out = append(out, Member{Key: s.key(), Inc: s.inc(), ID: uint32(s.n(7)), Addr: addrOf(s.n(6)), Name: "x"})
	}
	return out
}

func (s *source) view(m *Coordinated) View {
	if s.n(2) == 0 && m.View().Members != nil { // one that could follow
		v := m.View()
		leader := v.Members[s.n(len(v.Members))]
		return succeed(v, leader, m.max+1, s.members(), nil)
	}
	if s.n(2) == 0 { // of another group
		k := 5 + s.n(3)
		return amend(found(Member{Key: keyOf(k), Inc: 4, Addr: addrOf(k)}, m.max+1-uint64(s.n(2)), 0), m.max+2, true, s.members(), nil)
	}
	v := View{ID: s.viewID(m), Class: uint8(s.n(256)), Number: uint64(s.n(4)), NextID: uint32(s.n(9)), Members: s.members()}
	if s.n(2) == 0 {
		v.Members = append([]Member{{Key: keyOf(1), Inc: m.Inc(), ID: 1}, {Key: keyOf(2), Inc: 4, ID: 2}}, v.Members[min(2, len(v.Members)):]...)
		v.ID.Epoch.Leader, v.ID.Epoch.Inc, v.NextID, v.Number = keyOf(2), 4, 9, 3
	}
	return v
}

func (s *source) input(m *Coordinated) Input {
	switch s.n(9) {
	case 0:
		return Start{}
	case 1:
		return Heard{Key: s.key(), Inc: s.inc()}
	case 2, 3:
		return Campaign{From: addrOf(s.n(5)), Header: s.header(m), Base: s.viewID(m), Candidacy: s.n(2) == 0, Candidate: s.key()}
	case 4:
		return Down{Addr: addrOf(s.n(5)), Cause: Cause(s.n(5))}
	case 5:
		return Won{Base: s.viewID(m)}
	case 6:
		return Elect{}
	case 7:
		return Rename{Name: string(rune('a' + s.n(3)))}
	}
	if s.n(16) == 0 {
		return Depart{}
	}
	return Move{Addr: addrOf(s.n(5))}
}

func (s *source) body(m *Coordinated) Body {
	switch Kind(1 + s.n(int(KindCall)+1)) {
	case KindJoin:
		return Join{MaxCtr: s.ctr(m), Addr: addrOf(s.n(5))}
	case KindWelcome:
		return Welcome{View: s.view(m)}
	case KindHeartbeat:
		return Heartbeat{Class: uint8(s.n(8)), Size: uint32(s.n(9)), Seq: uint64(s.n(99)), Hash: m.hash}
	case KindKeepAlive:
		return KeepAlive{Seq: uint64(s.n(99))}
	case KindViewChange:
		v := s.view(m)
		vc := ViewChange{ID: v.ID, Class: v.Class, Number: v.Number, NextID: v.NextID, Cause: ViewCause(s.n(12)), Joined: v.Members}
		if s.n(2) == 0 {
			vc.Base = s.viewID(m)
		}
		for range s.n(3) {
			vc.Left = append(vc.Left, Departure{Key: s.key(), Inc: s.inc(), Reason: Reason(s.n(4))})
		}
		return vc
	case KindViewReq:
		return ViewReq{Have: s.viewID(m)}
	case KindNotMember:
		return NotMember{Max: s.ctr(m)}
	case KindSuspect:
		return Suspect{Epoch: s.epoch(m), Proof: s.n(2) == 0}
	case KindAlive:
		return Alive{Epoch: s.epoch(m), Age: time.Duration(s.n(1<<32)) - time.Second}
	case KindProbe:
		return Probe{Subject: s.key(), Inc: s.inc()}
	case KindProbeAck:
		return ProbeAck{Subject: s.key(), Inc: s.inc()}
	case KindProbeReq:
		return ProbeReq{Subject: s.key(), Inc: s.inc(), Addr: addrOf(s.n(5))}
	case KindMergeReq:
		v := s.view(m)
		return MergeReq{View: v, Hash: hash(v), MaxCtr: s.ctr(m), To: s.epoch(m)}
	case KindMergeAck:
		return MergeAck{View: s.viewID(m), Want: s.n(2) == 0}
	case KindRedirect:
		return Redirect{View: s.viewID(m), Class: uint8(s.n(8)), Addr: addrOf(s.n(5))}
	case KindLeave:
		return Leave{}
	case KindHandover:
		return Handover{}
	case KindBye:
		return Bye{}
	case KindJoinReject:
		return JoinReject{Known: s.inc()}
	case KindRetryAfter:
		return RetryAfter{After: time.Duration(s.n(1<<32)) - time.Second}
	case KindForeign:
		return Foreign{View: s.viewID(m), Addr: addrOf(s.n(5)), Class: uint8(s.n(8)), Size: uint32(s.n(9))}
	case KindCall:
		return Call{}
	}
	return nil
}
