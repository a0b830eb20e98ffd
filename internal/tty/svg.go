package tty

import (
	"bytes"
	"fmt"
	"html"
	"strings"
)

// Measures of a picture, in its own units.
const (
	cellWidth  = 8.4
	cellHeight = 17
	fontSize   = 14
	margin     = 14
)

// ground is the colour behind everything, ink that of text without one.
const (
	ground = "#11151c"
	ink    = "#d7dde6"
)

// palette are the 16 colours of ANSI.
var palette = [16]string{
	"#3b4252", "#ff6b6b", "#8bd49c", "#f2cc60", "#6cb6ff", "#d2a8ff", "#70d6e0", "#d7dde6",
	"#6b7589", "#ff8f8f", "#a8e6b6", "#ffdf8a", "#94ccff", "#e2c5ff", "#9be6ed", "#ffffff",
}

// SVG returns a picture of the screen. It needs no font but a monospaced one:
// each run of text is as wide as its cells, whatever the font has.
func (s *Screen) SVG(title string) []byte {
	cells := s.Cells()
	width, height := s.Size()
	var b bytes.Buffer
	w, h := float64(width)*cellWidth+2*margin, float64(height)*cellHeight+2*margin
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" role="img">`+"\n", w, h, w, h)
	fmt.Fprintf(&b, "<title>%s</title>\n", html.EscapeString(title))
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" rx="10" fill="%s"/>`+"\n", ground)
	fmt.Fprintf(&b, `<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace" font-size="%d" fill="%s">`+"\n", fontSize, ink)
	for y, line := range cells {
		for x := 0; x < len(line); {
			run := 1
			for x+run < len(line) && line[x+run].Style == line[x].Style && boxed(line[x+run]) == boxed(line[x]) {
				run++
			}
			writeRun(&b, x, y, line[x:x+run])
			x += run
		}
	}
	b.WriteString("</g>\n</svg>\n")
	return b.Bytes()
}

// boxed is whether a cell is part of a frame, which must join exactly.
func boxed(c Cell) bool {
	for _, r := range c.Text {
		return r >= 0x2500 && r <= 0x257f
	}
	return false
}

func writeRun(b *bytes.Buffer, x, y int, run []Cell) {
	var text strings.Builder
	for _, c := range run {
		text.WriteString(c.Text)
	}
	st := run[0].Style
	fore, back := ink, ""
	if st.Fore >= 0 {
		fore = palette[st.Fore]
	}
	if st.Back >= 0 {
		back = palette[st.Back]
	}
	if st.Inverse {
		fore, back = ground, fore
	}
	left, top, wide := margin+float64(x)*cellWidth, margin+float64(y)*cellHeight, float64(len(run))*cellWidth
	if back != "" {
		fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%d" fill="%s"/>`+"\n", left, top, wide, cellHeight, back)
	}
	attr := ""
	if st.Dim {
		attr = ` opacity="0.6"`
	}
	if boxed(run[0]) {
		fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s"%s/>`+"\n", frame(left, top, run), fore, attr)
		return
	}
	// Blanks at either end are not drawn, so they do not count.
	trimmed := strings.Trim(text.String(), " ")
	if trimmed == "" {
		return
	}
	before := len(text.String()) - len(strings.TrimLeft(text.String(), " "))
	after := len(text.String()) - len(trimmed) - before
	left += float64(before) * cellWidth
	wide -= float64(before+after) * cellWidth
	if fore != ink {
		attr += fmt.Sprintf(` fill="%s"`, fore)
	}
	if st.Bold {
		attr += ` font-weight="bold"`
	}
	if st.Underlined {
		attr += ` text-decoration="underline"`
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" textLength="%.1f" lengthAdjust="spacingAndGlyphs"%s>%s</text>`+"\n",
		left, top+cellHeight*0.76, wide, attr, html.EscapeString(strings.ReplaceAll(trimmed, " ", "\u00a0"))) // blanks are kept
}

// frame is the path of a run of a frame's pieces. A piece that it does not know
// is a horizontal one.
func frame(left, top float64, run []Cell) string {
	const w, h, r = cellWidth, float64(cellHeight), 4
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	for i := 0; i < len(run); {
		x, n := left+float64(i)*w, 1
		mx, my := x+w/2, top+h/2
		switch run[i].Text {
		case "│":
			line("M%.1f %.1fv%.1f", mx, top, h)
		case "╭":
			line("M%.1f %.1fV%.1fq0 -%d %d -%dH%.1f", mx, top+h, my+r, r, r, r, x+w)
		case "╮":
			line("M%.1f %.1fH%.1fq%d 0 %d %dV%.1f", x, my, mx-r, r, r, r, top+h)
		case "╰":
			line("M%.1f %.1fV%.1fq0 %d %d %dH%.1f", mx, top, my-r, r, r, r, x+w)
		case "╯":
			line("M%.1f %.1fH%.1fq%d 0 %d -%dV%.1f", x, my, mx-r, r, r, r, top)
		default:
			for i+n < len(run) && run[i+n].Text == run[i].Text {
				n++
			}
			line("M%.1f %.1fh%.1f", x, my, float64(n)*w)
		}
		i += n
	}
	return b.String()
}
