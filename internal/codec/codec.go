// Package codec is the one strict form of msgpack that this module speaks.
//
// Msgpack as it comes has many encodings for one value, and decoders that let
// trailing bytes, missing and surplus fields, nil for a struct and invalid
// UTF-8 pass. Here a value has exactly one encoding, and Decode takes nothing
// else: what it accepts, Append gives back byte for byte. All structs are
// encoded as arrays; there are no maps, no extensions and no floats, and nil is
// a list or byte string that is not there, never a struct or a number.
package codec

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"unicode/utf8"

	"github.com/hashicorp/go-msgpack/v2/codec"
)

// MaxDepth is how deep arrays may be nested.
const MaxDepth = 8

// Errors of Decode and Scan.
var (
	ErrTruncated = errors.New("codec: truncated")
	ErrDepth     = errors.New("codec: nested too deep")
	ErrType      = errors.New("codec: a type that is not used on the wire")
	ErrUTF8      = errors.New("codec: text is not valid UTF-8")
	ErrForm      = errors.New("codec: not in canonical form")
)

var handle = func() *codec.MsgpackHandle {
	h := new(codec.MsgpackHandle)
	h.WriteExt = true // strings and byte strings are different things
	h.Canonical = true
	h.ErrorIfNoField = true
	h.ErrorIfNoArrayExpand = true
	h.StructToArray = true
	h.MaxDepth = MaxDepth + 1
	// Scan has seen that everything is there. The decoder copies what it has
	// whenever it grows by this much.
	h.MaxInitLen = 256 << 10
	return h
}()

type encoder struct {
	buf []byte
	enc *codec.Encoder
}

var encoders = sync.Pool{New: func() any {
	e := &encoder{buf: make([]byte, 0, 512)}
	e.enc = codec.NewEncoderBytes(&e.buf, handle)
	return e
}}

var decoders = sync.Pool{New: func() any { return codec.NewDecoderBytes(nil, handle) }}

// Append appends the encoding of v. It panics if v's type has no encoding,
// which is a mistake in this module and depends on no input.
func Append(dst []byte, v any) []byte {
	e := encoders.Get().(*encoder)
	e.buf = e.buf[:0]
	e.enc.ResetBytes(&e.buf)
	if err := e.enc.Encode(v); err != nil {
		panic(fmt.Sprintf("codec: %T cannot be encoded: %v", v, err))
	}
	dst = append(dst, e.buf...)
	if cap(e.buf) <= 64<<10 {
		encoders.Put(e)
	}
	return dst
}

// Decode decodes the first value of b into v, a pointer, and returns what
// follows it.
func Decode(b []byte, v any) (rest []byte, err error) {
	n, err := Scan(b)
	if err != nil {
		return nil, err
	}
	d := decoders.Get().(*codec.Decoder)
	defer decoders.Put(d)
	d.ResetBytes(b[:n])
	if err := d.Decode(v); err != nil {
		return nil, fmt.Errorf("codec: %w", err)
	}
	e := encoders.Get().(*encoder)
	defer encoders.Put(e)
	e.buf = e.buf[:0]
	e.enc.ResetBytes(&e.buf)
	if err := e.enc.Encode(v); err != nil || !bytes.Equal(e.buf, b[:n]) {
		return nil, ErrForm
	}
	return b[n:], nil
}

// Scan returns the length of the first value of b, or what forbids it. It
// allocates nothing, so no length that a stranger claims is believed before it
// ran.
func Scan(b []byte) (int, error) { return scan(b, 0, 0) }

func scan(b []byte, at, depth int) (int, error) {
	if depth > MaxDepth {
		return 0, ErrDepth
	}
	if at >= len(b) {
		return 0, ErrTruncated
	}
	c := b[at]
	switch {
	case c <= 0x7f || c >= 0xe0: // small integers
		return at + 1, nil
	case c >= 0x90 && c <= 0x9f:
		return scanArray(b, at+1, int(c&0x0f), depth)
	case c >= 0xa0 && c <= 0xbf:
		return scanText(b, at+1, int(c&0x1f))
	}
	size := 0 // of what follows the first byte
	switch c {
	case 0xc0, 0xc2, 0xc3: // nil, false, true
	case 0xcc, 0xd0, 0xc4, 0xd9: // 8-bit integers, lengths
		size = 1
	case 0xcd, 0xd1, 0xc5, 0xda, 0xdc:
		size = 2
	case 0xce, 0xd2, 0xc6, 0xdb, 0xdd:
		size = 4
	case 0xcf, 0xd3:
		size = 8
	default:
		return 0, ErrType
	}
	if len(b)-at-1 < size {
		return 0, ErrTruncated
	}
	var n uint64
	for _, x := range b[at+1 : at+1+size] {
		n = n<<8 | uint64(x)
	}
	at += 1 + size
	switch c {
	case 0xc4, 0xc5, 0xc6:
		if n > uint64(len(b)-at) {
			return 0, ErrTruncated
		}
		return at + int(n), nil
	case 0xd9, 0xda, 0xdb:
		if n > uint64(len(b)-at) {
			return 0, ErrTruncated
		}
		return scanText(b, at, int(n))
	case 0xdc, 0xdd:
		if n > uint64(len(b)-at) { // an element takes a byte at least
			return 0, ErrTruncated
		}
		return scanArray(b, at, int(n), depth)
	}
	return at, nil
}

func scanArray(b []byte, at, n, depth int) (int, error) {
	var err error
	for range n {
		if at, err = scan(b, at, depth+1); err != nil {
			return 0, err
		}
	}
	return at, nil
}

func scanText(b []byte, at, n int) (int, error) {
	if n > len(b)-at {
		return 0, ErrTruncated
	}
	if !utf8.Valid(b[at : at+n]) {
		return 0, ErrUTF8
	}
	return at + n, nil
}
