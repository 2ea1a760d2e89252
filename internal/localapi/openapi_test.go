package localapi

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chate2e/chate2e/internal/client"
)

var update = flag.Bool("update", false, "write docs/openapi-local.yaml anew")

// docs/openapi-local.yaml is what the routes and their types say.
func TestOpenAPI(t *testing.T) {
	const file = "../../docs/openapi-local.yaml"
	want := openAPI()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(got), want); diff != "" {
		t.Errorf("docs/openapi-local.yaml is not what the routes say; go test ./internal/localapi -update (-file, +routes):\n%s", diff)
	}
}

// enums are the types of strings whose values are a closed list.
var enums = map[reflect.Type][]string{
	reflect.TypeFor[client.ContactState](): {"requested", "incoming", "accepted", "blocked"},
	reflect.TypeFor[client.Presence]():     {"", "online", "away", "busy", "offline"},
	reflect.TypeFor[client.MessageState](): {"queued", "sent", "delivered", "read", "failed", "held"},
	reflect.TypeFor[client.Kind]():         {"text", "request", "accepted", "missing", "undecryptable", "key_change"},
	reflect.TypeFor[client.Direction]():    {"in", "out"},
	reflect.TypeFor[client.EventKind]():    {"item", "contact", "connection", "protocol", "settings", "closed", "lagged"},
	reflect.TypeFor[client.Offline]():      {"network", "silent", "certificate", "foreign", "unavailable", "refused"},
	reflect.TypeFor[client.Code](): {
		"usage", "wrong_password", "profile_exists", "no_profile", "profile_in_use", "name_taken", "not_found",
		"ambiguous", "self", "blocked", "client_id", "too_large", "key_mismatch", "number_mismatch", "no_key",
		"unreachable", "refused", "read_only", "damaged", "closed", "internal",
	},
}

func openAPI() string {
	d := &document{schemas: map[string]string{}, types: map[string]reflect.Type{}}
	d.line(0, "# Made from the routes by: go test ./internal/localapi -update")
	d.line(0, "openapi: 3.1.0")
	d.line(0, "info:")
	d.line(1, "title: ChatE2E local API")
	d.line(1, `version: "1"`)
	d.line(1, "description: >-")
	d.line(2, "What the commands and the desktop window use: the verbs of a profile that is")
	d.line(2, "unlocked, over the socket in its folder.")
	d.line(0, "paths:")
	sorted := slices.Clone(routes)
	slices.SortFunc(sorted, func(a, b route) int { return strings.Compare(a.path, b.path) })
	for _, r := range sorted {
		d.line(1, "%s:", r.path)
		d.line(2, "%s:", strings.ToLower(r.method))
		d.line(3, "operationId: %s", strings.NewReplacer("/", "_", "-", "_").Replace(strings.TrimPrefix(r.path, Prefix)))
		d.line(3, "summary: %q", r.summary)
		if r.in != nil {
			d.line(3, "requestBody:")
			d.line(4, "required: true")
			d.content(4, "application/json", d.schema(r.in))
		}
		mime := "application/json"
		if r.path == Prefix+"events" {
			mime = "application/x-ndjson"
		}
		d.line(3, "responses:")
		d.line(4, `"200":`)
		d.line(5, "description: Done.")
		d.content(5, mime, d.schema(r.out))
		d.line(4, "default:")
		d.line(5, "description: An error.")
		d.content(5, "application/json", d.schema(reflect.TypeFor[Failure]()))
	}
	d.line(0, "components:")
	d.line(1, "schemas:")
	for _, name := range slices.Sorted(maps.Keys(d.schemas)) {
		d.WriteString(d.schemas[name])
	}
	return d.String()
}

type document struct {
	strings.Builder
	schemas map[string]string       // by name
	types   map[string]reflect.Type // that the schemas describe
}

func (d *document) line(level int, format string, args ...any) {
	fmt.Fprintf(d, strings.Repeat("  ", level)+format+"\n", args...)
}

