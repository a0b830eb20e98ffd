package membership

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// model is a deliberately dumb account of what a view says: who is in it under
// which ID.
type model struct {
	ids  map[Key]uint32
	incs map[Key]uint64
	next uint32
}

func modelOf(v View) model {
	m := model{ids: map[Key]uint32{}, incs: map[Key]uint64{}, next: v.NextID}
	for _, x := range v.Members {
		m.ids[x.Key], m.incs[x.Key] = x.ID, x.Inc
	}
	return m
}

func requireModel(t *rapid.T, want model, v View) {
	require.NoError(t, check(v))
	require.Equal(t, want, modelOf(v))
	require.True(t, slices.IsSortedFunc(v.Members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) }))
}

func drawMember(t *rapid.T, label string) Member {
	i := rapid.IntRange(1, 12).Draw(t, label)
	return Member{Key: keyOf(i), Inc: uint64(rapid.IntRange(1, 3).Draw(t, "inc")), Addr: addrOf(i), Name: rapid.StringN(0, 4, 8).Draw(t, "name")}
}

// TestViewsFollowTheirModel: whatever sequence of admissions, departures,
// successions and merges, IDs stay unique, are kept, and are never given twice
// within an epoch.
func TestViewsFollowTheirModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctr := uint64(0)
		nextCtr := func() uint64 { ctr++; return ctr }
		type issued struct {
			epoch Epoch
			id    uint32
		}
		given := map[issued]Key{}
		note := func(before, after View) {
			for _, m := range after.Members {
				if old, ok := before.Find(m.Key); !ok || old.ID != m.ID {
					if _, carried := before.ByID(m.ID); !carried && m.ID >= before.NextID {
						k := issued{after.ID.Epoch, m.ID}
						if who, twice := given[k]; twice {
							require.Equal(t, who, m.Key, "ID %d of epoch %v was given twice", m.ID, k.epoch)
						}
						given[k] = m.Key
					}
				}
			}
		}
		var groups []View
		for i := range rapid.IntRange(1, 3).Draw(t, "groups") {
			self := Member{Key: keyOf(100 + i), Inc: 1, Addr: addrOf(100 + i)}
			groups = append(groups, found(self, nextCtr(), 0))
		}
		t.Repeat(map[string]func(*rapid.T){
			"amend": func(t *rapid.T) {
				i := rapid.IntRange(0, len(groups)-1).Draw(t, "group")
				v := groups[i]
				var joined []Member
				seen := map[Key]bool{v.ID.Epoch.Leader: true}
				for range rapid.IntRange(0, 3).Draw(t, "joiners") {
					m := drawMember(t, "joiner")
					if old, ok := v.Find(m.Key); !seen[m.Key] && (!ok || old.Inc <= m.Inc) {
						joined = append(joined, m)
						seen[m.Key] = true
					}
				}
				var left []Departure
				for _, m := range v.Members {
					if !seen[m.Key] && rapid.Bool().Draw(t, "leaves") {
						left = append(left, Departure{Key: m.Key, Inc: m.Inc, Reason: ReasonLeft})
					}
				}
				want := modelOf(v)
				for _, d := range left {
					delete(want.ids, d.Key)
					delete(want.incs, d.Key)
				}
				for _, m := range joined {
					if _, ok := want.ids[m.Key]; !ok {
						want.ids[m.Key] = want.next
						want.next++
					}
					want.incs[m.Key] = m.Inc
				}
				fresh := rapid.Bool().Draw(t, "fresh")
				n := amend(v, nextCtr(), fresh, joined, left)
				requireModel(t, want, n)
				require.Positive(t, n.ID.Compare(v.ID))
				require.Equal(t, v.Number+1, n.Number)
				require.Equal(t, classOf(len(n.Members)), n.Class)
				require.Equal(t, fresh || n.Class != v.Class, n.ID.Epoch != v.ID.Epoch)
				note(v, n)
				groups[i] = n
			},
			"succeed": func(t *rapid.T) {
				i := rapid.IntRange(0, len(groups)-1).Draw(t, "group")
				v := groups[i]
				heir := rapid.SampledFrom(v.Members).Draw(t, "heir")
				l, _ := v.Coordinator()
				if heir == l {
					return
				}
				want := modelOf(v)
				delete(want.ids, l.Key)
				delete(want.incs, l.Key)
				n := succeed(v, heir, nextCtr(), nil, []Departure{{Key: l.Key, Inc: l.Inc, Reason: ReasonFailed}})
				requireModel(t, want, n)
				note(v, n)
				groups[i] = n
			},
			"merge": func(t *rapid.T) {
				if len(groups) < 2 {
					return
				}
				mine, others := groups[0], groups[1:]
				departed := map[Key]uint64{}
				if rapid.Bool().Draw(t, "departed") {
					m := rapid.SampledFrom(others[0].Members).Draw(t, "who")
					departed[m.Key] = m.Inc
				}
				n := merge(mine, others, nextCtr(), func(k Key) uint64 { return departed[k] })
				require.NoError(t, check(n))
				for _, m := range mine.Members {
					now, ok := n.Find(m.Key)
					require.True(t, ok)
					require.Equal(t, m.ID, now.ID, "members of the winner keep their IDs")
					require.GreaterOrEqual(t, now.Inc, m.Inc)
				}
				for i, o := range others {
					require.GreaterOrEqual(t, n.NextID, o.NextID)
					require.Greater(t, n.Number, o.Number)
					for _, m := range o.Members {
						now, ok := n.Find(m.Key)
						if !ok {
							require.LessOrEqual(t, m.Inc, departed[m.Key])
							continue
						}
						if now.ID != m.ID {
							holder, _ := n.ByID(m.ID)
							_, both := mine.Find(m.Key)
							for j, other := range others {
								_, there := other.Find(m.Key)
								both = both || there && j != i
							}
							require.True(t, both || holder.ID != 0 && holder.Key != m.Key, "renumbered although its ID was free")
						}
					}
				}
				back := slices.Clone(others)
				slices.Reverse(back)
				require.True(t, n.Equal(merge(mine, back, n.ID.Epoch.Ctr, func(k Key) uint64 { return departed[k] })), "the order of requests matters")
				groups = []View{n}
			},
			"": func(t *rapid.T) {
				for _, v := range groups {
					require.NoError(t, check(v))
				}
			},
		})
	})
}

