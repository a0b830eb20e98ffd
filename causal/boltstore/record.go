package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"

	"go.etcd.io/bbolt"

	"github.com/seed-885536be/p2p/causal"
)

// Records are kept in chunks. A chunk's key is the index of its first record,
// 8 bytes big-endian, its value the records back to back:
//
//	length    4 bytes, of the frame
//	checksum  4 bytes, CRC-32C of the index (8 bytes), the flags and the frame
//	flags     1 byte: 1 if own
//	frame
//
// Indices count from 0 without a hole. The index is part of the checksum, so
// that a record in a wrong place is found too.
const (
	recordHead = 4 + 4 + 1
	flagOwn    = 1

	// chunkSize is when a chunk is full. bbolt writes again, with each
	// transaction, the page that it appends to, which holds up to four chunks.
	chunkSize = 64 << 10
)

// Why a record is bad.
var (
	errMissing  = errors.New("missing")
	errExtra    = errors.New("more records than there should be")
	errShort    = errors.New("cut short")
	errChecksum = errors.New("wrong checksum")
	errFlags    = errors.New("unknown flags")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(index uint64, rest []byte) uint32 {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], index)
	return crc32.Update(crc32.Update(0, castagnoli, b[:]), castagnoli, rest)
}

// packer collects records into chunks.
type packer struct {
	buf   []byte
	marks []mark
	next  uint64 // the index of the next record
}

// mark is where a chunk begins.
type mark struct {
	first uint64
	off   int
}

func (p *packer) reset(next uint64) {
	const keep = 4 << 20 // what a rare great batch needed is not kept for good
	if cap(p.buf) > keep {
		p.buf = nil
	}
	p.buf, p.marks, p.next = p.buf[:0], p.marks[:0], next
}

func (p *packer) empty() bool { return len(p.marks) == 0 }
func (p *packer) size() int   { return len(p.buf) }

func (p *packer) add(r causal.Record) {
	size := recordHead + len(r.Frame)
	if n := len(p.marks); n == 0 || len(p.buf)-p.marks[n-1].off+size > chunkSize {
		p.marks = append(p.marks, mark{first: p.next, off: len(p.buf)})
	}
	var flags byte
	if r.Own {
		flags = flagOwn
	}
	at := len(p.buf)
	p.buf = binary.BigEndian.AppendUint32(p.buf, uint32(len(r.Frame)))
	p.buf = append(p.buf, 0, 0, 0, 0, flags)
	p.buf = append(p.buf, r.Frame...)
	binary.BigEndian.PutUint32(p.buf[at+4:], checksum(p.next, p.buf[at+8:]))
	p.next++
}

// write puts the chunks into the bucket.
func (p *packer) write(b *bbolt.Bucket) error {
	b.FillPercent = 1 // keys only grow
	for i, m := range p.marks {
		end := len(p.buf)
		if i+1 < len(p.marks) {
			end = p.marks[i+1].off
		}
		if err := b.Put(indexKey(m.first), p.buf[m.off:end]); err != nil {
			return err
		}
	}
	return nil
}

func indexKey(i uint64) []byte { return binary.BigEndian.AppendUint64(nil, i) }

// chunk is a chunk as it was read.
type chunk struct{ key, value []byte }

// each calls f for the chunk's records, of which the first must have the index
// next, and all an index below end. It returns the index after the last good
// one.
func (c chunk) each(next, end uint64, f func(causal.Record) error) (after uint64, damage, err error) {
	if len(c.key) != 8 || binary.BigEndian.Uint64(c.key) != next {
		return next, errMissing, nil
	}
	for b := c.value; len(b) > 0; next++ {
		if next >= end {
			return next, errExtra, nil
		}
		if len(b) < recordHead {
			return next, errShort, nil
		}
		size := uint64(binary.BigEndian.Uint32(b))
		if uint64(len(b)-recordHead) < size {
			return next, errShort, nil
		}
		stop := recordHead + int(size)
		if checksum(next, b[8:stop]) != binary.BigEndian.Uint32(b[4:]) {
			return next, errChecksum, nil
		}
		if b[8]&^flagOwn != 0 {
			return next, errFlags, nil
		}
		if err := f(causal.Record{Frame: b[recordHead:stop:stop], Own: b[8] == flagOwn}); err != nil {
			return next, nil, err
		}
		b = b[stop:]
	}
	return next, nil, nil
}

// dropPayloads puts stripped frames in the place of the records from an index
// to before another, as many as suit one transaction, and returns the index to
// go on from.
func dropPayloads(tx *bbolt.Tx, from, before uint64, strip func([]byte) []byte) (next uint64, err error) {
	const most = 4 << 20
	b := tx.Bucket(bucketRecords)
	c := b.Cursor()
	k, v := c.Seek(indexKey(from))
	if !bytes.Equal(k, indexKey(from)) { // it is in the middle of a chunk
		if k == nil {
			k, v = c.Last()
		} else {
			k, v = c.Prev()
		}
	}
	var p packer
	var changed []chunk
	for read := 0; k != nil && from < before && read < most; k, v = c.Next() {
		if len(k) != 8 {
			return from, damaged("a key of %d bytes", len(k))
		}
		read += len(v)
		p.buf, p.marks, p.next = nil, nil, binary.BigEndian.Uint64(k)
		after, damage, _ := chunk{k, v}.each(p.next, math.MaxUint64, func(r causal.Record) error {
			if p.next >= from && p.next < before {
				r.Frame = strip(r.Frame)
			}
			p.add(r)
			return nil
		})
		if damage != nil {
			return from, damaged("record %d: %v", after, damage)
		}
		if !bytes.Equal(p.buf, v) {
			changed = append(changed, chunk{bytes.Clone(k), p.buf})
		}
		from = min(after, before)
	}
	if from < before && k == nil {
		return from, damaged("record %d: %v", from, errMissing)
	}
	// A cursor is not to be trusted across changes, so these come last.
	for _, x := range changed {
		if err := b.Put(x.key, x.value); err != nil {
			return from, err
		}
	}
	return from, nil
}

