// Command electiononly uses the election package without the rest of the
// module: five workers, each with a UDP socket on the loopback interface, keep
// one leader among them. The leader is taken away again and again, and the
// others, who are told so, elect the next. How they notice is left out: that is
// what the package membership is for.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"time"

	"github.com/seed-885536be/p2p/election"
)

func main() {
	ring := flag.Bool("ring", false, "Ring instead of Bully")
	flag.Parse()
	create := election.New(election.NewBully)
	if *ring {
		create = election.NewRing
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx, os.Stdout, create, 5); err != nil {
		log.Fatal(err)
	}
}

// run starts workers and takes their leader away until one is left.
func run(ctx context.Context, out io.Writer, create election.New, count int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	leaders := make(chan int, count*count)
	var workers []*worker
	for i := range count {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return err
		}
		defer conn.Close()
		workers = append(workers, &worker{
			number: i + 1, conn: conn, elector: create(election.Config{}),
			lost: make(chan int), packets: make(chan packet), leaders: leaders,
		})
	}
	for _, w := range workers {
		w.peers = workers
		w.leader = count // to begin with
		alive, kill := context.WithCancel(ctx)
		w.kill = kill
		go w.run(alive)
	}
	for gone := count; gone > 1; gone-- {
		workers[gone-1].kill()
		for _, w := range workers[:gone-1] {
			select {
			case w.lost <- gone:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		for heard := 0; heard < gone-1; {
			select {
			case leader := <-leaders:
				if leader >= gone {
					return fmt.Errorf("worker %d was elected, which is gone", leader)
				}
				heard++
				if heard == gone-1 {
					fmt.Fprintf(out, "worker %d is gone, worker %d leads\n", gone, leader)
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// packet is what workers send to each other: an elector's message, or the
// announcement of its sender's victory.
type packet struct {
	From    int
	Message *election.Message
	Term    uint64 // of an announcement: the election that was won
}

// worker is one participant. What is below its goroutine alone reads and
// writes.
type worker struct {
	number  int
	peers   []*worker
	conn    *net.UDPConn
	lost    chan int // that worker is gone
	packets chan packet
	leaders chan<- int // who leads, as this worker sees it
	kill    context.CancelFunc

	elector election.Elector
	leader  int
	term    uint64 // the election that the leader won; 0: none
	round   election.Round
}

// key is how electors know a worker.
func key(number int) election.Key { return election.Key{15: byte(number)} }

func (w *worker) run(ctx context.Context) {
	go w.receive(ctx)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case gone := <-w.lost:
			w.begin(gone, false)
		case p := <-w.packets:
			w.take(p)
		case <-timer.C:
			w.elector.Tick(time.Now())
		}
		if ctx.Err() != nil {
			return // who is dead says nothing more
		}
		w.act()
		if due := w.elector.Deadline(); !due.IsZero() {
			timer.Reset(time.Until(due))
		}
	}
}

// begin starts the election of a successor to the worker that is gone, unless
// it is over. The number in the base tells it from the others.
func (w *worker) begin(gone int, invited bool) {
	term := uint64(len(w.peers) - gone + 1)
	if term <= w.term {
		return
	}
	w.round = election.Round{
		Base: election.Base{Ctr: term, Leader: key(gone)}, Self: key(w.number), Invited: invited,
	}
	for n := gone - 1; n > 0; n-- {
		w.round.Candidates = append(w.round.Candidates, election.Candidate{Key: key(n)})
	}
	w.elector.Begin(time.Now(), w.round)
}

func (w *worker) take(p packet) {
	switch {
	case p.Message != nil:
		m := *p.Message
		if m.Candidacy() && w.leader == int(m.Base.Leader[15]) && w.number < w.leader {
			w.begin(w.leader, true) // another noticed first
		}
		w.elector.Step(time.Now(), m, false)
	case p.Term > w.term: // an old announcement can come late
		w.follow(p.From, p.Term)
	}
}

func (w *worker) follow(leader int, term uint64) {
	w.elector.Cancel()
	w.leader, w.term = leader, term
	w.leaders <- leader
}

// act does what the elector wants done.
func (w *worker) act() {
	ready := w.elector.Ready()
	for _, o := range ready.Out {
		o.Msg.From = key(w.number)
		for _, to := range w.peers {
			if to != w && (o.To == election.Key{} || o.To == key(to.number)) {
				w.send(to, packet{From: w.number, Message: &o.Msg})
			}
		}
	}
	if ready.Won {
		for _, to := range w.peers {
			if to != w {
				w.send(to, packet{From: w.number, Term: w.round.Base.Ctr})
			}
		}
		w.follow(w.number, w.round.Base.Ctr)
	}
}

func (w *worker) send(to *worker, p packet) {
	b, err := json.Marshal(p)
	if err == nil {
		_, err = w.conn.WriteTo(b, to.conn.LocalAddr())
	}
	if err != nil {
		log.Print(err) // the packet is lost: the electors live with that
	}
}

func (w *worker) receive(ctx context.Context) {
	buf := make([]byte, 4096)
	for {
		n, _, err := w.conn.ReadFromUDP(buf)
		if err != nil {
			return
		}
		var p packet
		if json.Unmarshal(buf[:n], &p) != nil {
			continue
		}
		select {
		case w.packets <- p:
		case <-ctx.Done():
			return
		}
	}
}
