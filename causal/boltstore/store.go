package boltstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/seed-885536be/p2p/causal"
)

// Errors of a Store, beside those of package causal.
var (
	// ErrCorrupt: the file is a store, but damaged in a way that no crash
	// explains. It is left as it is.
	ErrCorrupt = errors.New("boltstore: the store is damaged")
	// ErrFull: there is no room for what is to be written, on the disk or by
	// Options.MaxSize.
	ErrFull = errors.New("boltstore: no space for the store")
	// ErrOrder: Load was called twice, or something else before it.
	ErrOrder = errors.New("boltstore: Load is to be called once, first")
)

var errUnchanged = errors.New("boltstore: nothing to write")

// Options of Open. The zero value of a field means its default.
type Options struct {
	// Group is the group whose history is wanted: a store of another one is
	// refused with causal.ErrWrongGroup. If it is empty, every group's will do.
	Group string
	// LockTimeout is how long to wait for another process to close the store
	// before causal.ErrLocked: 1 s.
	LockTimeout time.Duration
	// FlushInterval is the longest time for which records appended without
	// sync stay in memory: 100 ms. It is what a killed process loses of them.
	FlushInterval time.Duration
	// FlushBytes is how many bytes of records appended without sync stay in
	// memory before Append writes them: 1 MiB.
	FlushBytes int
	// MaxSize is the greatest size of the file in bytes; to write beyond it
	// fails with ErrFull. The file grows in steps of 16 MiB. If zero, the disk
	// is the limit.
	MaxSize int
	// Repair cuts the history before the first damaged record, and sets
	// State.Torn, where Open would fail with ErrCorrupt otherwise. What is cut
	// off is lost, unless other nodes have it. A file whose structure is
	// damaged is beyond repair.
	Repair bool

	noSync bool // for tests that crash nothing: do not wait for the disk
}

func (o *Options) complete() error {
	var errs []error
	for _, f := range []struct {
		name string
		v    int64
	}{
		{"LockTimeout", int64(o.LockTimeout)}, {"FlushInterval", int64(o.FlushInterval)},
		{"FlushBytes", int64(o.FlushBytes)}, {"MaxSize", int64(o.MaxSize)},
	} {
		if f.v < 0 {
			errs = append(errs, fmt.Errorf("boltstore: Options.%s is negative", f.name))
		}
	}
	if o.LockTimeout == 0 {
		o.LockTimeout = time.Second
	}
	if o.FlushInterval == 0 {
		o.FlushInterval = 100 * time.Millisecond
	}
	if o.FlushBytes == 0 {
		o.FlushBytes = 1 << 20
	}
	return errors.Join(errs...)
}

// Store is a causal.Store in one bbolt file. It may be used by several
// goroutines, one method call after the other or at once.
type Store struct {
	opts Options
	torn bool // the file's last write was cut, found by Open

	write sync.Mutex // held during transactions; taken before mu
	db    *bbolt.DB
	file  *os.File
	wild  bool // bbolt panicked: its locks are not to be touched again
	state causal.State
	next  uint64 // the index of the next record to be written
	bare  uint64 // of so many records the payloads are dropped, as far as is known
	spare packer

	mu      sync.Mutex
	loaded  bool
	closed  bool
	err     error  // the first failure; nothing is written after it
	pending packer // records not written yet
	timer   *time.Timer
	armed   bool
}

var _ causal.Store = (*Store)(nil)

// Open opens the store in the file at path, or makes a new one, that only the
// user can read: it holds the peer's private key. The file is locked until
// Close. Open fails with causal.ErrLocked, causal.ErrWrongGroup,
// causal.ErrFormat, ErrCorrupt, ErrFull, or an error of the file system.
func Open(path string, opts Options) (*Store, error) { return open(path, opts, current) }

