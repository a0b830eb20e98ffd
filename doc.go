// Package p2p is the root of a module for programs that talk in a group with
// no server among them. It holds no code; this is its map.
//
//	p2pchat                   Node: all of the below put together. Begin here.
//	membership                who is in the group, and who coordinates it
//	election                  who succeeds a coordinator: Bully, Ring, or your own
//	causal                    what was said: a signed log, the same on every node
//	causal/boltstore          keeps a log on disk
//	transport                 how frames travel: the port
//	transport/lan             UDP multicast to the group, TCP to each peer
//	transport/seal            encryption with a group's secret, for any transport
//	transport/memnet          a network in memory that loses, delays and splits on demand
//	transport/fault           any transport in bad weather: loss, delay, cuts, switched while running
//	examples/hello            the smallest program
//	examples/chat             people who chat, or programs, by a line protocol
//	examples/replicatedmap    a map that is the same on every node
//	examples/customelector    an election of one's own
//	examples/electiononly     package election without the rest
//	examples/metrics          what a node counts, on a page
//	examples/bench            measures a group of processes
//
// Below are the defaults, failures and levels of security; then what whoever runs a
// group needs (Operations), how the module compares to others, and the wire
// format.
//
// membership, election, causal and transport import none of each other, and
// each can be used alone. All but the transports are state machines without
// I/O, clock or goroutine: time and randomness are arguments, so that a run can
// be replayed. For each there is a suite that any implementation can be put
// through: membershiptest, electiontest, causaltest and transporttest.
//
// # Defaults
//
// All of them can be changed; the option or the field is named.
//
//	group              239.255.77.12:7712           lan.Config.Group
//	                   IPv6: ff15::efff:4d0c        lan.Config.Group6
//	interfaces         all that are fit, loopback   lan.Config.Interfaces
//	nodes by unicast   none                         lan.Config.Peers
//	hops of multicast  1: the local network         lan.Config.TTL
//	election           Bully                        p2pchat.WithElector
//	who wins           the highest ID               p2pchat.WithSeniority
//	heartbeat          500 ms                       p2pchat.WithTiming
//	silent for         2 s, then the coordinator is replaced, if it also left
//	                   500 ms of questions unanswered; the time-out of membership.For
//	process died       replaced at once: its endpoint refuses connections
//	nobody answers     a new group after 600 ms     membership.Timing.JoinWin
//	message            1 MiB at most                p2pchat.WithMaxMessage
//	nick, room         64 bytes at most
//	direct messages    256 or 4 MiB wait for a member, 64 or 2 MiB for a reader
//	queue to a peer    1 MiB, then it is fed from the log as it can take it
//	history            in memory                    p2pchat.WithDataDir
//	identity           a new key at each start      p2pchat.WithDataDir
//
// # Failures
//
// What happens when something goes wrong, and what a program sees of it.
//
//	a process dies           a view without it in milliseconds; ViewEvent, PeerEvent "dead"
//	a host vanishes          the same after the time-out
//	the coordinator dies     an election; CoordinatorEvent with the gap
//	one heartbeat is lost    nothing: silence is verified before anything is done
//	packets are lost         they are repaired; no message is lost, doubled or out of order
//	the network splits       each side goes on with a coordinator of its own
//	the sides meet again     one group, one history; IDs that collide are given anew
//	a host sleeps            it joins again and catches up; WarningEvent "woke"
//	a clock is wrong         nothing depends on it; WarningEvent "clock_skew"
//	a peer is slow           it lags behind alone, and memory stays bounded
//	a program is slow        LaggedEvent; messages are never dropped
//	a member floods others   its stream is read slowly, and nobody waits for it; WarningEvent "held"
//	a member comes and goes  it has to wait, longer each time; WarningEvent "flapping"
//	there is no network      the programs of the machine are a group; WarningEvent "local_only"
//	one host has IPv4 alone, the two do not reach each other, but others that have both;
//	another one IPv6 alone   WarningEvent "other_family" if they hear of each other
//	the disk is full         the node ends with a *p2pchat.StoreError, or WithMemoryFallback
//	a packet is garbage,     Status.Drops counts it by reason
//	forged or altered
//	another group is here    nothing; Status.Drops
//	the group has another    *p2pchat.JoinError with *AuthError or *VersionError: the
//	key, or wire version     coordinator says so, and the newcomer founds no group
//	an author forks          both branches are kept everywhere; ForkEvent
//	a direct message's       *p2pchat.PeerGoneError, which says whether it may have
//	receiver is gone         arrived
//	a message is too large   *p2pchat.TooLargeError
//	no network at all        loopback; *transport.NetworkError if not even that
//	the node has ended       p2pchat.ErrClosed, which is net.ErrClosed
//
// # Security
//
// A group is open, or sealed with p2pchat.WithPassphrase or WithGroupCode.
//
//	open        everybody on the network can read and join it
//	passphrase  only who has it can read, join, inject or replay anything; but who
//	            captures packets can try to guess it
//	code        the same, and nobody can guess it: 128 random bits
//
// In all of them what members say to each other and to the history is signed, so
// that none can speak in another's name or change what was written. What one
// member sends to another with SendTo is read by those two alone.
//
// Streams, which carry the messages, have forward secrecy in a sealed group;
// datagrams, which carry who is in it, do not. Addresses, times and sizes are
// visible, and nobody is kept from jamming a network. Package transport/seal says
// it exactly.
package p2p
