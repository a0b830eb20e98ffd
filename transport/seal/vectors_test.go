package seal

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

var rewrite = flag.Bool("rewrite", false, "write the vectors in testdata anew")

const vectorsFile = "testdata/vectors.json"

// vector is what becomes of a secret in a group, and a datagram that is sealed
// with it, for other implementations to check themselves against. Bytes are in
// hex. Streams have none: both sides of a handshake draw keys at random.
type vector struct {
	Group      string `json:"group"` // with its prefix
	Code       string `json:"code,omitempty"`
	Passphrase string `json:"passphrase,omitempty"`
	ID         string `json:"id"`
	PSK        string `json:"psk"`
	Datagrams  string `json:"datagrams"`
	Header     string `json:"header"` // of a datagram, and
	Plain      string `json:"plain"`  // what is encrypted
	Sealed     string `json:"sealed"` // the whole datagram
}

func (v vector) derive(t *testing.T) *groupKey {
	k := Passphrase(v.Passphrase)
	if v.Code != "" {
		var err error
		k, err = Code(v.Code)
		require.NoError(t, err)
	}
	g, err := newGroupKey(k, v.Group)
	require.NoError(t, err)
	return g
}

func unhex(t *testing.T, s string) []byte {
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

// Keys are derived, and datagrams sealed and opened, as the vectors say.
func TestVectors(t *testing.T) {
	if *rewrite {
		all := []vector{
			{Group: groupPrefix + "239.255.77.12:7712", Code: formatCode([codeBytes]byte{1, 2, 3, 4, 5})},
			{Group: groupPrefix + "239.255.77.12:7712/name", Passphrase: "correct horse battery staple"},
		}
		for i := range all {
			v := &all[i]
			g := v.derive(t)
			h := append([]byte{kindDatagram}, g.id[:]...)
			h = append(h, "an instance of 1"...)
			h = append(h, 0, 0, 0, 0, 1, byte(i), 9, 8, 7, 6, 5, 4)
			require.Len(t, h, headerSize)
			v.ID, v.PSK, v.Datagrams = hex.EncodeToString(g.id[:]), hex.EncodeToString(g.psk), hex.EncodeToString(g.datagrams)
			v.Header, v.Plain = hex.EncodeToString(h), hex.EncodeToString([]byte("a frame"))
			v.Sealed = hex.EncodeToString(g.sender(instance(h[5:])).Seal(h, h[nonceAt:headerSize], []byte("a frame"), h))
		}
		b, err := json.MarshalIndent(all, "", " ")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(vectorsFile, append(b, '\n'), 0o644))
	}
	b, err := os.ReadFile(vectorsFile)
	require.NoError(t, err)
	var all []vector
	require.NoError(t, json.Unmarshal(b, &all))
	require.Len(t, all, 2)
	for _, v := range all {
		g := v.derive(t)
		require.Equal(t, v.ID, hex.EncodeToString(g.id[:]))
		require.Equal(t, v.PSK, hex.EncodeToString(g.psk))
		require.Equal(t, v.Datagrams, hex.EncodeToString(g.datagrams))
		sealed, h := unhex(t, v.Sealed), unhex(t, v.Header)
		aead := g.sender(instance(h[5:]))
		require.Equal(t, v.Sealed, hex.EncodeToString(aead.Seal(h, h[nonceAt:headerSize], unhex(t, v.Plain), h)))
		plain, err := aead.Open(nil, sealed[nonceAt:headerSize], sealed[headerSize:], sealed[:headerSize])
		require.NoError(t, err)
		require.Equal(t, v.Plain, hex.EncodeToString(plain))
	}
}