// compact removes the chunks of which all records have an index below before,
// and puts base in the place of the one before. It returns the index of the
// first record left, or next if none is.
func compact(tx *bbolt.Tx, before, next uint64, base []byte) (first uint64, err error) {
	b := tx.Bucket(bucketRecords)
	var old [][]byte
	first = next
	c := b.Cursor()
	for k, _ := c.First(); k != nil; {
		if len(k) != 8 {
			return 0, damaged("a key of %d bytes", len(k))
		}
		key := bytes.Clone(k)
		k, _ = c.Next()
		end := next
		if len(k) == 8 {
			end = binary.BigEndian.Uint64(k)
		}
		if end > before {
			first = binary.BigEndian.Uint64(key)
			break
		}
		old = append(old, key)
	}
	// A cursor is not to be trusted across changes, so these come last.
	for _, k := range old {
		if err := b.Delete(k); err != nil {
			return 0, err
		}
	}
	meta := tx.Bucket(bucketMeta)
	if err := meta.Put(keyFirst, seal(indexKey(first))); err != nil {
		return 0, err
	}
	return first, meta.Put(keyBase, seal(bytes.Clone(base)))
}

// cut removes all but the records before index n, which are good.
func cut(tx *bbolt.Tx, n uint64) error {
	b := tx.Bucket(bucketRecords)
	var last chunk // with good records and bad ones
	var bad [][]byte
	next, err := firstRecord(tx)
	if err != nil {
		return err
	}
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		size := 0 // of the good records in it
		after, damage, err := chunk{k, v}.each(next, n, func(r causal.Record) error {
			size += recordHead + len(r.Frame)
			return nil
		})
		switch {
		case err != nil:
			return err
		case damage == nil && next < n:
		case after > next:
			last = chunk{bytes.Clone(k), bytes.Clone(v[:size])}
		default:
			bad = append(bad, bytes.Clone(k))
		}
		next = after
	}
	// A cursor is not to be trusted across changes, so these come last.
	for _, k := range bad {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	if last.key == nil {
		return nil
	}
	return b.Put(last.key, last.value)
}

// firstRecord is the index of the first record.
func firstRecord(tx *bbolt.Tx) (uint64, error) {
	b := tx.Bucket(bucketMeta).Get(keyFirst)
	if b == nil {
		return 0, nil
	}
	n, ok := decodeCount(bytes.Clone(b))
	if !ok {
		return 0, damaged("bad first record")
	}
	return n, nil
}

// The number of records is stored beside them, in 8 bytes and a checksum: so
// that the loss of the last is noticed.
func putCount(tx *bbolt.Tx, n uint64) error {
	return tx.Bucket(bucketMeta).Put(keyCount, seal(indexKey(n)))
}

func decodeCount(b []byte) (n uint64, ok bool) {
	b, ok = unseal(b)
	if !ok || len(b) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(b), true
}

// The state is stored as a byte of flags (1: clean), the incarnation in 8
// bytes, then group, key and writer, each after its length in 4 bytes, and a
// checksum.
const flagClean = 1

func putState(tx *bbolt.Tx, st causal.State) error {
	b := []byte{0}
	if st.Clean {
		b[0] = flagClean
	}
	b = binary.BigEndian.AppendUint64(b, st.Inc)
	for _, f := range [][]byte{[]byte(st.Group), st.Key, st.Writer} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(f)))
		b = append(b, f...)
	}
	return tx.Bucket(bucketMeta).Put(keyState, seal(b))
}

func decodeState(b []byte) (st causal.State, ok bool) {
	b, ok = unseal(b)
	if !ok || len(b) < 9 || b[0]&^flagClean != 0 {
		return st, false
	}
	st.Clean = b[0] == flagClean
	st.Inc = binary.BigEndian.Uint64(b[1:])
	var fields [3][]byte
	b = b[9:]
	for i := range fields {
		if len(b) < 4 || uint64(binary.BigEndian.Uint32(b)) > uint64(len(b)-4) {
			return causal.State{}, false
		}
		n := 4 + int(binary.BigEndian.Uint32(b))
		fields[i] = append(fields[i], b[4:n]...)
		b = b[n:]
	}
	st.Group, st.Key, st.Writer = string(fields[0]), fields[1], fields[2]
	return st, len(b) == 0
}

// seal appends a checksum; unseal takes it off.
func seal(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func unseal(b []byte) ([]byte, bool) {
	n := len(b) - 4
	if n < 0 || crc32.Checksum(b[:n], castagnoli) != binary.BigEndian.Uint32(b[n:]) {
		return nil, false
	}
	return b[:n], true
}
