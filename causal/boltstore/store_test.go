package boltstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"github.com/seed-885536be/p2p/causal"
)

var errStop = errors.New("stop")

var pattern = func() (b [1024]byte) {
	for i := range b {
		b[i] = byte(i ^ i>>8*7)
	}
	return b
}()

// frame is a record's content that depends on its index.
func frame(i, size int) causal.Record {
	b := fmt.Appendf(make([]byte, 0, size+1024), "record %d ", i)
	for len(b) < size {
		b = append(b, pattern[i%256:]...)
	}
	if size > 20 {
		b = b[:size]
	}
	return causal.Record{Frame: b, Own: i%3 == 0}
}

func frames(from, n, size int) []causal.Record {
	var recs []causal.Record
	for i := range n {
		recs = append(recs, frame(from+i, size))
	}
	return recs
}

// load opens and loads a store.
func load(t require.TestingT, path string, opts Options) (*Store, []causal.Record, causal.State) {
	s, err := Open(path, opts)
	require.NoError(t, err)
	var recs []causal.Record
	st, err := s.Load(func(r causal.Record) error {
		recs = append(recs, causal.Record{Frame: bytes.Clone(r.Frame), Own: r.Own})
		return nil
	})
	require.NoError(t, err)
	return s, recs, st
}

// holds loads a copy of the file, as another start after a crash at this
// instant would find it.
func holds(t require.TestingT, dir, path string) ([]causal.Record, causal.State) {
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	copied := filepath.Join(dir, "copy")
	require.NoError(t, os.WriteFile(copied, b, 0o600))
	s, recs, st := load(t, copied, Options{noSync: true})
	require.NoError(t, s.Close())
	require.NoError(t, os.Remove(copied))
	return recs, st
}

func TestRecordsAndStateComeBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, recs, st := load(t, path, Options{Group: "g"})
	require.Empty(t, recs)
	require.Equal(t, causal.State{Group: "g"}, st)
	want := append(frames(0, 5, 10), causal.Record{Frame: nil}, causal.Record{Frame: bytes.Repeat([]byte("x"), 2<<20), Own: true})
	want = append(want, frames(7, 1000, 300)...)
	require.NoError(t, s.Append(want[:3], true))
	require.NoError(t, s.Append(want[3:7], false))
	require.NoError(t, s.Append(want[7:], true))
	require.NoError(t, s.Append(nil, true))
	state := causal.State{Group: "g", Key: []byte("key"), Inc: 7, Writer: []byte("writer"), Clean: true, Torn: true}
	require.NoError(t, s.PutState(state))
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "to close twice does nothing")

	s, recs, st = load(t, path, Options{Group: "g"})
	defer s.Close()
	requireSame(t, want, recs)
	state.Torn = false
	require.Equal(t, state, st)
	info, err := os.Stat(path)
	require.NoError(t, err)
	if runtime.GOOS != "windows" {
		require.Equal(t, os.FileMode(0o600), info.Mode())
	}
}

func TestAppendKeepsNoPartOfItsRecords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, _, _ := load(t, path, Options{})
	recs := frames(0, 10, 1000)
	require.NoError(t, s.Append(recs, false))
	for _, r := range recs {
		clear(r.Frame)
	}
	key := []byte("key")
	require.NoError(t, s.PutState(causal.State{Key: key}))
	clear(key)
	require.NoError(t, s.Append(frames(10, 1, 10), true)) // writes the state again
	require.NoError(t, s.Close())
	s, recs, st := load(t, path, Options{})
	require.NoError(t, s.Close())
	require.Equal(t, append(frames(0, 10, 1000), frames(10, 1, 10)...), recs)
	require.Equal(t, []byte("key"), st.Key)
}

func TestOrderOfCalls(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, err := Open(path, Options{})
	require.NoError(t, err)
	require.ErrorIs(t, s.Append(frames(0, 1, 1), true), ErrOrder)
	require.ErrorIs(t, s.PutState(causal.State{}), ErrOrder)
	_, err = s.Load(func(causal.Record) error { return nil })
	require.NoError(t, err)
	_, err = s.Load(func(causal.Record) error { return nil })
	require.ErrorIs(t, err, ErrOrder)
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Append(nil, true), causal.ErrClosed)
	require.ErrorIs(t, s.PutState(causal.State{}), causal.ErrClosed)
	_, err = s.Load(func(causal.Record) error { return nil })
	require.ErrorIs(t, err, causal.ErrClosed)
}

func TestOptionsAreChecked(t *testing.T) {
	_, err := Open(filepath.Join(t.TempDir(), "store"), Options{LockTimeout: -1, FlushInterval: -1, FlushBytes: -1, MaxSize: -1})
	for _, field := range []string{"LockTimeout", "FlushInterval", "FlushBytes", "MaxSize"} {
		require.ErrorContains(t, err, "Options."+field+" is negative")
	}
}

