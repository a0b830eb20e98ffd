package causal

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var rewrite = flag.Bool("rewrite", false, "write the vectors in testdata anew")

const vectorsFile = "testdata/vectors.json"

// vectors are blocks and what they say, for other implementations to check
// themselves against: a history of two writers, and what sums it up. Bytes are
// in hex.
type vectors struct {
	Group  string        `json:"group"`
	Blocks []blockVector `json:"blocks"`
	Base   baseVector    `json:"base"` // of the blocks up to its height
	// Digest is that of the blocks but the checkpoint.
	Digest string `json:"digest"`
}

type blockVector struct {
	Name     string      `json:"name"`
	Seed     string      `json:"seed"` // of the writer's Ed25519 key (RFC 8032)
	Kind     uint8       `json:"kind"`
	Writer   string      `json:"writer"`
	N        uint64      `json:"n"`
	First    uint64      `json:"first"`
	Count    uint32      `json:"count"`
	Height   uint64      `json:"height"`
	Wall     int64       `json:"wall"`
	Public   string      `json:"public,omitempty"` // of a genesis, as are
	Random   string      `json:"random,omitempty"`
	Cont     *refVector  `json:"cont,omitempty"`
	Prev     string      `json:"prev,omitempty"` // of the others
	UpTo     uint64      `json:"upto,omitempty"` // of a checkpoint, as is
	Commit   string      `json:"commit,omitempty"`
	Deps     []refVector `json:"deps"`
	Messages []string    `json:"messages"`
	Body     string      `json:"body"`    // encoded
	Payload  string      `json:"payload"` // encoded
	Hash     string      `json:"hash"`
	Frame    string      `json:"frame"`
	Hollow   string      `json:"hollow"` // the frame without its messages
}

type refVector struct {
	Writer string `json:"writer"`
	N      uint64 `json:"n"`
	Hash   string `json:"hash"`
}

type baseVector struct {
	Height   uint64      `json:"height"`
	Blocks   uint64      `json:"blocks"`
	Messages uint64      `json:"messages"`
	Sum      string      `json:"sum"` // of the hashes, little-endian
	Members  []string    `json:"members"`
	Ends     []endVector `json:"ends"`
	Encoded  string      `json:"encoded"`
	Commit   string      `json:"commit"`
}

type endVector struct {
	Writer string `json:"writer"`
	Public string `json:"public"`
	N      uint64 `json:"n"`
	Next   uint64 `json:"next"`
	Wall   int64  `json:"wall"`
	Hash   string `json:"hash"`
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }

func unhex(t *testing.T, s string) []byte {
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

func refOf(r Ref) refVector { return refVector{hexOf(r.Writer[:]), r.N, hexOf(r.Hash[:])} }

func (r refVector) ref(t *testing.T) Ref {
	return Ref{Writer: WriterID(unhex(t, r.Writer)), N: r.N, Hash: Hash(unhex(t, r.Hash))}
}

// told is what a vector says of a body.
func told(x body) blockVector {
	v := blockVector{
		Kind: x.kind, Writer: hexOf(x.writer[:]), N: x.n, First: x.first, Count: x.count, Height: x.height, Wall: x.wall, Deps: []refVector{},
	}
	if x.kind == kindGenesis {
		v.Public, v.Random = hexOf(x.pub[:]), hexOf(x.random[:])
		if x.cont.N > 0 {
			c := refOf(x.cont)
			v.Cont = &c
		}
	} else {
		v.Prev = hexOf(x.prev[:])
	}
	if x.kind == kindCheckpoint {
		v.UpTo, v.Commit = x.upto, hexOf(x.commit[:])
	}
	for _, d := range x.deps {
		v.Deps = append(v.Deps, refOf(d))
	}
	return v
}

// body is the inverse of told.
func (v blockVector) body(t *testing.T) body {
	x := body{kind: v.Kind, writer: WriterID(unhex(t, v.Writer)), n: v.N, first: v.First, count: v.Count, height: v.Height, wall: v.Wall, upto: v.UpTo}
	copy(x.pub[:], unhex(t, v.Public))
	copy(x.random[:], unhex(t, v.Random))
	copy(x.prev[:], unhex(t, v.Prev))
	copy(x.commit[:], unhex(t, v.Commit))
	if v.Cont != nil {
		x.cont = v.Cont.ref(t)
	}
	for _, d := range v.Deps {
		x.deps = append(x.deps, d.ref(t))
	}
	return x
}

// encode fills in what follows from the rest.
func (v blockVector) encode(t *testing.T, group string) blockVector {
	key := ed25519.NewKeyFromSeed(unhex(t, v.Seed))
	x := v.body(t)
	var payload []byte
	for _, m := range v.Messages {
		payload = binary.AppendUvarint(payload, uint64(len(m)/2))
		payload = append(payload, unhex(t, m)...)
	}
	head := x.append(nil)
	hash := newHasher(group).block(sha256.Sum256(payload), head)
	frame := append([]byte{formWhole}, ed25519.Sign(key, signed(hash))...)
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(head)))
	frame = append(append(frame, head...), payload...)
	v.Body, v.Payload, v.Hash, v.Frame, v.Hollow = hexOf(head), hexOf(payload), hexOf(hash[:]), hexOf(frame), hexOf(hollow(frame))
	return v
}

