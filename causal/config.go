package causal

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"time"
)

// Config is what a Memory is made of. The zero value of a field means its
// default.
type Config struct {
	// Key is the peer's key; it signs the own blocks. If nil, it is taken from
	// the Store, which gets a new one when it has none.
	Key ed25519.PrivateKey
	// Group keeps groups apart: blocks of another group are refused.
	Group string
	// Rand is the source of what must not be guessed or repeat: names of
	// writers, keys, the seed of hash tables. Required.
	Rand io.Reader
	// Store keeps the history across restarts. If nil, it lives in memory
	// alone. NewMemory calls its Load, Close its Close.
	Store Store

	// Retention limits what is kept of the messages; the zero value keeps all.
	Retention Retention
	// Compaction lets the group give up what is old; the zero value does not.
	Compaction Compaction

	// MaxMessage is the greatest size that Append takes: the constant of that
	// name, which is also the limit.
	MaxMessage int
	// PendingBlocks and PendingBytes bound the blocks that wait for a parent:
	// 4,096 and 8 MiB. When they are reached the writer that uses most yields.
	PendingBlocks int
	PendingBytes  int
	// PendingTime is how long a block may wait for a parent: 30 s.
	PendingTime time.Duration
	// Window is how many bytes of blocks may be under way to this node in the
	// answer to a Pull: 2 MiB.
	Window int
	// PullTimeout is how long the answer to a Pull may stall before another
	// peer is asked: 5 s.
	PullTimeout time.Duration
	// Alloc makes the memory that blocks are kept in, size zero bytes that are
	// left to the collector in the end: a MiB at a time when there is much. If
	// nil it is make.
	Alloc func(size int) []byte
	// BeatInterval is the least time between two demands for a Beat in a small
	// group: 200 ms. It grows with the number of members beyond eight.
	BeatInterval time.Duration
}

func (c *Config) complete() error {
	var errs []error
	if c.Key != nil && len(c.Key) != ed25519.PrivateKeySize {
		errs = append(errs, fmt.Errorf("causal: Config.Key has %d bytes, not %d", len(c.Key), ed25519.PrivateKeySize))
	}
	if c.Key == nil && c.Store == nil {
		errs = append(errs, errors.New("causal: Config.Key is required without a Store"))
	}
	if c.Rand == nil {
		errs = append(errs, errors.New("causal: Config.Rand is required"))
	}
	if c.MaxMessage < 0 || c.MaxMessage > MaxMessage {
		errs = append(errs, fmt.Errorf("causal: Config.MaxMessage is %d, not 1 to %d", c.MaxMessage, MaxMessage))
	}
	for _, f := range []struct {
		name string
		v    int64
	}{
		{"PendingBlocks", int64(c.PendingBlocks)}, {"PendingBytes", int64(c.PendingBytes)},
		{"PendingTime", int64(c.PendingTime)}, {"Window", int64(c.Window)},
		{"PullTimeout", int64(c.PullTimeout)}, {"BeatInterval", int64(c.BeatInterval)},
		{"Retention.MaxAge", int64(c.Retention.MaxAge)}, {"Retention.MaxBytes", c.Retention.MaxBytes},
		{"Compaction.Age", int64(c.Compaction.Age)}, {"Compaction.Away", int64(c.Compaction.Away)}, {"Compaction.Blocks", int64(c.Compaction.Blocks)},
	} {
		if f.v < 0 {
			errs = append(errs, fmt.Errorf("causal: Config.%s is negative", f.name))
		}
	}
	or(&c.MaxMessage, MaxMessage)
	or(&c.Compaction.Away, 30*24*time.Hour)
	or(&c.Compaction.Blocks, 4096)
	or(&c.PendingBlocks, 4096)
	or(&c.PendingBytes, 8<<20)
	or(&c.PendingTime, 30*time.Second)
	or(&c.Window, 2<<20)
	or(&c.PullTimeout, 5*time.Second)
	or(&c.BeatInterval, 200*time.Millisecond)
	if c.Alloc == nil {
		c.Alloc = func(size int) []byte { return make([]byte, size) }
	}
	return errors.Join(errs...)
}

func or[T comparable](p *T, def T) {
	var zero T
	if *p == zero {
		*p = def
	}
}
