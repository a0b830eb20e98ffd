package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/bits"
	"os"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/seed-885536be/p2p/causal"
)

// bbolt trusts its file: a damaged page makes it panic, run in circles, or
// give pages away that are in use. So the file is examined before bbolt is let
// at it.
//
// A bbolt file is a tree of pages, never changed in place, and two meta pages
// that name the roots of the last two transactions. A crash can leave the last
// one's tree incomplete only if the disk lied about what it had written; then
// the tree before is still whole, and the store falls back to it.

// The layout of a bbolt file, version 2, in the machine's byte order.
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2

	pageHead  = 16 // id 8, flags 2, count 2, overflow 4
	pageElem  = 16 // branch: pos 4, ksize 4, page 8; leaf: flags 4, pos 4, ksize 4, vsize 4
	metaSize  = 64 // magic 4, version 4, page size 4, flags 4, root 8, sequence 8, freelist 8, high water 8, txid 8, checksum 8
	rootValue = 16 // a bucket: root 8, sequence 8; if root is 0, its only page follows

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagMeta     = 0x04
	flagFreelist = 0x10
	flagBucket   = 0x01 // of an element

	minPage = 1 << 10
	maxPage = 16 << 20
	maxRun  = 256 << 20 // bytes in a page and its overflow; a store has less than 10 MiB
	maxTree = 64        // levels
)

var order = binary.NativeEndian

// examine checks the file at path, if there is one. It removes what an
// unfinished creation left, and the last transaction if that is damaged while
// the one before is not; torn says that the last transaction is lost, or never
// was complete.
func examine(path string, opts Options) (torn bool, err error) {
	if info, err := os.Stat(path); errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0 {
		return false, nil
	}
	// Opened for reading only, bbolt does no more than lock the file against
	// writers, and look at the meta pages.
	s := &Store{}
	defer func() {
		if e := s.release(); err == nil {
			err = e
		}
	}()
	openErr := s.guard(func() (err error) {
		s.db, err = bbolt.Open(path, 0, &bbolt.Options{
			Timeout: opts.LockTimeout, ReadOnly: true, NoStatistics: true, OpenFile: s.openFile,
		})
		return err
	})
	if openErr != nil && (s.file == nil || errors.Is(openErr, causal.ErrLocked)) {
		return false, openErr
	}
	// Whatever else bbolt had against the file is found again.
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return settle(f, opts.Repair)
}

// settle does the work of examine on an open file.
func settle(f *os.File, repair bool) (torn bool, err error) {
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	if ok, err := unfinished(f, info.Size()); err != nil {
		return false, err
	} else if ok {
		return false, f.Truncate(0)
	}
	metas, err := readMetas(f, info.Size())
	if err != nil {
		return false, err
	}
	best := -1 // the tree to go on with
	var damage error
	for i, m := range metas {
		t := tree{f: f, meta: m}
		err := t.check(info.Size())
		if err != nil && !errors.Is(err, ErrCorrupt) {
			return false, err
		}
		// Nothing is taken back in a file that is not ours, or not yet.
		if err == nil && (i == 0 || t.version != 0) {
			if t.bad == nil {
				best = i
				break
			}
			if best < 0 && repair {
				best = i
			}
		}
		if err == nil {
			err = t.bad
		}
		if damage == nil {
			damage = err
		}
	}
	if best < 0 {
		return false, damage
	}
	for _, m := range metas[:best] {
		if err := m.wipe(f); err != nil {
			return false, err
		}
	}
	return best > 0 || len(metas) < 2, nil
}

// meta is a meta page.
type meta struct {
	page      int64 // 0 or 1
	pageSize  int64
	root      uint64
	freelist  uint64
	highWater uint64 // all pages are below it
	txid      uint64
}

