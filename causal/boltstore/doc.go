// Package boltstore keeps a causal log in a file, by bbolt.
//
// A program that wants its history and identity to survive opens a Store and
// gives it to the log:
//
//	store, err := boltstore.Open("chat.db", boltstore.Options{Group: "lobby"})
//	if err != nil {
//		return err // in use, another group's, damaged, …
//	}
//	log, err := causal.NewMemory(causal.Config{Group: "lobby", Rand: rand.Reader, Store: store})
//	if err != nil {
//		return errors.Join(err, store.Close())
//	}
//	defer log.Close() // closes the store, too
//
// # What it guarantees
//
// Append with sync, and PutState, return when what they wrote, and all that was
// appended before, survives a power failure, if the disk keeps its word. All of
// one call is in one transaction: after a crash it is there, or none of it is.
// Append without sync returns at once. What it was given is written within
// Options.FlushInterval, or with the next write before that; a crash loses only
// the end of it. So the file always holds a prefix of what was appended.
//
// Clean is cleared on the disk before Load returns, and is set by a PutState
// only together with every record before it. An Append after that clears it.
// Once a write has failed, the Store writes nothing more and every call returns
// that error: so Clean is never set on a history with a hole in it.
//
// Every record has a checksum over its place and its content, and the structure
// of the file is examined before anything of it is trusted. Whatever is in the
// file, no call panics, hangs or returns a record that was not appended.
//
// # What can fail
//
//	in use by another process             causal.ErrLocked, after Options.LockTimeout
//	another group's history               causal.ErrWrongGroup
//	no store, or a later version          causal.ErrFormat; the file is left as it is
//	crash while the file was made         begun anew: nothing was in it
//	last write cut                        cut off; State.Torn
//	damage elsewhere                      ErrCorrupt; the file is left as it is; see Options.Repair
//	bad sectors                           the system's error, or ErrCorrupt
//	disk full, MaxSize reached            ErrFull; what was written before stays good
//	killed, power failure                 what was acknowledged is there; State.Clean is false
//
// # Limits and defaults
//
// The file is mapped into memory while it is open: it must be on a local disk,
// and below 2 GiB on 32-bit systems. It has the byte order and page size of the
// machine that made it. It never shrinks; pages that are not used any more are
// used again. The file is readable by its owner only (mode 0600), because the
// state holds the peer's private key.
//
//	LockTimeout      1 s
//	FlushInterval    100 ms
//	FlushBytes       1 MiB
//	MaxSize          none
//
// An Append with sync costs two fdatasync, whatever its size: give it all that
// there is at once. Reopening reads the file twice, once for its structure and
// once for its records.
package boltstore
