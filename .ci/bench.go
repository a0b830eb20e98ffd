// Command bench compares the figures of examples/bench, its lines of JSON on
// standard input, with those of the last release:
//
//	go run .ci/bench.go -last .ci/figures.json          says what has moved by more than a quarter
//	go run .ci/bench.go -last .ci/figures.json -write   keeps the figures as those of a release
//
// A figure that plain TCP has, too, is a ratio to that: so a slow machine
// changes little. What moves is reported, as machines are noisy, and no failure.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
)

// run is what is looked at of a line.
type run struct {
	Mode           string
	Size           int
	Raw            bool
	PerSecond      float64 `json:"per_second"`
	CPUPerDelivery float64 `json:"cpu_per_delivery"`
	P50, P99       float64
	Seconds        map[string]float64
}

// figures are those of a run, by name. Of each more is worse.
func (r run) figures() map[string]float64 {
	f := make(map[string]float64)
	put := func(name string, v float64) {
		if v > 0 {
			f[name] = v
		}
	}
	if r.PerSecond > 0 {
		put("time a message", 1/r.PerSecond)
	}
	put("processor", r.CPUPerDelivery)
	put("p50", r.P50)
	put("p99", r.P99)
	for name, v := range r.Seconds {
		if name != "all" {
			put(name, v)
		}
	}
	return f
}

// medians reads runs and returns the medians of their figures, over plain TCP
// where that has them.
func medians(in io.Reader) (map[string]float64, error) {
	all := map[bool]map[string][]float64{false: {}, true: {}}
	for lines := json.NewDecoder(in); ; {
		var r run
		if err := lines.Decode(&r); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		for name, v := range r.figures() {
			name = fmt.Sprintf("%s %d B %s", r.Mode, r.Size, name)
			all[r.Raw][name] = append(all[r.Raw][name], v)
		}
	}
	median := func(v []float64) float64 { slices.Sort(v); return v[len(v)/2] }
	out := make(map[string]float64)
	for name, v := range all[false] {
		out[name] = median(v)
		if raw := all[true][name]; raw != nil {
			out[name] /= median(raw)
		}
		out[name] = math.Round(out[name]*1e4) / 1e4
	}
	if len(out) == 0 {
		return nil, errors.New("no figures")
	}
	return out, nil
}

func main() {
	last := flag.String("last", "", "`file` of the figures of the last release")
	write := flag.Bool("write", false, "write it anew")
	flag.Parse()
	if err := compare(*last, *write); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func compare(file string, write bool) error {
	now, err := medians(os.Stdin)
	if err != nil {
		return err
	}
	if write {
		b, err := json.MarshalIndent(now, "", "\t")
		if err != nil {
			return err
		}
		return os.WriteFile(file, append(b, '\n'), 0o666)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var before map[string]float64
	if err := json.Unmarshal(b, &before); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	var moved []string
	for _, name := range slices.Sorted(maps.Keys(now)) {
		was, ok := before[name]
		fmt.Printf("%-32s %8.4f, was %8.4f\n", name, now[name], was)
		if ok && (now[name] > 1.25*was || now[name] < was/1.25) {
			moved = append(moved, fmt.Sprintf("%s %.3g to %.3g", name, was, now[name]))
		}
	}
	if moved == nil {
		moved = []string{"nothing"}
	}
	fmt.Println("moved by more than 25 %:", strings.Join(moved, "; "))
	return nil
}
