//go:build solaris || aix

package boltstore

import (
	"errors"
	"os"
	"syscall"
)

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// unlock has nothing to do: to close the file is enough.
func unlock(*os.File) {}