func open(path string, opts Options, f format) (_ *Store, err error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	torn, err := examine(path, opts)
	if err != nil {
		return nil, fmt.Errorf("boltstore: open %s: %w", path, err)
	}
	s := &Store{opts: opts, torn: torn}
	defer func() {
		if err != nil {
			_ = s.release()
			err = fmt.Errorf("boltstore: open %s: %w", path, err)
		}
	}()
	_, statErr := os.Stat(path)
	err = s.guard(func() (err error) {
		s.db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout:      opts.LockTimeout,
			FreelistType: bbolt.FreelistArrayType, // uses low pages first
			MaxSize:      opts.MaxSize,
			NoStatistics: true,
			NoSync:       opts.noSync,
			NoGrowSync:   opts.noSync,
			OpenFile:     s.openFile,
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	if os.IsNotExist(statErr) {
		syncDir(filepath.Dir(path))
	}
	// An unchanged file needs no transaction.
	if err := s.update(func(tx *bbolt.Tx) error {
		if changed, err := f.prepare(tx, opts.Group); err != nil || changed {
			return err
		}
		return errUnchanged
	}); err != nil && err != errUnchanged {
		return nil, err
	}
	return s, nil
}

// openFile keeps hold of the file, so that its lock can be given back even if
// bbolt is in no state to do so.
func (s *Store) openFile(name string, flag int, mode os.FileMode) (f *os.File, err error) {
	s.file, err = os.OpenFile(name, flag, mode)
	return s.file, err
}

// guard calls f, and turns what bbolt does on a file that is damaged or cannot
// be read, namely to panic or to touch memory that is not there, into an error.
func (s *Store) guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			s.wild = true
			err = damaged("%v", r)
		}
	}()
	return typed(f())
}

// typed gives bbolt's and the system's errors the names that this package
// promises.
func typed(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, berrors.ErrTimeout):
		return causal.ErrLocked
	case errors.Is(err, berrors.ErrMaxSizeReached), isFull(err):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.Is(err, berrors.ErrVersionMismatch):
		return fmt.Errorf("%w: %w", causal.ErrFormat, err)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

func (s *Store) update(f func(*bbolt.Tx) error) error {
	return s.guard(func() error { return s.db.Update(f) })
}

// Load calls f for every record in the order of appending, and returns the
// state. A frame is valid until f returns. Before Load returns, the state's
// Clean flag is cleared on the disk. If f fails, Load returns its error and the store can
// only be closed; it is as it was before.
//
// State.Torn is true if the last write was cut, or records were by
// Options.Repair.
func (s *Store) Load(f func(causal.Record) error) (causal.State, error) {
	s.write.Lock()
	defer s.write.Unlock()
	if err := s.startLoad(); err != nil {
		return causal.State{}, err
	}
	st, err := s.load(f)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.err = err
		return causal.State{}, err
	}
	s.loaded = true
	s.pending.reset(s.next)
	return st, nil
}

func (s *Store) startLoad() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return causal.ErrClosed
	case s.err != nil:
		return s.err
	case s.loaded:
		return ErrOrder
	}
	return nil
}

func (s *Store) load(f func(causal.Record) error) (st causal.State, err error) {
	var count uint64
	if err := s.guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) (err error) {
			st, count, err = readMeta(tx)
			return err
		})
	}); err != nil {
		return st, err
	}
	if err := s.loadBase(f); err != nil {
		return st, err
	}
	next, damage, err := s.scan(st.First, count, f)
	switch {
	case err != nil:
		return st, err
	case damage == nil:
	case s.opts.Repair:
		count = next
	default:
		return st, damaged("record %d of %d: %v", next, count, damage)
	}
	st.Torn = s.torn || damage != nil
	s.state, s.next, s.bare = st, count, st.First
	s.state.Clean, s.state.Torn, s.state.First = false, false, 0
	if !st.Clean && !st.Torn {
		return st, nil
	}
	return st, s.update(func(tx *bbolt.Tx) error {
		if damage != nil {
			if err := cut(tx, count); err != nil {
				return err
			}
			if err := putCount(tx, count); err != nil {
				return err
			}
		}
		return putState(tx, s.state)
	})
}

