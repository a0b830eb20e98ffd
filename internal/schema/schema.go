// Package schema validates JSON by the part of JSON Schema (draft 2020-12) that
// this module's own schemas use. A schema with any other keyword is refused, so
// that nothing in it is ignored. It is for tests.
package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Schema is a schema, with the definitions that it refers to.
type Schema struct {
	root node
	defs map[string]*node
}

type node struct {
	ref                  string
	types                []string
	properties           map[string]*node
	required             []string
	additional           *node // nil: anything
	closed               bool  // nothing besides properties
	items                *node
	enum                 []any // const is an enum of one
	pattern              *regexp.Regexp
	minimum, maximum     *float64
	minLength, maxLength *float64
	maxProperties        *float64
	anyOf, oneOf         []*node
}

// Parse reads a schema.
func Parse(b []byte) (*Schema, error) {
	v, err := decode(b)
	if err != nil {
		return nil, err
	}
	s := &Schema{defs: map[string]*node{}}
	if err := s.parse(&s.root, v, "#"); err != nil {
		return nil, err
	}
	return s, s.check(&s.root)
}

func decode(b []byte) (v any, err error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("more than one value")
	}
	return v, nil
}

func (s *Schema) parse(n *node, v any, at string) error {
	fields, ok := v.(map[string]any)
	if !ok {
		return fmt.Errorf("%s: want an object", at)
	}
	var errs []error
	sub := func(v any, name string) *node {
		n := new(node)
		errs = append(errs, s.parse(n, v, at+"/"+name))
		return n
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		v := fields[name]
		ok := true
		switch name {
		case "$schema":
			ok = v == "https://json-schema.org/draft/2020-12/schema"
		case "$id", "title", "description":
			_, ok = v.(string)
		case "$defs", "properties":
			var all map[string]any
			all, ok = v.(map[string]any)
			parsed := map[string]*node{}
			for key, v := range all {
				parsed[key] = sub(v, name+"/"+key)
			}
			if n.properties = parsed; name == "$defs" {
				n.properties, s.defs, ok = nil, parsed, ok && at == "#"
			}
		case "$ref":
			var ref string
			if ref, ok = v.(string); ok {
				n.ref, ok = strings.CutPrefix(ref, "#/$defs/")
			}
		case "type":
			if n.types, ok = words(v); !ok {
				n.types, ok = words([]any{v})
			}
		case "required":
			n.required, ok = words(v)
		case "additionalProperties":
			if v == false {
				n.closed = true
			} else {
				n.additional = sub(v, name)
			}
		case "items":
			n.items = sub(v, name)
		case "enum":
			n.enum, ok = v.([]any)
		case "const":
			n.enum = []any{v}
		case "pattern":
			var err error
			n.pattern, err = regexp.Compile(fmt.Sprint(v))
			ok = err == nil
		case "minimum":
			n.minimum, ok = number(v)
		case "maximum":
			n.maximum, ok = number(v)
		case "minLength":
			n.minLength, ok = number(v)
		case "maxLength":
			n.maxLength, ok = number(v)
		case "maxProperties":
			n.maxProperties, ok = number(v)
		case "anyOf", "oneOf":
			var list []any
			list, ok = v.([]any)
			var parsed []*node
			for i, v := range list {
				parsed = append(parsed, sub(v, fmt.Sprintf("%s/%d", name, i)))
			}
			if name == "anyOf" {
				n.anyOf = parsed
			} else {
				n.oneOf = parsed
			}
		default:
			return fmt.Errorf("%s: the keyword %q is not known here", at, name)
		}
		if !ok {
			return fmt.Errorf("%s: %s: %v", at, name, v)
		}
	}
	return errors.Join(errs...)
}

func words(v any) (out []string, ok bool) {
	list, ok := v.([]any)
	for _, v := range list {
		s, isString := v.(string)
		out, ok = append(out, s), ok && isString
	}
	return out, ok
}

func number(v any) (*float64, bool) {
	f, ok := v.(float64)
	return &f, ok
}

// check finds references that lead nowhere.
func (s *Schema) check(n *node) error {
	if n == nil {
		return nil
	}
	if n.ref != "" && s.defs[n.ref] == nil {
		return fmt.Errorf("$ref: there is no %q", n.ref)
	}
	all := slices.Concat(n.anyOf, n.oneOf, []*node{n.additional, n.items}, slices.Collect(maps.Values(n.properties)))
	if n == &s.root {
		all = slices.AppendSeq(all, maps.Values(s.defs))
	}
	for _, sub := range all {
		if err := s.check(sub); err != nil {
			return err
		}
	}
	return nil
}

