// Package p2pchat makes a program a node of a group that talks with no server
// among its members.
//
//	node, err := p2pchat.New(p2pchat.WithName("ada"))
//	if err != nil {
//		return err
//	}
//	defer node.Close()
//	if err := node.Join(ctx); err != nil { // finds the group, or founds it
//		return err
//	}
//	go func() {
//		for m := range node.Messages(ctx, p2pchat.FromStart) {
//			fmt.Printf("%s: %s\n", m.From, m.Data)
//		}
//	}()
//	_, err = node.Send(ctx, "lobby", []byte("hello"))
//
// A Node composes the four parts of this module: a transport.Transport carries
// frames, a membership.Membership knows who is there, an election.Elector
// decides who coordinates, and a causal.Log keeps what was said. Each can be
// used, or replaced, alone.
//
// # What is promised
//
//   - Membership. All members that can reach each other install the same views
//     in the same order. Each view has one coordinator, which assigned its
//     members distinct IDs; it alone answers newcomers, announces who joined,
//     left or failed, and sends heartbeats.
//   - Failover. When the coordinator leaves, its successor is there before it
//     has gone. When its process dies, the refused endpoint is proof, and a
//     successor is elected in milliseconds; when its host falls silent, after
//     Timing.TElect. An election is never begun for one lost heartbeat.
//   - Partition. Each part goes on under a coordinator of its own. When the
//     parts meet again, one coordinator and one history remain; an ID changes
//     only if both parts had assigned it.
//   - History. Every message is signed by its author and linked to what its
//     author had seen. It is delivered to every node once, after all that it
//     may answer. All nodes that hold the same messages list them in the same
//     order, and the digest says whether they do.
//   - Direct messages. What SendTo sends is read by its two ends alone,
//     whoever else is a member or records what passes. It arrives once and in
//     order, and is acknowledged end to end. It is not in the history.
//   - Nothing waits for the slow. Send never waits for peers, a peer that does
//     not keep up costs no memory, and a program that reads slowly loses no
//     message.
//
// What is not promised: that there is one coordinator at any instant (no system
// that stays available in a partition can), that a message which no other node
// has received survives its author's crash, or secrecy: anyone on the network
// can join an open group and read it.
//
// # Two orders
//
// Messages are delivered in causal order, each node in its own; Message.Index
// counts them and never changes, so it is the cursor to resume from. The
// history is a total order, the same everywhere; Message.Pos is a place in it,
// and grows when messages from a healed partition are inserted before.
//
// # Direct messages
//
// They are encrypted with HPKE (RFC 9180): DHKEM(X25519, HKDF-SHA256),
// HKDF-SHA256, AES-128-GCM. Before the first one its receiver makes a key for
// that sender, which it forgets when the session is open. Both halves of the
// exchange are signed with the peers' Ed25519 keys, and the session is bound to
// both keys, both runs and the group: nobody in between can read, alter, repeat
// or reorder, or stand in for either. Whoever gets hold of both identities, or
// of a data directory, later reads nothing of what was sent before. Whoever
// reads the memory of a running node can read the sessions that are open: one
// ends when either node ends, and at the first message after an hour when
// nothing is under way. It shows who talks to whom, when, and how much.
//
// # What is refused
//
// Packets and messages that are refused change nothing but a count in
// Status.Drops and Stats.Drops, by reason. A reason that grows is named in a
// WarningEvent, and in the log at Warn, once a minute with how often.
//
//	malformed         not what this protocol sends
//	version           another version of the wire format
//	foreign_group     of another group at the same address
//	oversize          a datagram longer than any
//	duplicate         a packet that had come already
//	no_hello          a connection that did not say whose it is
//	overflow          more connections, peers or datagrams than there is room for
//	open              not sealed, as this group is
//	sealed            sealed, as this group is not
//	auth              sealed with another key, or changed on its way
//	replay            sealed, and an old one or another's
//	unproven          sealed, from an endpoint that did not prove to be there
//	rejected          somebody said that it cannot talk to this node
//	fault             lost on purpose, by transport/fault
//	forged            not signed by whom it claims to be from
//	replayed          a direct message, or what goes before it, that had come already
//	own               carries this node's own key
//	not_by_stream     a datagram that should have come by a stream
//	not_member        a direct message of somebody who is no member
//	limited           more JOINs, or more forgeries, of one source than are looked at
//	counter           an epoch's counter out of range, or too far ahead
//	stale             of a run of a peer that was replaced
//	control_overflow  given up because its receiver does not read
//	stranger          history from somebody who is no member
//	too_many_tips     a request of impossible length
//	ranges            a question about the history, or an answer, that makes no sense
//	no_proof          an accusation of a fork that is none
//	too_large         a block of the history larger than any, or more blocks at once than are allowed
//	signature         a block that its author did not sign
//	unchecked         a block after 16 with bad signatures in one message
//	unknown_writer    a block of a writer whose key is not known
//	links             a block that contradicts those before it
//	height            a block with the wrong height: a logical clock that is ahead
//	no_payload        a block without its messages
//	known             a block that is held already
//	pending_full      a block that gave way to others that wait for older ones
//	pending_old       a block that waited too long for older ones
//	below_checkpoint  a block older than the checkpoint that stands for such
//	checkpoint        a checkpoint that not all of its members signed
//
// Blocks that are known, or wait, are a part of the normal life of a group.
//
// What cannot be refused without work is looked at a hundred times a second from
// one source. Packets above that are not looked at; a stream above that is left
// alone until the next second, so that it is its sender who waits, and a
// WarningEvent "held" names the member.
//
// # Limits and defaults
//
//	direct      256 messages or 4 MiB wait for one member; 64 or 2 MiB of each
//	            sender wait for a slow reader of Direct, 4,096 or 64 MiB of all
//	message     1 MiB (WithMaxMessage makes it less)
//	nick, room  64 bytes of UTF-8
//	events      4,096 wait for a slow reader of Events
//	timing      membership.Default: heartbeat 500 ms, time-out 2 s
//	elector     election.NewBully
//	transport   lan.New(lan.Config{})
//	multicast   of what is too much for the streams, from 16 hosts on (WithMulticast)
//
// # Wire
//
// The root of the module has the wire format. What a Node adds to it is what a
// message of the history is made of: the length of its room's name as a uvarint, the
// name, the same of its author's nick, and the data. What is not of this form is
// given to readers as data without a room and a nick. A direct message is the data
// alone. The keys of peers are their names in membership and causal.
package p2pchat
