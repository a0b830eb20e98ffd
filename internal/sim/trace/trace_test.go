package trace

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func key(n byte) Key { return Key{n} }

// view makes the view (term, leader, number) of incarnation 1 with members
// given as key, ID pairs.
func view(term uint64, leader byte, number uint64, next uint32, members ...uint32) *View {
	v := &View{Term: term, Leader: key(leader), Inc: 1, Number: number, NextID: next}
	for i := 0; i < len(members); i += 2 {
		v.Members = append(v.Members, Member{Key: key(byte(members[i])), Inc: 1, ID: members[i+1]})
	}
	return v
}

func at(node byte, v *View) Install {
	return Install{Process: string('a' + rune(node)), Node: key(node), Inc: 1, View: v}
}

func first(v *View) *View { v.First = true; return v }
func merge(v *View) *View { v.Merge = true; return v }

func TestCheckerAcceptsALife(t *testing.T) {
	c := Checker{Ordered: true}
	for i, in := range []Install{
		at(1, first(view(1, 1, 0, 2, 1, 1))),             // founded
		at(1, view(1, 1, 1, 3, 1, 1, 2, 2)),              // 2 is admitted
		at(2, view(1, 1, 1, 3, 1, 1, 2, 2)),              //
		at(2, view(2, 2, 0, 3, 2, 2)),                    // elected, without 1
		at(3, first(view(1, 3, 0, 2, 3, 1))),             // another group
		at(3, view(1, 3, 1, 3, 3, 1, 1, 2)),              // where 1 joins as 2
		at(2, merge(view(3, 2, 0, 5, 3, 1, 2, 2, 1, 3))), // 1 is renumbered
		at(3, merge(view(3, 2, 0, 5, 3, 1, 2, 2, 1, 3))), //
		at(2, view(3, 2, 1, 6, 3, 1, 2, 2, 1, 3, 9, 5)),  // 9 is admitted
		at(9, view(3, 2, 1, 6, 3, 1, 2, 2, 1, 3, 9, 5)),  //
		at(2, view(3, 2, 2, 6, 3, 1, 2, 2, 9, 5)),        // 1 leaves
		at(2, view(3, 2, 3, 7, 3, 1, 2, 2, 9, 5, 1, 6)),  // and is back
		{"x", key(1), 1, view(3, 2, 3, 7, 3, 1, 2, 2, 9, 5, 1, 6)},
	} {
		require.NoError(t, c.Install(in), "install %d", i)
	}
	require.NoError(t, c.Finish())
	views, installs := c.Views()
	require.Equal(t, 9, views)
	require.Equal(t, 13, installs)
}

func TestCheckerFinds(t *testing.T) {
	founded := at(1, first(view(1, 1, 0, 2, 1, 1)))
	two := at(1, view(1, 1, 1, 3, 1, 1, 2, 2))
	for _, test := range []struct {
		name     string
		property string
		installs []Install
	}{
		{"a term opened twice by one process", "S1", []Install{
			founded, {"b", key(1), 2, &View{Term: 1, Leader: key(1), Inc: 2, NextID: 2, Members: []Member{{key(1), 2, 1}}}}}},
		{"two views with one ID", "S2", []Install{founded, two, at(2, view(1, 1, 1, 4, 1, 1, 2, 2))}},
		{"other members under one ID", "S2", []Install{founded, two, at(2, view(1, 1, 1, 3, 2, 2))}},
		{"a lower number", "S3", []Install{founded, two, founded}},
		{"the same view again", "S3", []Install{founded, two, two}},
		{"a lower term", "S3", []Install{founded, at(1, view(3, 1, 0, 2, 1, 1)), at(1, view(2, 1, 0, 2, 1, 1))}},
		{"a node that is not in its view", "S4", []Install{founded, two, at(3, view(1, 1, 1, 3, 1, 1, 2, 2))}},
		{"a view with an older incarnation of the node", "S4", []Install{founded, two, {"b2", key(2), 2, view(1, 1, 1, 3, 1, 1, 2, 2)}}},
		{"a view without its coordinator", "S5", []Install{founded, at(1, view(1, 1, 1, 3, 2, 2))}},
		{"a view that its coordinator has not made", "S5", []Install{founded, at(2, view(1, 1, 1, 3, 1, 1, 2, 2))}},
		{"two members with one ID", "S6", []Install{founded, at(1, view(1, 1, 1, 3, 1, 1, 2, 1))}},
		{"a member twice", "S6", []Install{founded, at(1, view(1, 1, 1, 4, 1, 1, 1, 2))}},
		{"members out of order", "S6", []Install{founded, at(1, view(1, 1, 1, 4, 2, 2, 1, 1))}},
		{"ID zero", "S6", []Install{at(1, first(view(1, 1, 0, 2, 1, 0)))}},
		{"an ID that is not below NextID", "S6", []Install{founded, at(1, view(1, 1, 1, 2, 1, 1, 2, 2))}},
		{"NextID that shrinks", "S6", []Install{founded, two, at(1, view(1, 1, 2, 2, 1, 1))}},
		{"an ID that changes", "S6", []Install{founded, two, at(1, view(1, 1, 2, 5, 1, 1, 2, 4))}},
		{"an ID that changes in a merge although nobody took it", "S6", []Install{founded, two, at(1, merge(view(1, 1, 2, 5, 1, 1, 2, 4)))}},
		{"an ID assigned twice", "S6", []Install{
			founded, two, at(1, view(1, 1, 2, 3, 1, 1)), at(1, view(1, 1, 3, 3, 1, 1, 3, 2))}},
		{"an ID assigned below NextID", "S6", []Install{
			founded, two, at(1, view(1, 1, 2, 5, 1, 1)), at(1, view(2, 1, 0, 5, 1, 1, 3, 4))}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := Checker{Ordered: true}
			var err error
			for i, in := range test.installs {
				if i == len(test.installs)-1 && test.property == "S1" {
					in.Process = test.installs[0].Process
					in.View.Inc, in.Inc = 2, 2
				}
				err = c.Install(in)
				if i < len(test.installs)-1 {
					require.NoError(t, err)
				}
			}
			var v *Violation
			require.ErrorAs(t, err, &v)
			require.Equal(t, test.property, v.Property, v.Error())
		})
	}
}

