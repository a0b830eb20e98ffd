// Package membership decides who is in a group of programs and who coordinates
// it, without a server. It is a state machine without I/O, clock or goroutine:
// whoever has a network and a timer can drive it, and a simulator can drive a
// thousand.
//
// # Driving it
//
//  1. Make a machine with NewCoordinated and give it Start.
//  2. Decode what arrives and pass it on by Step; call Tick at Deadline.
//  3. After each Step and Tick take Ready: send its messages, show its events,
//     and if it has a Round, hold an election among the candidates by whatever
//     means; tell the winner Won. See ExampleCoordinated.
//
// # Views
//
// A View lists the members and names the epoch, which is to say the
// coordinator, that made it. Views are totally ordered by ViewID. There is one
// rule of adoption: a node installs any view that lists its own key and
// incarnation and is above all that it ever installed. Nothing else changes its
// coordinator. And there is one rule of yielding: of two coordinators that hear
// of each other the one with the lower (Class, Epoch) asks the other to take
// its members over, all in one message; nobody has to join again.
//
// What holds whatever is lost, delayed, duplicated or cut off, and whoever
// crashes, restarts or is suspended:
//
//   - An epoch is opened by one incarnation of one peer, and only that makes
//     views and admits members in it. Equal view IDs mean equal views.
//   - The views that an incarnation installs ascend, and it is in each of them.
//   - IDs are unique in every view, and kept from view to view unless a merge
//     finds them taken.
//   - A node coordinates only because it found no coordinator when it joined,
//     because an election followed a verification or evidence, because the
//     office was handed over to it, or because a member asked for an election
//     by CALL.
//   - From its first view on a node always has a view.
//
// When the network is calm again each connected part ends with one coordinator
// and one view, which is that part. That at most one node in the world believes
// itself coordinator is not promised, and nothing that stays available while
// divided can promise it.
//
// Messages are taken to be authentic; that is the transport's business. A
// machine bounds what a stranger's message can do to it all the same: see
// Stats, MaxMembers and MaxName. Counters more than 2³² ahead of all seen, or
// from 2⁶³ on, are refused.
//
// # States
//
// In the order of the files join.go, lead.go, follow.go, suspect.go, elect.go,
// merge.go, leave.go, repair.go and probe.go. Times are fields of Timing.
//
//	state      event                                   action
//	idle       Start                                   JOIN to the group; → joining
//	joining    backoff (JoinWin/8, doubled to JoinWin/2)  JOIN
//	           JOIN of a higher key                    wait 1.25 JoinWin for it to found a group
//	           HEARTBEAT                               JOIN within 2 RTO; found no group for 2 H;
//	                                                   from the 4th on, JOIN to its sender
//	           WELCOME or full VIEW, listing this run  install; → following
//	           JOIN_REJECT(known)                      take incarnation known+1
//	           RETRY_AFTER                             pause
//	           Refused                                 JOIN within RTO, JoinWin once more
//	           JoinWin is over                         view of itself with ID 1; → leading
//	           the same, RTO late, thrice at most      JoinWin/2 more: what came meanwhile is not read yet
//	any        a timer is three H late, or Slept       Woke; KEEPALIVE or HEARTBEAT at once
//	leading    every H                                 HEARTBEAT to the group, and to deaf members
//	           Woke                                    no new view until a KEEPALIVE names a beat since, or for TElect
//	           JOIN, unknown or new incarnation        admit: at once, or after JoinBatch; WELCOME
//	           JOIN, known                             WELCOME again
//	           JOIN, older incarnation, or departed    JOIN_REJECT
//	           JOIN, evicted 4 times in a minute       RETRY_AFTER
//	           KEEPALIVE of a stranger                 NOT_MEMBER
//	           KEEPALIVE with an older view            VIEW
//	           KEEPALIVE, three beats behind           the member is deaf: unicast to it
//	           member silent for TMember               PROBE each W/10, and PROBE_REQ to its witnesses
//	           … and after W                           view without it
//	           member's endpoint refuses               view without it
//	           stream to a member reset, dial times out  verify it now
//	           LEAVE                                   view without it
//	           SUSPECT or ELECTION of its epoch        ALIVE, HEARTBEAT
//	           HEARTBEAT of a lower rival, FOREIGN     HEARTBEAT to it
//	           HEARTBEAT of a higher rival, FOREIGN    MERGE_REQ until a view lists it; admit nobody meanwhile
//	           MERGE_REQ                               MERGE_ACK; after MergeGap one view of all
//	           MERGE_REQ while yielding                REDIRECT
//	           higher VIEW that lists it               install, pass on to its members; → following
//	           CALL                                    silent, and a candidate
//	           Depart                                  HANDOVER to the highest rank, then the next, then BYE
//	following  every H ± 10 %                          KEEPALIVE to the coordinator
//	           HEARTBEAT of its coordinator            well; newer view: VIEW_REQ; of up to 32 members: KEEPALIVE now
//	                                                   instead, and 2.2 H later if no other has come by then
//	           HEARTBEAT of another, higher            VIEW_REQ if that is a member, or its own is silent
//	           … and it is a witness of its own        FOREIGN to its coordinator
//	           silence of TProbe                       suspect: SUSPECT each W/3, not if another's was just heard
//	           … TElect, and W of suspicion            ask for a Round
//	           ALIVE of the coordinator or a witness   trust again; cancel the Round
//	           the coordinator's endpoint refuses, BYE,
//	           or a new run of the coordinator         ask for a Round at once
//	           SUSPECT, as a witness that hears        ALIVE with the age of the last sign of life
//	           election message, live                  ALIVE, as a witness
//	           election message, not live              Round, invited
//	           election message of an older epoch      VIEW, as a witness
//	           Won                                     view without the coordinator; → leading
//	           HANDOVER in this very view              view without the coordinator; → leading
//	           VIEW of its coordinator without it,
//	           NOT_MEMBER                              → joining
//	           Depart                                  LEAVE until a view comes without it, 5 times
//
// The witnesses of a member are its Timing.Witnesses successors in the order of
// IDs, the coordinator left out. Suspicion and verification are from SWIM (Das,
// Gupta, Motivala, DSN 2002), with silence measured as a Detector says.
package membership