func (v blockVector) ref(t *testing.T) Ref {
	return Ref{Writer: WriterID(unhex(t, v.Writer)), N: v.N, Hash: Hash(unhex(t, v.Hash))}
}

func (v baseVector) base(t *testing.T) base {
	b := base{height: v.Height, blocks: v.Blocks, msgs: v.Messages}
	for i := range b.sum {
		b.sum[i] = binary.LittleEndian.Uint64(unhex(t, v.Sum)[8*i:])
	}
	for _, k := range v.Members {
		b.members = append(b.members, Key(unhex(t, k)))
	}
	for _, e := range v.Ends {
		b.ends = append(b.ends, end{
			writer: WriterID(unhex(t, e.Writer)), pub: [32]byte(unhex(t, e.Public)), n: e.N, next: e.Next, wall: e.Wall, hash: Hash(unhex(t, e.Hash)),
		})
	}
	return b
}

// takeAll is a log that has taken the blocks of the vectors but the checkpoint.
func takeAll(t *testing.T, all vectors) *Memory {
	m, err := NewMemory(Config{Key: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, 32)), Group: all.Group, Rand: bytes.NewReader(make([]byte, 64))})
	require.NoError(t, err)
	var frames [][]byte
	for _, v := range all.Blocks {
		if v.Kind != kindCheckpoint {
			frames = append(frames, unhex(t, v.Frame))
		}
	}
	peer := keyOf(ed25519.NewKeyFromSeed(unhex(t, all.Blocks[0].Seed)).Public().(ed25519.PublicKey))
	now := time.Unix(1_900_000_000, 0)
	m.SetPeers(now, []Key{peer})
	m.Link(now, peer, true)
	m.Step(now, peer, &Blocks{Frames: frames})
	require.Len(t, frames, int(m.blocks.n), "%v", m.Stats().Refused)
	return m
}

