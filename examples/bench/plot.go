package main

import (
	"bytes"
	"fmt"
	"html"
	"strings"
)

// plot draws, as SVG, the main figure of the swept runs: the median as a line,
// minimum and maximum as bars. The values stand at equal distances, since as a
// rule each is a multiple of the one before.
func plot(results [][]result) []byte {
	const width, height, left, bottom, top = 640, 320, 90, 50, 30
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	colors := map[bool]string{true: "#888888", false: "#0b6bcb"}
	var f figure
	most := 0.0
	lines := map[bool][][]result{}
	for _, runs := range results {
		f = principal(figures(runs[0]))
		_, _, hi := spread(runs, f)
		most = max(most, hi)
		lines[runs[0].Raw] = append(lines[runs[0].Raw], runs)
	}
	y := func(v float64) float64 { return height - bottom - v/most*(height-bottom-top) }
	for i := range 5 {
		v := most * float64(i) / 4
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#dddddd"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
			left, y(v), width-20, left-8, y(v)+4, number(v))
	}
	fmt.Fprintf(&b, `<text x="%d" y="18">%s, %s</text>`+"\n", left, html.EscapeString(f.name), html.EscapeString(f.unit))
	for _, raw := range []bool{true, false} {
		runs := lines[raw]
		step := float64(width-left-60) / float64(max(1, len(runs)-1))
		var points []string
		for i, r := range runs {
			lo, mid, hi := spread(r, f)
			x := left + 20 + float64(i)*step
			points = append(points, fmt.Sprintf("%.1f,%.1f", x, y(mid)))
			fmt.Fprintf(&b, `<path d="M%.1f %.1fV%.1f" stroke="%s" stroke-width="4" opacity="0.4"/>`, x, y(lo), y(hi), colors[raw])
			fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x, height-bottom+18, html.EscapeString(r[0].Label))
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(points, " "), colors[raw])
	}
	fmt.Fprintln(&b, "</svg>")
	return b.Bytes()
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
