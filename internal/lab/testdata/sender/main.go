// Command sender sends UDP packets: one for each line that it reads, an endpoint
// and the payload in hex.
package main

import (
	"bufio"
	"encoding/hex"
	"log"
	"net"
	"net/netip"
	"os"
	"strings"
)

func main() {
	log.SetFlags(0)
	c, err := net.ListenUDP("udp4", nil)
	check(err)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		to, payload, _ := strings.Cut(lines.Text(), " ")
		at, err := netip.ParseAddrPort(to)
		check(err)
		b, err := hex.DecodeString(payload)
		check(err)
		_, err = c.WriteToUDPAddrPort(b, at)
		check(err)
	}
	check(lines.Err())
}

func check(err error) {
	if err != nil {
		log.Fatal("sender: ", err)
	}
}