func (d *document) content(level int, mime, ref string) {
	d.line(level, "content:")
	d.line(level+1, "%s:", mime)
	d.line(level+2, "schema:")
	d.line(level+3, `$ref: "#/components/schemas/%s"`, ref)
}

// schema describes a struct under components and returns its name.
func (d *document) schema(t reflect.Type) string {
	name := t.Name()
	if other, named := d.types[name]; named && other != t {
		panic("two types are called " + name)
	}
	d.types[name] = t
	if _, done := d.schemas[name]; done {
		return name
	}
	d.schemas[name] = "" // begun: a type may contain itself
	s := &document{schemas: d.schemas, types: d.types}
	s.line(2, "%s:", name)
	s.line(3, "type: object")
	s.line(3, "additionalProperties: false")
	var required []string
	properties := &document{schemas: d.schemas, types: d.types}
	for _, f := range jsonFields(t) {
		if !f.optional {
			required = append(required, f.name)
		}
		properties.property(4, f.name, f.typ)
	}
	if len(required) > 0 {
		s.line(3, "required: [%s]", strings.Join(required, ", "))
	}
	if properties.Len() > 0 {
		s.line(3, "properties:")
		s.WriteString(properties.String())
	}
	d.schemas[name] = s.String()
	return name
}

func (d *document) property(level int, name string, t reflect.Type) {
	d.line(level, "%s:", name)
	level++
	nullable := t.Kind() == reflect.Pointer
	if nullable {
		t = t.Elem()
	}
	kind := func(s string) string {
		if nullable {
			return `[` + s + `, "null"]`
		}
		return s
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		d.line(level, "type: %s", kind("string"))
		d.line(level, "format: date-time")
	case enums[t] != nil:
		d.line(level, "type: %s", kind("string"))
		quoted := make([]string, len(enums[t]))
		for i, v := range enums[t] {
			quoted[i] = fmt.Sprintf("%q", v)
		}
		d.line(level, "enum: [%s]", strings.Join(quoted, ", "))
	case t.Kind() == reflect.String:
		d.line(level, "type: %s", kind("string"))
	case t.Kind() == reflect.Bool:
		d.line(level, "type: %s", kind("boolean"))
	case t.Kind() == reflect.Slice:
		d.line(level, "type: array")
		d.line(level, "items:")
		d.line(level+1, `$ref: "#/components/schemas/%s"`, d.schema(t.Elem()))
	case t.Kind() == reflect.Map:
		d.line(level, "type: object")
		d.line(level, "additionalProperties:")
		d.line(level+1, "type: string")
	case t.Kind() == reflect.Struct && nullable:
		d.line(level, "anyOf:")
		d.line(level+1, `- $ref: "#/components/schemas/%s"`, d.schema(t))
		d.line(level+1, `- type: "null"`)
	case t.Kind() == reflect.Struct:
		d.line(level, `$ref: "#/components/schemas/%s"`, d.schema(t))
	default:
		d.line(level, "type: %s", kind("integer"))
	}
}

type jsonField struct {
	name     string
	typ      reflect.Type
	optional bool
}

// jsonFields are the fields of a struct as encoding/json sees them: those of an
// embedded struct are its own, unless it has one of the same name.
func jsonFields(t reflect.Type) []jsonField {
	var fields []jsonField
	for f := range t.Fields() {
		tag := f.Tag.Get("json")
		if f.Anonymous && tag == "" {
			for _, inner := range jsonFields(f.Type) {
				if !slices.ContainsFunc(fields, func(have jsonField) bool { return have.name == inner.name }) {
					fields = append(fields, inner)
				}
			}
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if name == "-" {
			continue
		}
		own := jsonField{name, f.Type, strings.HasPrefix(options, "omit")}
		if i := slices.IndexFunc(fields, func(have jsonField) bool { return have.name == name }); i >= 0 {
			fields[i] = own
			continue
		}
		fields = append(fields, own)
	}
	return fields
}
