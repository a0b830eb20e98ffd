package transporttest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/transport"
)

// encoder makes a frame, and counts how often.
type encoder struct {
	n     *node // that sends it
	frame []byte
	calls atomic.Int64
}

func (e *encoder) Size() int { return len(e.frame) }

func (e *encoder) AppendTo(b []byte) []byte {
	if e.n.closed.Load() {
		e.n.late.Add(1)
	}
	e.calls.Add(1)
	return append(b, e.frame...)
}

func later(t *testing.T, g *group) {
	hold, open := gate()
	t.Cleanup(open)
	sender := g.node(nil)
	d, ok := sender.Transport.(transport.Deferrer)
	if !ok {
		t.Log("it is not a Deferrer, and need not be one")
		return
	}
	others := []*node{g.node(nil), g.node(nil)}
	huge := &encoder{n: sender, frame: make([]byte, transport.MaxFrame+transport.Overhead+1)}
	err := d.StreamLater(others[0].Addr(), huge)
	if err == errors.ErrUnsupported {
		t.Log("what it wraps is not a Deferrer")
		return
	}
	var tooLarge *transport.TooLargeError
	require.ErrorAs(t, err, &tooLarge)
	require.Equal(t, huge.Size(), tooLarge.Size)
	require.Zero(t, huge.calls.Load())
	laterInOrder(t, d, sender, others)

	stuck := g.node(hold)
	t.Cleanup(open)
	sender.send(stuck, make([]byte, 8))
	sender.expect(transport.Up, stuck)
	var taken []*encoder
	var refused *encoder
	for refused == nil {
		frame := make([]byte, 64<<10)
		binary.BigEndian.PutUint64(frame, uint64(len(taken)))
		e := &encoder{n: sender, frame: frame}
		if err := d.StreamLater(stuck.Addr(), e); err == nil {
			taken = append(taken, e)
			require.Less(t, len(taken), 1<<14, "a gigabyte was taken for a peer that takes nothing")
		} else {
			require.ErrorIs(t, err, transport.ErrFull)
			refused = e
		}
	}
	open()
	stuck.expect(transport.Up, sender)
	stuck.expect(transport.Frame, sender)
	for i := range taken {
		require.EqualValues(t, i, binary.BigEndian.Uint64(stuck.expect(transport.Frame, sender).Frame))
	}
	sender.expect(transport.Writable, stuck)
	for _, e := range taken {
		require.EqualValues(t, 1, e.calls.Load())
	}
	require.Zero(t, refused.calls.Load(), "it was not taken")

	// What is queued when all ends is made once at most, and not after that.
	var lost []*encoder
	for range 100 {
		for _, to := range others {
			e := &encoder{n: sender, frame: make([]byte, 10000)}
			if d.StreamLater(to.Addr(), e) == nil {
				lost = append(lost, e)
			}
		}
	}
	others[0].shut()
	sender.Hangup(others[1].Addr())
	sender.shut()
	require.ErrorIs(t, d.StreamLater(stuck.Addr(), refused), transport.ErrClosed)
	<-time.After(20 * time.Millisecond)
	require.Zero(t, sender.late.Load(), "calls after Close")
	for _, e := range lost {
		require.LessOrEqual(t, e.calls.Load(), int64(1))
	}
}

// laterInOrder sends frames that exist and frames that do not, in turn, to two
// peers at once.
func laterInOrder(t *testing.T, d transport.Deferrer, sender *node, others []*node) {
	const count = 1000
	send := func(to *node, i int) error {
		if i%3 == 1 {
			return sender.Stream(to.Addr(), sized(i))
		}
		return d.StreamLater(to.Addr(), &encoder{n: sender, frame: sized(i)})
	}
	for _, to := range others {
		require.NoError(t, send(to, 0))
		sender.expect(transport.Up, to)
		to.expect(transport.Up, sender)
	}
	go func() {
		for i := 1; i < count; i++ {
			for _, to := range others {
				err := send(to, i)
				for ; errors.Is(err, transport.ErrFull); err = send(to, i) {
					sender.expect(transport.Writable, to)
				}
				require.NoError(t, err)
			}
		}
	}()
	for i := range count {
		for _, to := range others {
			e := to.expect(transport.Frame, sender)
			require.True(t, bytes.Equal(sized(i), e.Frame), "frame %d of %d bytes", i, len(e.Frame))
		}
	}
}
