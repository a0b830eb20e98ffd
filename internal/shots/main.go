//go:build linux

// Command shots makes the picture of the README from the program itself: it
// runs the cockpit on a terminal, types what a person would, and writes what
// the screen shows, as an SVG picture and as text. From the module's root:
//
//	go run ./internal/shots
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"github.com/seed-885536be/p2p/internal/tty"
)

// patience is how long anything that is waited for may take.
const patience = time.Minute

// what is typed, and what must be shown before the next is.
var scenes = []struct{ typed, shown string }{
	{"", `dan#4 up`},
	{"", `one history at all 4`},
	{"1> hello, who is there?", `(│ ada#1: hello, who is there\?\s+│){4}`},
	{"2> bob here", `(│ bob#2: bob here\s+│){4}`},
	{"3> eve, at the window", `(│ eve#3: eve, at the window\s+│){4}`},
	{"4> and dan", `one history at all 4: 4 messages`},
	{"/kill 1", `COORDINATOR dan#4 .* reached \w+#\d \w+#\d`},
	{"", `♛ dan#4 up`},
	{"2> what happened to ada?", `one history at all 3: 5 messages`},
	{"/cut 2,3|4", `♛ dan#4 up CUT 2`},
	{"", `♛ eve#3 up CUT 1`},
	{"2> we two go on", `≠ 2 histories`},
	{"4> anybody there?", `│ dan#4: anybody there\?`},
	{"", `\(6\) bob#2 eve#3 .*\(6\) dan#4`},
}

func main() {
	log.SetFlags(0)
	dir := flag.String("o", "examples/chat/pictures", "`directory` to write to")
	width := flag.Int("width", 124, "columns of the terminal")
	height := flag.Int("height", 36, "lines of the terminal")
	flag.Parse()
	if err := shoot(*dir, *width, *height); err != nil {
		log.Fatal(err)
	}
}

func shoot(dir string, width, height int) error {
	tmp, err := os.MkdirTemp("", "shots-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	exe := filepath.Join(tmp, "chat")
	if out, err := exec.Command("go", "build", "-o", exe, "./examples/chat").CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	s, err := tty.Start(exec.Command(exe, "-spawn", "4", "-group", "239.255.77.13:7713", "-iface", "lo"), width, height)
	if err != nil {
		return err
	}
	defer s.Close()
	for _, scene := range scenes {
		if scene.typed != "" {
			if err := s.Type(scene.typed + "\r"); err != nil {
				return err
			}
		}
		if err := s.Await(patience, regexp.MustCompile(scene.shown).MatchString); err != nil {
			return fmt.Errorf("waiting for %s: %w", scene.shown, err)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	svg := s.Screen.SVG("Four chat processes in one terminal: the coordinator was killed, then the network was cut")
	if err := os.WriteFile(filepath.Join(dir, "cockpit.svg"), svg, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "cockpit.txt"), []byte(s.Screen.Text()), 0o644); err != nil {
		return err
	}
	if err := s.Type("/quit\r"); err != nil {
		return err
	}
	if code, err := s.Exit(patience); err != nil || code != 0 {
		return fmt.Errorf("the cockpit ended with %d: %w", code, err)
	}
	return nil
}
