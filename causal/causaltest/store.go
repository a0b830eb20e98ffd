package causaltest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/causal"
)

// RunStore holds a Store to its contract. place is called for each test and
// returns a function that opens the store at a new place: the same store each
// time, with what was written to it before.
func RunStore(t *testing.T, place func(t *testing.T) func() (causal.Store, error)) {
	tests := []struct {
		name string
		run  func(t *testing.T, open func() (causal.Store, error))
	}{
		{"a new store is empty", testStoreEmpty},
		{"records come back in order", testStoreRecords},
		{"records are copied", testStoreCopies},
		{"the state comes back", testStoreState},
		{"appending goes on after reopening", testStoreReopen},
		{"payloads are dropped", testStoreDrop},
		{"a pruned log comes back", testStorePruned},
		{"old records give way to a base", testStoreCompact},
		{"a compacted log comes back", testStoreCompacted},
		{"one at a time", testStoreLocked},
		{"an error of the caller ends Load", testStoreLoadError},
		{"a log comes back", testStoreLog},
		{"another group's history is refused", testStoreGroup},
		{"as a list", testStoreModel},
	}
	for _, x := range tests {
		t.Run(x.name, func(t *testing.T) { x.run(t, place(t)) })
	}
}

// load opens a store and returns what it holds.
func load(t *testing.T, open func() (causal.Store, error)) (causal.Store, []causal.Record, causal.State) {
	s, err := open()
	require.NoError(t, err)
	var recs []causal.Record
	st, err := s.Load(func(r causal.Record) error {
		if r.Base {
			return nil
		}
		recs = append(recs, causal.Record{Frame: bytes.Clone(r.Frame), Own: r.Own})
		return nil
	})
	require.NoError(t, err)
	return s, recs, st
}

func record(rng *rand.Rand, size int) causal.Record {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return causal.Record{Frame: b, Own: rng.IntN(2) == 0}
}

func sameState(t *testing.T, want, got causal.State) {
	require.Equal(t, want.Group, got.Group)
	require.True(t, bytes.Equal(want.Key, got.Key))
	require.True(t, bytes.Equal(want.Writer, got.Writer))
	require.Equal(t, want.Inc, got.Inc)
	require.Equal(t, want.Clean, got.Clean)
	require.Equal(t, want.Torn, got.Torn)
}

func sameRecords(t *testing.T, want, got []causal.Record) {
	require.Len(t, got, len(want))
	for i := range want {
		require.True(t, bytes.Equal(want[i].Frame, got[i].Frame), "record %d", i)
		require.Equal(t, want[i].Own, got[i].Own, "record %d", i)
	}
}

func testStoreEmpty(t *testing.T, open func() (causal.Store, error)) {
	for range 2 {
		s, recs, st := load(t, open)
		require.Empty(t, recs)
		sameState(t, causal.State{}, st)
		require.NoError(t, s.Close())
	}
}

func testStoreRecords(t *testing.T, open func() (causal.Store, error)) {
	rng := rand.New(rand.NewPCG(1, 1))
	var want []causal.Record
	for i := range 1000 {
		want = append(want, record(rng, 1+i%300))
	}
	want = append(want, record(rng, 1), record(rng, 100_000), record(rng, 1<<20+5_000))
	s, _, _ := load(t, open)
	require.NoError(t, s.Append(want[:1], true))
	require.NoError(t, s.Append(nil, false))
	require.NoError(t, s.Append(want[1:600], false))
	require.NoError(t, s.Append(want[600:], true))
	require.NoError(t, s.Close())
	s, got, _ := load(t, open)
	sameRecords(t, want, got)
	require.NoError(t, s.Close())
}

