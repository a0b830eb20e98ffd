// Command metrics is a node of the group whose counters can be read over HTTP,
// on this machine only: as JSON at /debug/vars, by the standard library's
// expvar, and as text for Prometheus at /metrics.
package main

import (
	"context"
	"encoding/json"
	"expvar"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"time"

	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport/lan"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:7713", "address to serve HTTP at")
	group := flag.String("group", lan.DefaultGroup, "multicast address of the group")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	node, err := p2pchat.New(p2pchat.WithName("metrics"), p2pchat.WithTransport(lan.New(lan.Config{Group: *group})))
	if err != nil {
		log.Fatal(err)
	}
	if err := node.Join(ctx); err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Addr: *listen, Handler: handler(node), ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	log.Printf("http://%s/metrics and /debug/vars", *listen)
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Print(err)
	}
	if err := node.Leave(context.Background()); err != nil {
		log.Fatal(err)
	}
}

// handler serves a node's counters.
func handler(node *p2pchat.Node) http.Handler {
	vars := new(expvar.Map)
	vars.Set("p2pchat", expvar.Func(func() any { return node.Stats() }))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/vars", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		fmt.Fprintln(w, vars)
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		if err := prometheus(w, node.Stats()); err != nil {
			log.Print(err)
		}
	})
	return mux
}

// prometheus writes Stats in the text format of Prometheus: a metric for each
// number, and one with a label for each map of numbers.
func prometheus(w io.Writer, s p2pchat.Stats) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(s.String()), &fields); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		var n json.Number
		if json.Unmarshal(fields[name], &n) == nil {
			if _, err := fmt.Fprintf(w, "p2pchat_%s %s\n", name, n); err != nil {
				return err
			}
			continue
		}
		var by map[string]json.Number
		if err := json.Unmarshal(fields[name], &by); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for _, reason := range slices.Sorted(maps.Keys(by)) {
			if _, err := fmt.Fprintf(w, "p2pchat_%s{reason=%s} %s\n", name, strconv.Quote(reason), by[reason]); err != nil {
				return err
			}
		}
	}
	return nil
}
