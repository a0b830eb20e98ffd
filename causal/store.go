package causal

import "errors"

// Store keeps blocks for a Log across restarts. Records are appended in
// delivery order, which is causal, so that reopening is one scan. A Store is
// used by one goroutine at a time.
type Store interface {
	// Load calls f for the base, if there is one, then for every record in the
	// order of appending, and returns the state. It is called once, first.
	// Frame is valid until f returns. A record cut short by a crash is dropped,
	// and State.Torn says so.
	Load(f func(Record) error) (State, error)
	// Append adds records, all or none. With sync it returns when they, and all
	// before them, would survive a power failure. It keeps no part of them.
	Append(recs []Record, sync bool) error
	// PutState replaces the state, durably. A state that is Clean is put last: a
	// later Append may unset that.
	PutState(State) error
	// DropPayloads gives up the messages in the records with an index below
	// before, counted from 0 since the store was made: their frames are replaced
	// by what strip makes of them, at most 32 bytes more. It may be called again
	// with a greater index; where strip was applied already, it changes nothing.
	// Records appended before are written first.
	DropPayloads(before uint64, strip func(frame []byte) []byte) error
	// Compact gives up the records with an index below before, and keeps base,
	// in place of the one before it. All of it is done, durably, or nothing.
	// Records appended before are written first.
	Compact(before uint64, base []byte) error
	// Close closes the store.
	Close() error
}

// Record is one stored block.
type Record struct {
	Frame []byte // the encoded block
	Own   bool   // written by this store's peer
	Base  bool   // no block, but what Compact was given
}

// State is what a Store keeps beside the records.
type State struct {
	Group  string // the group whose history this is
	Key    []byte // the peer's private key seed, or nil
	Inc    uint64 // the last incarnation of the membership
	Writer []byte // the last own writer, or nil
	Clean  bool   // the log was closed properly
	Torn   bool   // set by Load: the end of the last write was missing
	First  uint64 // set by Load: the index of the first record
}

// Errors of a Store.
var (
	// ErrLocked: another process uses the store.
	ErrLocked = errors.New("causal: the store is in use by another process")
	// ErrWrongGroup: the store holds another group's history.
	ErrWrongGroup = errors.New("causal: the store belongs to another group")
	// ErrFormat: the store was written by a version that this one cannot read,
	// or is no store at all.
	ErrFormat = errors.New("causal: unknown store format")
)
