// Command stranger attacks a group from a host of its network: with garbage,
// with the signed requests of newcomers who do not exist, and with what it has
// heard the members say, as it was and as if it were new. It sends to the
// group, to the members' ports, and over connections to them; and then says
// what it did. It listens until it reads from its standard input whom to
// attack: a line of endpoints with spaces between.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/lan"
	"github.com/seed-885536be/p2p/transport/memnet"
)

// headerSize is that of transport/lan; the instance and number of a datagram
// are in it from instanceAt to instanceEnd.
const (
	headerSize  = 44
	kindAt      = 3
	portAt      = 6
	addressAt   = 28
	instanceAt  = 16
	instanceEnd = 28
)

func main() {
	group := flag.String("group", lan.DefaultGroup, "multicast address")
	rate := flag.Int("rate", 10_000, "packets a second")
	length := flag.Duration("for", 3*time.Second, "how long to attack")
	ghosts := flag.Int("ghosts", 20, "newcomers who do not exist")
	iface := flag.String("iface", "eth0", "interface")
	flag.Parse()
	log.SetFlags(0)

	a := &attack{group: netip.MustParseAddrPort(*group)}
	a.heard = hear(*iface, a.group, func() {
		line, err := bufio.NewReader(os.Stdin).ReadString('\n')
		check(err)
		for s := range strings.FieldsSeq(line) {
			a.targets = append(a.targets, netip.MustParseAddrPort(s))
		}
	})
	a.lan = lan.New(lan.Config{Group: *group, Interfaces: []string{*iface}})
	check(a.lan.Open(transport.HandlerFunc(func(transport.Event) {})))
	for range *ghosts {
		a.joins = append(a.joins, ghost(*group))
	}
	// A stranger has a machine of its own; here it has to get its time from those
	// it attacks. It is no fault if it may not.
	runtime.LockOSThread() // which alone gets the priority
	_ = syscall.Setpriority(syscall.PRIO_PROCESS, 0, -20)
	var err error
	a.udp, err = net.ListenUDP("udp4", nil)
	check(err)
	raw, err := a.udp.SyscallConn()
	check(err)
	check(raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUFFORCE, 16<<20)
	}))
	a.run(*rate, *length)
	check(a.lan.Close())
	check(json.NewEncoder(os.Stdout).Encode(map[string]any{
		"heard": len(a.heard), "packets": a.packets, "connections": a.connections.Load(),
	}))
}

func check(err error) {
	if err != nil {
		log.Fatal("stranger: ", err)
	}
}

// hear collects what is said to the group while f runs.
func hear(iface string, group netip.AddrPort, f func()) (heard [][]byte) {
	i, err := net.InterfaceByName(iface)
	check(err)
	c, err := net.ListenMulticastUDP("udp4", i, net.UDPAddrFromAddrPort(group))
	check(err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for len(heard) < 1000 {
			n, _, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			if n > headerSize {
				heard = append(heard, bytes.Clone(buf[:n]))
			}
		}
	}()
	fmt.Println("listening")
	f()
	check(c.Close())
	<-done
	return heard
}

// ghost returns the request to join that a new node makes.
func ghost(group string) []byte {
	r := &recorder{Host: memnet.New(memnet.Config{}).Host(), group: group, said: make(chan []byte, 1)}
	node, err := p2pchat.New(p2pchat.WithTransport(r))
	check(err)
	ctx, cancel := context.WithCancel(context.Background())
	go node.Join(ctx) // it never ends well
	frame := <-r.said
	cancel()
	check(node.Close())
	return frame
}

// recorder is a transport that takes down the first multicast.
type recorder struct {
	*memnet.Host
	group string
	said  chan []byte
}

func (r *recorder) Group() string { return r.group }

func (r *recorder) Multicast(frame []byte) error {
	select {
	case r.said <- frame:
	default:
	}
	return nil
}

