package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/seed-885536be/p2p/causal"
)

var (
	cutStep    = flag.Int("cut", 151, "cut the pages of a write at each n-th byte only; 1: at every byte")
	damageSeed = flag.Uint64("damage-seed", 0, "seed of TestDamage; 0: another each time")
	damageRuns = flag.Int("damage", 200, "rounds of TestDamage")
)

// attempt opens a file of the given content and loads it. If that succeeds, the
// store must be fit for use: more is appended and found by the next start.
func attempt(t require.TestingT, path string, content []byte, opts Options) (recs []causal.Record, st causal.State, err error) {
	overwrite(t, path, content)
	opts.noSync = true
	s, err := Open(path, opts)
	if err != nil {
		return nil, st, err
	}
	keep := func(r causal.Record) error {
		recs = append(recs, causal.Record{Frame: bytes.Clone(r.Frame), Own: r.Own})
		return nil
	}
	if st, err = s.Load(keep); err != nil {
		require.NoError(t, s.Close())
		return recs, st, err
	}
	more := frames(len(recs), 2, 100)
	require.NoError(t, s.Append(more[:1], true))
	require.NoError(t, s.Append(more[1:], true))
	require.NoError(t, s.Close())
	s, all, again := load(t, path, Options{noSync: true})
	require.NoError(t, s.Close())
	requireSame(t, slices.Concat(recs, more), all)
	require.False(t, again.Torn, "said twice")
	return recs, st, nil
}

// overwrite makes content that of a file. To write it where the old one is costs a
// tenth of what it costs to give that back and to take new room.
func overwrite(t require.TestingT, path string, content []byte) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	require.NoError(t, err)
	_, err = f.WriteAt(content, 0)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(int64(len(content))))
	require.NoError(t, f.Close())
}

func requireSame(t require.TestingT, want, got []causal.Record) {
	require.Equal(t, len(want), len(got))
	for i := range want {
		if want[i].Own != got[i].Own || !bytes.Equal(want[i].Frame, got[i].Frame) {
			require.Fail(t, "another record", "number %d", i)
		}
	}
}

// lastWrite returns the file of a store before and after a write, the records
// before and after, with the base as the first, and the offset of the meta page
// that was written last.
func lastWrite(t testing.TB, write func(*Store, []causal.Record) []causal.Record) (before, after []byte, old, all []causal.Record, meta int) {
	return lastWriteAfter(t, 9000, write)
}

// lastWriteAfter is lastWrite in a store whose largest records have a size.
func lastWriteAfter(t testing.TB, largest int, write func(*Store, []causal.Record) []causal.Record) (before, after []byte, old, all []causal.Record, meta int) {
	path := filepath.Join(t.TempDir(), "last")
	s := opened(t, path, Options{noSync: true})
	for i := range 12 {
		recs := frames(len(all), 3, []int{20, 200, 2000, largest}[i%4])
		require.NoError(t, s.Append(recs, true))
		all = append(all, recs...)
	}
	require.NoError(t, s.PutState(causal.State{Inc: 1, Key: []byte("key"), Clean: true}))
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	old = slices.Clone(all)
	all = write(s, all)
	after, err = os.ReadFile(path)
	require.NoError(t, err)
	// A file grows before it is written to.
	page := os.Getpagesize()
	require.LessOrEqual(t, len(before), len(after))
	before = append(before, make([]byte, len(after)-len(before))...)
	for meta = 0; bytes.Equal(before[meta:meta+page], after[meta:meta+page]); meta += page {
	}
	require.Less(t, meta, 2*page)
	return before, after, old, all, meta
}

// The last writes that are cut.
var lastWrites = map[string]func(s *Store, all []causal.Record) []causal.Record{
	"append": func(s *Store, all []causal.Record) []causal.Record {
		recs := frames(len(all), 4, 50)
		if err := s.Append(recs, true); err != nil {
			panic(err)
		}
		return append(all, recs...)
	},
	"compact": func(s *Store, all []causal.Record) []causal.Record {
		base := causal.Record{Frame: bytes.Repeat([]byte("base"), 2000)}
		if err := s.Compact(30, base.Frame); err != nil {
			panic(err)
		}
		if s.bare == 0 {
			panic("nothing was given up")
		}
		return append([]causal.Record{base}, all[s.bare:]...)
	},
}

// TestI13CutAtEveryByte cuts the last write at every byte. bbolt writes the
// pages in the order of the file, and when they are on the disk, the meta page:
// so until that is whole the state before is there, and then the state after.
func TestI13CutAtEveryByte(t *testing.T) {
	for name, write := range lastWrites {
		t.Run(name, func(t *testing.T) { cutAtEveryByte(t, write) })
	}
}

