package lan

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// letters is a frame that is made when it is written.
type letters struct {
	letter byte
	size   int
}

func (l letters) Size() int { return l.size }

func (l letters) AppendTo(b []byte) []byte {
	return append(b, bytes.Repeat([]byte{l.letter}, l.size)...)
}

// poison overwrites the memory that no batch uses.
func poison() {
	var taken []*[]byte
	for range 16 {
		memory := copies.Get().(*[]byte)
		b := (*memory)[:cap(*memory)]
		for i := range b {
			b[i] = 0xAA
		}
		taken = append(taken, memory)
	}
	for _, memory := range taken {
		copies.Put(memory)
	}
}

// The memory of a batch is that of no other while a slow peer has not taken all
// of it, and is there for others once it has, or the connection broke.
func TestMemoryOfABatch(t *testing.T) {
	// With one processor the pool gives whatever was put there.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	for _, broken := range []bool{false, true} {
		nc, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		defer nc.Close()
		require.NoError(t, nc.(*net.TCPConn).SetWriteBuffer(64<<10))
		peer, err := l.Accept()
		require.NoError(t, err)
		defer peer.Close()

		// More than two sockets hold, and with frames of all sorts.
		var queue []outgoing
		for i := range 20 {
			queue = append(queue, outgoing{later: letters{'a' + byte(i), 500_000}},
				outgoing{frame: bytes.Repeat([]byte{'A' + byte(i)}, 100)}, outgoing{frame: bytes.Repeat([]byte{'0'}, 3000)})
		}
		var want []byte
		for _, o := range queue {
			b := o.frame
			if o.later != nil {
				b = o.later.AppendTo(nil)
			}
			want = append(append(want, byte(len(b)>>24), byte(len(b)>>16), byte(len(b)>>8), byte(len(b))), b...)
		}
		done := make(chan error, 1)
		go func() {
			var w writer
			for len(queue) > 0 {
				w.take(&queue)
				if err := w.write(&conn{TCPConn: nc.(*net.TCPConn)}); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		for at := 0; at < len(want) && (!broken || at < len(want)/2); {
			poison()
			got := make([]byte, min(100_000, len(want)-at))
			_, err := io.ReadFull(peer, got)
			require.NoError(t, err)
			require.True(t, bytes.Equal(want[at:at+len(got)], got), "at byte %d", at)
			at += len(got)
		}
		if broken {
			require.NoError(t, nc.Close())
			require.Error(t, <-done)
		} else {
			require.NoError(t, <-done)
		}
		poison()
	}
}
