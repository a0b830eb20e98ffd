package seal

import (
	"bytes"
	"crypto/ecdh"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
)

// ephemeral is a private key of one byte repeated.
func ephemeral(t *testing.T, b byte) *ecdh.PrivateKey {
	k, err := ecdh.X25519().NewPrivateKey(bytes.Repeat([]byte{b}, 32))
	require.NoError(t, err)
	return k
}

// The messages that another implementation, github.com/flynn/noise v1.1.0, makes
// with the same keys.
func TestHandshakeIsThatOfNoise(t *testing.T) {
	psk := bytes.Repeat([]byte{9}, 32)
	a, first := initiate(ephemeral(t, 1), psk, []byte("prologue"), []byte("first payload"))
	require.Equal(t, "a4e09292b651c278b9772c569f5fa9bb13d906b46ab68c9df9dc2b4409f8a20986c9c31de20a9d545d2cacb362200ffdb642847966a7b83aed2baccc0e", hex.EncodeToString(first))
	b, payload, err := respond(psk, []byte("prologue"), first)
	require.NoError(t, err)
	require.Equal(t, "first payload", string(payload))
	var atB []byte
	second, err := b.answer(ephemeral(t, 2), func(bound []byte) []byte {
		atB = bound
		return []byte("second payload")
	})
	require.NoError(t, err)
	require.Equal(t, "ce8d3ad1ccb633ec7b70c17814a5c76ecd029685050d344745ba05870e587d590bd13c917d6041134cb6fb9f97be5119ab597cb3782e0d1bc1b16e2dbde1", hex.EncodeToString(second))
	payload, atA, err := a.finish(second)
	require.NoError(t, err)
	require.Equal(t, "second payload", string(payload))
	require.Equal(t, atB, atA)
	require.Equal(t, "000b5bbc10ecf3a6f742626af50e5e018c3d92b46cfcd31c9f64eb3eadaec3fa", hex.EncodeToString(a.h))
	require.Equal(t, a.h, b.h)
	for n, c := range []struct{ plain, sealed string }{
		{"third payload", "8cf21707cb07d8170cc0aaa7feef7672e4f47496b999c4ceca0e0e2a42"},
		{"fourth payload", "8f5fe3ca8ed78dd5dde36d026b1b322317c3e51a3847a8ae83206dadd54d"},
	} {
		require.Equal(t, c.sealed, hex.EncodeToString(a.writer().Seal(nil, gcmNonce(uint64(n)), []byte(c.plain), nil)))
		require.Equal(t, c.sealed, hex.EncodeToString(b.writer().Seal(nil, gcmNonce(uint64(n)), []byte(c.plain), nil)))
	}
}

func TestHandshakeRefusesWhatIsChanged(t *testing.T) {
	psk := bytes.Repeat([]byte{9}, 32)
	a, first := initiate(ephemeral(t, 1), psk, nil, []byte("payload"))
	for i := range len(first) * 8 {
		msg := bytes.Clone(first)
		msg[i/8] ^= 1 << (i % 8)
		_, _, err := respond(psk, nil, msg)
		require.ErrorIs(t, err, errHandshake, "bit %d", i)
	}
	for i := range first {
		_, _, err := respond(psk, nil, first[:i])
		require.ErrorIs(t, err, errHandshake)
	}
	_, _, err := respond(bytes.Repeat([]byte{8}, 32), nil, first)
	require.ErrorIs(t, err, errHandshake)
	_, _, err = respond(psk, []byte("another prologue"), first)
	require.ErrorIs(t, err, errHandshake)

	b, _, err := respond(psk, nil, first)
	require.NoError(t, err)
	second, err := b.answer(ephemeral(t, 2), func([]byte) []byte { return []byte("payload") })
	require.NoError(t, err)
	for i := range len(second) * 8 {
		msg := bytes.Clone(second)
		msg[i/8] ^= 1 << (i % 8)
		_, _, err := a.finish(msg)
		require.ErrorIs(t, err, errHandshake, "bit %d", i)
	}
	_, _, err = a.finish(make([]byte, 80))
	require.ErrorIs(t, err, errHandshake, "a point of small order")
	payload, _, err := a.finish(second)
	require.NoError(t, err, "what was refused has changed nothing")
	require.Equal(t, "payload", string(payload))
}