func cutAtEveryByte(t *testing.T, write func(*Store, []causal.Record) []causal.Record) {
	before, after, old, all, meta := lastWrite(t, write)
	path := filepath.Join(t.TempDir(), "store")
	page := os.Getpagesize()
	file := slices.Clone(before)
	try := func(want []causal.Record, torn bool) {
		recs, st, err := attempt(t, path, file, Options{})
		require.NoError(t, err)
		requireSame(t, want, recs)
		require.Equal(t, torn, st.Torn)
		require.Equal(t, uint64(1), st.Inc)
	}
	n := 0
	for at := 2 * page; at < len(file); at++ {
		if file[at] != after[at] {
			file[at] = after[at]
			if n++; n%*cutStep == 0 {
				try(old, false)
			}
		}
	}
	require.Greater(t, n, 100)
	for at := meta; at < meta+page; at++ {
		if file[at] != after[at] {
			try(old, at > meta && !bytes.Equal(file[meta:at], before[meta:at]))
			file[at] = after[at]
		}
	}
	require.Equal(t, after, file)
	try(all, false)
}

// TestI13LyingDisk cuts the last write at every byte of the pages, though the
// meta page is there: the disk had said that they were, too.
func TestI13LyingDisk(t *testing.T) {
	for name, write := range lastWrites {
		t.Run(name, func(t *testing.T) { lieAtEveryByte(t, write) })
	}
}

func lieAtEveryByte(t *testing.T, write func(*Store, []causal.Record) []causal.Record) {
	before, after, old, all, meta := lastWrite(t, write)
	path := filepath.Join(t.TempDir(), "store")
	page := os.Getpagesize()
	file := slices.Clone(before)
	copy(file[meta:], after[meta:meta+page])
	n := 0
	for at := 2 * page; at < len(file); at++ {
		if file[at] == after[at] {
			continue
		}
		if n++; n%*cutStep == 0 {
			recs, st, err := attempt(t, path, file, Options{})
			require.NoError(t, err, "byte %d", at)
			require.Equal(t, uint64(1), st.Inc)
			if len(recs) == len(old) {
				requireSame(t, old, recs)
				require.True(t, st.Torn)
			} else {
				// What is left to write, nobody reads.
				requireSame(t, all, recs)
			}
		}
		file[at] = after[at]
	}
	recs, st, err := attempt(t, path, file, Options{})
	require.NoError(t, err)
	requireSame(t, all, recs)
	require.False(t, st.Torn)
}

// TestI13Truncated cuts the file's end off.
func TestI13Truncated(t *testing.T) {
	_, after, old, all, _ := lastWrite(t, lastWrites["append"])
	path := filepath.Join(t.TempDir(), "store")
	seen := map[string]bool{}
	for size := len(after); size >= 0; size -= 512 {
		recs, st, err := attempt(t, path, after[:size], Options{})
		switch {
		case size == 0:
			require.NoError(t, err)
			require.Empty(t, recs)
		case err != nil:
			require.True(t, errors.Is(err, ErrCorrupt) || size < 4*os.Getpagesize() && errors.Is(err, causal.ErrFormat), "%d: %v", size, err)
			seen["corrupt"] = true
		case len(recs) == len(old):
			requireSame(t, old, recs)
			require.True(t, st.Torn)
			seen["old"] = true
		default:
			requireSame(t, all, recs)
			seen["all"] = true
		}
	}
	require.True(t, seen["all"] && seen["corrupt"], "%v", seen)
}

// TestDamage writes nonsense to random places. Nothing may panic or hang, and
// all that is ever returned was appended.
func TestDamage(t *testing.T) {
	_, after, _, all, _ := lastWrite(t, lastWrites["append"])
	path := filepath.Join(t.TempDir(), "store")
	seed := *damageSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	defer func() {
		if t.Failed() {
			t.Logf("go test -run TestDamage -damage %d -damage-seed %d", *damageRuns, seed)
		}
	}()
	outcomes := map[string]int{}
	for round := range *damageRuns {
		r := rand.New(rand.NewPCG(seed, uint64(round)))
		file := slices.Clone(after)
		for range 1 + r.IntN(3) {
			damage(r, file)
		}
		repair := r.IntN(2) == 0
		recs, st, err := attempt(t, path, file, Options{Repair: repair})
		where := fmt.Sprintf("seed %d, round %d: %v", seed, round, err)
		require.LessOrEqual(t, len(recs), len(all), where)
		requireSame(t, all[:len(recs)], recs)
		switch {
		case errors.Is(err, ErrCorrupt):
			outcomes["corrupt"]++
		case errors.Is(err, causal.ErrFormat):
			outcomes["format"]++
		case err != nil:
			require.Fail(t, "another error", where)
		case len(recs) < len(all):
			require.True(t, st.Torn, where)
			outcomes["torn"]++
		default:
			outcomes["whole"]++
		}
	}
	t.Log(outcomes)
	for _, o := range []string{"corrupt", "torn", "whole"} {
		require.NotZero(t, outcomes[o], o)
	}
}

