// Package optional asks a transport for what it can do besides; see package
// transport for the interfaces. One that cannot has nothing to say.
package optional

import "github.com/seed-885536be/p2p/transport"

// Interfaces are those of a transport.Reporter; of others nil.
func Interfaces(t transport.Transport) []transport.Interface {
	if r, ok := t.(transport.Reporter); ok {
		return r.Interfaces()
	}
	return nil
}

// Drops are those of a transport.Reporter; of others none. The map is the
// caller's, and never nil.
func Drops(t transport.Transport) map[string]uint64 {
	if r, ok := t.(transport.Reporter); ok {
		if drops := r.Drops(); drops != nil {
			return drops
		}
	}
	return make(map[string]uint64)
}

// Warnings are those of a transport.Warner; of others nil.
func Warnings(t transport.Transport) []transport.Warning {
	if w, ok := t.(transport.Warner); ok {
		return w.Warnings()
	}
	return nil
}
