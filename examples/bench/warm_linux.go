package main

import "syscall"

// hugePages asks for b in huge pages. Errors do not matter.
func hugePages(b []byte) { _ = syscall.Madvise(b, syscall.MADV_HUGEPAGE) }
