//go:build !linux

package lan

// watch has nobody to ask: the interfaces are looked at now and then.
func (t *Transport) watch(chan<- struct{}) {}
