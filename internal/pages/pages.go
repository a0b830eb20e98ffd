// Package pages gives memory that comes in large pages.
//
// A system gives a process memory when it is touched, page by page, and each
// first touch is a change to the system and back. For pages of 4 KiB that costs
// more than to copy what fills them, on a virtual machine many times that. Huge
// pages make it one change where there were 512.
package pages

// least is the size from which it pays.
const least = 256 << 10

// Make returns n zero bytes, for much that is written once and kept: if they
// are many, in huge pages on systems that have them and let programs ask.
func Make(n int) []byte {
	b := make([]byte, n)
	if n >= least {
		advise(b)
	}
	return b
}