// Seeds of TestDamage that found something:
//
//	1795412615874042071, round 186: the root page says that it is empty
func TestDamageThatWasFound(t *testing.T) {
	_, after, old, all, _ := lastWrite(t, lastWrites["append"])
	path := filepath.Join(t.TempDir(), "store")
	page := os.Getpagesize()
	newer, older := after[:page], after[page:2*page]
	if order.Uint64(newer[pageHead+48:]) < order.Uint64(older[pageHead+48:]) {
		newer, older = older, newer
	}

	// The tree before is whole, so the last transaction alone is lost.
	file := slices.Clone(after)
	root := order.Uint64(newer[pageHead+16:])
	order.PutUint16(file[int(root)*page+10:], 0)
	recs, st, err := attempt(t, path, file, Options{})
	require.NoError(t, err)
	requireSame(t, old, recs)
	require.True(t, st.Torn)

	// A meta page in the place of the other is not that.
	file = slices.Clone(after)
	at := int(order.Uint64(newer)) * page
	copy(file[at:at+page], older)
	recs, st, err = attempt(t, path, file, Options{})
	require.NoError(t, err)
	requireSame(t, old, recs)
	require.True(t, st.Torn)
	require.Less(t, len(old), len(all))
}

// damage does what disks, file systems and bad memory do.
func damage(r *rand.Rand, file []byte) {
	page := os.Getpagesize()
	pages := len(file) / page
	at := r.IntN(len(file))
	switch r.IntN(7) {
	case 0: // a bit
		file[at] ^= 1 << r.IntN(8)
	case 1: // a bit in the head of a page
		file[at/page*page+r.IntN(64)] ^= 1 << r.IntN(8)
	case 2: // a number in the head of a page
		binary.NativeEndian.PutUint32(file[at/page*page+4*r.IntN(32):], []uint32{0, 1, 2, 0xFFFF, 1 << 31, r.Uint32(), r.Uint32N(64)}[r.IntN(7)])
	case 3: // a page that was never written
		clear(file[at/page*page:][:page])
	case 4: // a page in the place of another
		from := r.IntN(pages)
		copy(file[at/page*page:][:page], file[from*page:][:page])
	case 5: // a sector of something else
		for i := at / 512 * 512; i < at/512*512+512; i++ {
			file[i] = byte(r.Uint32())
		}
	case 6: // a sector that was never written
		clear(file[at/512*512:][:512])
	}
}

// TestRot damages one record in the midst of the others.
func TestRot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s := opened(t, path, Options{noSync: true})
	recs := frames(0, 300, 1000)
	for i := range recs {
		require.NoError(t, s.Append(recs[i:i+1], true))
	}
	require.NoError(t, s.PutState(causal.State{Inc: 1, Clean: true}))
	require.NoError(t, s.Close())
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	for at := 0; ; at++ { // the pages that are not in use have copies
		i := bytes.Index(file[at:], []byte("record 123 "))
		if i < 0 {
			break
		}
		at += i
		file[at+50] ^= 1
	}

	_, _, err = attempt(t, path, file, Options{})
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, "record 123 of 300: wrong checksum")
	left, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(file, left), "left as it is")

	got, st, err := attempt(t, path, file, Options{Repair: true})
	require.NoError(t, err)
	requireSame(t, recs[:123], got)
	require.Equal(t, causal.State{Inc: 1, Clean: true, Torn: true}, st)
}

// TestRepairWithinAChunk cuts in the midst of records that were appended
// together.
func TestRepairWithinAChunk(t *testing.T) {
	for name, hurt := range map[string]func(b []byte){
		"content": func(b []byte) { b[recordHead+20] ^= 1 },
		"flags":   func(b []byte) { b[8] ^= 1 },
		"length":  func(b []byte) { b[0] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store")
			s := opened(t, path, Options{noSync: true})
			require.NoError(t, s.Append(frames(0, 500, 1000), true))
			require.NoError(t, s.PutState(causal.State{}))
			require.NoError(t, s.PutState(causal.State{}))
			require.NoError(t, s.Close())
			file, err := os.ReadFile(path)
			require.NoError(t, err)
			for at := 0; ; at++ {
				i := bytes.Index(file[at:], []byte("record 200 "))
				if i < 0 {
					break
				}
				at += i
				hurt(file[at-recordHead:])
			}
			_, _, err = attempt(t, path, file, Options{})
			require.ErrorIs(t, err, ErrCorrupt)
			got, st, err := attempt(t, path, file, Options{Repair: true})
			require.NoError(t, err)
			requireSame(t, frames(0, 200, 1000), got)
			require.True(t, st.Torn)
		})
	}
}

