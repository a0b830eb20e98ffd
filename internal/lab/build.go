//go:build unix

package lab

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
)

// builds holds the programs that this test binary has built so far.
var builds struct {
	sync.Mutex
	dir  string
	path map[string]string
}

// Main runs the tests and removes what Build has built. A package that uses
// Build calls it: func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }.
//
// Tests with processes mostly wait. Unless the flag -parallel says otherwise, it
// lets four times as many of them run at once as there are CPUs.
func Main(m interface{ Run() int }) int {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "test.parallel" })
	if !asked {
		_ = flag.Set("test.parallel", strconv.Itoa(4*runtime.GOMAXPROCS(0)))
	}
	code := m.Run()
	builds.Lock()
	defer builds.Unlock()
	if builds.dir != "" {
		os.RemoveAll(builds.dir)
	}
	return code
}

// Build builds a package's program, once for each test binary, and returns the
// path of the executable. It has the race detector if the test has.
func Build(t testing.TB, pkg string) string {
	t.Helper()
	builds.Lock()
	defer builds.Unlock()
	if p, ok := builds.path[pkg]; ok {
		return p
	}
	p, err := build(pkg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// build does it. builds is locked.
func build(pkg string) (string, error) {
	if builds.dir == "" {
		dir, err := os.MkdirTemp("", "lab-")
		if err != nil {
			return "", err
		}
		builds.dir, builds.path = dir, map[string]string{}
	}
	exe := filepath.Join(builds.dir, path.Base(pkg))
	args := []string{"build", "-o", exe}
	if Race {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, pkg)...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	builds.path[pkg] = exe
	return exe, nil
}