// TestChangesLeadToTheView: a view described as a change to another one, and in
// full, is that view.
func TestChangesLeadToTheView(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) View {
			v := View{Class: 1, Number: 1}
			members := map[uint32]Member{}
			for range rapid.IntRange(1, 6).Draw(t, label) {
				m := drawMember(t, "member")
				m.ID = uint32(rapid.IntRange(1, 9).Draw(t, "id"))
				if !slices.ContainsFunc(slices.Collect(maps.Values(members)), func(o Member) bool { return o.Key == m.Key }) {
					members[m.ID] = m
				}
			}
			for _, id := range slices.Sorted(maps.Keys(members)) {
				v.Members = append(v.Members, members[id])
			}
			l := rapid.SampledFrom(v.Members).Draw(t, "leader")
			v.ID.Epoch = Epoch{Ctr: 1 + uint64(rapid.IntRange(0, 5).Draw(t, "ctr")), Leader: l.Key, Inc: l.Inc}
			v.NextID = 10
			return v
		}
		a, b := draw("a"), draw("b")
		joined, left := difference(a, b)
		got, err := ViewChange{ID: b.ID, Base: a.ID, Class: b.Class, Number: b.Number, NextID: b.NextID, Joined: joined, Left: left}.view(a)
		require.NoError(t, err)
		require.True(t, b.Equal(got), "%v\n%v", b, got)
		require.Equal(t, hash(b), hash(got))
		full, err := ViewChange{ID: b.ID, Class: b.Class, Number: b.Number, NextID: b.NextID, Joined: b.Members}.view(View{})
		require.NoError(t, err)
		require.True(t, b.Equal(full))
		if !a.Equal(b) {
			require.NotEqual(t, hash(a), hash(b))
		}
	})
}