func testStoreCopies(t *testing.T, open func() (causal.Store, error)) {
	rng := rand.New(rand.NewPCG(2, 1))
	recs := []causal.Record{record(rng, 100), record(rng, 5000)}
	want := []causal.Record{{Frame: bytes.Clone(recs[0].Frame), Own: recs[0].Own}, {Frame: bytes.Clone(recs[1].Frame), Own: recs[1].Own}}
	s, _, _ := load(t, open)
	require.NoError(t, s.Append(recs, false))
	for _, r := range recs {
		clear(r.Frame)
	}
	clear(recs)
	require.NoError(t, s.Append(nil, true))
	require.NoError(t, s.Close())
	s, got, _ := load(t, open)
	sameRecords(t, want, got)
	require.NoError(t, s.Close())
}

func testStoreState(t *testing.T, open func() (causal.Store, error)) {
	for _, want := range []causal.State{
		{Group: "g", Key: bytes.Repeat([]byte{1}, 32), Inc: 1, Writer: bytes.Repeat([]byte{2}, 16)},
		{Group: "g", Key: bytes.Repeat([]byte{1}, 32), Inc: 1<<63 + 1, Writer: []byte{3}, Clean: true},
		{Group: "g"},
	} {
		s, _, _ := load(t, open)
		require.NoError(t, s.PutState(want))
		require.NoError(t, s.Close())
		s, _, got := load(t, open)
		sameState(t, want, got)
		require.NoError(t, s.Close())
	}
}

func testStoreReopen(t *testing.T, open func() (causal.Store, error)) {
	rng := rand.New(rand.NewPCG(3, 1))
	var want []causal.Record
	for range 10 {
		s, got, _ := load(t, open)
		sameRecords(t, want, got)
		more := []causal.Record{record(rng, 10), record(rng, 200)}
		require.NoError(t, s.Append(more, true))
		want = append(want, more...)
		require.NoError(t, s.Close())
	}
}

func testStoreDrop(t *testing.T, open func() (causal.Store, error)) {
	rng := rand.New(rand.NewPCG(6, 1))
	strip := func(b []byte) []byte { // like a hash, it may be longer than what it stands for
		if bytes.HasSuffix(b, []byte("stripped")) {
			return b
		}
		return append(bytes.Clone(b[:min(len(b), 7)]), "stripped"...)
	}
	var want []causal.Record
	s, _, _ := load(t, open)
	for round := range 8 {
		var recs []causal.Record
		for i := range 150 {
			recs = append(recs, record(rng, 1+i*i%9000))
		}
		require.NoError(t, s.Append(recs, round%2 == 0))
		want = append(want, recs...)
		before := uint64(rng.IntN(len(want) + 1))
		if round == 7 {
			before = uint64(len(want)) + 5
		}
		require.NoError(t, s.DropPayloads(before, strip))
		for i := range min(before, uint64(len(want))) {
			want[i].Frame = strip(want[i].Frame)
		}
		if round%3 == 1 {
			require.NoError(t, s.Close())
			var got []causal.Record
			s, got, _ = load(t, open)
			sameRecords(t, want, got)
		}
	}
	more := []causal.Record{record(rng, 500)}
	require.NoError(t, s.Append(more, true))
	require.NoError(t, s.Close())
	s, got, _ := load(t, open)
	sameRecords(t, append(want, more...), got)
	require.NoError(t, s.Close())
}

