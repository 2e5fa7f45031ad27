package main

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"

	"gitlab.com/gitlab-org/gitlab-runner/common"
)

// printKeys writes every key of config.toml and the type of its value, from the types that the
// runner decodes the file into. A table is an object, a list has one element, the type of its
// items, and a map has the key `*`.
func printKeys() error {
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", " ")
	return encoder.Encode(struct {
		Runner string `json:"runner"`
		Keys   any    `json:"keys"`
	}{common.AppVersion.Version, describe(reflect.TypeFor[common.Config]())})
}

func describe(t reflect.Type) any {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.TypeFor[time.Time]():
		return "time"
	case reflect.TypeFor[common.StringOrArray]():
		return "string or list"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return describe(t.Elem())
	case reflect.Struct:
		table := map[string]any{}
		addFields(table, t)
		return table
	case reflect.Slice, reflect.Array:
		return []any{describe(t.Elem())}
	case reflect.Map:
		return map[string]any{"*": describe(t.Elem())}
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		return "string"
	case reflect.Float32, reflect.Float64:
		return "number"
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint64:
		return "integer"
	case reflect.Interface:
		return "any"
	}
	panic(fmt.Sprintf("no key of config.toml has the type %s", t))
}

func addFields(table map[string]any, t reflect.Type) {
	for _, field := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(field.Tag.Get("toml"), ",")
		// The fields of an embedded struct are visible ones of this struct, too.
		if !field.IsExported() || field.Anonymous || name == "-" {
			continue
		}
		if name == "" {
			name = field.Name
		}
		table[name] = describe(field.Type)
	}
}
