package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/chate2e/chate2e/internal/relay"
)

//go:generate go test -run ^TestTheDescriptionIsTheRoutes$ -update .

// object is a JSON object whose members keep their order.
type object []member

type member struct {
	name  string
	value any // object, []any, string, int or bool
}

// MarshalJSON implements [json.Marshaler].
func (o object) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, m := range o {
		if i > 0 {
			b = append(b, ',')
		}
		name, err := json.Marshal(m.name)
		if err != nil {
			return nil, err
		}
		value, err := marshal(m.value)
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, name...), ':'), value...)
	}
	return append(b, '}'), nil
}

// marshal is json.Marshal without the escapes for HTML, which this is not.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// descriptionJSON returns the description of the REST calls (OpenAPI 3.1) in JSON.
func descriptionJSON() []byte {
	b, err := marshal(describe())
	if err != nil {
		panic("server: the API description: " + err.Error())
	}
	return append(b, '\n')
}

// descriptionYAML returns the same in YAML, for docs/openapi.yaml.
func descriptionYAML() []byte {
	b := []byte("# Generated from the routes of internal/server by go generate; do not edit.\n")
	return appendYAML(b, describe(), 0)
}

// describe builds the description from the routes and the types of their bodies.
func describe() object {
	schemas := make(map[string]object)
	problem := schemaOf(reflect.TypeFor[relay.Problem](), schemas)

	var paths object
	for _, rt := range routeTable {
		operation := rt.operation(problem, schemas)
		i := slices.IndexFunc(paths, func(m member) bool { return m.name == rt.path })
		if i < 0 {
			paths = append(paths, member{rt.path, object{}})
			i = len(paths) - 1
		}
		paths[i].value = append(paths[i].value.(object), member{strings.ToLower(rt.method), operation})
	}

	names := make([]string, 0, len(schemas))
	for name := range schemas {
		names = append(names, name)
	}
	slices.Sort(names)
	var components object
	for _, name := range names {
		components = append(components, member{name, schemas[name]})
	}

	return object{
		{"openapi", "3.1.0"},
		{"info", object{
			{"title", "ChatE2E relay"},
			{"version", "1"},
			{"summary", "The REST calls of a ChatE2E relay"},
			{"description", "The relay keeps public keys and passes on envelopes; what is in them, and what a prekey says, is opaque to it. " +
				"Every body is one JSON object. Unknown, missing, repeated or wrong-case keys, null, trailing data and invalid UTF-8 are refused. " +
				"Times are milliseconds since 1970, UTC. Every refusal is a problem (RFC 9457) with a code out of a closed list."},
			{"license", object{{"name", "MIT"}, {"identifier", "MIT"}}},
		}},
		{"security", []any{object{{"token", []any{}}}}},
		{"paths", paths},
		{"components", object{
			{"schemas", components},
			{"securitySchemes", object{{"token", object{
				{"type", "http"},
				{"scheme", "bearer"},
				{"description", "a token from /v1/token or /v1/register"},
			}}}},
		}},
	}
}

func (rt *route) operation(problem object, schemas map[string]object) object {
	o := object{{"operationId", rt.name}, {"summary", rt.summary}}
	if rt.description != "" {
		o = append(o, member{"description", rt.description})
	}
	if rt.open {
		o = append(o, member{"security", []any{}})
	}
	if parameters := rt.parameters(); len(parameters) > 0 {
		o = append(o, member{"parameters", parameters})
	}
	if rt.request != nil {
		o = append(o, member{"requestBody", object{
			{"required", true},
			{"content", content("application/json", schemaOf(reflect.TypeOf(rt.request), schemas))},
		}})
	}
	return append(o, member{"responses", rt.responses(problem, schemas)})
}

func (rt *route) parameters() (parameters []any) {
	for segment := range strings.SplitSeq(rt.path, "/") {
		if name, ok := strings.CutPrefix(segment, "{"); ok {
			parameters = append(parameters, object{
				{"name", strings.TrimSuffix(name, "}")},
				{"in", "path"},
				{"required", true},
				{"schema", object{{"type", "string"}}},
			})
		}
	}
	for _, p := range rt.query {
		parameters = append(parameters, object{
			{"name", p.name},
			{"in", "query"},
			{"description", p.description},
			{"schema", object{{"type", p.kind}}},
		})
	}
	return parameters
}

