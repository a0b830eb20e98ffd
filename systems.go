// # How it compares
//
// To what a program might use instead, by what their documentation says. No speeds:
// BENCHMARKS.md has those of this module, and measuring the others fairly is a thing
// of its own.
//
//	                  p2p          JGroups      memberlist,   Zyre         libp2p       NATS
//	                                            Serf                       gossipsub
//	servers           none         none         none          none         none         one, or embedded
//	first contact     multicast,   multicast,   a known       broadcast    DHT, mDNS,   a known
//	                  seeds        many others  member        or gossip    bootstrap    server
//	members           one view,    one view,    each its      each its     each its     the servers'
//	                  same order   same order   own list      own list     own peers
//	coordinator       elected      the oldest   none          optional     none         Raft, for
//	                                                                                    JetStream
//	order             causal; one  by sender;   none          by sender    none         by sender; one
//	                  for all      total as an                                          in a stream
//	                               option
//	history           all, signed  none; state  none          none         a short      JetStream
//	                               transfer                                cache
//	after a split     union of     merge view;  lists merge   lists merge  mesh heals   a majority
//	                  both sides   state is the                                         goes on
//	                               program's
//	authorship        signed       none         none          CURVE keys   signed       accounts,
//	                                                                                    TLS
//	encryption        one secret   one secret,  one secret    CURVE        TLS, Noise   TLS
//	                               or TLS
//	network           LAN, VPN     LAN, WAN     LAN, WAN      LAN          Internet,    Internet
//	                                                                       NAT
//	languages         Go           Java         Go            C, others    Go, Rust,    most
//	                                                                       JS, others
//
// JGroups. It has stacks of protocols for nearly every wish: total order, flow
// control, distributed locks and counters, RPC, relaying between sites, discovery in
// clouds, and two decades of use in application servers. What is here and not there:
// a history that two sides of a split have in common again without code of the
// program's, authors that can be proven, and defaults with which a killed process
// is noticed at once.
//
// memberlist and Serf. SWIM with Lifeguard keeps a list of thousands of members on
// wide networks at a constant cost a node, without connections between all; Serf adds
// events and queries. If a list of who is alive and a few small events are all that
// is needed, they are smaller and scale further. What is here and not there: views,
// which all install in the same order and under one coordinator; messages that are
// never lost, overtaken or too large for a packet; what was said before one came.
//
// Zyre. Discovery by beacons, groups by name and messages to each, as a protocol
// (ZRE) that is specified apart from any code and spoken in several languages. What is
// here and not there: a history, causal order, repair of what was lost with a
// connection, and views.
//
// libp2p pubsub. It finds peers across the Internet, gets through address translators,
// and spreads messages over a mesh in which nobody has to know all others: what
// this module does not do at all. In exchange a message may get lost, nobody knows who
// is in a topic, and order and history are the program's business.
//
// NATS. A server, or a cluster of them, between clients in any language: subjects,
// queues, requests, streams with consumers, key-value and object stores, accounts and
// limits, on any network. If there can be a server, it is the simpler and the more
// powerful choice, and JetStream stores history with a majority's agreement. What
// is here and not there: nothing to run beside the program, both sides of a split go
// on, and who wrote what can be proven without trust in a server.
//
// What this module is not for: state on which a majority must agree before anything
// happens (Raft, etcd), large files, media, and groups of strangers on the Internet.
package p2p
