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
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/lan"
	"github.com/seed-885536be/p2p/transport/memnet"
)

// headerSize is that of transport/lan; the instance and number of a datagram
// are in it from instanceAt to instanceEnd.
const (
	headerSize  = 44
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
	var err error
	a.udp, err = net.ListenUDP("udp4", nil)
	check(err)
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
			for time.Now().Before(end) {
				a.connect(to)
			}
		})
	}
	begin := time.Now()
	for time.Now().Before(end) {
		if float64(a.packets) >= time.Since(begin).Seconds()*float64(rate) {
			time.Sleep(time.Millisecond)
			continue
		}
		a.packet()
		a.packets++
	}
	wg.Wait()
}

// packet sends one datagram.
func (a *attack) packet() {
	to := a.group
	if i := rand.IntN(len(a.targets) + 1); i < len(a.targets) {
		to = a.targets[i]
	}
	switch kind := rand.IntN(10); {
	case kind < 1 && len(a.joins) > 0:
		join := a.joins[rand.IntN(len(a.joins))]
		if to == a.group {
			_ = a.lan.Multicast(join)
		} else {
			_ = a.lan.Unicast(to, join)
		}
	case kind < 6 && len(a.heard) > 0:
		p := bytes.Clone(a.heard[rand.IntN(len(a.heard))])
		if kind < 4 { // as if it were new
			fill(p[instanceAt:instanceEnd])
		}
		if kind < 3 { // and another
			p[rand.IntN(len(p))] ^= 1 << rand.IntN(8)
		}
		_, _ = a.udp.WriteToUDPAddrPort(p, to)
	default:
		p := make([]byte, rand.IntN(1400))
		fill(p)
		_, _ = a.udp.WriteToUDPAddrPort(p, to)
	}
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
		hello[3] = 'h'
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
