package causal

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// I16: no decoder panics, or allocates more than it was given, whatever the
// bytes. What is accepted has one encoding.

func seedFrames(f interface{ Add(...any) }) {
	evil := newForger(testKey(3), "test", 1)
	raw, b := evil.block(body{}, "hello", "", "world")
	f.Add(raw)
	raw, c := evil.block(b.after(), "again")
	f.Add(raw)
	x := c.after()
	x.deps = []Ref{b.ref(), {Writer: WriterID{1}, N: 9, Hash: Hash{2}}}
	raw, _ = evil.block(x)
	f.Add(raw)
	f.Add(hollow(raw))
	raw, _ = evil.block(body{cont: c.ref()}, "another incarnation")
	f.Add(raw)
}

func FuzzI16Frame(f *testing.F) {
	seedFrames(f)
	h := newHasher("test")
	f.Fuzz(func(t *testing.T, raw []byte) {
		var x frame
		if x.decode(h, raw) != nil {
			return
		}
		end := frameHead + int(binary.BigEndian.Uint16(raw[frameHead-2:]))
		require.Equal(t, raw[frameHead:end], x.append(nil), "a body has one encoding")
		y := x
		require.NoError(t, y.decode(h, hollow(raw)))
		require.Equal(t, x.hash, y.hash, "the hash does not depend on whether the payload is there")
		if x.payload != nil && parses(x.payload, x.count) {
			rest := x.payload
			for range x.count {
				var data []byte
				data, rest = next(rest)
				require.NotNil(t, data)
			}
			require.Empty(t, rest)
		}
	})
}

// FuzzI16Step reads messages of all kinds off the input and steps a log with
// them.
func FuzzI16Step(f *testing.F) {
	seedFrames(f)
	f.Add(bytes.Repeat([]byte{7, 1, 255, 3}, 50))
	f.Fuzz(func(t *testing.T, in []byte) { stepWith(t, in) })
}

func stepWith(t require.TestingT, in []byte) {
	a, b := pair(t)
	fill(a, 3, 10)
	fill(b, 2, 10)
	exchange(a, b)
	r := reader{b: in}
	now := benchNow
	small := func() int { return int(r.bytes(1)[0]) }
	frame := func() []byte { // mostly a real one, damaged or not
		switch k := small(); {
		case k < 100:
			raw := bytes.Clone(b.raw(uint32(k) % b.blocks.n))
			raw[small()%len(raw)] ^= byte(small())
			return raw
		case k < 200:
			n := min(small(), len(r.b))
			return r.bytes(min(n, 64))
		}
		return r.b
	}
	frames := func() (fs [][]byte) {
		for range small() % 4 {
			fs = append(fs, frame())
		}
		return fs
	}
	dots := func() (ds []Dot) {
		for range small() % 4 {
			ds = append(ds, Dot{a.writers[small()%len(a.writers)].id, r.uvarint()})
		}
		return ds
	}
	tips := func() (ts []Tip) {
		for _, d := range dots() {
			ts = append(ts, Tip{d.Writer, d.N, [8]byte(r.bytes(8))})
		}
		return ts
	}
	for i := 0; i < 64 && !r.bad && len(r.b) > 0; i++ {
		now = now.Add(time.Duration(small()) * time.Millisecond)
		var m Protocol
		switch small() % 11 {
		case 0:
			m = &Blocks{Frames: frames()}
		case 1:
			m = &Batch{Session: r.uvarint(), Frames: frames(), More: small()%2 == 0}
		case 2:
			beat := &Beat{Count: r.uvarint(), Height: r.uvarint(), Writer: b.Writer(), Intro: r.bytes(small() % 64)}
			for _, d := range dots() {
				beat.Heads = append(beat.Heads, Ref{d.Writer, d.N, Hash(r.bytes(32))})
			}
			m = beat
		case 3:
			m = &Pull{Session: r.uvarint(), Tips: tips(), Credit: uint32(r.uvarint())}
		case 4:
			m = &Credit{Session: r.uvarint(), Bytes: uint32(r.uvarint())}
		case 5:
			w := new(Want)
			for _, d := range dots() {
				w.Spans = append(w.Spans, Span{d.Writer, d.N, r.uvarint()})
			}
			m = w
		case 6:
			m = &Fork{A: frame(), B: frame()}
		case 7:
			m = &Ack{Full: small()%2 == 0, Height: r.uvarint(), Tips: dots(), Doubts: tips()}
		case 8:
			a.Tick(now)
		case 9:
			a.Link(now, b.self, small()%2 == 0)
		case 10:
			a.Append(now, r.bytes(small()%64))
			a.Flush(now)
		}
		if m != nil {
			a.Step(now, b.self, m)
		}
		a.Ready()
		for range 50 {
			if a.Next(now, b.self) == nil {
				break
			}
		}
	}
	modelOf(t, a).checkOrder(t)
	require.LessOrEqual(t, len(a.pending.byHash), a.cfg.PendingBlocks)
}

func TestI16AnyInput(t *testing.T) {
	schedules(t, 300, func(t require.TestingT, seed uint64) {
		in := make([]byte, seed*7%2000)
		source(seed).Read(in)
		stepWith(t, in)
	})
}

func FuzzI16MessageID(f *testing.F) {
	f.Add("00112233445566778899aabbccddeeff:7")
	f.Add("00112233445566778899AABBCCDDEEFF:07")
	f.Add(":")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseMessageID(s); err == nil {
			require.Equal(t, s, id.String())
			require.NotZero(t, id.N)
		}
	})
}

func TestI16NilAndEmptyMessages(t *testing.T) {
	a, b := pair(t)
	before := fingerprint(a)
	for _, m := range []Protocol{
		nil, (*Blocks)(nil), (*Beat)(nil), (*Pull)(nil), (*Credit)(nil), (*Batch)(nil), (*Want)(nil), (*Fork)(nil), (*Ack)(nil),
		(*Base)(nil), (*Ranges)(nil), (*Diffs)(nil), &Base{}, &Ranges{}, &Diffs{}, &Pull{Ranged: true, Parts: []Part{{To: endless}}},
		&Blocks{}, &Blocks{Frames: [][]byte{nil, {}}}, &Batch{}, &Want{}, &Fork{}, &Ack{}, &Credit{}, &Beat{},
		&Want{Spans: []Span{{From: 0, To: 1<<64 - 1}}}, &Pull{Credit: 1<<32 - 1, Tips: []Tip{{N: 1<<64 - 1}}},
	} {
		a.Step(benchNow, b.self, m)
		a.Step(benchNow, Key{1}, m) // from a stranger
		for a.Next(benchNow, b.self) != nil {
		}
		a.Tick(benchNow.Add(time.Second))
		require.Equal(t, before, fingerprint(a))
	}
}