func (rt *route) responses(problem object, schemas map[string]object) object {
	var success object
	switch {
	case rt.path == socketPath:
		success = object{{"101", object{{"description", "the WebSocket begins"}}}}
	case rt.media != "":
		success = object{{"200", object{{"description", "done"}, {"content", content(rt.media, object{{"type", "string"}})}}}}
		if rt.media == "application/json" {
			success = object{{"200", object{{"description", "done"}, {"content", content(rt.media, object{{"type", "object"}})}}}}
		}
	case rt.response == nil:
		success = object{{"204", object{{"description", "done"}}}}
	default:
		status := "200"
		if rt.created {
			status = "201"
		}
		success = object{{status, object{
			{"description", "done"},
			{"content", content("application/json", schemaOf(reflect.TypeOf(rt.response), schemas))},
		}}}
	}

	byStatus := make(map[int][]string)
	for _, c := range rt.allCodes() {
		if !slices.Contains(byStatus[c.Status()], string(c)) {
			byStatus[c.Status()] = append(byStatus[c.Status()], string(c))
		}
	}
	statuses := make([]int, 0, len(byStatus))
	for status := range byStatus {
		statuses = append(statuses, status)
	}
	slices.Sort(statuses)
	for _, status := range statuses {
		success = append(success, member{strconv.Itoa(status), object{
			{"description", strings.Join(byStatus[status], ", ")},
			{"content", content(relay.ProblemType, problem)},
		}})
	}
	return success
}

// allCodes returns the refusals an operation may give.
func (rt *route) allCodes() []relay.Code {
	var codes []relay.Code
	if !rt.open {
		codes = append(codes, relay.CodeUnauthorized)
	}
	if rt.request != nil {
		codes = append(codes, relay.CodeBadJSON, relay.CodeBadRequest, relay.CodeTooLarge, relay.CodeUnsupportedType)
	}
	if len(rt.query) > 0 {
		codes = append(codes, relay.CodeBadRequest)
	}
	codes = append(codes, rt.codes...)
	if rt.handle != nil && rt.name != "healthz" {
		codes = append(codes, relay.CodeInternal, relay.CodeUnavailable)
	}
	return codes
}

func content(media string, schema object) object {
	return object{{media, object{{"schema", schema}}}}
}

// schemaOf returns a schema for a type; those of structs are put into schemas and
// referred to.
func schemaOf(t reflect.Type, schemas map[string]object) object {
	text := func(pattern string) object { return object{{"type", "string"}, {"pattern", pattern}} }
	switch t {
	case reflect.TypeFor[relay.Bytes]():
		return object{{"type", "string"}, {"contentEncoding", "base64"}}
	case reflect.TypeFor[relay.UserID]():
		return text("^[a-z2-7]{32}$")
	case reflect.TypeFor[relay.EnvelopeID](), reflect.TypeFor[relay.LoginID]():
		return text("^[0-9a-f]{32}$")
	case reflect.TypeFor[relay.Username]():
		return text("^[a-z0-9_]{3,24}$")
	case reflect.TypeFor[relay.Origin]():
		return text("^https?://[^/]+:[0-9]+$")
	case reflect.TypeFor[relay.DeviceNumber]():
		return object{{"type", "integer"}, {"minimum", 1}, {"maximum", relay.MaxDevice}}
	case reflect.TypeFor[relay.IncomingKind]():
		return object{{"type", "string"}, {"enum", []any{"message", "expired"}}}
	case reflect.TypeFor[relay.PrekeyKind]():
		var kinds []any
		for _, k := range relay.PrekeyKinds() {
			kinds = append(kinds, string(k))
		}
		return object{{"type", "string"}, {"enum", kinds}}
	case reflect.TypeFor[relay.Code]():
		var codes []any
		for _, c := range relay.Codes() {
			codes = append(codes, string(c))
		}
		return object{{"type", "string"}, {"enum", codes}}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem(), schemas)
	case reflect.String:
		return object{{"type", "string"}}
	case reflect.Bool:
		return object{{"type", "boolean"}}
	case reflect.Int, reflect.Int64:
		return object{{"type", "integer"}}
	case reflect.Uint32, reflect.Uint64:
		return object{{"type", "integer"}, {"minimum", 0}}
	case reflect.Slice:
		return object{{"type", "array"}, {"items", schemaOf(t.Elem(), schemas)}}
	case reflect.Struct:
		name := schemaName(t)
		if _, ok := schemas[name]; !ok {
			schemas[name] = nil // stops recursion
			schemas[name] = structSchema(t, schemas)
		}
		return object{{"$ref", "#/components/schemas/" + name}}
	default:
		panic("server: no schema for " + t.String())
	}
}