// loadBase calls f for the base, if there is one.
func (s *Store) loadBase(f func(causal.Record) error) error {
	var base []byte
	if err := s.guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) (err error) {
			base, err = readBase(tx)
			return err
		})
	}); err != nil || base == nil {
		return err
	}
	return f(causal.Record{Frame: base, Base: true})
}

// scan calls f for the records from the index next on, and returns the index
// after the last good one, and what is wrong if that, or all there are, is not
// end.
func (s *Store) scan(next, end uint64, f func(causal.Record) error) (_ uint64, damage, err error) {
	var tx *bbolt.Tx
	if err := s.guard(func() (err error) { tx, err = s.db.Begin(false); return err }); err != nil {
		return 0, nil, err
	}
	defer tx.Rollback()
	c := tx.Bucket(bucketRecords).Cursor()
	step := c.First
	const most = 256 << 10 // read at once, to the end of a chunk
	var batch []chunk
	buf := make([]byte, 0, min(tx.Size(), most+chunkSize))
	for {
		// f is not to be called under the guard: its panics are its own.
		if err := s.guard(func() error {
			batch, buf = batch[:0], buf[:0]
			for len(buf) < most {
				k, v := step()
				step = c.Next
				if k == nil {
					break
				}
				at := len(buf)
				buf = append(append(buf, k...), v...)
				batch = append(batch, chunk{key: buf[at : at+len(k)], value: buf[at+len(k):]})
			}
			return nil
		}); err != nil {
			return next, nil, err
		}
		if len(batch) == 0 {
			break
		}
		for _, b := range batch {
			if next, damage, err = b.each(next, end, f); damage != nil || err != nil {
				return next, damage, err
			}
		}
	}
	if next < end {
		damage = errMissing
	}
	return next, damage, nil
}

// Append adds records. With sync it returns when they are on the disk; without,
// they are written with the next that are, or when Options.FlushInterval or
// Options.FlushBytes is reached. After an error, which may belong to records
// appended before, nothing more is written: what the file holds is a prefix of
// what was appended, and no call's records are there in part.
func (s *Store) Append(recs []causal.Record, sync bool) error {
	s.mu.Lock()
	if err := s.usable(); err != nil {
		s.mu.Unlock()
		return err
	}
	for _, r := range recs {
		s.pending.add(r)
	}
	due := !s.pending.empty() && (sync || s.pending.size() >= s.opts.FlushBytes)
	if !due && !s.pending.empty() && !s.armed {
		s.armed = true
		if s.timer == nil {
			s.timer = time.AfterFunc(s.opts.FlushInterval, s.flushLate)
		} else {
			s.timer.Reset(s.opts.FlushInterval)
		}
	}
	s.mu.Unlock()
	if !due && !sync {
		return nil
	}
	s.write.Lock()
	defer s.write.Unlock()
	return s.commit(nil)
}

func (s *Store) usable() error {
	switch {
	case s.closed:
		return causal.ErrClosed
	case s.err != nil:
		return s.err
	case !s.loaded:
		return ErrOrder
	}
	return nil
}

// flushLate writes what waits, without anyone who waits for it.
func (s *Store) flushLate() {
	s.write.Lock()
	defer s.write.Unlock()
	s.mu.Lock()
	s.armed = false
	ok := s.usable() == nil
	s.mu.Unlock()
	if ok {
		_ = s.commit(nil) // the next call returns it
	}
}

// commit writes, in one transaction, what is pending and the new state, if
// there is one. s.write is held.
func (s *Store) commit(st *causal.State) error {
	s.mu.Lock()
	if s.err != nil {
		defer s.mu.Unlock()
		return s.err
	}
	batch := s.pending
	s.pending = s.spare
	s.pending.reset(batch.next)
	s.mu.Unlock()

	err := s.put(&batch, st)
	s.spare = batch
	return s.check("write", err)
}