func testStoreCompact(t *testing.T, open func() (causal.Store, error)) {
	rng := rand.New(rand.NewPCG(7, 1))
	var want []causal.Record
	var base []byte
	first := 0
	s, _, _ := load(t, open)
	for round := range 12 {
		for range 60 {
			want = append(want, record(rng, 1+rng.IntN(9000)))
		}
		require.NoError(t, s.Append(want[len(want)-60:], round%2 == 0))
		if round%4 != 3 {
			before := rng.IntN(len(want) + 1)
			if round == 10 {
				before = len(want)
			}
			base = record(rng, 1+rng.IntN(100_000)).Frame
			require.NoError(t, s.Compact(uint64(before), base))
			first = max(first, before)
		}
		require.NoError(t, s.DropPayloads(uint64(first), func(b []byte) []byte { return b }))
		require.NoError(t, s.Close())
		var err error
		s, err = open()
		require.NoError(t, err)
		var got []causal.Record
		bases := 0
		st, err := s.Load(func(r causal.Record) error {
			if r.Base {
				bases++
				require.Empty(t, got, "the base comes first")
				require.True(t, bytes.Equal(base, r.Frame))
				return nil
			}
			got = append(got, causal.Record{Frame: bytes.Clone(r.Frame), Own: r.Own})
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, 1, bases)
		// A few of those that may go may stay.
		require.LessOrEqual(t, st.First, uint64(first))
		require.Less(t, first-int(st.First), 100)
		sameRecords(t, want[st.First:], got)
	}
	require.NoError(t, s.Close())
}

// A log alone compacts by itself, and comes back as it was.
func testStoreCompacted(t *testing.T, open func() (causal.Store, error)) {
	now := time.Unix(1_700_000_000, 0)
	var digest causal.Digest
	for run := range 4 {
		s, err := open()
		require.NoError(t, err)
		cfg := storeConfig(s, 1)
		cfg.Compaction = causal.Compaction{Age: time.Minute, Blocks: 8}
		m, err := causal.NewMemory(cfg)
		require.NoError(t, err)
		if run > 0 {
			require.Equal(t, digest, m.Digest())
			require.Zero(t, m.Loaded().Dropped)
		}
		sum := sha256.Sum256(m.PrivateKey().Public().(ed25519.PublicKey))
		m.SetPeers(now, []causal.Key{causal.Key(sum[:16])})
		for range 500 {
			_, err := m.Append(now, make([]byte, 1000))
			require.NoError(t, err)
			require.NoError(t, m.Flush(now))
			m.Ready()
			now = now.Add(time.Second)
		}
		digest = m.Digest()
		require.EqualValues(t, 500*(run+1), m.Len())
		require.NoError(t, m.Close())
		s, recs, _ := load(t, open)
		require.Less(t, len(recs), 400)
		require.NoError(t, s.Close())
	}
}

func testStorePruned(t *testing.T, open func() (causal.Store, error)) {
	s, err := open()
	require.NoError(t, err)
	cfg := storeConfig(s, 1)
	cfg.Retention.MaxBytes = 100_000
	m, err := causal.NewMemory(cfg)
	require.NoError(t, err)
	now := time.Unix(1_700_000_000, 0)
	for range 4000 {
		_, err := m.Append(now, make([]byte, 1000))
		require.NoError(t, err)
	}
	require.NoError(t, m.Flush(now))
	m.Tick(now.Add(time.Minute))
	digest := m.Digest()
	require.NoError(t, m.Close())

	s, recs, _ := load(t, open)
	size := 0
	for _, r := range recs {
		size += len(r.Frame)
	}
	require.Less(t, size, 300_000)
	require.NoError(t, s.Close())

	s, err = open()
	require.NoError(t, err)
	m, err = causal.NewMemory(storeConfig(s, 2))
	require.NoError(t, err)
	require.Zero(t, m.Loaded().Dropped)
	require.Equal(t, digest, m.Digest())
	require.EqualValues(t, 4000, m.Len())
	for x := range m.History(0, false) {
		require.Nil(t, x.Data)
		if x.Pos == 3800 {
			break
		}
	}
	for x := range m.History(4000, true) {
		require.Len(t, x.Data, 1000)
		if x.Pos < 3950 {
			break
		}
	}
	require.NoError(t, m.Close())
}

func testStoreLocked(t *testing.T, open func() (causal.Store, error)) {
	s, _, _ := load(t, open)
	other, err := open()
	if err == nil {
		_, err = other.Load(func(causal.Record) error { return nil })
	}
	require.ErrorIs(t, err, causal.ErrLocked)
	require.NoError(t, s.Close())
	s, _, _ = load(t, open)
	require.NoError(t, s.Close())
}

func testStoreLoadError(t *testing.T, open func() (causal.Store, error)) {
	rng := rand.New(rand.NewPCG(4, 1))
	s, _, _ := load(t, open)
	require.NoError(t, s.Append([]causal.Record{record(rng, 10), record(rng, 10)}, true))
	require.NoError(t, s.Close())
	s, err := open()
	require.NoError(t, err)
	stop := errors.New("stop")
	calls := 0
	_, err = s.Load(func(causal.Record) error { calls++; return stop })
	require.ErrorIs(t, err, stop)
	require.Equal(t, 1, calls)
	_ = s.Close()
	s, recs, _ := load(t, open)
	require.Len(t, recs, 2)
	require.NoError(t, s.Close())
}

func storeConfig(s causal.Store, seed byte) causal.Config {
	return causal.Config{Group: "group", Rand: rand.NewChaCha8([32]byte{seed}), Store: s}
}

func testStoreLog(t *testing.T, open func() (causal.Store, error)) {
	now := time.Unix(1_700_000_000, 0)
	var key ed25519.PrivateKey
	var want []string
	var writers []causal.WriterID
	for run := range 4 {
		s, err := open()
		require.NoError(t, err)
		m, err := causal.NewMemory(storeConfig(s, byte(run)))
		require.NoError(t, err)
		if run > 0 {
			require.Equal(t, key, m.PrivateKey(), "the key is kept")
			require.True(t, m.Loaded().Clean)
		}
		key = m.PrivateKey()
		require.EqualValues(t, run+1, m.Incarnation())
		require.NotContains(t, writers, m.Writer())
		writers = append(writers, m.Writer())
		var got []string
		for x := range m.Deliveries(0) {
			got = append(got, string(x.Data))
			require.True(t, x.Own)
			require.True(t, x.Backlog)
		}
		require.Equal(t, want, got)
		for i := range 20 {
			text := string(rune('a'+run)) + string(rune('a'+i))
			want = append(want, text)
			_, err := m.Append(now, []byte(text))
			require.NoError(t, err)
			if i%3 == 0 {
				require.NoError(t, m.Flush(now))
				require.NoError(t, m.Ready().Err)
			}
		}
		digest := m.Digest()
		require.NotZero(t, digest)
		require.NoError(t, m.Close())
	}
}

func testStoreGroup(t *testing.T, open func() (causal.Store, error)) {
	s, err := open()
	require.NoError(t, err)
	m, err := causal.NewMemory(storeConfig(s, 1))
	require.NoError(t, err)
	require.NoError(t, m.Close())
	for range 2 {
		s, err = open()
		require.NoError(t, err)
		cfg := storeConfig(s, 2)
		cfg.Group = "another"
		_, err = causal.NewMemory(cfg)
		require.ErrorIs(t, err, causal.ErrWrongGroup)
	}
}

func testStoreModel(t *testing.T, open func() (causal.Store, error)) {
	rng := rand.New(rand.NewPCG(5, 1))
	var want []causal.Record
	var state causal.State
	s, _, _ := load(t, open)
	for range 200 {
		switch rng.IntN(10) {
		default:
			var recs []causal.Record
			for range rng.IntN(5) {
				recs = append(recs, record(rng, 1+rng.IntN(3000)))
			}
			require.NoError(t, s.Append(recs, rng.IntN(4) == 0))
			want = append(want, recs...)
		case 0:
			state = causal.State{Group: "g", Inc: rng.Uint64(), Writer: record(rng, 16).Frame}
			require.NoError(t, s.PutState(state))
		case 1:
			require.NoError(t, s.Close())
			var got []causal.Record
			var st causal.State
			s, got, st = load(t, open)
			sameRecords(t, want, got)
			sameState(t, state, st)
		}
	}
	require.NoError(t, s.Close())
}