// Validate says whether the value is what the definition of that name allows.
// It is strict: an object has no fields but those that the schema describes.
func (s *Schema) Validate(def string, value []byte) error {
	n := s.defs[def]
	if n == nil {
		return fmt.Errorf("there is no definition %q", def)
	}
	v, err := decode(value)
	if err != nil {
		return err
	}
	return s.validate(n, v, "")
}

func (s *Schema) validate(n *node, v any, at string) error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("%s: "+format, append([]any{at}, args...)...)
	}
	if n.ref != "" {
		if err := s.validate(s.defs[n.ref], v, at); err != nil {
			return err
		}
	}
	if n.types != nil && !slices.ContainsFunc(n.types, func(t string) bool { return is(v, t) }) {
		return fail("%.60v is not of type %v", v, n.types)
	}
	if n.enum != nil && !slices.ContainsFunc(n.enum, func(e any) bool { return reflect.DeepEqual(e, v) }) {
		return fail("%.60v is none of %v", v, n.enum)
	}
	switch v := v.(type) {
	case float64:
		if n.minimum != nil && v < *n.minimum || n.maximum != nil && v > *n.maximum {
			return fail("%v is out of range", v)
		}
	case string:
		length := float64(utf8.RuneCountInString(v))
		if n.minLength != nil && length < *n.minLength || n.maxLength != nil && length > *n.maxLength {
			return fail("%v characters", length)
		}
		if n.pattern != nil && !n.pattern.MatchString(v) {
			return fail("%.60q does not fit %s", v, n.pattern)
		}
	case []any:
		for i, item := range v {
			if n.items != nil {
				if err := s.validate(n.items, item, fmt.Sprintf("%s/%d", at, i)); err != nil {
					return err
				}
			}
		}
	case map[string]any:
		if err := s.object(n, v, at); err != nil {
			return err
		}
	}
	if n.anyOf != nil || n.oneOf != nil {
		return s.some(n, v, at)
	}
	return nil
}

func (s *Schema) object(n *node, v map[string]any, at string) error {
	if n.maxProperties != nil && float64(len(v)) > *n.maxProperties {
		return fmt.Errorf("%s: %d fields", at, len(v))
	}
	for _, name := range n.required {
		if _, ok := v[name]; !ok {
			return fmt.Errorf("%s: %s is missing", at, name)
		}
	}
	for name, field := range v {
		sub := n.properties[name]
		if sub == nil {
			sub = n.additional
		}
		switch {
		case sub != nil:
			if err := s.validate(sub, field, at+"/"+name); err != nil {
				return err
			}
		// A condition, which a part of oneOf may be, names only what it is about.
		case n.closed || n.properties != nil && slices.Contains(n.types, "object"):
			return fmt.Errorf("%s: %s is not described", at, name)
		}
	}
	return nil
}

// some applies anyOf and oneOf.
func (s *Schema) some(n *node, v any, at string) error {
	fit := 0
	var errs []error
	for _, sub := range slices.Concat(n.anyOf, n.oneOf) {
		if err := s.validate(sub, v, at); err != nil {
			errs = append(errs, err)
			continue
		}
		fit++
	}
	if fit == 0 || n.oneOf != nil && fit > 1 {
		// What failed deepest is most likely what was meant.
		slices.SortStableFunc(errs, func(a, b error) int { return depth(b) - depth(a) })
		return fmt.Errorf("%s: fits %d of %d: %w", at, fit, len(n.anyOf)+len(n.oneOf), errors.Join(errs[:min(len(errs), 3)]...))
	}
	return nil
}

func depth(err error) int { return strings.Count(strings.SplitN(err.Error(), ":", 2)[0], "/") }

func is(v any, t string) bool {
	switch t {
	case "null":
		return v == nil
	case "integer":
		f, ok := v.(float64)
		return ok && f == math.Trunc(f)
	case "number":
		_, ok := v.(float64)
		return ok
	case "string":
		_, ok := v.(string)
		return ok
	case "boolean":
		_, ok := v.(bool)
		return ok
	case "array":
		_, ok := v.([]any)
		return ok
	case "object":
		_, ok := v.(map[string]any)
		return ok
	}
	return false
}
