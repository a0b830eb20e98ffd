package main_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/internal/lab"
)

// datagram is a UDP packet of a capture.
type datagram struct {
	to      netip.AddrPort
	payload []byte
}

// dissect returns the UDP packets of a capture, those by IPv4, and all that it
// has in a form in which text can be found: each frame as it is, and the bytes of
// each direction of each TCP connection in a row.
func dissect(frames [][]byte) (udp []datagram, text [][]byte) {
	const (
		ethernet = 14
		ipv4     = 0x0800
		tcp      = 6
		udpProto = 17
	)
	streams := map[string][]byte{}
	for _, f := range frames {
		text = append(text, f)
		if len(f) < ethernet+20 || binary.BigEndian.Uint16(f[12:]) != ipv4 {
			continue
		}
		ip := f[ethernet:]
		head, size := int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
		if size == 0 || size > len(ip) {
			size = len(ip)
		}
		b := ip[head:size]
		port := func(at int) uint16 { return binary.BigEndian.Uint16(b[at:]) }
		switch ip[9] {
		case udpProto:
			udp = append(udp, datagram{netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[16:20])), port(2)), b[8:]})
		case tcp:
			flow := string(ip[12:20]) + string(b[:4])
			streams[flow] = append(streams[flow], b[int(b[12]>>4)*4:]...)
		}
	}
	for _, s := range streams {
		text = append(text, s)
	}
	return udp, text
}

// The words that an outsider must not find.
const (
	quietNick = "Zenobia-Quill"
	quietRoom = "conservatory-at-nine"
	quietText = "the lead pipe is under the stairs"
	longText  = "it was colonel mustard "
)

// whisper is what three members of a group say while it is captured.
func whisper(t *testing.T, flags ...string) (net *lab.Net, g *group, c *lab.Capture) {
	net = lab.NewNet(t, 4)
	for i := 1; i <= 4; i++ {
		net.Host(i).Run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
	}
	c = net.Capture()
	g = onNet(t, append(flags, "-nick", quietNick, "-room", quietRoom)...)
	g.joinAll(net, 3)
	waitMembers(t, g.nodes)
	for i, n := range g.nodes {
		for _, text := range []string{quietText, strings.Repeat(longText, 1000)} { // the second by a stream
			text = fmt.Sprint(i, " ", text)
			g.sent[lab.As[struct{ M string }](t, n.Do("send", lab.Args{"text": text})).M] = text
		}
		n.Do("dm", lab.Args{"to": 1 + (n.id % 3), "text": quietText})
	}
	g.converge(g.nodes, nil)
	g.check(g.nodes)
	return net, g, c
}

// found are those of the words that stand in a capture.
func found(text [][]byte) (words []string) {
	for _, w := range []string{quietNick, quietRoom, quietText, longText} {
		if slices.ContainsFunc(text, func(b []byte) bool { return bytes.Contains(b, []byte(w)) }) {
			words = append(words, w)
		}
	}
	return words
}

// TestSituationCapturedOpen is what the next test is not: an open group, all of
// which can be read on the network.
func TestSituationCapturedOpen(t *testing.T) {
	t.Parallel()
	_, _, c := whisper(t)
	_, text := dissect(c.Frames())
	require.Equal(t, []string{quietNick, quietRoom, quietText, longText}, found(text))
}

// TestSituationCapturedSealed records all that the members of a sealed group
// send each other. Nothing of what they say can be found in it, nor what they
// are called. Then it sends all of it again, to each of them, in another order,
// and as new packets of the network below the seal; and nothing happens.
func TestSituationCapturedSealed(t *testing.T) {
	t.Parallel()
	net, g, c := whisper(t, append(sealedBy(t, "a passphrase that nobody guesses"), "-heartbeat", "4s", "-timeout", "20s")...)
	beats(t, g.nodes, 1, 1)
	udp, text := dissect(c.Frames())
	require.Empty(t, found(text))
	require.NotEmpty(t, udp)
	sum := 0
	for _, b := range text {
		sum += len(b)
	}
	require.Greater(t, sum, 3*1000*len(longText), "the streams are in it")

	seed := rand.Uint64()
	t.Logf("seed %d; %d datagrams", seed, len(udp))
	rng := rand.New(rand.NewPCG(seed, 0))
	group := netip.MustParseAddrPort(lab.As[struct{ Group string }](t, g.nodes[0].Events()[0]).Group)
	targets := []netip.AddrPort{group}
	before, drops := map[*node]view{}, map[*node]map[string]uint64{}
	for _, n := range g.nodes {
		targets = append(targets, netip.MustParseAddrPort(lab.As[struct{ Addr string }](t, n.Events()[0]).Addr))
		before[n] = lab.As[view](t, n.Do("view", nil))
		_, drops[n] = n.drops()
	}
	hist := lab.As[struct{ Hist string }](t, g.nodes[0].Do("digest", nil)).Hist
	from := marks(g.nodes)

	net.Host(4).Run("ip", "route", "add", "224.0.0.0/4", "dev", "eth0")
	outsider := net.Host(4).Command(lab.Build(t, "github.com/seed-885536be/p2p/internal/lab/testdata/sender"))
	var complaint strings.Builder
	outsider.Stderr = &complaint
	in, err := outsider.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, outsider.Start())
	rng.Shuffle(len(udp), func(i, j int) { udp[i], udp[j] = udp[j], udp[i] })
	for i, d := range udp {
		again := bytes.Clone(d.payload)
		if len(again) > prefixSize+12 && again[kindAt] == 'd' {
			// The network below the seal has never seen it.
			for i := range 12 {
				again[instanceAt+i] = byte(rng.Uint32())
			}
		}
		for _, to := range targets {
			for _, b := range [][]byte{d.payload, again} {
				_, err := fmt.Fprintf(in, "%v %x\n", to, b)
				require.NoError(t, err)
			}
		}
		if i%20 == 0 { // so that it is read and not lost in a full buffer
			for _, n := range g.nodes {
				n.Do("digest", nil)
			}
		}
	}
	require.NoError(t, in.Close())
	require.NoError(t, outsider.Wait(), complaint.String())

	for _, n := range g.nodes {
		_, by := n.drops()
		t.Logf("%s: %v", n.Name(), by)
		require.Greater(t, by["replay"], drops[n]["replay"])
		for reason, count := range by { // nothing gets so far that anything else is wrong with it
			if reason != "replay" && reason != "duplicate" {
				require.Equal(t, drops[n][reason], count, reason)
			}
		}
		require.Equal(t, before[n], lab.As[view](t, n.Do("view", nil)))
		require.Equal(t, hist, lab.As[struct{ Hist string }](t, n.Do("digest", nil)).Hist)
		n.never(from[n], "view", "coord", "elect", "peer", "msg", "dm", "nick", "converged", "stable")
	}
	g.whole(g.nodes)
}
