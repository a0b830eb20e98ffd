package pages

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// huge is the size of a huge page on most machines; on others the advice does
// less, and no harm.
const huge = 2 << 20

// advise asks for huge pages. Those are aligned, so the range is widened to
// whole ones: neighbours in the heap fill them together. It is advice, which
// the system may not take, so errors do not matter.
func advise(b []byte) {
	from := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	to := from + uintptr(len(b))
	from, to = from&^(huge-1), (to+huge-1)&^(huge-1)
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_HUGEPAGE)
}