type attack struct {
	group       netip.AddrPort
	targets     []netip.AddrPort
	heard       [][]byte
	joins       [][]byte
	lan         *lan.Transport
	udp         *net.UDPConn
	packets     int
	connections atomic.Int64
}

// run attacks at a rate.
func (a *attack) run(rate int, length time.Duration) {
	end := time.Now().Add(length)
	var wg sync.WaitGroup
	for _, to := range a.targets {
		wg.Go(func() {
			for next := time.NewTicker(time.Millisecond); time.Now().Before(end); <-next.C {
				a.connect(to)
			}
		})
	}
	begin := time.Now()
	ready := a.prepare()
	out := ipv4.NewPacketConn(a.udp)
	batch := make([]ipv4.Message, batchSize)
	for time.Now().Before(end) {
		due := min(int(time.Since(begin).Seconds()*float64(rate))-a.packets, len(batch))
		if due <= 0 {
			time.Sleep(time.Millisecond)
			continue
		}
		for i := range batch[:due] {
			p := &ready[rand.IntN(len(ready))]
			if p.anew {
				binary.BigEndian.PutUint64(p.b[instanceAt:], rand.Uint64())
				binary.BigEndian.PutUint32(p.b[instanceAt+8:], rand.Uint32())
			}
			batch[i] = ipv4.Message{Buffers: [][]byte{p.b}, Addr: p.to}
		}
		n, err := out.WriteBatch(batch[:due], 0)
		if err != nil {
			n = max(n, 1) // the first of them cannot be sent, or nobody is there any more
		}
		a.packets += n
	}
	wg.Wait()
}

// How many packets are made before the attack begins, and are sent at once.
const (
	prepared  = 4096
	batchSize = 64
)

// packet is a datagram that is ready to be sent.
type packet struct {
	b    []byte
	to   net.Addr
	anew bool // as from another run of a sender each time
}

// prepare makes datagrams of all kinds.
func (a *attack) prepare() []packet {
	all := make([]packet, prepared)
	own := a.lan.Addr()
	for i := range all {
		to := a.group
		if i := rand.IntN(len(a.targets) + 1); i < len(a.targets) {
			to = a.targets[i]
		}
		p := packet{to: net.UDPAddrFromAddrPort(to)}
		switch kind := rand.IntN(10); {
		case kind < 1 && len(a.joins) > 0 && len(a.heard) > 0: // somebody who does not exist asks
			p.b = append(bytes.Clone(a.heard[0][:headerSize]), a.joins[rand.IntN(len(a.joins))]...)
			p.b[kindAt] = 'd'
			binary.BigEndian.PutUint16(p.b[portAt:], own.Port())
			ip := own.Addr().As16()
			copy(p.b[addressAt:], ip[:])
			p.anew = true
		case kind < 6 && len(a.heard) > 0:
			p.b = bytes.Clone(a.heard[rand.IntN(len(a.heard))])
			p.anew = kind < 4
			if kind < 3 { // and another
				p.b[rand.IntN(len(p.b))] ^= 1 << rand.IntN(8)
			}
		default:
			p.b = make([]byte, rand.IntN(1400))
			fill(p.b)
		}
		all[i] = p
	}
	return all
}

// connect makes one connection to a member: silent, or with garbage, or with a
// good beginning and then garbage.
func (a *attack) connect(to netip.AddrPort) {
	c, err := net.DialTimeout("tcp4", to.String(), 100*time.Millisecond)
	if err != nil {
		return
	}
	a.connections.Add(1)
	kind := rand.IntN(3)
	b := make([]byte, 1<<rand.IntN(14))
	fill(b)
	if kind == 2 && len(a.heard) > 0 {
		hello := bytes.Clone(a.heard[0][:headerSize])
		hello[kindAt] = 'h'
		fill(hello[instanceAt:instanceEnd])
		b = append(hello, b...)
	}
	if kind > 0 {
		_, _ = c.Write(b)
	}
	check(c.(*net.TCPConn).SetLinger(0))
	_ = c.Close()
}

func fill(b []byte) {
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
}