func writeVectors(t *testing.T) {
	const group, wall = "vectors", 1_900_000_000_000
	all := vectors{Group: group}
	seeds := []string{hexOf(bytes.Repeat([]byte{1}, 32)), hexOf(bytes.Repeat([]byte{2}, 32))}
	add := func(name, seed string, x body, messages ...string) blockVector {
		v := told(x)
		v.Name, v.Seed, v.Messages, v.Count = name, seed, []string{}, uint32(len(messages))
		for _, m := range messages {
			v.Messages = append(v.Messages, hexOf([]byte(m)))
		}
		v = v.encode(t, group)
		all.Blocks = append(all.Blocks, v)
		return v
	}
	genesis := func(seed string, random byte) body {
		x := body{kind: kindGenesis, n: 1, first: 1, height: 1, wall: wall, random: [16]byte{random}}
		copy(x.pub[:], ed25519.NewKeyFromSeed(unhex(t, seed)).Public().(ed25519.PublicKey))
		x.writer = writerID(group, x.pub[:], x.random[:])
		return x
	}
	after := func(kind uint8, v blockVector, height uint64, deps ...blockVector) body {
		x := body{kind: kind, writer: WriterID(unhex(t, v.Writer)), n: v.N + 1, first: v.First + uint64(v.Count), height: height, wall: v.Wall + 1000, prev: Hash(unhex(t, v.Hash))}
		for _, d := range deps {
			x.deps = append(x.deps, d.ref(t))
		}
		return x
	}
	a1 := add("the first block of a writer", seeds[0], genesis(seeds[0], 1), "hello")
	b1 := add("the first of another, without a message", seeds[1], genesis(seeds[1], 2))
	a2 := add("an answer to both: several messages, one of them empty", seeds[0], after(kindMessages, a1, 2, b1), "one", "", string(bytes.Repeat([]byte("x"), 200)))
	b2 := add("draws two heads together", seeds[1], after(kindMerge, b1, 3, a2))
	x := genesis(seeds[0], 4)
	x.cont, x.height, x.deps = a2.ref(t), 4, []Ref{b2.ref(t)}
	a3 := add("the next run of the first writer, which continues it", seeds[0], x, "back again")

	b := base{height: 2, members: []Key{keyOf(genesisKey(t, seeds[0])), keyOf(genesisKey(t, seeds[1]))}}
	if bytes.Compare(b.members[0][:], b.members[1][:]) > 0 {
		b.members[0], b.members[1] = b.members[1], b.members[0]
	}
	b = takeAll(t, all).baseAt(b.height, b.members)
	all.Base = baseVector{Height: b.height, Blocks: b.blocks, Messages: b.msgs, Commit: hexOf(b.commit[:]), Encoded: hexOf(b.append(nil))}
	var sum []byte
	for _, s := range b.sum {
		sum = binary.LittleEndian.AppendUint64(sum, s)
	}
	all.Base.Sum = hexOf(sum)
	for _, k := range b.members {
		all.Base.Members = append(all.Base.Members, hexOf(k[:]))
	}
	for _, e := range b.ends {
		all.Base.Ends = append(all.Base.Ends, endVector{hexOf(e.writer[:]), hexOf(e.pub[:]), e.n, e.next, e.wall, hexOf(e.hash[:])})
	}
	x = after(kindCheckpoint, b2, 5, a3)
	x.upto, x.commit = b.height, b.commit
	add("a vote for the base", seeds[1], x)
	d := takeAll(t, all).Digest()
	all.Digest = hexOf(d.Hash[:])

	raw, err := json.MarshalIndent(all, "", " ")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(vectorsFile, append(raw, '\n'), 0o644))
}

func genesisKey(t *testing.T, seed string) []byte {
	return ed25519.NewKeyFromSeed(unhex(t, seed)).Public().(ed25519.PublicKey)
}

// What the vectors say is encoded as their bytes, the bytes are read as what they
// say, and a log takes the blocks and comes to the same sums.
func TestVectors(t *testing.T) {
	if *rewrite {
		writeVectors(t)
	}
	raw, err := os.ReadFile(vectorsFile)
	require.NoError(t, err)
	var all vectors
	require.NoError(t, json.Unmarshal(raw, &all))
	seen := map[uint8]bool{}
	for _, v := range all.Blocks {
		seen[v.Kind] = true
		require.Equal(t, v, v.encode(t, all.Group), v.Name)
		for _, bytes := range []string{v.Frame, v.Hollow} {
			var f frame
			require.NoError(t, f.decode(newHasher(all.Group), unhex(t, bytes)), v.Name)
			require.Equal(t, v.Hash, hexOf(f.hash[:]), v.Name)
			require.True(t, ed25519.Verify(genesisKey(t, v.Seed), signed(f.hash), f.sig), v.Name)
			got := told(f.body)
			got.Name, got.Seed, got.Messages = v.Name, v.Seed, v.Messages
			got.Body, got.Payload, got.Hash, got.Frame, got.Hollow = v.Body, v.Payload, v.Hash, v.Frame, v.Hollow
			require.Equal(t, v, got)
		}
		if v.Kind == kindGenesis {
			id := writerID(all.Group, unhex(t, v.Public), unhex(t, v.Random))
			require.Equal(t, v.Writer, hexOf(id[:]), v.Name)
		}
	}
	for kind := uint8(kindMessages); kind <= kindCheckpoint; kind++ {
		require.True(t, seen[kind], "kind %d has no vector", kind)
	}
	next := unhex(t, all.Blocks[2].Body)
	next[1] = kindCheckpoint + 1
	require.Error(t, new(body).decode(next), "a kind that TestVectors does not know")

	b := all.Base.base(t)
	require.Equal(t, all.Base.Encoded, hexOf(b.append(nil)))
	var again base
	require.True(t, again.decode(unhex(t, all.Base.Encoded)))
	require.Equal(t, b, again)
	m := takeAll(t, all)
	sum := m.baseAt(b.height, b.members)
	require.Equal(t, all.Base.Commit, hexOf(sum.commit[:]))
	require.Equal(t, all.Base.Encoded, hexOf(sum.append(nil)))
	d := m.Digest()
	require.Equal(t, all.Digest, hexOf(d.Hash[:]))
}
