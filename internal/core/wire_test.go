package core

import (
	"bytes"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-885536be/p2p/causal"
	"github.com/seed-885536be/p2p/election"
	"github.com/seed-885536be/p2p/internal/codec"
	"github.com/seed-885536be/p2p/membership"
	"github.com/seed-885536be/p2p/transport"
)

var (
	testKey  = membership.Key{1, 2, 3, 250}
	testAddr = netip.MustParseAddrPort("192.168.1.23:40001")
	testView = membership.ViewID{Epoch: membership.Epoch{Ctr: 7, Leader: testKey, Inc: 1 << 40}, Seq: 3}
	testHead = membership.Header{From: testKey, Inc: 1 << 40, View: testView}
)

// filled returns a value of the type with no field left zero.
func filled(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	switch {
	case t == reflect.TypeFor[netip.AddrPort]():
		v.Set(reflect.ValueOf(testAddr))
	case t == reflect.TypeFor[[][]byte]():
		v.Set(reflect.ValueOf([][]byte{{1, 2, 3}, make([]byte, 300), make([]byte, 1<<16)}))
	case v.CanInt():
		v.SetInt(1 << 6)
	case v.CanUint():
		v.SetUint(200)
	case t.Kind() == reflect.Bool:
		v.SetBool(true)
	case t.Kind() == reflect.String:
		v.SetString("ada")
	case t.Kind() == reflect.Slice:
		v.Set(reflect.Append(v, filled(t.Elem()), filled(t.Elem())))
	case t.Kind() == reflect.Array:
		for i := range v.Len() {
			v.Index(i).Set(filled(t.Elem()))
		}
	case t.Kind() == reflect.Struct:
		for i := range v.NumField() {
			v.Field(i).Set(filled(t.Field(i).Type))
		}
	default:
		panic(t.String() + " has no sample")
	}
	return v
}

// everyBody and everyLog are one of each.
var (
	everyBody = func() (all []membership.Body) {
		for k := membership.Kind(1); len(all) < len(bodies); k++ {
			all = append(all, filled(bodies[k]).Interface().(membership.Body))
		}
		return all
	}()
	everyLog = []causal.Protocol{
		sample[causal.Blocks](), sample[causal.Beat](), sample[causal.Pull](), sample[causal.Credit](),
		sample[causal.Batch](), sample[causal.Want](), sample[causal.Fork](), sample[causal.Ack](), sample[causal.Base](),
		sample[causal.Ranges](), sample[causal.Diffs](), sample[causal.Fresh](),
		&causal.Blocks{Frames: manyFrames(16)}, &causal.Batch{Session: 1 << 40, Frames: manyFrames(300)},
	}
	everyCast   = []any{sample[piece](), sample[missing]()}
	everyDirect = []any{sample[directHello](), sample[directKey](), sample[directOpen](), sample[directData](), sample[directAck]()}
	testBeat    = sample[causal.Beat]()
)

