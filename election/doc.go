// Package election decides who succeeds a coordinator that is gone. It holds
// the port Elector and two implementations of it, Bully and Ring, and depends
// on nothing but the standard library: it reads no clock, opens no socket,
// starts no goroutine and draws no random number that it was not given. A run
// is a function of its inputs.
//
//	e := election.NewBully(election.Config{})
//	e.Begin(time.Now(), election.Round{Base: base, Self: me, Candidates: members})
//	for r := e.Ready(); !r.Won; r = e.Ready() {
//		send(r.Out)
//		select {
//		case m := <-incoming:
//			e.Step(time.Now(), m, false)
//		case <-time.After(time.Until(e.Deadline())):
//			e.Tick(time.Now())
//		}
//	}
//
// The examples are complete programs.
//
// # What belongs to whom
//
// The caller knows who is in the group and whether the coordinator is well.
// It suspects and verifies; calls Begin when it is sure, or when somebody
// else's candidacy (Message.Candidacy) arrives and it does not know better;
// tells a candidate that is wrong; sends the newer view to a candidate of an
// older one; does not hand on messages from outside the group; and announces
// itself when Ready says Won, or calls Cancel when another's announcement
// arrives. The Elector knows one Round, and says what to send and when it has
// won.
//
// A caller must
//
//  1. use an Elector from one goroutine at a time, with a time that never goes
//     back;
//  2. call Ready after each Begin, Step, Tick and Cancel, and send what it
//     holds, stating itself as the sender in From and Inc; no message needs to
//     arrive, none twice, and none in order;
//  3. call Tick at Deadline, or soon after;
//  4. give all members the same Candidates in the same order for the same Base,
//     which is easily done where a Base names one view;
//  5. order announcements, for there can be two: members that cannot hear each
//     other, or a winner that paused, may win one Base both. Adopting the
//     greatest (counter, key) of an announced epoch does it, and the other
//     winner steps down when it hears of that.
//
// # Guarantees
//
// Nobody wins who was not asked to take part, and each Begin leads to one Won
// at most. As long as a round is not cancelled its timer runs, so that every
// election ends when a candidate that is alive can reach the others, whoever
// dies on the way and whatever the network loses; the candidate that answered
// or acknowledged last may be the one that dies. If no packet is lost or
// overdue and nobody dies meanwhile, there is one winner, and of the candidates
// that are alive it is the one with the highest rank. What another base, another
// incarnation or no candidate at all says is without effect.
//
// Not guaranteed, and not possible where a network can divide: that there is
// one winner only. Members are trusted; who can forge messages can win. An
// Elector keeps less than 200 bytes for each candidate, and no more whatever it
// receives.
//
// # Bully
//
// Of the candidates that answer, the highest wins. That of position 0 wins as
// soon as it takes part. Times are those of Timing; "position" is the number of
// candidates ranked above. A timer is "late" if it is noticed TCoord or more
// after its time: then the process was suspended, and that it heard nothing says
// nothing.
//
//	row  state             event                                   action
//	B1   Idle              Begin, position 0                       Won
//	B2   Idle              Begin, Invited                          Stagger; timer = Stagger × position, at most × 16
//	B3   Idle              Begin, not Invited                      Contend
//	B4   Stagger           Begin, not Invited                      Contend
//	B5   Contend, Wait     Begin with the same base                nothing
//	B6   any               a message while live, or of another     nothing
//	                       base, member or incarnation
//	B7   Contend           ELECTION from a lower candidate         ANSWER to it if position < AnswerRanks
//	B8   Wait              ELECTION from a lower candidate         ANSWER to it if position < AnswerRanks
//	B9   Stagger           ELECTION from a lower candidate         ANSWER to it if position < AnswerRanks, but to the first only
//	B10  Wait              ELECTION from a higher candidate        timer starts again, at most 3 times
//	B11  Stagger, Contend  ELECTION from a higher candidate        Wait; timer = TCoord + random part of RTO
//	B12  Contend           ANSWER from a higher candidate          Wait; timer = TCoord + random part of RTO
//	B13  Stagger           timer                                   Contend
//	B14  Wait              timer                                   Contend
//	B15  Contend           entry; timer up to Tries times, or if   ELECTION to the group; timer = RTO
//	                       late, but not more than 3 times more
//	B16  Contend           timer otherwise                         Won
//	B17  any               Cancel, or Begin with another base      Idle
//
// If all notice at once, the first ELECTION invites those above it and stops
// those below it: at 1,000 members about ten messages are sent in all. The
// textbook has each survivor write to each above it, half a million.
//
// # Ring
//
// A token that carries its candidate's name travels from each member to the
// next higher one, and from the highest to the lowest. Lower members let it
// pass, a higher one stops it and sends its own, and whose token comes round
// has won.
// "Lap" is TCoord + (candidates × HopRTO / 4) × 2^n + Stagger × position, at
// most × 16, where n is the number of tokens of its own that the node has sent
// in this round, from 1 to 5.
//
//	row  state        event                                        action
//	R1   Idle         Begin, the only candidate                    Won
//	R2   Idle         Begin, Invited, position > 0                 Notified; timer = Stagger × position, at most × 16
//	R3   Idle         Begin otherwise                              ELECTION to the group; own TOKEN; Participant; timer = lap
//	R4   Notified     Begin, not Invited                           as R3
//	R5   Participant  Begin with the same base                     nothing
//	R6   Notified     ELECTION from a higher candidate             Participant; timer = lap
//	R7   Participant  ELECTION from a higher candidate             timer = lap, at most 3 times for each own TOKEN
//	R8   any          TOKEN while live                             TOKEN_ACK; the token is kept
//	R9   any          TOKEN of another base, member or             TOKEN_ACK that refuses
//	                  incarnation
//	R10  any          TOKEN otherwise, also when it came before    TOKEN_ACK; then one of R11 to R16
//	R11  any          its candidate is none                        nothing
//	R12  any          its candidate is this node                   Won if the token was sent in this round
//	R13  any          its candidate is higher, and it came before  nothing
//	R14  any          its candidate is higher                      Participant; TOKEN to the successor; timer = lap
//	R15  Notified     its candidate is lower                       own TOKEN; Participant; timer = lap
//	R16  Participant  its candidate is lower                       nothing
//	R17  any          RING_PROBE                                   RING_PROBE_OK, which refuses where R9 would
//	R18  handing on   TOKEN_ACK                                    done
//	R19  handing on   TOKEN_ACK that refuses, from the one tried   look ahead: RING_PROBE to the 2 next
//	R20  look-ahead   RING_PROBE_OK, and nobody nearer is open     TOKEN to the nearest that does not refuse
//	R21  look-ahead   all that were asked refuse                   RING_PROBE to the next, twice as many
//	R22  handing on   HopRTO, up to 5 times, or if late, but not   TOKEN again
//	                  more than 3 times more
//	R23  handing on   HopRTO otherwise                             look ahead: RING_PROBE to the 2 next
//	R24  look-ahead   2 HopRTO, and some are there                 TOKEN to the nearest of them
//	R25  look-ahead   2 HopRTO, and none is there                  RING_PROBE to the next, twice as many; if late
//	                                                               to the same again, 3 times at most
//	R26  handing on,  nobody is left to ask                        own TOKEN: Won, but if any refused not at the
//	     look-ahead                                                first; another's: dropped, and as R3 if the
//	                                                               last was silent and did not refuse
//	R27  Notified,    timer                                        as R3
//	     Participant
//	R28  any          Cancel, or Begin with another base           Idle
//	R29  Idle         Begin, with tokens of the base kept for at   after R2 or R3, as if they came now: one of
//	                  most TCoord                                  R11 to R16 each
//
// Handing on and look-ahead are states of one token at one member. They end
// with the token's candidate: behind it nobody would let the token pass. A
// member has 8 tokens under way at most, keeps 8, and swallows others. Without losses an
// election takes about two messages a member, and the time of one lap; above
// some 64 members Bully is the better choice.
//
// # Defaults
//
//	RTO          200 ms   replaced by Round.RTO if that is set
//	HopRTO       RTO/5    40 ms
//	Stagger      RTO/8    25 ms
//	TCoord       10 RTO   2 s
//	Tries        5        so a candidate that nobody answers wins after 1 s
//	AnswerRanks  3
//
// # References
//
// Hector Garcia-Molina, Elections in a Distributed Computing System, IEEE
// Transactions on Computers C-31(1), 1982.
//
// Ernest Chang and Rosemary Roberts, An Improved Algorithm for Decentralized
// Extrema-Finding in Circular Configurations of Processes, Communications of the
// ACM 22(5), 1979.
package election
