package core

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-885536be/p2p/causal"
	"github.com/seed-885536be/p2p/election"
	"github.com/seed-885536be/p2p/internal/codec"
	"github.com/seed-885536be/p2p/membership"
)

var (
	testKey  = membership.Key{1, 2, 3, 250}
	testAddr = netip.MustParseAddrPort("192.168.1.23:40001")
	testView = membership.ViewID{Epoch: membership.Epoch{Ctr: 7, Leader: testKey, Inc: 1 << 40}, Seq: 3}
	testHead = membership.Header{From: testKey, Inc: 1 << 40, View: testView}
	testMem  = membership.Member{Key: testKey, Inc: 9, ID: 4, Addr: testAddr, Name: "ada"}
)

// everyBody is one of each, with no field left zero.
var everyBody = []membership.Body{
	membership.Join{MaxCtr: 7, Addr: testAddr, Name: "ada"},
	membership.Welcome{View: membership.View{ID: testView, Class: 1, Number: 8, NextID: 5, Members: []membership.Member{testMem}}},
	membership.Heartbeat{Class: 2, Size: 4, Seq: 300, Hash: [8]byte{1}},
	membership.KeepAlive{Seq: 300},
	membership.ViewChange{ID: testView, Base: testView, Class: 1, Number: 9, NextID: 6, Cause: membership.CauseJoin,
		Joined: []membership.Member{testMem}, Left: []membership.Departure{{Key: testKey, Inc: 2, Reason: membership.ReasonFailed}}},
	membership.ViewReq{Have: testView},
	membership.NotMember{Max: 9},
	membership.Suspect{Epoch: testView.Epoch},
	membership.Alive{Epoch: testView.Epoch, Age: time.Second},
	membership.Probe{Subject: testKey, Inc: 5, Nonce: 6, Origin: testAddr},
	membership.ProbeAck{Subject: testKey, Inc: 5, Nonce: 6},
	membership.ProbeReq{Subject: testKey, Inc: 5, Addr: testAddr, Nonce: 6},
	membership.MergeReq{View: membership.View{ID: testView, Members: []membership.Member{testMem}}, Hash: [8]byte{2}, MaxCtr: 8},
	membership.MergeAck{View: testView, Want: true},
	membership.Redirect{View: testView, Class: 3, Addr: testAddr},
	membership.Leave{}, membership.Handover{}, membership.Bye{},
	membership.JoinReject{Known: 5}, membership.RetryAfter{After: time.Minute},
	membership.Foreign{View: testView, Addr: testAddr, Class: 1, Size: 2},
	membership.Call{},
}

var everyLog = []causal.Protocol{
	&causal.Blocks{Frames: [][]byte{{1, 2, 3}, make([]byte, 300), make([]byte, 1<<16)}},
	&causal.Blocks{Frames: manyFrames(16)},
	&causal.Batch{Session: 9, Frames: [][]byte{{1}}, More: true},
	&causal.Batch{Session: 1 << 40, Frames: manyFrames(300)},
	&causal.Pull{Session: 3, Tips: []causal.Tip{{Writer: causal.WriterID(testKey), N: 6, Hash: [8]byte{7}}}, Credit: 1 << 20},
	&causal.Credit{Session: 3, Bytes: 4096},
	&causal.Want{Dots: []causal.Dot{{Writer: causal.WriterID(testKey), N: 8}}},
	&causal.Fork{A: []byte{1}, B: []byte{2}},
	&causal.Ack{Tips: []causal.Dot{{Writer: causal.WriterID(testKey), N: 8}}},
	&causal.Beat{Count: 3, Height: 4, Digest: causal.Digest{Messages: 5, Hash: [16]byte{6}}, Writer: causal.WriterID(testKey), N: 2,
		Heads: []causal.Ref{{Writer: causal.WriterID(testKey), N: 1, Hash: causal.Hash{9}}}},
}

func manyFrames(n int) [][]byte {
	f := make([][]byte, n)
	for i := range f {
		f[i] = []byte{byte(i)}
	}
	return f
}

func TestEveryBodyTravels(t *testing.T) {
	seen := map[membership.Kind]bool{}
	for _, b := range everyBody {
		f, err := decode(encodeMembership(testHead, b, nil))
		require.NoError(t, err, "%T", b)
		require.Equal(t, testHead, f.header)
		require.Equal(t, b, f.body)
		require.Nil(t, f.beat)
		seen[b.Kind()] = true
	}
	require.Len(t, seen, len(bodies), "a body has no sample here")
}