func sample[T any]() *T { return filled(reflect.TypeFor[T]()).Addr().Interface().(*T) }

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
	for _, b := range everyBody {
		f, err := decode(encodeMembership(testHead, b, testBeat))
		if k := b.Kind(); k == membership.KindHeartbeat || k == membership.KindKeepAlive {
			require.NoError(t, err)
			require.Equal(t, testBeat, f.beat)
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

func TestMessagesOfACastTravel(t *testing.T) {
	require.Len(t, everyCast, kindMissing+1)
	for i, m := range everyCast {
		b := encodeCast(sender{From: testKey, Inc: 5}, m)
		require.Equal(t, byte(wireCast+i), b[0])
		f, err := decode(b)
		require.NoError(t, err, "%T", m)
		require.Equal(t, m, f.cast)
		require.Equal(t, membership.Header{From: testKey, Inc: 5}, f.header)
	}
}

func TestDirectMessagesTravel(t *testing.T) {
	require.Len(t, everyDirect, directKinds)
	for i, m := range everyDirect {
		b := encodeDirect(sender{From: testKey, Inc: 5}, m)
		require.Equal(t, byte(wireDirect+i), b[0])
		f, err := decode(b)
		require.NoError(t, err, "%T", m)
		require.Equal(t, m, f.direct)
		require.Equal(t, membership.Header{From: testKey, Inc: 5}, f.header)
		require.Equal(t, i < kindData, signed(b[0]), "%T", m)
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
	beat := sample[causal.Beat]()
	for len(beat.Heads) < 4 {
		beat.Heads = append(beat.Heads, beat.Heads[0])
	}
	require.Less(t, len(encodeMembership(testHead, sample[membership.Heartbeat](), beat)), 600)

	by := sender{From: testKey, Inc: math.MaxUint64}
	require.LessOrEqual(t, len(encodeCast(by, &piece{
		N: math.MaxUint64, Size: math.MaxUint32, Index: math.MaxUint32, Data: make([]byte, pieceSize),
	})), transport.MaxDatagram)
	most := &missing{}
	for range chaseSpans {
		most.Spans = append(most.Spans, stretch{N: math.MaxUint64, From: math.MaxUint32, To: math.MaxUint32})
	}
	require.LessOrEqual(t, len(encodeCast(by, most)), transport.MaxDatagram)
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
	for _, m := range everyCast {
		f.Add(encodeCast(sender{From: testKey, Inc: 5}, m))
	}
	for _, m := range everyDirect {
		f.Add(encodeDirect(sender{From: testKey, Inc: 5}, m))
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
		case fr.cast != nil:
			again = encodeCast(sender{From: fr.header.From, Inc: fr.header.Inc}, fr.cast)
		case fr.direct != nil:
			again = encodeDirect(sender{From: fr.header.From, Inc: fr.header.Inc}, fr.direct)
		default:
			again = encodeLog(sender{From: fr.header.From, Inc: fr.header.Inc}, fr.log)
		}
		if string(again) != string(b) {
			t.Fatalf("two forms of one frame:\n% x\n% x", b, again)
		}
	})
}

// A frame in parts is the frame, and large blocks are not copied for it.
func TestPartsMakeTheFrame(t *testing.T) {
	small, large, least, most := []byte("small"), make([]byte, 60<<10), make([]byte, wholePart), make([]byte, wholePart-1)
	by := sender{From: membership.Key{1}, Inc: 2}
	for _, frames := range [][][]byte{nil, {small}, {large}, {small, small, large, large, small}, {least, most}} {
		for _, m := range []causal.Protocol{&causal.Blocks{Frames: frames}, &causal.Batch{Session: 7, Frames: frames, More: true}, &causal.Beat{}} {
			parts := encodeLogParts(by, m)
			require.Equal(t, encodeLog(by, m), bytes.Join(parts, nil))
			if m.Kind() == causal.KindBeat {
				continue
			}
			for _, f := range frames {
				same := func(p []byte) bool { return unsafe.SliceData(p) == unsafe.SliceData(f) }
				require.Equal(t, len(f) >= wholePart, slices.ContainsFunc(parts, same), "%d bytes", len(f))
			}
		}
	}
}

// What a writer takes in an exchange of histories of less than 400 writers, as
// the operations page has it: a tip in a Pull, and a receipt in an Ack.
func TestSizeOfAWriter(t *testing.T) {
	writer := bytes.Repeat([]byte{200}, 16)
	size := func(n int) int {
		pull, ack := &causal.Pull{Parts: []causal.Part{}}, &causal.Ack{Doubts: []causal.Tip{}}
		for i := range n {
			pull.Tips = append(pull.Tips, causal.Tip{Writer: causal.WriterID(writer), N: uint64(i)})
			ack.Tips = append(ack.Tips, causal.Dot{Writer: causal.WriterID(writer), N: uint64(i)})
		}
		return len(encodeLog(sender{From: testKey}, pull)) + len(encodeLog(sender{From: testKey}, ack))
	}
	each := float64(size(300)-size(100)) / 200
	t.Logf("%.1f bytes", each)
	require.InDelta(t, 52, each, 5)
}
