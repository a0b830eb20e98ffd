package boltstore

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/seed-885536be/p2p/causal"
)

// The buckets of a store, and the keys of the first.
var (
	bucketMeta    = []byte("p2p causal") // sorts before the other
	bucketRecords = []byte("p2p causal records")

	keyVersion = []byte("version") // 4 bytes, big-endian
	keyState   = []byte("state")
	keyCount   = []byte("count") // the index after the last record, and
	keyFirst   = []byte("first") // that of the first, if it is not 0
	keyBase    = []byte("base")  // what Compact was given, and a checksum
)

// format is a version of what a file holds, and the way to it from those
// before.
type format struct {
	version uint32
	// migrations has for each older version that can be read the step to the
	// next. All steps that a file needs are taken in one transaction.
	migrations map[uint32]func(*bbolt.Tx) error
}

// current is what this package writes. To change the format, raise the version
// and add the step from the one before.
var current = format{version: 1}

// prepare makes an empty file a store, and brings one of an older version to
// the format's. It reports whether it changed the file.
func (f format) prepare(tx *bbolt.Tx, group string) (changed bool, err error) {
	meta := tx.Bucket(bucketMeta)
	if meta == nil {
		if k, _ := tx.Cursor().First(); k != nil {
			return false, fmt.Errorf("%w: a bbolt file of something else", causal.ErrFormat)
		}
		return true, f.create(tx, group)
	}
	v := meta.Get(keyVersion)
	if len(v) != 4 {
		return false, damaged("no version")
	}
	for {
		have := binary.BigEndian.Uint32(meta.Get(keyVersion))
		if have == f.version {
			break
		}
		step := f.migrations[have]
		if have > f.version || step == nil {
			return false, fmt.Errorf("%w: version %d, this one reads %d", causal.ErrFormat, have, f.version)
		}
		if err := step(tx); err != nil {
			return false, fmt.Errorf("from version %d to %d: %w", have, have+1, err)
		}
		if err := meta.Put(keyVersion, binary.BigEndian.AppendUint32(nil, have+1)); err != nil {
			return false, err
		}
		changed = true
	}
	st, _, err := readMeta(tx)
	if err == nil && group != "" && st.Group != "" && st.Group != group {
		err = fmt.Errorf("%w: %q, not %q", causal.ErrWrongGroup, st.Group, group)
	}
	return changed, err
}

func (f format) create(tx *bbolt.Tx, group string) error {
	meta, err := tx.CreateBucket(bucketMeta)
	if err != nil {
		return err
	}
	if _, err := tx.CreateBucket(bucketRecords); err != nil {
		return err
	}
	if err := meta.Put(keyVersion, binary.BigEndian.AppendUint32(nil, f.version)); err != nil {
		return err
	}
	if err := putState(tx, causal.State{Group: group}); err != nil {
		return err
	}
	return putCount(tx, 0)
}

// readMeta reads the state, with the index of the first record, and the index
// after the last.
func readMeta(tx *bbolt.Tx) (st causal.State, count uint64, err error) {
	meta := tx.Bucket(bucketMeta)
	if tx.Bucket(bucketRecords) == nil {
		return st, 0, damaged("no records")
	}
	st, ok := decodeState(bytes.Clone(meta.Get(keyState)))
	if !ok {
		return st, 0, damaged("bad state")
	}
	if count, ok = decodeCount(bytes.Clone(meta.Get(keyCount))); !ok {
		return st, 0, damaged("bad count")
	}
	if first := meta.Get(keyFirst); first != nil {
		if st.First, ok = decodeCount(bytes.Clone(first)); !ok || st.First > count {
			return st, 0, damaged("bad first record")
		}
	}
	return st, count, nil
}

// readBase reads what Compact was given, nil if it was not called.
func readBase(tx *bbolt.Tx) ([]byte, error) {
	b := bytes.Clone(tx.Bucket(bucketMeta).Get(keyBase))
	if b == nil {
		return nil, nil
	}
	b, ok := unseal(b)
	if !ok {
		return nil, damaged("bad base")
	}
	return b, nil
}
