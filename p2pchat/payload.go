package p2pchat

import "encoding/binary"

// What a message is in the log: its room, its author's nick and its data.
//
//	uvarint length of the room · room · uvarint length of the nick · nick · data

func appendPayload(dst []byte, room, nick string, data []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(room)))
	dst = append(dst, room...)
	dst = binary.AppendUvarint(dst, uint64(len(nick)))
	dst = append(dst, nick...)
	return append(dst, data...)
}

// splitPayload is the inverse. What was not made by appendPayload is data
// without a room and a nick: the log has it, so readers are given it.
func splitPayload(p []byte) (room, nick, data []byte) {
	room, rest, ok := cutString(p, MaxRoom)
	if !ok {
		return nil, nil, p
	}
	nick, data, ok = cutString(rest, MaxNick)
	if !ok {
		return nil, nil, p
	}
	return room, nick, data
}

func cutString(b []byte, limit uint64) (s, rest []byte, ok bool) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > limit || n > uint64(len(b)-w) {
		return nil, nil, false
	}
	return b[w : w+int(n)], b[w+int(n):], true
}