// A message with every field zero travels as well as one with none.
func TestZeroBodiesTravel(t *testing.T) {
	for _, b := range everyBody {
		zero := reflect.New(reflect.TypeOf(b)).Elem().Interface().(membership.Body)
		f, err := decode(encodeMembership(membership.Header{}, zero, nil))
		require.NoError(t, err, "%T", b)
		require.Equal(t, zero, f.body)
	}
	for _, m := range everyLog {
		zero := reflect.New(reflect.TypeOf(m).Elem()).Interface().(causal.Protocol)
		f, err := decode(encodeLog(sender{}, zero))
		require.NoError(t, err, "%T", m)
		require.Equal(t, zero, f.log)
	}
}

func TestBeatsRideOnHeartbeatsAndKeepAlives(t *testing.T) {
	beat := everyLog[len(everyLog)-1].(*causal.Beat)
	for _, b := range everyBody {
		f, err := decode(encodeMembership(testHead, b, beat))
		if k := b.Kind(); k == membership.KindHeartbeat || k == membership.KindKeepAlive {
			require.NoError(t, err)
			require.Equal(t, beat, f.beat)
		} else {
			require.ErrorIs(t, err, errTrailing, "%T", b)
		}
	}
}

func TestElectionMessagesTravel(t *testing.T) {
	for k := election.KindElection; k <= election.KindRingProbeOK; k++ {
		m := election.Message{Kind: k, Base: base(testView), Cand: testKey, CandInc: 4, Attempt: 2, Hops: 3, Refuse: true}
		f, err := decode(encodeElection(testHead, m))
		require.NoError(t, err)
		require.Equal(t, &m, f.election)
	}
}

func TestLogMessagesTravel(t *testing.T) {
	for _, m := range everyLog {
		f, err := decode(encodeLog(sender{From: testKey, Inc: 5}, m))
		require.NoError(t, err, "%T", m)
		require.Equal(t, m, f.log)
		require.Equal(t, membership.Header{From: testKey, Inc: 5}, f.header)
	}
}

// What is written by hand for speed is what the codec would write.
func TestHandWrittenFramesAreCanonical(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 255, 256, 1 << 16, 1<<16 + 5}), 0, 20).Draw(t, "sizes")
		var frames [][]byte
		for _, n := range sizes {
			frames = append(frames, make([]byte, n))
		}
		s := sender{From: testKey, Inc: 5}
		head := codec.Append([]byte{wireLog + byte(causal.KindBatch)}, &s)
		m := &causal.Batch{Session: rapid.Uint64().Draw(t, "session"), Frames: frames, More: rapid.Bool().Draw(t, "more")}
		if frames == nil {
			m.Frames = [][]byte{}
		}
		require.Equal(t, codec.Append(head, m), encodeLog(s, m))
	})
}

func TestDecodeRefuses(t *testing.T) {
	good := encodeMembership(testHead, membership.Bye{}, nil)
	for name, b := range map[string][]byte{
		"nothing":       {},
		"unknown kind":  append([]byte{0x2f}, good[1:]...),
		"no such log":   {0x7f, 0x92, 0xc4, 0},
		"trailing byte": append(append([]byte{}, good...), 0),
		"truncated":     good[:len(good)-1],
		"high kind":     append([]byte{0xff}, good[1:]...),
	} {
		_, err := decode(b)
		require.Error(t, err, name)
	}
}

// No frame of the multicast kind may be too large for a datagram by itself.
func TestSmallFramesFitDatagrams(t *testing.T) {
	beat := everyLog[len(everyLog)-1].(*causal.Beat)
	for len(beat.Heads) < 4 {
		beat.Heads = append(beat.Heads, beat.Heads[0])
	}
	require.Less(t, len(encodeMembership(testHead, everyBody[2], beat)), 600)
}

func FuzzDecode(f *testing.F) {
	for _, b := range everyBody {
		f.Add(encodeMembership(testHead, b, nil))
	}
	for _, m := range everyLog {
		if b := encodeLog(sender{From: testKey, Inc: 5}, m); len(b) < 4096 {
			f.Add(b)
		}
	}
	f.Add(encodeElection(testHead, election.Message{Kind: election.KindToken, Base: base(testView), Cand: testKey}))
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, err := decode(b)
		if err != nil {
			return
		}
		var again []byte
		switch {
		case fr.body != nil:
			again = encodeMembership(fr.header, fr.body, fr.beat)
		case fr.election != nil:
			again = encodeElection(fr.header, *fr.election)
		default:
			again = encodeLog(sender{From: fr.header.From, Inc: fr.header.Inc}, fr.log)
		}
		if string(again) != string(b) {
			t.Fatalf("two forms of one frame:\n% x\n% x", b, again)
		}
	})
}
