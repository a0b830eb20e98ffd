// Package transport defines how the frames of a group travel. Its
// implementations are in the packages below it: lan for real networks, and
// memnet for tests and simulations. Two wrap any of them: seal encrypts what is
// carried, and fault makes the network bad. Package transporttest checks any other.
//
// A Transport needs a Handler, which is called for everything that happens:
//
//	Datagram   a frame came to the group or to this node; it may have been lost, or come twice
//	Frame      a frame came on the stream from a peer, in order
//	Up         there is a stream to the peer, dialed or accepted
//	Writable   after ErrFull there is room again
//	Down       the stream broke (Reset), or could not be opened (Refused, Timeout)
//	Stranger   somebody has this group's address, but another version or another key
//	Rejected   somebody says so of this node
//
// For one peer the events Up, Writable and Down are in order, and frames come
// between the Up and the Down of their stream, but for two streams that were
// opened by both sides at the same time.
//
// A caller that is told Down with Reset waits: Up, Refused or Timeout follows.
// Only Refused is evidence that the peer's process has ended.
//
// What not every transport can do has an interface of its own:
//
//	Reporter   tells its interfaces, and what it refused
//	Warner     tells what is wrong with its network
//	Refuser    tells a Stranger why it is not understood
//	Gatherer   takes a frame in parts
//	Deferrer   takes a frame that is made when it is written
package transport
