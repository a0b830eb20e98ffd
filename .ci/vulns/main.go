// Command vulns makes a database for govulncheck of the entries of
// golang.org/x/vulndb, in the layout of https://go.dev/security/vuln/database,
// and judges what govulncheck -format json has found by it.
//
//	vulns build <folder of OSV entries> <folder to make>
//	govulncheck -format json … | vulns judge
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// entry is what the indexes say of an OSV entry.
type entry struct {
	ID       string    `json:"id"`
	Modified time.Time `json:"modified"`
	Aliases  []string  `json:"aliases,omitempty"`
	Affected []struct {
		Package struct{ Name string }
		Ranges  []struct{ Events []struct{ Fixed string } }
	} `json:"affected,omitempty"`
}

// module is what the index of modules says of one.
type module struct {
	Path  string `json:"path"`
	Vulns []vuln `json:"vulns"`
}

type vuln struct {
	ID       string    `json:"id"`
	Modified time.Time `json:"modified"`
	Fixed    string    `json:"fixed,omitempty"`
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("vulns: ")
	err := errors.New("build or judge?")
	switch {
	case len(os.Args) == 4 && os.Args[1] == "build":
		err = build(os.Args[2], os.Args[3])
	case len(os.Args) == 2 && os.Args[1] == "judge":
		err = judge(os.Stdin)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func build(from, to string) error {
	for _, dir := range []string{"ID", "index"} {
		if err := os.MkdirAll(filepath.Join(to, dir), 0o755); err != nil {
			return err
		}
	}
	files, err := filepath.Glob(filepath.Join(from, "*.json"))
	if err != nil {
		return err
	}
	var all []entry
	modules := map[string]*module{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		var e entry
		if err := json.Unmarshal(b, &e); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, "ID", e.ID+".json"), b, 0o644); err != nil {
			return err
		}
		for _, a := range e.Affected {
			m := modules[a.Package.Name]
			if m == nil {
				m = &module{Path: a.Package.Name}
				modules[m.Path] = m
			}
			v := vuln{ID: e.ID, Modified: e.Modified}
			for _, r := range a.Ranges {
				for _, x := range r.Events {
					if x.Fixed != "" {
						v.Fixed = x.Fixed
					}
				}
			}
			m.Vulns = append(m.Vulns, v)
		}
		e.Affected = nil
		all = append(all, e)
	}
	if len(all) < 1000 {
		return fmt.Errorf("%d entries in %s, which cannot be all", len(all), from)
	}
	list := make([]*module, 0, len(modules))
	for _, m := range modules {
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b *module) int { return strings.Compare(a.Path, b.Path) })
	for name, v := range map[string]any{
		"db": map[string]time.Time{"modified": {}}, "modules": list, "vulns": all,
	} {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, "index", name+".json"), b, 0o644); err != nil {
			return err
		}
	}
	log.Printf("%d entries, of %d modules", len(all), len(list))
	return nil
}

// message is one of those that govulncheck writes.
type message struct {
	SBOM    *struct{ Modules []struct{ Path string } }
	Finding *struct {
		OSV          string
		FixedVersion string `json:"fixed_version"`
		Trace        []struct{ Module, Version, Package string }
	}
}

// judge fails for what is known of a module that this one requires, whether it
// is called or not: another version can be chosen in go.mod. What is known of the
// standard library is told, and no more. Which Go compiles a library is the
// choice of whoever uses it, and that of this machine is what it is.
func judge(r io.Reader) error {
	bad, standard := map[string]string{}, map[string]string{}
	checked := 0
	for d := json.NewDecoder(r); ; {
		var m message
		if err := d.Decode(&m); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		if m.SBOM != nil {
			checked = len(m.SBOM.Modules)
		}
		f := m.Finding
		if f == nil || len(f.Trace) == 0 {
			continue
		}
		at := f.Trace[0]
		into := bad
		if at.Module == "stdlib" || at.Module == "toolchain" {
			into = standard
			if at.Package == "" {
				continue // not even the package is used
			}
		}
		into[f.OSV] = fmt.Sprintf("%s: %s@%s, fixed in %s", f.OSV, at.Module, at.Version, f.FixedVersion)
	}
	if checked < 2 {
		return errors.New("no module was checked")
	}
	for _, id := range slices.Sorted(maps.Keys(standard)) {
		fmt.Println("told only:", standard[id])
	}
	for _, id := range slices.Sorted(maps.Keys(bad)) {
		fmt.Println(bad[id])
	}
	fmt.Printf("%d modules, %d vulnerabilities of theirs; %d of packages of the standard library that are used\n", checked, len(bad), len(standard))
	if len(bad) > 0 {
		return fmt.Errorf("%d vulnerabilities", len(bad))
	}
	return nil
}
