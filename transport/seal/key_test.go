package seal

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestCodesAreUnderstoodAsPeopleTypeThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b [codeBytes]byte
		copy(b[:], rapid.SliceOfN(rapid.Byte(), codeBytes, codeBytes).Draw(t, "code"))
		code := formatCode(b)
		require.Regexp(t, `^([0-9A-HJKMNP-TV-Z]{4}-){6}[0-9A-HJKMNP-TV-Z]{4}$`, code)
		for _, form := range []string{
			code, strings.ToLower(code), strings.ReplaceAll(code, "-", ""), strings.ReplaceAll(code, "-", " "), " " + code + "\n",
			strings.NewReplacer("0", "o", "1", "l").Replace(code), strings.NewReplacer("0", "O", "1", "i").Replace(code),
		} {
			got, err := parseCode(form)
			require.NoError(t, err, form)
			require.Equal(t, b, got, form)
		}
	})
}

func TestMistypedCodesAreRefused(t *testing.T) {
	code := NewCode()
	require.NotEqual(t, code, NewCode())
	digits := strings.ReplaceAll(code, "-", "")
	missed, tried := 0, 0
	for i := range digits {
		for _, r := range "0123456789ABCDEFGHJKMNPQRSTVWXYZ" {
			if byte(r) == digits[i] {
				continue
			}
			tried++
			if _, err := Code(digits[:i] + string(r) + digits[i+1:]); err == nil {
				missed++
			} else {
				require.Equal(t, &CodeError{Digits: codeDigits, Checksum: true}, err)
				require.NotContains(t, err.Error(), digits[:8])
			}
		}
	}
	require.Less(t, missed, tried/200, "a checksum of 12 bits misses one in 4096")
	for _, c := range []struct {
		code string
		want CodeError
		text string
	}{
		{"", CodeError{}, "seal: a group code has 28 digits, not 0"},
		{digits[1:], CodeError{Digits: 27}, "seal: a group code has 28 digits, not 27"},
		{digits + digits, CodeError{Digits: 56}, "seal: a group code has 28 digits, not 56"},
		{"ABC!", CodeError{Digits: 3, Digit: '!'}, `seal: a group code has no '!'`},
		{"u", CodeError{Digit: 'U'}, `seal: a group code has no 'U'`},
		{"\xff", CodeError{Digit: '�'}, `seal: a group code has no '�'`},
	} {
		_, err := Code(c.code)
		require.Equal(t, &c.want, err)
		require.EqualError(t, err, c.text)
	}
}

func FuzzCode(f *testing.F) {
	f.Add(NewCode())
	f.Add("0000-0000-0000-0000-0000-0000-0000")
	f.Fuzz(func(t *testing.T, s string) {
		b, err := parseCode(s)
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		again, err := parseCode(formatCode(b))
		require.NoError(t, err)
		require.Equal(t, b, again)
	})
}

func TestKeysAreNotPrinted(t *testing.T) {
	k := Passphrase("swordfish")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		require.NotContains(t, fmt.Sprintf(verb, k), "sword", verb)
		require.NotContains(t, fmt.Sprintf(verb, Config{Key: k}), "sword", verb)
	}
	require.Equal(t, "no key", Key{}.String())
}

func TestKeysDependOnAllThatTheyAreMadeOf(t *testing.T) {
	code, err := Code(formatCode([codeBytes]byte{1}))
	require.NoError(t, err)
	other, err := Code(formatCode([codeBytes]byte{2}))
	require.NoError(t, err)
	seen := make(map[string]string)
	for name, k := range map[string]Key{"code": code, "other": other, "phrase": Passphrase("a"), "phrase 2": Passphrase("b"), "raw": Passphrase(code.secret)} {
		for _, group := range []string{"sealed:x", "sealed:y"} {
			g, err := newGroupKey(k, group)
			require.NoError(t, err)
			for what, b := range map[string][]byte{"datagrams": g.datagrams, "psk": g.psk} {
				require.Len(t, b, 32)
				require.Empty(t, seen[string(b)])
				seen[string(b)] = name + group + what
			}
			again, err := newGroupKey(k, group)
			require.NoError(t, err)
			require.Equal(t, g, again)
		}
	}
	for _, k := range []Key{{}, Passphrase("")} {
		_, err := newGroupKey(k, "x")
		require.ErrorIs(t, err, ErrNoKey)
	}
}
