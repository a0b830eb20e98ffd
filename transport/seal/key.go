package seal

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
)

// Iterations is how many rounds of PBKDF2 with HMAC-SHA256 (RFC 8018) turn a
// passphrase into a key: some tenths of a second, once for each node, and for
// each guess of somebody who has captured packets.
const Iterations = 600_000

// Key is the secret that the members of a group share: a passphrase or a code.
// The zero Key is none. Keys can be compared. Printing one does not show it.
type Key struct {
	secret string
	slow   bool // a passphrase, to be stretched
}

// ErrNoKey says that no key was given, or an empty passphrase.
var ErrNoKey = errors.New("seal: the key is empty")

// Passphrase is the key for a passphrase of at least one byte. Its bytes count,
// so that spaces, capitals, and the form in which an accent is encoded must be
// the same everywhere.
func Passphrase(p string) Key { return Key{secret: p, slow: true} }

// String says that there is a key, not which one.
func (k Key) String() string {
	if k.secret == "" {
		return "no key"
	}
	return "a key"
}

// GoString does the same for %#v.
func (k Key) GoString() string { return k.String() }

// A code is 128 random bits and a checksum of 12, in base32 with Crockford's
// alphabet: 28 digits, in groups of four.
const (
	codeBytes  = 16
	codeDigits = 28
	codeGroup  = 4
)

var crockford = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

// NewCode makes a code that nobody can guess, in the form in which people read
// it to each other and type it: "4XCD-0B7P-…", seven groups of four.
func NewCode() string {
	var b [codeBytes]byte
	rand.Read(b[:]) // never fails
	return formatCode(b)
}

// Code is the key for a code made by NewCode. Small letters, spaces and missing
// hyphens are understood, and so are the letter O for 0, and I and L for 1. The
// error is a *CodeError.
func Code(code string) (Key, error) {
	b, err := parseCode(code)
	if err != nil {
		return Key{}, err
	}
	return Key{secret: string(b[:])}, nil
}

// CodeError says what is wrong with a code. It does not repeat the code.
type CodeError struct {
	Digits   int  // how many there are, of 28
	Digit    rune // one that no code has, or 0
	Checksum bool // the digits do not fit together: one of them is wrong
}

func (e *CodeError) Error() string {
	switch {
	case e.Digit != 0:
		return fmt.Sprintf("seal: a group code has no %q", e.Digit)
	case e.Checksum:
		return "seal: the group code is mistyped: its checksum is wrong"
	default:
		return fmt.Sprintf("seal: a group code has %d digits, not %d", codeDigits, e.Digits)
	}
}

// formatCode gives a code its digits.
func formatCode(b [codeBytes]byte) string {
	// 128 bits and 12 make 140, which is 28 digits; base32 counts in bytes, so
	// there are 4 bits more, for which the last digit is cut off.
	sum := codeSum(b)
	digits := crockford.EncodeToString(append(b[:], sum[:]...))[:codeDigits]
	var s strings.Builder
	for i := 0; i < codeDigits; i += codeGroup {
		if i > 0 {
			s.WriteByte('-')
		}
		s.WriteString(digits[i : i+codeGroup])
	}
	return s.String()
}

// codeSum is a code's checksum, of which 12 bits are used.
func codeSum(b [codeBytes]byte) [2]byte {
	sum := sha256.Sum256(append([]byte("p2p seal code\x00"), b[:]...))
	return [2]byte{sum[0], sum[1] &^ 0x0f}
}

func parseCode(code string) (b [codeBytes]byte, err error) {
	digits := make([]byte, 0, codeDigits+1)
	count := 0
	for _, r := range code {
		switch r {
		case ' ', '\t', '\r', '\n', '-':
			continue
		case 'o', 'O':
			r = '0'
		case 'i', 'I', 'l', 'L':
			r = '1'
		}
		if 'a' <= r && r <= 'z' {
			r -= 'a' - 'A'
		}
		if !('0' <= r && r <= '9' || 'A' <= r && r <= 'Z' && r != 'U') {
			return b, &CodeError{Digits: count, Digit: r}
		}
		if count++; count <= codeDigits {
			digits = append(digits, byte(r))
		}
	}
	if count != codeDigits {
		return b, &CodeError{Digits: count}
	}
	raw, err := crockford.DecodeString(string(append(digits, '0')))
	if err != nil {
		return b, &CodeError{Digits: count, Checksum: true}
	}
	copy(b[:], raw)
	if sum := codeSum(b); raw[codeBytes] != sum[0] || raw[codeBytes+1]&0xf0 != sum[1] {
		return b, &CodeError{Digits: count, Checksum: true}
	}
	return b, nil
}

// stretch makes the secret of a key for one group.
func (k Key) stretch(salt []byte) ([]byte, error) {
	if k.secret == "" {
		return nil, ErrNoKey
	}
	if !k.slow {
		return []byte(k.secret), nil
	}
	return pbkdf2.Key(sha256.New, k.secret, salt, Iterations, sha256.Size)
}
