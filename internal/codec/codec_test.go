package codec

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

type inner struct {
	Key  [16]byte
	Addr netip.AddrPort
	Name string
}

type outer struct {
	N    uint64
	I    int64
	B    bool
	In   inner
	List []inner
	Raw  []byte
	Raws [][]byte
}

func sample() outer {
	return outer{N: 1 << 40, I: -5, B: true,
		In:   inner{Key: [16]byte{1, 200, 3}, Addr: netip.MustParseAddrPort("10.0.0.1:7712"), Name: "ada"},
		List: []inner{{Name: "bob"}, {Addr: netip.MustParseAddrPort("[fe80::1]:9"), Name: "é"}},
		Raw:  []byte("hello"), Raws: [][]byte{{1}, {2, 3}}}
}

func TestRoundTrip(t *testing.T) {
	in := sample()
	b := Append(nil, &in)
	var out outer
	rest, err := Decode(append(b, 0x07), &out)
	require.NoError(t, err)
	require.Equal(t, []byte{7}, rest)
	require.Equal(t, in, out)
}

// A 16-byte array must cost 18 bytes, not an integer for each byte.
func TestArraysAreByteStrings(t *testing.T) {
	k := [16]byte{255, 255, 255, 255}
	require.Len(t, Append(nil, &k), 18)
}

func TestRefusesEveryOtherForm(t *testing.T) {
	type pair struct {
		A, B uint64
	}
	good := Append(nil, &pair{A: 1, B: 300})
	require.Equal(t, []byte{0x92, 1, 0xcd, 1, 44}, good)
	for name, b := range map[string][]byte{
		"empty":             {},
		"missing field":     {0x91, 1},
		"surplus field":     {0x93, 1, 2, 3},
		"wide integer":      {0x92, 0xcc, 1, 0xcd, 1, 44},
		"wide array":        {0xdc, 0, 2, 1, 0xcd, 1, 44},
		"nil":               {0xc0},
		"nil field":         {0x92, 1, 0xc0},
		"map":               {0x82, 0xa1, 'A', 1, 0xa1, 'B', 2},
		"text for a number": {0x92, 0xa1, '1', 2},
		"negative":          {0x92, 0xff, 2},
		"float":             {0x92, 1, 0xca, 0, 0, 0, 0},
		"extension":         {0xd4, 1, 1},
		"truncated":         good[:4],
		"huge array":        {0xdd, 0xff, 0xff, 0xff, 0xff},
		"huge bytes":        {0xc6, 0xff, 0xff, 0xff, 0xff},
	} {
		_, err := Decode(b, new(pair))
		require.Error(t, err, name)
	}
	var s struct {
		S string
	}
	_, err := Decode([]byte{0x91, 0xa1, 0xff}, &s)
	require.ErrorIs(t, err, ErrUTF8)
	deep := []byte{0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 1}
	_, err = Scan(deep)
	require.ErrorIs(t, err, ErrDepth)
}

func TestScanAllocatesNothing(t *testing.T) {
	in := sample()
	b := Append(nil, &in)
	require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = Scan(b) }))
}

// Whatever is accepted is exactly what Append would have written.
func TestOneForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := sample()
		b := Append(nil, &in)
		for range rapid.IntRange(1, 4).Draw(t, "flips") {
			i := rapid.IntRange(0, len(b)*8-1).Draw(t, "bit")
			b[i/8] ^= 1 << (i % 8)
		}
		var out outer
		rest, err := Decode(b, &out)
		if err == nil && string(Append(nil, &out))+string(rest) != string(b) {
			t.Fatalf("accepted a second form: % x", b)
		}
	})
}

func FuzzDecode(f *testing.F) {
	in := sample()
	f.Add(Append(nil, &in))
	f.Add([]byte{0xdd, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		var out outer
		rest, err := Decode(b, &out)
		if err == nil && string(Append(nil, &out))+string(rest) != string(b) {
			t.Fatalf("accepted a second form: % x", b)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	in := sample()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = Append(buf[:0], &in)
	}
}

func BenchmarkDecode(b *testing.B) {
	in := sample()
	buf := Append(nil, &in)
	b.ReportAllocs()
	for b.Loop() {
		var out outer
		_, _ = Decode(buf, &out)
	}
}

// A long byte string costs as much as it is long, not the square of that.
func TestLongByteStringsAreRead(t *testing.T) {
	b := Append(nil, make([]byte, 2<<20))
	var got []byte
	allocs := testing.AllocsPerRun(1, func() {
		got = nil
		_, err := Decode(b, &got)
		require.NoError(t, err)
	})
	require.Len(t, got, 2<<20)
	require.Less(t, allocs, 50.0)
}
