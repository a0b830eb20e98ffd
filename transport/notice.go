package transport

// The first byte of a frame tells who it is for. Below FirstSealed it is the
// caller's own; from there on it belongs to a transport that seals what it
// carries, so that an open node and a sealed one know each other for what they
// are; and Notice begins what either says to the other about that.
const (
	FirstSealed = 0x80
	firstNotice = 0xff
)

// Notice is the frame by which a node that was reported an AuthError as a
// Stranger tells the other node so, by Unicast. It is not protected by
// anything.
func (e *AuthError) Notice() []byte {
	frame := []byte{firstNotice, 0}
	if e.OwnSealed {
		frame[1] = 1
	}
	return frame
}

// ParseNotice returns what a notice says to a node that is sealed, or not; ok
// is false for any other frame, and for one that makes no sense to that node.
func ParseNotice(frame []byte, sealed bool) (e *AuthError, ok bool) {
	if len(frame) != 2 || frame[0] != firstNotice || frame[1] > 1 {
		return nil, false
	}
	e = &AuthError{Sealed: frame[1] == 1, OwnSealed: sealed}
	return e, e.Sealed || e.OwnSealed
}