func TestCheckRefusesImpossibleViews(t *testing.T) {
	good := func() View {
		v := found(Member{Key: keyOf(1), Inc: 1, Addr: addrOf(1)}, 1, 0)
		return amend(v, 2, false, []Member{{Key: keyOf(2), Inc: 1, Addr: addrOf(2)}, {Key: keyOf(3), Inc: 1}}, nil)
	}
	require.NoError(t, check(good()))
	for name, spoil := range map[string]func(v *View){
		"no members":              func(v *View) { v.Members = nil },
		"no counter":              func(v *View) { v.ID.Epoch.Ctr = 0 },
		"a counter at the end":    func(v *View) { v.ID.Epoch.Ctr = maxCtr },
		"a leader elsewhere":      func(v *View) { v.ID.Epoch.Leader = keyOf(9) },
		"a leader of another run": func(v *View) { v.ID.Epoch.Inc = 7 },
		"the same ID twice":       func(v *View) { v.Members[2].ID = v.Members[1].ID },
		"descending IDs":          func(v *View) { v.Members[1], v.Members[2] = v.Members[2], v.Members[1] },
		"ID zero":                 func(v *View) { v.Members[0].ID = 0 },
		"the same key twice":      func(v *View) { v.Members[2].Key = v.Members[1].Key },
		"a zero key":              func(v *View) { v.Members[2].Key = Key{} },
		"NextID too low":          func(v *View) { v.NextID = 3 },
		"NextID too high":         func(v *View) { v.NextID = maxID + 1 },
		"a long name":             func(v *View) { v.Members[1].Name = string(make([]byte, MaxName+1)) },
		"a long zone": func(v *View) {
			a := netip.MustParseAddr("fe80::1").WithZone(string(make([]byte, 65)))
			v.Members[1].Addr = netip.AddrPortFrom(a, 1)
		},
		"number zero":               func(v *View) { v.Number = 0 },
		"an absurd class":           func(v *View) { v.Class = 33 },
		"an incarnation at the end": func(v *View) { v.Members[1].Inc = maxCtr },
	} {
		t.Run(name, func(t *testing.T) {
			v := good()
			v.Members = slices.Clone(v.Members)
			spoil(&v)
			require.ErrorIs(t, check(v), errView)
		})
	}
}

func TestSuccessorsAreWitnesses(t *testing.T) {
	v := found(Member{Key: keyOf(1), Inc: 1}, 1, 0)
	for i := 2; i <= 5; i++ {
		v = amend(v, uint64(i), true, []Member{{Key: keyOf(i), Inc: 1}}, nil)
	}
	keys := func(ms []Member) (out []byte) {
		for _, m := range ms {
			out = append(out, m.Key[1])
		}
		return out
	}
	require.Equal(t, []byte{4, 5, 2}, keys(successors(v, keyOf(3), 3)), "the coordinator is passed over")
	require.Equal(t, []byte{2, 3, 4}, keys(successors(v, keyOf(1), 3)))
	require.Equal(t, []byte{2, 3, 4}, keys(successors(v, keyOf(5), 9)), "nobody witnesses for itself")
	require.Empty(t, successors(v, keyOf(9), 3))
}

// TestTheLowerYields: the order in which coordinators yield is strict and
// total, and the class comes first.
func TestTheLowerYields(t *testing.T) {
	lone := Epoch{Ctr: 100, Leader: keyOf(9), Inc: 1}
	many := Epoch{Ctr: 3, Leader: keyOf(1), Inc: 1}
	require.True(t, higher(3, many, 0, lone), "a large counter does not make a lone node lead the majority")
	require.True(t, higher(1, lone, 1, many))
	// Two runs of one peer may use one counter; they are two coordinators.
	again := Epoch{Ctr: 3, Leader: keyOf(1), Inc: 2}
	require.True(t, higher(1, again, 1, many))
	require.False(t, higher(1, many, 1, again))
	require.False(t, higher(1, many, 1, many))
}
