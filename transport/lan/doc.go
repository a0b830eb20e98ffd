// Package lan is a transport for a local network: UDP multicast to the group,
// UDP to one node, and a TCP stream to each peer, by IPv4 and by IPv6.
//
// A program needs to know nothing but the group's multicast address, and not
// even that if it is the default one. Any number of programs on a host, and of
// transports in a program, share a group; groups that share an address and
// port are kept apart by a label in every packet.
//
// # Endpoints
//
// A transport has a port of its own, the same one for UDP and TCP, IPv4 and
// IPv6. All its datagrams are sent from it, so that the source of a packet can
// be answered. Multicast is received on sockets that all programs on the host
// share.
//
// A node has one endpoint, its name: an IPv4 address if it has one, and else an
// IPv6 one, with its port. It stands in every packet, and the Handler knows the
// node by it, whichever way the packet came: by IPv4 or IPv6, over one interface
// or another. Beside the name the addresses that the node's packets came from
// are remembered, and what is sent to the name goes there. So a node without
// IPv4 reaches one whose name is an IPv4 address; and a node that lies about its
// endpoint gets what is meant for it and nothing else. A name has no zone, even
// if it is a link-local address: the interface by which the node was heard is a
// part of what is remembered.
//
// When the host has lost the address, Addr changes. Connections from there are
// closed and dialed again, and others go on to know the node by the name that
// they know, until they use the new one.
//
// # Both families
//
// A packet to the group goes to the IPv4 group and to the IPv6 group that is
// derived from it: ff15:: with the IPv4 address as its last four bytes,
// ff15::efff:4d0c for the default (transient and of the site, as 239.255.0.0/16
// is; RFC 4291, RFC 3307). It arrives once, and what came besides by other ways
// is no more than that. A host that has one family only is no error. On the
// loopback interface IPv4 alone is used if there is any.
//
// Nobody hands on packets between the families: a host that has IPv4 alone and one
// that has IPv6 alone do not hear each other, though one with both hears the two.
// As long as that one coordinates, all three are in one view, but what the two say
// is known to be everywhere by none of them; and Warnings says so at both.
//
// # Interfaces
//
// Unless told otherwise a transport uses every interface that is up, has an
// address and does multicast, and the loopback interface. It leaves out
// point-to-point links, and bridges and virtual interfaces of containers and
// virtual machines, unless such an interface is named or is the only one. With
// no network it uses the loopback interface alone. The list is read again
// when it changes, as Linux tells, elsewhere every five seconds. Interfaces
// tells which ones are used and why not.
//
// A node sends a beacon to the group when it has sent nothing else for five
// seconds, with the next packet that comes from somebody else, so that all wake
// up once for both; in a group of more than 16, less often. If for ten seconds
// nothing but its own packets came by multicast through an interface, or not
// even those, Warnings says so.
//
// # Networks without multicast
//
// Config.Peers names nodes that are reached by unicast. A node with such seeds
// asks them for the endpoints they know, and asks those, too; all that answer
// get by unicast what it sends to the group, and send it theirs. So one seed
// that is there is enough, and nodes for which multicast works are in one group
// with others for which it does not. Up to 256 nodes are reached this way. A
// node that is to be a seed needs a fixed port, see Config.Listen.
//
// # Streams
//
// Two nodes have one TCP connection in common, dialed by whoever had something
// to say first; each writes on the connection it has, whoever dialed it. If
// both dialed at the same time there are two, and each writes on the one that
// it had first.
//
//	state    entered by                                 then
//	dialing  Stream, or the end of a connection         Up, or Down with Refused or Timeout and forgotten
//	up       a dial, or a connection from the peer      Down with Reset, and dialing at once
//	hung up  Hangup                                     what is queued is written, nothing is reported
//
// What is queued when a Down is reported is lost; what is queued later is for
// the next connection. Attempts to connect to one peer that follow each other
// closely are spaced, from the fourth on, by 50 ms up to a second; frames wait
// meanwhile. An attempt tries the addresses by which the peer was heard, one
// more every 250 ms.
//
// A connection counts once both sides have sent a header for the same group. An
// endpoint that answers with anything else is reported as Refused, because the
// peer is not there any more. One that accepts and stays silent is reported as
// Timeout.
//
// # Hostile input
//
// Whatever cannot be understood is dropped and counted, see Transport.Drops. On
// Linux datagrams that come fast are read in batches, which makes a flood cost less.
// Connections that do not say hello are closed after two seconds; there are at
// most 256 of them, and the oldest makes room for a new one. A peer that breaks
// the protocol loses its connection. There are at most 4096 peers that connected
// by themselves, and four connections with each; 4096 nodes are remembered with
// four addresses each, and the one not heard for longest makes room.
//
// Anybody on the network can send what a node would. Nothing that this package
// answers is larger than what it answers, and all of it is limited: pings to 16 a
// second for each source and 128 in all, refusals and reports of strangers to four
// a second for each source and 16 in all.
//
// # Goroutines
//
// For each family one reads the endpoint, one the group, and one accepts
// connections; one tends the interfaces and one the seeds. Each connection that
// has not said hello has one, each peer has one that dials and writes, and each
// of its connections one that reads. Dials and tries that are under way have
// one for each address. All have ended when Close returns.
//
// # Systems
//
// It runs on Linux, macOS, the BSDs and Windows. Only Linux tells the kernel to
// give up a peer that acknowledges nothing; elsewhere deadlines do. On Linux a
// socket hears only the groups that it joined itself; elsewhere it hears those
// that others on the host joined, and the label sorts them out. Windows binds to
// no group's address, for the same reason without effect, and does not tell
// through which interface a packet came: there the warning of an interface
// without multicast is given for all or for none.
//
// # Packets
//
// Numbers are big-endian. Every datagram, and each direction of every TCP
// connection, begins with a header:
//
//	offset  length  field
//	0       3       "p2p"
//	3       1       kind, a letter
//	4       1       the lowest version of the wire format that the sender speaks: 1
//	5       1       the highest: 1
//	6       2       port of the sender's endpoint
//	8       8       label of the group
//	16      8       instance: random, one for each run of a transport
//	24      4       number of the datagram, for each instance; 0 but in a 'd'
//	28      16      address of the sender's endpoint, ::ffff:a.b.c.d if it is an IPv4 one
//
// The first 16 bytes are the same in every version; the rest is as the highest
// version says that both sides speak. The label is the first 8 bytes of the
// SHA-256 of "p2p lan group", 00, the IPv4 group as "239.255.77.12:7712", 00, and
// Config.Name.
//
//	kind  on         what follows, and what it is for
//	'd'   a datagram   one frame, to the end of the packet: 0 to 1,152 bytes
//	'b'   a datagram   nothing: the sender is here
//	'q'   a datagram   a ping, which is answered by a pong
//	'a'   a datagram   a pong
//	'r'   a datagram   a refusal: of the header only the first 16 bytes. Who gets one has spoken
//	                   a version that the sender does not; bytes after the 16 are for later versions
//	'h'   a stream     a hello: then frames, each after its length in 4 bytes, up to 2,097,216
//	't'   a stream     nothing: the connection is only tried; it is answered by 'h', and closed
//
// Who accepts a connection waits for the header, then sends its own, an 'h', even
// if the other is of another group or version. Frames may follow at once.
//
// A ping or pong, after the header:
//
//	offset  length  field
//	0       1       flags of a ping: 1 answer to the group, 2 connect to me first, 4 I do not hear
//	                the group. Of a pong: what became of the connection: 0 none was asked for,
//	                1 open, 2 refused, 3 no answer
//	1       8       token; a pong repeats that of its ping
//	9       18·n    up to 32 endpoints that the sender knows, as address (16) and port (2)
//
// A ping may end in endpoints of zeros, which make room for as many in the pong: a
// pong is never longer than its ping. testdata/vectors.json has packets of every
// kind.
package lan