func TestCheckerMissesALeader(t *testing.T) {
	var c Checker
	require.NoError(t, c.Install(at(2, view(1, 1, 1, 3, 1, 1, 2, 2))), "in any order")
	var v *Violation
	require.ErrorAs(t, c.Finish(), &v)
	require.Equal(t, "S1", v.Property)
	require.NoError(t, c.Install(at(1, view(1, 1, 1, 3, 1, 1, 2, 2))))
	require.NoError(t, c.Finish())
}

const (
	hexA = "0a000000000000000000000000000000"
	hexB = "0b000000000000000000000000000000"
)

func line(node, term, vid, coord, members string) string {
	return `{"v":1,"node":"` + node + `","ev":"view","term":` + term + `,"vid":` + vid + `,"coord":` + coord + `,"members":` + members + `,"cause":"join"}` + "\n"
}

func TestReadJSON(t *testing.T) {
	both := `[{"id":1,"node":"` + hexA + `"},{"id":2,"node":"` + hexB + `"}]`
	var c Checker
	require.NoError(t, c.Read("a", strings.NewReader(`{"ev":"hello"}`+"\n"+line(hexA, "1", "2", "1", both)+`{"ev":"view","te`)))
	require.NoError(t, c.Read("b", strings.NewReader(line(hexB, "1", "2", "1", both))))
	require.NoError(t, c.Finish())
	_, installs := c.Views()
	require.Equal(t, 2, installs)

	var v *Violation
	err := c.Read("b2", strings.NewReader(line(hexB, "1", "2", "1", `[{"id":1,"node":"`+hexA+`"}]`)))
	require.ErrorAs(t, err, &v)
	require.Equal(t, "S2", v.Property)
	require.ErrorContains(t, err, "b2, line 1")

	require.NoError(t, c.Read("c", strings.NewReader(`{"ev":"view","node":"`+hexA+`","term":1,"vid":2,"coord":1,"size":2,"members":[{"id":1,"node":"`+hexA+`"}]}`+"\n")), "a part of the members only")

	for name, bad := range map[string]string{
		"no JSON":           "view\n",
		"no such member":    line(hexA, "1", "3", "7", both),
		"no coordinator":    line(hexA, "1", "3", "7", both),
		"a peer as coord":   line(hexA, "1", "3", `{"id":1}`, both),
		"a null member":     line(hexA, "1", "3", "1", "[null]"),
		"a key of 15 bytes": line(hexA[2:], "1", "3", "1", both),
		"a key of text":     line("zz"+hexA[2:], "1", "3", "1", both),
	} {
		err := c.Read("bad", strings.NewReader(bad))
		require.Error(t, err, name)
		require.False(t, errors.As(err, &v), name)
	}
}
