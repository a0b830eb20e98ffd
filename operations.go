// # Operations
//
// What has to be open between the hosts of a group, in both directions:
//
//	UDP  7712, to 239.255.77.12 and ff15::efff:4d0c   datagrams to the group; lan.Config.Group, Group6
//	UDP  each node's own port                         datagrams to one node
//	TCP  the same port                                one connection for each two nodes
//	IGMP, and MLD for IPv6                            the hosts' word that they listen to the group
//
// The own port is a free one unless lan.Config.Listen names it; name it where a
// firewall has to know it, or where a node is a seed. lan.Check tells which of
// these is shut, and in which direction; WarningEvent "no_multicast" and
// Status.Interfaces tell it while a node runs. WarningEvent "other_family" names a
// member that has IPv4 only where this node has IPv6 only, or the other way round:
// nothing goes between the two until one of their hosts has both.
//
//	firewall of a host   let in UDP 7712, and UDP and TCP to the port that Listen names. With TCP shut
//	                     nobody is welcomed; and a firewall that answers TCP by a reset, instead of
//	                     dropping it, makes a member look like one whose process has died
//	Wi-Fi                access points that isolate clients from each other shut out everything, and no
//	                     seed helps; others only hold multicast back, or send it slowly and
//	                     unacknowledged: name seeds in Config.Peers
//	IGMP snooping        a switch that snoops forgets who listens after some minutes if nobody asks: a
//	                     router or switch on the network has to be the querier (RFC 4541)
//	several networks     Config.TTL of 2 or more and multicast routing, or Config.Peers with one seed
//	VPN                  most carry no multicast, and point-to-point links are not used for it:
//	                     Config.Peers, and Config.Interfaces if the choice of them is not right
//	containers           a container's own bridge carries multicast within one host only. Across hosts give
//	                     it the host's network; or a network on which each container has an address that
//	                     the others reach, and Config.Peers
//	address translation  nodes name themselves by the address they have: between two nodes of a group
//	                     there must be none
//	cloud networks       mostly without multicast: Config.Peers
//
// # Sizes
//
// N is the number of members, H the heartbeat, B the bytes of a message with the
// names of its room and author, D the other heads that its block follows: none if
// one speaks at a time, one or two as a rule. BENCHMARKS.md, under Sizes, has the
// commands that measure this.
//
//	members            up to 65,536 in membership; every two hold a connection, so a node has N-1 of
//	                   them and as many descriptors: tested are 64 processes on one machine, and 1,000
//	                   in the simulator, see BENCHMARKS.md
//	a link             two goroutines; at most 1 MiB queued (lan.Config.Queue), mostly nothing; more
//	                   is read from the log again when the peer takes it
//	at rest            1/H multicasts, of some 270 bytes, and (N-1)/2H frames on streams to the coordinator, of
//	                   some 130; with more than 32 members (N-1)/H datagrams of some 260 instead. A
//	                   transport's header and the network's come to that
//	a message          goes to each member on its stream: B·(N-1) bytes leave its author; and, if it is small
//	                   and 2 ms after the one before, to the group by multicast, in a datagram with the last ones.
//	                   Between 16 hosts and more, what the streams cannot keep up with leaves its author once,
//	                   in pieces of 1 KiB by multicast: see p2pchat.WithMulticast, also for when it does not
//	history, each      up to 126 KiB of messages that are sent at one time are one block. A block has 67 bytes,
//	node               about 70 and 50·D for its body, and about 170 in indexes; a message in it has B + 1
//	                   to B + 3. So one that is sent alone takes some B + 300 bytes, one of many
//	                   some B + 4
//	one member more    a chain of blocks for each run of its program, 52 bytes for it in an
//	                   exchange of histories between two nodes as long as there are no more than 400
//	                   such chains, and less beyond
//	direct messages    4 MiB wait for one member, 2 MiB of each sender for a reader, 64 MiB of all
//	events             4,096 for each reader
//	strangers          all that is kept of them is bounded: see transport/lan and transport/seal
//
// A history grows for ever unless WithRetention drops what was said, on one node,
// or WithCompaction gives it up, in the group; WithFullHistory keeps it on one node
// all the same.
//
// # Tuning
//
// membership.For(H, timeout) derives all durations, and each field of
// membership.Timing can be set; Validate says what does not fit. All members should
// have the same. With R the longest round trip between two members, and p the part of
// the packets that is lost:
//
//	H         at least 10·R: an answer counts as late after H/10, until round trips were measured
//	timeout   at least 4·H, that is k = timeout/H beats. Silence of that length has a chance of p^k for
//	          each beat; then it is verified for a quarter of the timeout, 2 s at most: the coordinator and three
//	          witnesses are asked again and again, and all their answers would have to be lost
//	          before anybody is replaced. In 10 h at 20 % loss nobody is, even with k = 2:
//	          go test ./internal/sim -run Targets -full -v
//	wanted    a vanished host is replaced within t: timeout = t, H = t/4
//	few bits  the traffic at rest is proportional to 1/H: membership.Classic has a tenth of Default's
//
// A process that dies is noticed by its refused endpoint, whatever the timing is; only
// hosts that vanish, and networks that break, wait for the timeout. The election itself
// takes about a round trip with election.NewBully, and a message from each member to the
// next, one after another, with election.NewRing.
//
// # What to watch
//
// Node.Stats is an expvar.Var, and JSON; Status has what a person wants to see.
//
//	members, Status.Same of Of     all there, and equal. Same below Of for long: somebody cannot be reached
//	links                          members less one. Less for long: TCP is shut between some two
//	elections, suspicions          grow if the coordinator dies, or is often too late: the timing is too
//	                               tight, or the machine or network is overloaded
//	evictions                      members that failed
//	pending                        blocks that wait for others; back to 0 within seconds
//	waiting, unread                direct messages that their receiver, or this program, does not take
//	messages, bytes, blocks        the size of the history. bytes/blocks far below 126 KiB is normal in a chat
//	pulls, served                  grow when nodes join or parts meet, not otherwise
//	drops                          package p2pchat has all reasons. forged, auth, replay, malformed, signature:
//	                               somebody attacks, or has another version or key. foreign_group, version,
//	                               sealed, open: another group is here. overflow, limited: too much of
//	                               something. duplicate, known: normal
//
// A WarningEvent, or a line of the logger at Warn, says what may need a person.
//
// # Data directories
//
// A directory (WithDataDir) has one file, history.db, with the history, the private
// key and the name of the group. It is open in one process at a time, and no other
// program may write it. Keep it on a local disk, readable by its owner alone.
//
//	back up    copy it while the node is down, or by a snapshot of the file system. Copied while it is
//	           written it may be damaged
//	restore    put it in place and start: the node takes over what it lacks from the others, and numbers
//	           are not used twice. What it alone had written since is lost
//	two of it  never run two nodes with copies of one directory: to the others they are one peer, and
//	           the later is taken for a restart of the earlier
//	disk full  the node ends with a *StoreError; with WithMemoryFallback it goes on in memory, after a
//	           WarningEvent "store", once
//	damage     the error of New wraps boltstore.ErrCorrupt, and the file is left as it is: see
//	           boltstore.Options.Repair, or start with an empty directory, as another peer
//
// # Keys
//
// WithPassphrase and WithGroupCode are for one key. To change it without a break make
// the transport yourself:
//
//	key, err := seal.Code(code)
//	…
//	sealed, err := seal.New(lan.New(lan.Config{}), seal.Config{Key: key})
//	…
//	node, err := p2pchat.New(p2pchat.WithTransport(sealed))
//
// and give all nodes the new key beside the old one, then instead of it, then alone:
// sealed.SetKeys(old, new), SetKeys(new, old), SetKeys(new), each step at all of them
// before the next is at any. Who does not have the new key is out. A peer's own key is
// its identity, and is not changed: a new one is another peer.
//
// # Versions
//
// Every packet names the lowest and the highest version of the wire format that its
// sender speaks; two nodes use the highest that both do. Now all speak 1. A release
// that brings another speaks both, so that a group goes over one node at a time; when
// all have, a later release can leave the old one out. Nodes with no version in common
// are told so: Join fails with a *VersionError, and members count "version". The seal
// and the blocks of the history have versions of their own, in their keys and hashes.
package p2p