func schemaName(t reflect.Type) string {
	return strings.TrimSuffix(t.Name(), "JSON")
}

func structSchema(t reflect.Type, schemas map[string]object) object {
	var (
		properties object
		required   []any
	)
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		schema := schemaOf(f.Type, schemas)
		if doc := f.Tag.Get("doc"); doc != "" {
			schema = append(slices.Clone(schema), member{"description", doc})
		}
		properties = append(properties, member{name, schema})
		if options == "" {
			required = append(required, name)
		}
	}
	o := object{{"type", "object"}, {"properties", properties}}
	if len(required) > 0 {
		o = append(o, member{"required", required})
	}
	return append(o, member{"additionalProperties", false})
}

// appendYAML writes a value as block-style YAML with two spaces of indentation.
func appendYAML(b []byte, v any, depth int) []byte {
	indent := strings.Repeat("  ", depth)
	switch v := v.(type) {
	case object:
		for _, m := range v {
			b = append(b, indent...)
			b = append(b, yamlString(m.name)...)
			b = append(b, ':')
			b = appendValue(b, m.value, depth+1)
		}
	case []any:
		for _, item := range v {
			b = append(b, indent...)
			b = append(b, '-')
			if o, ok := item.(object); ok && len(o) > 0 {
				// The first member stands on the line of the dash.
				nested := appendYAML(nil, o, depth+1)
				b = append(append(b, ' '), bytes.TrimLeft(nested, " ")...)
				continue
			}
			b = appendValue(b, item, depth+1)
		}
	default:
		panic(fmt.Sprintf("server: %T at the top of YAML", v))
	}
	return b
}

func appendValue(b []byte, v any, depth int) []byte {
	switch v := v.(type) {
	case object:
		if len(v) == 0 {
			return append(b, " {}\n"...)
		}
		return appendYAML(append(b, '\n'), v, depth)
	case []any:
		if len(v) == 0 {
			return append(b, " []\n"...)
		}
		return appendYAML(append(b, '\n'), v, depth)
	case string:
		return append(append(append(b, ' '), yamlString(v)...), '\n')
	case int, bool:
		return fmt.Appendf(b, " %v\n", v)
	default:
		panic(fmt.Sprintf("server: %T in YAML", v))
	}
}

// yamlString writes a string plainly if nobody can take it for anything else, and
// else in double quotes, where YAML and JSON agree.
func yamlString(s string) string {
	plain := s != "" && !strings.Contains(s, ": ") && !strings.Contains(s, " #") && !strings.HasSuffix(s, ":")
	for i, r := range s {
		if i == 0 {
			plain = plain && (unicode.IsLetter(r) || r == '/')
		}
		plain = plain && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune(" /_-.,;:'()?‖…$", r))
	}
	switch strings.ToLower(s) {
	case "true", "false", "null", "yes", "no", "on", "off", "y", "n":
		plain = false
	}
	if plain && !strings.HasSuffix(s, " ") {
		return s
	}
	quoted, err := marshal(s)
	if err != nil {
		panic("server: a string cannot be quoted: " + err.Error())
	}
	return string(quoted)
}