// TestAgainstModel compares a store with a slice, over random sequences of
// writes, orderly ends and crashes.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "boltstore")
		require.NoError(t, err)
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "store")
		opts := Options{FlushInterval: time.Hour, FlushBytes: 4 << 10, noSync: true}
		s, _, _ := load(t, path, opts)
		defer func() { require.NoError(t, s.Close()) }()
		var all []causal.Record // that were appended
		var state causal.State
		safe := 0 // how many of all must survive
		check := func(got []causal.Record, st causal.State) {
			require.LessOrEqual(t, safe, len(got))
			require.LessOrEqual(t, len(got), len(all))
			requireSame(t, all[:len(got)], got)
			require.Equal(t, state, st)
			all, safe = all[:len(got)], len(got)
			state.Clean = false
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				sync := rapid.Bool().Draw(t, "sync")
				recs := frames(len(all), rapid.IntRange(0, 5).Draw(t, "n"), rapid.SampledFrom([]int{0, 20, 300, 3000, 40_000, 70_000}).Draw(t, "size"))
				require.NoError(t, s.Append(recs, sync))
				all = append(all, recs...)
				if sync {
					require.True(t, s.pending.empty())
				}
				if s.pending.empty() {
					// What is written in a clean store makes it unclean.
					state.Clean = state.Clean && safe == len(all)
					safe = len(all)
				}
			},
			"state": func(t *rapid.T) {
				state = causal.State{
					Group: rapid.SampledFrom([]string{"", "g"}).Draw(t, "group"),
					Key:   rapid.SampledFrom([][]byte{nil, []byte("k")}).Draw(t, "key"),
					Inc:   rapid.Uint64().Draw(t, "inc"), Clean: rapid.Bool().Draw(t, "clean"),
				}
				require.NoError(t, s.PutState(state))
				safe = len(all)
			},
			"reopen": func(t *rapid.T) {
				require.NoError(t, s.Close())
				state.Clean = state.Clean && safe == len(all)
				safe = len(all)
				var got []causal.Record
				var st causal.State
				s, got, st = load(t, path, opts)
				check(got, st)
			},
			"crash": func(t *rapid.T) {
				b, err := os.ReadFile(path)
				require.NoError(t, err)
				require.NoError(t, s.Close())
				require.NoError(t, os.WriteFile(path, b, 0o600))
				var got []causal.Record
				var st causal.State
				s, got, st = load(t, path, opts)
				check(got, st)
			},
		})
	})
}

// TestClean: the flag is set by PutState and by nothing else, for one Load, and
// not if anything was written after.
func TestClean(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store")
	is := func(want bool, when string) {
		t.Helper()
		_, st := holds(t, dir, path)
		require.Equal(t, want, st.Clean, when)
	}
	s, _, st := load(t, path, Options{})
	require.False(t, st.Clean)
	require.NoError(t, s.Append(frames(0, 1, 10), true))
	is(false, "after Append")
	require.NoError(t, s.Close())
	is(false, "after Close without PutState")

	s, _, _ = load(t, path, Options{})
	require.NoError(t, s.Append(frames(1, 1, 10), false))
	require.NoError(t, s.PutState(causal.State{Inc: 1, Clean: true}))
	recs, _ := holds(t, dir, path)
	require.Len(t, recs, 2, "never set without the records before it")
	is(true, "after PutState")
	require.NoError(t, s.Close())

	s, err := Open(path, Options{})
	require.NoError(t, err)
	is(true, "after Open: nobody knows the numbers yet")
	_, err = s.Load(func(causal.Record) error { return errStop })
	require.ErrorIs(t, err, errStop)
	is(true, "after a Load that failed")
	require.ErrorIs(t, s.Append(nil, true), errStop)
	require.NoError(t, s.Close(), "the error was Load's")

	s, _, st = load(t, path, Options{})
	require.True(t, st.Clean)
	is(false, "after Load")
	require.NoError(t, s.PutState(causal.State{Inc: 2, Clean: true}))
	is(true, "after PutState")
	require.NoError(t, s.Append(frames(2, 1, 10), false))
	is(true, "as long as an append is not written")
	require.NoError(t, s.Append(frames(3, 1, 10), true))
	recs, st = holds(t, dir, path)
	require.Equal(t, causal.State{Inc: 2}, st)
	require.Len(t, recs, 4)
	require.NoError(t, s.Close())
}

func TestAPanicInLoadIsTheCallers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, _, _ := load(t, path, Options{})
	require.NoError(t, s.Append(frames(0, 1, 10), true))
	require.NoError(t, s.Close())
	s, err := Open(path, Options{})
	require.NoError(t, err)
	require.PanicsWithValue(t, "mine", func() { _, _ = s.Load(func(causal.Record) error { panic("mine") }) })
	require.NoError(t, s.Close())
}

