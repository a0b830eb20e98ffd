// Command tests reads what "go test -json" prints, shows what matters of it,
// and exits with 1 unless tests ran, none failed and none was skipped that is
// not named in a file of exceptions.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
)

type event struct {
	Action     string
	Package    string
	ImportPath string // of a build's output
	Test       string
	Elapsed    float64
	Output     string
}

func main() {
	counts := flag.String("counts", "", "`file` to write the numbers of passed and failed tests to")
	skips := flag.String("skips", "", "`file` of tests that may be skipped: package and test in each line, # begins a comment")
	flag.Parse()
	allowed := exceptions(*skips)

	var passed, failed, skipped, packages int
	output := map[string]*strings.Builder{}
	failures := map[string]int{} // by package
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		var e event
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			fmt.Println(in.Text()) // from the go command itself
			continue
		}
		key := e.Package + " " + e.Test
		switch e.Action {
		case "output":
			if output[key] == nil {
				output[key] = new(strings.Builder)
			}
			output[key].WriteString(e.Output)
		case "build-output":
			fmt.Print(e.Output)
		case "pass":
			if e.Test == "" {
				packages++
				fmt.Printf("ok    %7.1f s  %s\n", e.Elapsed, e.Package)
			} else {
				passed++
			}
			delete(output, key)
		case "fail":
			if e.Test != "" || failures[e.Package] == 0 {
				failed++
			}
			failures[e.Package]++
			fmt.Printf("FAIL  %7.1f s  %s\n", e.Elapsed, key)
			if b := output[key]; b != nil {
				fmt.Print(excerpt(b.String()))
			}
			delete(output, key)
		case "skip":
			if e.Test == "" {
				continue // a package without tests
			}
			skipped++
			if !allowed[key] {
				failed++
				fmt.Printf("FAIL: skipped: %s\n%s", key, excerpt(output[key].String()))
			}
		}
	}
	if *counts != "" {
		if err := os.WriteFile(*counts, fmt.Appendf(nil, "%d %d\n", passed, failed), 0o600); err != nil {
			fmt.Println(err)
			failed++
		}
	}
	fmt.Printf("%d tests passed, %d failed, %d skipped in %d packages\n", passed, failed, skipped, packages)
	if failed > 0 || passed == 0 {
		os.Exit(1)
	}
}

// excerpt is the beginning and the end of what a test wrote: it says first what
// it has found, and then what led to it.
func excerpt(text string) string {
	const most = 60 // lines of each
	lines := strings.SplitAfter(text, "\n")
	if n := len(lines) - 2*most; n > 0 {
		left := fmt.Sprintf("      … %d lines …\n", n)
		lines = slices.Concat(lines[:most], []string{left}, lines[len(lines)-most:])
	}
	return strings.Join(lines, "")
}

func exceptions(file string) map[string]bool {
	out := map[string]bool{}
	b, err := os.ReadFile(file)
	if err != nil {
		return out
	}
	for line := range strings.Lines(string(b)) {
		line, _, _ = strings.Cut(line, "#")
		if f := strings.Fields(line); len(f) == 2 {
			out[f[0]+" "+f[1]] = true
		}
	}
	return out
}
