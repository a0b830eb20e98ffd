package boltstore

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/seed-885536be/p2p/causal"
)

// later is a format that a later version of this package might have: it keeps a
// note, and puts an end to the third record.
var later = format{version: 3, migrations: map[uint32]func(*bbolt.Tx) error{
	1: func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Put([]byte("note"), []byte("from 1")) },
	2: func(tx *bbolt.Tx) error {
		note := tx.Bucket(bucketMeta).Get([]byte("note"))
		return tx.Bucket(bucketMeta).Put([]byte("note"), append(bytes.Clone(note), " by 2"...))
	},
}}

func made(t *testing.T) (path string, file []byte) {
	path = filepath.Join(t.TempDir(), "store")
	s := opened(t, path, Options{Group: "g"})
	require.NoError(t, s.Append(frames(0, 10, 100), true))
	require.NoError(t, s.PutState(causal.State{Group: "g", Inc: 4, Clean: true}))
	require.NoError(t, s.Close())
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	return path, file
}

func requireUnchanged(t *testing.T, path string, file []byte) {
	t.Helper()
	now, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(file, now), "the file was changed")
}

func TestMigration(t *testing.T) {
	path, _ := made(t)
	s, err := open(path, Options{Group: "g"}, later)
	require.NoError(t, err)
	require.NoError(t, s.db.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		require.Equal(t, "from 1 by 2", string(meta.Get([]byte("note"))))
		require.Equal(t, uint32(3), binary.BigEndian.Uint32(meta.Get(keyVersion)))
		return nil
	}))
	n := 0
	st, err := s.Load(func(causal.Record) error { n++; return nil })
	require.NoError(t, err)
	require.Equal(t, 10, n)
	require.Equal(t, causal.State{Group: "g", Inc: 4, Clean: true}, st)
	require.NoError(t, s.Close())
	migrated, err := os.ReadFile(path)
	require.NoError(t, err)

	_, err = Open(path, Options{})
	require.ErrorIs(t, err, causal.ErrFormat)
	require.ErrorContains(t, err, "version 3, this one reads 1")
	requireUnchanged(t, path, migrated)

	s, err = open(path, Options{}, later)
	require.NoError(t, err, "once is enough")
	require.NoError(t, s.Close())
	requireUnchanged(t, path, migrated)
}

func TestMigrationThatFails(t *testing.T) {
	path, file := made(t)
	failing := format{version: 3, migrations: map[uint32]func(*bbolt.Tx) error{1: later.migrations[1], 2: func(*bbolt.Tx) error { return errStop }}}
	_, err := open(path, Options{}, failing)
	require.ErrorIs(t, err, errStop)
	require.ErrorContains(t, err, "from version 2 to 3")
	requireUnchanged(t, path, file)

	_, err = open(path, Options{Group: "other"}, later)
	require.ErrorIs(t, err, causal.ErrWrongGroup)
	requireUnchanged(t, path, file)

	_, err = open(path, Options{}, format{version: 3, migrations: map[uint32]func(*bbolt.Tx) error{2: later.migrations[2]}})
	require.ErrorIs(t, err, causal.ErrFormat, "no way from 1")
	requireUnchanged(t, path, file)
}

func TestForeignFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	db, err := bbolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte("users"))
		require.NoError(t, err)
		sub, err := b.CreateBucket([]byte("nested"))
		require.NoError(t, err)
		return sub.Put([]byte("k"), []byte("v"))
	}))
	require.NoError(t, db.Close())
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	_, err = Open(path, Options{Repair: true})
	require.ErrorIs(t, err, causal.ErrFormat)
	requireUnchanged(t, path, file)
}

func TestAnotherBolt(t *testing.T) {
	path, file := made(t)
	for page := range 2 {
		m := file[page*os.Getpagesize()+pageHead:]
		order.PutUint32(m[4:], boltVersion+1)
		order.PutUint64(m[56:], metaSum(m))
	}
	require.NoError(t, os.WriteFile(path, file, 0o600))
	_, err := Open(path, Options{})
	require.ErrorIs(t, err, causal.ErrFormat)
	requireUnchanged(t, path, file)
}