// TestFlush: what was appended without sync is written after FlushInterval, or
// when there is FlushBytes of it.
func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "store")
		count := func() int {
			recs, _ := holds(t, dir, path)
			return len(recs)
		}
		s, _, _ := load(t, path, Options{})
		for round := range 3 {
			n := 2 * round
			require.NoError(t, s.Append(frames(n, 1, 10), false))
			<-time.After(99 * time.Millisecond)
			require.Equal(t, n, count())
			require.NoError(t, s.Append(frames(n+1, 1, 10), false))
			<-time.After(1 * time.Millisecond)
			synctest.Wait()
			require.Equal(t, n+2, count())
			<-time.After(time.Minute)
		}
		require.NoError(t, s.Append(frames(6, 1, 1<<20), false))
		require.Equal(t, 7, count())
		require.NoError(t, s.Append(frames(7, 1, 10), false))
		require.NoError(t, s.Close())
		require.Equal(t, 8, count())
	})
}

func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, _, _ := load(t, path, Options{})
	begin := time.Now()
	_, err := Open(path, Options{LockTimeout: 10 * time.Millisecond})
	require.ErrorIs(t, err, causal.ErrLocked)
	require.Less(t, time.Since(begin), 10*time.Second)
	require.NoError(t, s.Append(frames(0, 1, 10), true), "the first goes on")
	require.NoError(t, s.Close())
	s, recs, _ := load(t, path, Options{LockTimeout: 10 * time.Millisecond})
	require.Len(t, recs, 1)
	require.NoError(t, s.Close())
}

func TestFull(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store")
	s, _, _ := load(t, path, Options{MaxSize: 1 << 20})
	var err error
	n := 0
	for ; err == nil; n++ {
		require.Less(t, n, 100)
		err = s.Append(frames(n, 1, 50_000), true)
	}
	n-- // the last failed
	require.ErrorIs(t, err, ErrFull)
	require.Greater(t, n, 3)
	require.ErrorIs(t, s.Append(frames(n+1, 1, 1), true), ErrFull, "there would be a hole")
	require.ErrorIs(t, s.PutState(causal.State{Clean: true}), ErrFull, "it would be a lie")
	require.ErrorIs(t, s.Close(), ErrFull)

	s, recs, st := load(t, path, Options{})
	require.Equal(t, frames(0, n, 50_000), recs)
	require.Equal(t, causal.State{}, st)
	require.NoError(t, s.Append(frames(n, 1, 50_000), true), "there is room again")
	require.NoError(t, s.Close())
}

// TestFullInTheBackground: an error that nobody waited for is told by the next
// call.
func TestFullInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := load(t, filepath.Join(t.TempDir(), "store"), Options{MaxSize: 100_000})
		require.NoError(t, s.Append(frames(0, 1, 500_000), false))
		<-time.After(time.Second)
		require.ErrorIs(t, s.Append(nil, false), ErrFull)
		require.ErrorIs(t, s.Close(), ErrFull)
	})
}

// TestFailedMeanwhile: what cannot drop or remove old records writes nothing
// after it either, and every call says why.
func TestFailedMeanwhile(t *testing.T) {
	for what, f := range map[string]func(*Store) error{
		"drop payloads": func(s *Store) error {
			return s.DropPayloads(3, func(b []byte) []byte { return b[:1] })
		},
		"compact": func(s *Store) error { return s.Compact(3, []byte("base")) },
	} {
		t.Run(what, func(t *testing.T) {
			s, _, _ := load(t, filepath.Join(t.TempDir(), "store"), Options{})
			require.NoError(t, s.Append(frames(0, 3, 100), true))
			require.NoError(t, s.update(func(tx *bbolt.Tx) error {
				b := tx.Bucket(bucketRecords)
				if err := b.Delete(indexKey(0)); err != nil {
					return err
				}
				return b.Put([]byte{0}, nil)
			}))
			err := f(s)
			require.ErrorIs(t, err, ErrCorrupt)
			require.ErrorContains(t, err, what)
			require.Equal(t, err, s.Append(frames(3, 1, 100), true))
			require.Equal(t, err, s.PutState(causal.State{Clean: true}))
			require.Equal(t, err, f(s))
			require.EqualError(t, s.Close(), err.Error())
		})
	}
}

func TestGroups(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, _, st := load(t, path, Options{Group: "a"})
	require.Equal(t, "a", st.Group)
	require.NoError(t, s.PutState(causal.State{Group: "a", Clean: true}))
	require.NoError(t, s.Close())
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	_, err = Open(path, Options{Group: "b"})
	require.ErrorIs(t, err, causal.ErrWrongGroup)
	require.ErrorContains(t, err, `"a", not "b"`)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(before, after))
	s, _, st = load(t, path, Options{})
	require.Equal(t, "a", st.Group)
	require.True(t, st.Clean)
	require.NoError(t, s.Close())
}

func TestPathErrors(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(filepath.Join(dir, "none", "store"), Options{})
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = Open(dir, Options{})
	require.Error(t, err)
}

// TestUnchanged: to open a store and to close it again writes nothing.
func TestUnchanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, _, _ := load(t, path, Options{})
	require.NoError(t, s.Append(frames(0, 10, 100), true))
	require.NoError(t, s.Close())
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	s, err = Open(path, Options{})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(before, after))
}
