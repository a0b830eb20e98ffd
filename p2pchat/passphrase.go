package p2pchat

import (
	"errors"
	"fmt"

	"github.com/seed-885536be/p2p/transport/seal"
)

// WithPassphrase seals the group, whatever the transport is: only nodes with
// the same passphrase can read what is said in it, or take part. It has a byte
// at least, and its bytes count: spaces and capitals too. New takes some tenths of
// a second longer with it. Who captures packets can try to guess a passphrase;
// nobody can guess a code, see WithGroupCode. Package seal says exactly what is
// protected. To change keys while the group goes on, give WithTransport a
// seal.Transport and call its SetKeys.
//
// The default is an open group: everybody on the network can read and join it.
// With WithDataDir a history belongs to one group, and a sealed group is another
// one than the open group with the same address.
func WithPassphrase(passphrase string) Option {
	return func(c *config) error {
		if passphrase == "" {
			return errors.New("p2pchat: WithPassphrase: the passphrase is empty")
		}
		return c.sealWith(seal.Passphrase(passphrase))
	}
}

// WithGroupCode seals the group as WithPassphrase does, with a code that
// seal.NewCode made. If it is mistyped, the error is a *seal.CodeError.
func WithGroupCode(code string) Option {
	return func(c *config) error {
		key, err := seal.Code(code)
		if err != nil {
			return fmt.Errorf("p2pchat: WithGroupCode: %w", err)
		}
		return c.sealWith(key)
	}
}

func (c *config) sealWith(key seal.Key) error {
	if c.secret != (seal.Key{}) {
		return errors.New("p2pchat: a group has one passphrase or code")
	}
	c.secret = key
	return nil
}

// seal wraps the transport, if the group has a secret.
func (c *config) seal() error {
	if c.secret == (seal.Key{}) {
		return nil
	}
	if _, ok := c.transport.(*seal.Transport); ok {
		return errors.New("p2pchat: the transport is sealed already")
	}
	t, err := seal.New(c.transport, seal.Config{Key: c.secret})
	if err == nil {
		c.transport = t
	}
	return err
}

// sealed is the node's transport if it seals what it carries, or nil.
func (c *config) sealed() *seal.Transport {
	t, _ := c.transport.(*seal.Transport)
	return t
}
