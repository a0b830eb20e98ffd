package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

// plot draws, as SVG, the main figure of the swept runs: the median as a line,
// minimum and maximum as bars. The values stand at equal distances, since as a
// rule each is a multiple of the one before; where the figures differ much, their
// axis is logarithmic, with a line for each power of ten.
func plot(results [][]result) []byte {
	const width, height, left, bottom, top = 640, 320, 90, 50, 30
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	colors := map[bool]string{true: "#888888", false: "#0b6bcb"}
	var f figure
	least, most := math.Inf(1), 0.0
	lines := map[bool][][]result{}
	for _, runs := range results {
		f = principal(figures(runs[0]))
		lo, _, hi := spread(runs, f)
		least, most = min(least, lo), max(most, hi)
		lines[runs[0].Raw] = append(lines[runs[0].Raw], runs)
	}
	var marks []float64
	share := func(v float64) float64 { return v / most }
	if least > 0 && most > 10*least {
		from, to := math.Floor(math.Log10(least)), math.Ceil(math.Log10(most))
		share = func(v float64) float64 { return (math.Log10(v) - from) / (to - from) }
		for e := from; e <= to; e++ {
			marks = append(marks, math.Pow(10, e))
		}
	} else {
		for i := range 5 {
			marks = append(marks, most*float64(i)/4)
		}
	}
	y := func(v float64) float64 { return height - bottom - share(v)*(height-bottom-top) }
	for _, v := range marks {
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#dddddd"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
			left, y(v), width-20, left-8, y(v)+4, mark(v))
	}
	fmt.Fprintf(&b, `<text x="%d" y="18">%s, %s</text>`+"\n", left, html.EscapeString(f.name), html.EscapeString(f.unit))
	for _, raw := range []bool{true, false} {
		runs := lines[raw]
		if len(lines) > 1 {
			name, at := "a group", width-90
			if raw {
				name, at = "plain TCP", width-170
			}
			fmt.Fprintf(&b, `<text x="%d" y="18" fill="%s">%s</text>`+"\n", at, colors[raw], name)
		}
		step := float64(width-left-60) / float64(max(1, len(runs)-1))
		var points []string
		for i, r := range runs {
			lo, mid, hi := spread(r, f)
			x := left + 20 + float64(i)*step
			points = append(points, fmt.Sprintf("%.1f,%.1f", x, y(mid)))
			fmt.Fprintf(&b, `<path d="M%.1f %.1fV%.1f" stroke="%s" stroke-width="4" opacity="0.4"/>`, x, y(lo), y(hi), colors[raw])
			if raw && len(lines) > 1 {
				continue // the same values
			}
			name, value, _ := strings.Cut(r[0].Label, "=")
			if v, err := strconv.ParseFloat(value, 64); err == nil {
				value = mark(v)
			}
			fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x, height-bottom+18, html.EscapeString(value))
			if name != "" && i == len(runs)-1 {
				fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="end">%s</text>`+"\n", x, height-bottom+38, html.EscapeString(name))
			}
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(points, " "), colors[raw])
	}
	fmt.Fprintln(&b, "</svg>")
	return b.Bytes()
}

// mark is a figure at an axis.
func mark(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'g', 3, 64) + " M"
	case v >= 1e3:
		return strconv.FormatFloat(v/1e3, 'g', 3, 64) + " k"
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// principal is the figure that a mode is about.
func principal(all []figure) figure {
	for _, name := range []string{"delivered a node", "p50", "processor", "known", "from_start", "merged"} {
		for _, f := range all {
			if f.name == name {
				return f
			}
		}
	}
	return all[0]
}