// check returns err with what failed. If there is one, it is the last thing
// that was tried: every call after it returns the same.
func (s *Store) check(what string, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("boltstore: %s: %w", what, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
	return err
}

func (s *Store) put(batch *packer, st *causal.State) error {
	if batch.empty() && st == nil {
		return nil
	}
	state := s.state
	if st != nil {
		state = *st
		state.Torn, state.First = false, 0
	} else {
		state.Clean = false // what is written now, a clean log does not know
	}
	err := s.update(func(tx *bbolt.Tx) error {
		if !batch.empty() {
			if err := batch.write(tx.Bucket(bucketRecords)); err != nil {
				return err
			}
			if err := putCount(tx, batch.next); err != nil {
				return err
			}
		}
		if st != nil || state.Clean != s.state.Clean {
			return putState(tx, state)
		}
		return nil
	})
	if err == nil {
		s.state, s.next = state, batch.next
	}
	return err
}

// PutState replaces the state, and writes the records that wait, in one
// transaction: State.Clean is never stored without them. State.Torn is not
// stored. An Append after it clears the Clean flag again.
func (s *Store) PutState(st causal.State) error {
	s.write.Lock()
	defer s.write.Unlock()
	s.mu.Lock()
	err := s.usable()
	s.mu.Unlock()
	if err != nil {
		return err
	}
	st.Key, st.Writer = bytes.Clone(st.Key), bytes.Clone(st.Writer)
	return s.commit(&st)
}

// flush writes the records that wait, for a call that goes through all there
// are. s.write is held.
func (s *Store) flush() error {
	s.mu.Lock()
	err := s.usable()
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.commit(nil)
}

// DropPayloads implements causal.Store. The file does not shrink: what becomes
// free is used for what is written next. Each transaction takes up to 4 MiB of
// records; what was done stays done if the process ends meanwhile.
func (s *Store) DropPayloads(before uint64, strip func(frame []byte) []byte) error {
	s.write.Lock()
	defer s.write.Unlock()
	if err := s.flush(); err != nil {
		return err
	}
	for before = min(before, s.next); s.bare < before; {
		next := s.bare
		if err := s.check("drop payloads", s.update(func(tx *bbolt.Tx) (err error) {
			next, err = dropPayloads(tx, s.bare, before, strip)
			return err
		})); err != nil {
			return err
		}
		s.bare = next
	}
	return nil
}

// Compact implements causal.Store. Records before the given index may stay if
// they share a chunk with one that does. The file does not shrink.
func (s *Store) Compact(before uint64, base []byte) error {
	s.write.Lock()
	defer s.write.Unlock()
	if err := s.flush(); err != nil {
		return err
	}
	var first uint64
	if err := s.check("compact", s.update(func(tx *bbolt.Tx) (err error) {
		first, err = compact(tx, min(before, s.next), s.next, base)
		return err
	})); err != nil {
		return err
	}
	s.bare = max(s.bare, first)
	return nil
}

// Close writes the records that wait, closes the file and gives back its lock.
// It returns the error that ended writing, if there was one. To close twice does
// nothing.
func (s *Store) Close() error {
	s.write.Lock()
	defer s.write.Unlock()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	loaded := s.loaded
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	var err error
	if loaded {
		err = s.commit(nil)
	}
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	return errors.Join(err, s.release())
}

func (s *Store) release() error {
	switch {
	case s.file == nil:
		return nil
	case s.wild || s.db == nil:
		// bbolt may hold its own locks for ever, so it is not asked; its
		// mapping of the file is left behind.
		if s.wild {
			unlock(s.file)
		}
		err := s.file.Close()
		if errors.Is(err, os.ErrClosed) {
			return nil
		}
		return err
	}
	return s.db.Close()
}

// syncDir makes a new file's name survive a power failure, where the system
// can do that.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}