// TestUnfinishedCreation: a crash while the file is made must not leave one
// that cannot be used, and what is not ours must not be touched.
func TestUnfinishedCreation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
		return os.OpenFile(name, flag, mode)
	}})
	require.NoError(t, err)
	require.NoError(t, db.Close())
	made, err := os.ReadFile(path)
	require.NoError(t, err)
	whole := newborn(os.Getpagesize())
	require.True(t, bytes.Equal(whole, made), "bbolt begins a file in another way")

	fresh := func(file []byte, what string, args ...any) {
		recs, st, err := attempt(t, path, file, Options{Group: "g"})
		require.NoError(t, err, append([]any{what}, args...)...)
		require.Empty(t, recs)
		require.Equal(t, "g", st.Group)
	}
	for size := 0; size < len(whole); size += 97 + 6**cutStep {
		fresh(whole[:size], "cut at %d", size)
		fresh(append(whole[:size:size], make([]byte, len(whole)-size)...), "zeros from %d", size)
		fresh(append(make([]byte, size), whole[size:]...), "zeros up to %d", size)
	}
	fresh(whole, "nothing but bbolt's beginning")

	for name, file := range map[string][]byte{
		"a word":  []byte("hello"),
		"a text":  bytes.Repeat([]byte("hello "), 2000),
		"a novel": bytes.Repeat([]byte("hello "), 20_000),
	} {
		_, _, err := attempt(t, path, file, Options{Repair: true})
		require.ErrorIs(t, err, causal.ErrFormat, name)
		left, err := os.ReadFile(path)
		require.NoError(t, err)
		require.True(t, bytes.Equal(file, left), name)
	}
}

// TestFault takes the file away from under an open store. Memory that is mapped
// to nothing would kill the process, were it not for guard.
func TestFault(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Log("Windows does not let go of a mapped file's end: there is nothing to test")
		return
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "store")
	s, _, _ := load(t, path, Options{})
	require.NoError(t, s.Append(frames(0, 500, 1000), true))
	require.NoError(t, s.Close())

	s, err := Open(path, Options{})
	require.NoError(t, err)
	require.NoError(t, os.Truncate(path, 0))
	_, err = s.Load(func(causal.Record) error { return nil })
	require.ErrorIs(t, err, ErrCorrupt)
	require.NoError(t, s.Close())
	s, recs, _ := load(t, path, Options{LockTimeout: time.Millisecond}) // the lock is gone
	require.Empty(t, recs)
	require.NoError(t, s.Append(frames(0, 500, 1000), true))

	require.NoError(t, os.Truncate(path, 0))
	err = s.Append(frames(500, 1, 10), true)
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorIs(t, s.PutState(causal.State{Clean: true}), ErrCorrupt)
	require.ErrorIs(t, s.Close(), ErrCorrupt)
	s, err = Open(path, Options{LockTimeout: time.Millisecond})
	require.NotErrorIs(t, err, causal.ErrLocked)
	if err == nil {
		require.NoError(t, s.Close())
	}
}

// FuzzFile writes up to three pieces of nonsense into a good file.
func FuzzFile(f *testing.F) {
	// All kinds of pages are in it, and not more content than they need: what an
	// input costs grows with the file.
	_, after, _, all, _ := lastWriteAfter(f, 3000, lastWrites["append"])
	dir := f.TempDir()
	file := slices.Clone(after)
	f.Add(uint32(0), []byte{1}, uint32(5000), []byte{2, 3}, uint32(9000), []byte{})
	f.Add(uint32(os.Getpagesize()+16), bytes.Repeat([]byte{0}, 64), uint32(20_000), []byte("xyz"), uint32(0), []byte{})
	f.Fuzz(func(t *testing.T, at1 uint32, data1 []byte, at2 uint32, data2 []byte, at3 uint32, data3 []byte) {
		copy(file, after)
		copy(file[int(at1)%len(file):], data1)
		copy(file[int(at2)%len(file):], data2)
		copy(file[int(at3)%len(file):], data3)
		recs, st, err := attempt(t, filepath.Join(dir, fmt.Sprint(os.Getpid())), file, Options{Repair: len(data1)%2 == 0})
		require.LessOrEqual(t, len(recs), len(all))
		requireSame(t, all[:len(recs)], recs)
		if err != nil {
			require.True(t, errors.Is(err, ErrCorrupt) || errors.Is(err, causal.ErrFormat), "%v", err)
		} else if len(recs) < len(all) {
			require.True(t, st.Torn)
		}
	})
}
