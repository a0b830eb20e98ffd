package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
)

// result is one run. What was lost, doubled or out of causal order is not in
// it: such a run has no result.
type result struct {
	settings
	Delivered int                `json:"delivered,omitempty"` // at each node
	Seconds   map[string]float64 `json:"seconds"`

	PerSecond      float64 `json:"per_second,omitempty"`       // delivered at each node
	CPUPerDelivery float64 `json:"cpu_per_delivery,omitempty"` // microseconds
	P50            float64 `json:"p50,omitempty"`              // milliseconds
	P99            float64 `json:"p99,omitempty"`
	Max            float64 `json:"max,omitempty"`
	IdleCPU        float64 `json:"idle_cpu,omitempty"` // share of a processor, of the busiest node
	RSS            int64   `json:"rss,omitempty"`      // bytes, of the largest node
	PeakRSS        int64   `json:"peak_rss,omitempty"`
	Pieces         uint64  `json:"pieces,omitempty"` // sent by multicast, by all nodes
}

func (r result) json() string {
	b, err := json.Marshal(r)
	if err != nil {
		return err.Error() // no field can fail
	}
	return string(b)
}

// figure is one column of the table.
type figure struct {
	name, unit string
	of         func(result) (float64, bool)
}

// figures are those that a run has.
func figures(r result) []figure {
	var f []figure
	for _, name := range slices.Sorted(maps.Keys(r.Seconds)) {
		f = append(f, figure{name, "s", func(r result) (float64, bool) { v, ok := r.Seconds[name]; return v, ok }})
	}
	for _, c := range []struct {
		name, unit string
		of         func(result) float64
	}{
		{"delivered a node", "/s", func(r result) float64 { return r.PerSecond }},
		{"processor a delivery", "us", func(r result) float64 { return r.CPUPerDelivery }},
		{"p50", "ms", func(r result) float64 { return r.P50 }},
		{"p99", "ms", func(r result) float64 { return r.P99 }},
		{"max", "ms", func(r result) float64 { return r.Max }},
		{"processor", "%", func(r result) float64 { return 100 * r.IdleCPU }},
		{"memory", "MB", func(r result) float64 { return float64(r.RSS) / 1e6 }},
		{"peak memory", "MB", func(r result) float64 { return float64(r.PeakRSS) / 1e6 }},
	} {
		if c.of(r) != 0 {
			f = append(f, figure{c.name, c.unit, func(r result) (float64, bool) { return c.of(r), true }})
		}
	}
	return f
}

// table shows the results for people: a row a figure of each variant.
func table(w io.Writer, results [][]result) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tmin\tmedian\tmax\t\tof raw\t")
	raw := map[string]float64{} // medians of the plain runs before
	for _, runs := range results {
		prefix := runs[0].Label
		if prefix != "" {
			prefix += " "
		}
		if runs[0].Raw {
			clear(raw)
			prefix += "raw "
		}
		for _, f := range figures(runs[0]) {
			lo, mid, hi := spread(runs, f)
			share := ""
			if base := raw[f.name]; base != 0 {
				share = fmt.Sprintf("%.2f", mid/base)
			}
			if runs[0].Raw {
				raw[f.name] = mid
			}
			fmt.Fprintf(t, "%s%s\t%s\t%s\t%s\t%s\t%s\t\n", prefix, f.name, number(lo), number(mid), number(hi), f.unit, share)
		}
		if !runs[0].Raw {
			clear(raw)
		}
	}
	_ = t.Flush()
}

func spread(results []result, f figure) (lo, mid, hi float64) {
	var v []float64
	for _, r := range results {
		if x, ok := f.of(r); ok {
			v = append(v, x)
		}
	}
	slices.Sort(v)
	return v[0], v[len(v)/2], v[len(v)-1]
}

func number(v float64) string {
	switch {
	case v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.4f", v)
}
