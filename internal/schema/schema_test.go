package schema

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestValidate(t *testing.T) {
	s, err := Parse([]byte(`{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "t", "description": "d", "$id": "i",
		"$ref": "#/$defs/a",
		"$defs": {
			"a": {"type": "object", "properties": {
				"n": {"type": "integer", "minimum": 1, "maximum": 3}, "s": {"type": "string", "pattern": "^a", "minLength": 2, "maxLength": 3},
				"l": {"type": "array", "items": {"$ref": "#/$defs/b"}}, "m": {"type": "object", "additionalProperties": {"type": "number"}},
				"e": {"enum": ["x", 1, null]}, "c": {"const": true}}, "required": ["n"]},
			"b": {"oneOf": [{"type": "string"}, {"type": ["null", "boolean"]}, {"const": "twice"}]},
			"c": {"anyOf": [{"type": "integer"}, {"type": "number"}]},
			"d": {"type": "object", "properties": {"x": {"type": "boolean"}}, "additionalProperties": false},
			"e": {"type": "object", "maxProperties": 0},
			"f": {"type": "object", "properties": {"ok": {"type": "boolean"}, "data": {"type": "string"}},
				"oneOf": [{"properties": {"ok": {"const": true}}, "required": ["data"]}, {"properties": {"ok": {"const": false}}}]}
		}}`))
	require.NoError(t, err)
	for _, c := range []struct{ def, value, want string }{
		{"a", `{"n":1}`, ""},
		{"a", `{"n":3,"s":"aäc","e":"y"}`, "none of"},
		{"a", `{"n":3,"s":"abc","l":["a",null,true],"m":{"x":1.5},"e":null,"c":true}`, ""},
		{"a", `{}`, "n is missing"},
		{"a", `[]`, "not of type [object]"},
		{"a", `{"n":1,"z":1}`, "z is not described"},
		{"a", `{"n":0}`, "/n: 0 is out of range"},
		{"a", `{"n":4}`, "out of range"},
		{"a", `{"n":1.5}`, "not of type [integer]"},
		{"a", `{"n":1,"s":"bc"}`, "does not fit ^a"},
		{"a", `{"n":1,"s":"a"}`, "1 characters"},
		{"a", `{"n":1,"s":"abcd"}`, "4 characters"},
		{"a", `{"n":1,"l":["a",1]}`, "/l/1: fits 0 of 3"},
		{"a", `{"n":1,"l":["twice"]}`, "/l/0: fits 2 of 3"},
		{"a", `{"n":1,"m":{"x":"1"}}`, "/m/x: 1 is not of type"},
		{"a", `{"n":1,"c":false}`, "none of [true]"},
		{"a", `{"n":1} {}`, "more than one"},
		{"a", `{"n":`, "unexpected EOF"},
		{"c", `1`, ""},
		{"d", `{"y":true}`, "y is not described"},
		{"e", `{"y":true}`, "1 fields"},
		{"f", `{"ok":true,"data":"x"}`, ""},
		{"f", `{"ok":false}`, ""},
		{"f", `{"ok":true}`, "data is missing"},
		{"g", `1`, "no definition"},
	} {
		err := s.Validate(c.def, []byte(c.value))
		if c.want == "" {
			require.NoError(t, err, c.value)
		} else {
			require.ErrorContains(t, err, c.want, c.value)
		}
	}
}

func TestParseRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, c := range []struct{ schema, want string }{
		{`{"format": "date"}`, `"format" is not known`},
		{`{"properties": {"a": {"multipleOf": 2}}}`, `#/properties/a: the keyword "multipleOf"`},
		{`{"$ref": "#/$defs/a"}`, `no "a"`},
		{`{"$ref": "other.json"}`, "$ref"},
		{`{"$schema": "http://json-schema.org/draft-07/schema"}`, "$schema"},
		{`{"pattern": "("}`, "pattern"},
		{`{"type": 1}`, "type"},
		{`{"items": 1}`, "want an object"},
		{`1`, "want an object"},
		{`{`, "EOF"},
	} {
		_, err := Parse([]byte(c.schema))
		require.ErrorContains(t, err, c.want, c.schema)
	}
}