// readMetas returns the valid meta pages, the newest first.
func readMetas(f io.ReaderAt, size int64) ([]meta, error) {
	var metas []meta
	var known, other bool
	try := func(page, at int64) error {
		b := make([]byte, pageHead+metaSize)
		if n, err := f.ReadAt(b, at); n < len(b) {
			if err == io.EOF {
				return nil
			}
			return err
		}
		m := b[pageHead:]
		if order.Uint32(m) != boltMagic {
			return nil
		}
		known = true
		if order.Uint32(m[4:]) != boltVersion {
			other = true
			return nil
		}
		ps := int64(order.Uint32(m[8:]))
		if order.Uint64(m[56:]) != metaSum(m) || ps < minPage || ps > maxPage || bits.OnesCount64(uint64(ps)) != 1 || page*ps != at {
			return nil
		}
		// A transaction's number says which of the two it writes. What is in
		// the place of the other is a copy, and the other is lost.
		if order.Uint64(b) != uint64(page) || order.Uint64(m[48:])%2 != uint64(page) {
			return nil
		}
		metas = append(metas, meta{
			page: page, pageSize: ps, root: order.Uint64(m[16:]), freelist: order.Uint64(m[32:]),
			highWater: order.Uint64(m[40:]), txid: order.Uint64(m[48:]),
		})
		return nil
	}
	if err := try(0, 0); err != nil {
		return nil, err
	}
	for at := int64(minPage); at <= maxPage && at < size; at *= 2 {
		if len(metas) == 1 && metas[0].pageSize != at {
			continue
		}
		if err := try(1, at); err != nil {
			return nil, err
		}
		if len(metas) == 2 || len(metas) == 1 && metas[0].page == 1 {
			break
		}
	}
	switch {
	case len(metas) == 0 && (other || !known):
		return nil, fmt.Errorf("%w: no bbolt file of version %d", causal.ErrFormat, boltVersion)
	case len(metas) == 0:
		return nil, fmt.Errorf("%w: no valid meta page", ErrCorrupt)
	case len(metas) == 2 && metas[1].txid > metas[0].txid:
		metas[0], metas[1] = metas[1], metas[0]
	}
	return metas, nil
}

func metaSum(m []byte) uint64 {
	h := fnv.New64a()
	h.Write(m[:56])
	return h.Sum64()
}

// wipe makes the meta page invalid, durably.
func (m meta) wipe(f *os.File) error {
	if _, err := f.WriteAt(make([]byte, metaSize), m.page*m.pageSize+pageHead); err != nil {
		return typed(err)
	}
	return f.Sync()
}

