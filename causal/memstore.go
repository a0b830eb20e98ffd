package causal

import (
	"bytes"
	"slices"
)

// MemoryStore is a Store in memory, for tests: it outlives the Log that writes
// it, and can be cut short and copied as a disk can.
type MemoryStore struct {
	recs   []Record
	base   []byte
	first  uint64 // index of the first of recs
	state  State
	open   bool
	synced int   // records that a sync has covered
	fail   error // what Append and PutState return, if not nil
}

var _ Store = (*MemoryStore)(nil)

// NewMemoryStore returns an empty store.
func NewMemoryStore() *MemoryStore { return new(MemoryStore) }

// Load implements Store. It opens the store, and fails with ErrLocked if it is
// open.
func (s *MemoryStore) Load(f func(Record) error) (State, error) {
	if s.open {
		return State{}, ErrLocked
	}
	s.open = true
	if s.base != nil {
		if err := f(Record{Frame: bytes.Clone(s.base), Base: true}); err != nil {
			s.open = false
			return State{}, err
		}
	}
	for _, r := range s.recs {
		if err := f(Record{Frame: bytes.Clone(r.Frame), Own: r.Own}); err != nil {
			s.open = false
			return State{}, err
		}
	}
	st := s.state.clone()
	st.First = s.first
	return st, nil
}

// Append implements Store.
func (s *MemoryStore) Append(recs []Record, sync bool) error {
	if s.fail != nil {
		return s.fail
	}
	for _, r := range recs {
		s.recs = append(s.recs, Record{Frame: bytes.Clone(r.Frame), Own: r.Own})
	}
	if sync {
		s.synced = len(s.recs)
	}
	return nil
}

// PutState implements Store.
func (s *MemoryStore) PutState(st State) error {
	if s.fail != nil {
		return s.fail
	}
	s.state, s.synced = st.clone(), len(s.recs)
	return nil
}

// DropPayloads implements Store.
func (s *MemoryStore) DropPayloads(before uint64, strip func(frame []byte) []byte) error {
	if s.fail != nil {
		return s.fail
	}
	for i := range min(max(before, s.first)-s.first, uint64(len(s.recs))) {
		s.recs[i].Frame = bytes.Clone(strip(s.recs[i].Frame))
	}
	s.synced = len(s.recs)
	return nil
}

// Compact implements Store.
func (s *MemoryStore) Compact(before uint64, base []byte) error {
	if s.fail != nil {
		return s.fail
	}
	n := min(max(before, s.first)-s.first, uint64(len(s.recs)))
	s.recs, s.first, s.base = slices.Clone(s.recs[n:]), s.first+n, bytes.Clone(base)
	s.synced = len(s.recs)
	return nil
}

// Close implements Store. The store can be loaded again.
func (s *MemoryStore) Close() error {
	s.open = false
	return nil
}

// Crash closes the store as a power failure would: of what was appended after
// the last sync only the first keep records are left.
func (s *MemoryStore) Crash(keep int) {
	if n := s.synced + max(keep, 0); n < len(s.recs) {
		s.recs = slices.Clip(s.recs[:n])
		s.state.Torn = true
	}
	s.open = false
}

// Copy returns a closed store of the same content.
func (s *MemoryStore) Copy() *MemoryStore {
	return &MemoryStore{recs: slices.Clone(s.recs), base: s.base, first: s.first, state: s.state.clone(), synced: s.synced}
}

// Fail makes Append and PutState fail with err, or work again if it is nil.
func (s *MemoryStore) Fail(err error) { s.fail = err }

func (s State) clone() State {
	s.Key, s.Writer = bytes.Clone(s.Key), bytes.Clone(s.Writer)
	return s
}
