package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"github.com/seed-885536be/p2p/election"
)

// rendezvous is an Elector that spreads the office: it ranks the candidates of
// each election anew, by a hash of the election and their key (highest random
// weight, Thaler and Ravishankar 1998), and leaves the rest to Bully. All
// members compute the same ranks, so nothing more has to be agreed on.
type rendezvous struct{ election.Elector }

// newRendezvous is an election.New.
func newRendezvous(c election.Config) election.Elector {
	return rendezvous{election.NewBully(c)}
}

// Name implements election.Elector.
func (rendezvous) Name() string { return "rendezvous" }

// Begin implements election.Elector.
func (e rendezvous) Begin(now time.Time, r election.Round) {
	r.Candidates = slices.Clone(r.Candidates) // they are the caller's
	slices.SortFunc(r.Candidates, func(a, b election.Candidate) int {
		x, y := weight(r.Base, a), weight(r.Base, b)
		return bytes.Compare(y[:], x[:])
	})
	e.Elector.Begin(now, r)
}

func weight(b election.Base, c election.Candidate) [sha256.Size]byte {
	var buf []byte
	buf = binary.BigEndian.AppendUint64(buf, b.Ctr)
	buf = append(buf, b.Leader[:]...)
	buf = binary.BigEndian.AppendUint64(buf, b.Inc)
	buf = binary.BigEndian.AppendUint32(buf, b.Seq)
	return sha256.Sum256(append(buf, c.Key[:]...))
}