// tree checks all pages that a meta page leads to.
type tree struct {
	f io.ReaderAt
	meta
	content
	used []uint64            // a bit for each page: it is in the tree, or free
	bare bool                // the root is empty
	bufs [maxTree + 2][]byte // for each level, the page that is looked at
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

func (t *tree) check(size int64) error {
	if t.highWater < 4 || t.highWater > uint64(size/t.pageSize) {
		return damaged("%d pages, and room for %d", t.highWater, size/t.pageSize)
	}
	t.used = make([]uint64, t.highWater/64+1)
	if err := t.walk(t.root, nil, nil, nil, 0); err != nil {
		return err
	}
	if t.bare && t.txid > 1 { // the first transaction after bbolt's own makes the store
		return damaged("nothing in it after %d transactions", t.txid)
	}
	if err := t.free(); err != nil {
		return err
	}
	return t.complete()
}

// take marks pages as used, once.
func (t *tree) take(id, n uint64) error {
	for ; n > 0; id, n = id+1, n-1 {
		if id < 2 || id >= t.highWater || t.used[id/64]&(1<<(id%64)) != 0 {
			return damaged("page %d is used twice, or not there", id)
		}
		t.used[id/64] |= 1 << (id % 64)
	}
	return nil
}

// read returns a page with its overflow, and marks it as used. What it returns
// is good until the next page of that level is read.
func (t *tree) read(id uint64, level int) ([]byte, error) {
	if id >= t.highWater {
		return nil, damaged("page %d is not there", id)
	}
	b := slices.Grow(t.bufs[level][:0], int(t.pageSize))[:t.pageSize]
	if _, err := t.f.ReadAt(b, int64(id)*t.pageSize); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	over := int64(order.Uint32(b[12:]))
	if order.Uint64(b) != id || over >= maxRun/t.pageSize {
		return nil, damaged("page %d is something else", id)
	}
	if err := t.take(id, uint64(over)+1); err != nil {
		return nil, err
	}
	if over > 0 {
		b = slices.Grow(b, int(over*t.pageSize))[:(over+1)*t.pageSize]
		if _, err := t.f.ReadAt(b[t.pageSize:], (int64(id)+1)*t.pageSize); err != nil {
			return nil, fmt.Errorf("page %d: %w", id, err)
		}
	}
	t.bufs[level] = b
	return b, nil
}

// walk checks the page with the given number and all below it, which belong to
// the bucket with the given name, or to none. The first key is to be low, if that
// is not nil: bbolt finds pages in their parents by it. All are to be less than
// high, if that is not nil.
func (t *tree) walk(id uint64, name, low, high []byte, depth int) error {
	if depth > maxTree {
		return damaged("page %d is too deep", id)
	}
	b, err := t.read(id, depth)
	if err != nil {
		return err
	}
	return t.page(id, b, name, low, high, depth)
}

func (t *tree) page(id uint64, b, name, low, high []byte, depth int) error {
	flags, count := order.Uint16(b[8:]), int(order.Uint16(b[10:]))
	empty := count == 0 && (flags == flagBranch || low != nil) // only a bucket's first page may be
	if flags != flagLeaf && flags != flagBranch || empty || pageHead+count*pageElem > len(b) {
		return damaged("page %d has flags %x and %d elements", id, flags, count)
	}
	t.bare = t.bare || name == nil && count == 0
	type child struct {
		id  uint64
		key []byte
	}
	var children []child
	for i := range count {
		at := pageHead + i*pageElem
		e := b[at : at+pageElem]
		pos, ksize, vsize := order.Uint32(e[4:]), order.Uint32(e[8:]), order.Uint32(e[12:])
		if flags == flagBranch {
			pos, ksize, vsize = order.Uint32(e), order.Uint32(e[4:]), 0
		}
		start := uint64(at) + uint64(pos)
		if ksize == 0 || start < uint64(pageHead+count*pageElem) || start+uint64(ksize)+uint64(vsize) > uint64(len(b)) {
			return damaged("element %d of page %d is out of bounds", i, id)
		}
		key := b[start : start+uint64(ksize)]
		value := b[start+uint64(ksize) : start+uint64(ksize)+uint64(vsize)]
		if i == 0 && low != nil && !bytes.Equal(key, low) || i > 0 && bytes.Compare(key, low) <= 0 ||
			high != nil && bytes.Compare(key, high) >= 0 {
			return damaged("key %d of page %d is out of order", i, id)
		}
		low = key
		switch {
		case flags == flagBranch:
			children = append(children, child{order.Uint64(e[8:]), key})
		case order.Uint32(e)&flagBucket != 0:
			if name != nil {
				key = []byte{} // a bucket in a bucket is none of ours
			}
			if err := t.bucket(id, key, value, depth); err != nil {
				return err
			}
		default:
			t.item(name, key, value)
		}
	}
	for i, c := range children {
		h := high
		if i+1 < len(children) {
			h = children[i+1].key
		}
		if err := t.walk(c.id, name, c.key, h, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// bucket checks the bucket in the value of an element of page id.
func (t *tree) bucket(id uint64, name, value []byte, depth int) error {
	if len(value) < rootValue {
		return damaged("a bucket in page %d is cut short", id)
	}
	if root := order.Uint64(value); root != 0 {
		return t.walk(root, name, nil, nil, depth+1)
	}
	inline := value[rootValue:]
	if len(inline) < pageHead || order.Uint16(inline[8:]) != flagLeaf {
		return damaged("a bucket in page %d has no page", id)
	}
	return t.page(id, inline, name, nil, nil, maxTree)
}

// free checks that the pages which are listed as free are free.
func (t *tree) free() error {
	b, err := t.read(t.freelist, 0)
	if err != nil {
		return err
	}
	if order.Uint16(b[8:]) != flagFreelist {
		return damaged("page %d is no freelist", t.freelist)
	}
	count, ids := uint64(order.Uint16(b[10:])), b[pageHead:]
	if count == 0xFFFF {
		count, ids = order.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids)/8) {
		return damaged("the freelist has %d pages, and room for %d", count, len(ids)/8)
	}
	for i := range count {
		if err := t.take(order.Uint64(ids[8*i:]), 1); err != nil {
			return err
		}
	}
	return nil
}

// content checks what is in a tree's buckets, if it is of the current version.
type content struct {
	version uint32 // 0: none
	state   bool   // there, and good
	counted bool   // count is there, and good
	count   uint64
	next    uint64 // the index after the last good record
	bad     error  // why no more of them are
}

// item takes the entries of the buckets in their order: those of bucketMeta
// come first.
func (c *content) item(bucket, key, value []byte) {
	switch {
	case bytes.Equal(bucket, bucketMeta):
		switch {
		case bytes.Equal(key, keyVersion) && len(value) == 4:
			c.version = binary.BigEndian.Uint32(value)
		case bytes.Equal(key, keyState):
			_, c.state = decodeState(value)
		case bytes.Equal(key, keyCount):
			c.count, c.counted = decodeCount(value)
		case bytes.Equal(key, keyFirst):
			var ok bool
			if c.next, ok = decodeCount(value); !ok {
				c.bad = damaged("bad first record")
			}
		case bytes.Equal(key, keyBase):
			if _, ok := unseal(value); !ok {
				c.bad = damaged("bad base")
			}
		}
	case bytes.Equal(bucket, bucketRecords) && c.version == current.version && c.bad == nil:
		c.next, c.bad, _ = chunk{key: key, value: value}.each(c.next, c.count, func(causal.Record) error { return nil })
	}
}

func (c *content) complete() error {
	switch {
	case c.version != current.version:
		return nil // for format.prepare to judge
	case !c.state || !c.counted:
		return damaged("bad state or count")
	case c.bad == nil && c.next < c.count:
		c.bad = errMissing
	}
	if c.bad != nil {
		c.bad = damaged("record %d of %d: %v", c.next, c.count, c.bad)
	}
	return nil
}

// unfinished reports whether a file of this size is what a crash left of
// bbolt's making of a new file: a part of the four pages it begins with, or
// zeros in their place. Nothing was ever stored in it.
func unfinished(f io.ReaderAt, size int64) (bool, error) {
	whole := newborn(os.Getpagesize())
	if size > int64(len(whole)) {
		return false, nil
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		return false, err
	}
	for i, c := range b {
		if c != 0 && c != whole[i] {
			return false, nil
		}
	}
	return !bytes.Equal(b, whole), nil
}

// newborn is what bbolt writes first into a new file.
func newborn(pageSize int) []byte {
	b := make([]byte, 4*pageSize)
	head := func(id int, flags uint16) []byte {
		p := b[id*pageSize:]
		order.PutUint64(p, uint64(id))
		order.PutUint16(p[8:], flags)
		return p[pageHead:]
	}
	for i := range 2 {
		m := head(i, flagMeta)
		order.PutUint32(m, boltMagic)
		order.PutUint32(m[4:], boltVersion)
		order.PutUint32(m[8:], uint32(pageSize))
		order.PutUint64(m[16:], 3) // root
		order.PutUint64(m[32:], 2) // freelist
		order.PutUint64(m[40:], 4) // high water
		order.PutUint64(m[48:], uint64(i))
		order.PutUint64(m[56:], metaSum(m))
	}
	head(2, flagFreelist)
	head(3, flagLeaf)
	return b
}
