package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sort"
	"strings"
)

// Descriptions that servers publish of what no Rust type is made for: lists of kinds, and query parameters.

type word struct{ owner, name, text string }

type operationDoc struct {
	Action string `json:"x-kubernetes-action"`
	Kind   struct {
		Kind string `json:"kind"`
	} `json:"x-kubernetes-group-version-kind"`
	Parameters []parameterDoc `json:"parameters"`
}

type parameterDoc struct {
	Name, In, Description string
}

func renderWords(kubernetes string) string {
	files, _ := filepath.Glob(kubernetes + "/api/openapi-spec/v3/*_openapi.json")
	all, extensions := map[word]bool{}, map[word]bool{}
	scopes := map[string]map[string]map[string]bool{} // parameter, description, where it is said
	for _, file := range files {
		var doc struct {
			Paths      map[string]map[string]json.RawMessage `json:"paths"`
			Components struct {
				Schemas map[string]schemaDoc `json:"schemas"`
			} `json:"components"`
		}
		readJSON(file, &doc)
		for name, s := range doc.Components.Schemas {
			s.extensions(name, extensions)
			isList := strings.HasSuffix(name, "List") && !strings.HasPrefix(name, "io.k8s.apimachinery.")
			if !isList && !strings.HasSuffix(name, ".WatchEvent") {
				continue
			}
			all[word{name, "", s.Description}] = true
			for property, p := range s.Properties {
				if property != "kind" && property != "apiVersion" {
					all[word{name, property, p.Description}] = true
				}
			}
		}
		for _, path := range doc.Paths {
			collectParameters(path, scopes)
		}
	}
	for name, texts := range scopes {
		for text, owners := range texts {
			if len(texts) == 1 {
				owners = map[string]bool{"": true}
			}
			for owner := range owners {
				all[word{owner, name, text}] = true
			}
		}
	}
	var b strings.Builder
	renderRows(&b, "ALL", "What it is about, its field or parameter, and what is said of it.", all)
	renderRows(&b, "EXTENSIONS", "Extensions of schemas that no Go tag has: the type, the field or none, and JSON.", extensions)
	b.WriteString("/// Every version whose deletions have options.\npub(crate) static VERSIONS: &[(&str, &str)] = &[\n")
	var swagger struct {
		Definitions map[string]openAPISchema `json:"definitions"`
	}
	readJSON(kubernetes+"/api/openapi-spec/swagger.json", &swagger)
	for _, gvk := range swagger.Definitions["io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"].GVKs {
		fmt.Fprintf(&b, "    (%q, %q),\n", gvk.Group, gvk.Version)
	}
	b.WriteString("];\n")
	return b.String()
}

func renderRows(b *strings.Builder, name, meaning string, all map[word]bool) {
	rows := make([]word, 0, len(all))
	for row := range all {
		rows = append(rows, row)
	}
	sort.Slice(rows, func(a, b int) bool {
		if rows[a].owner != rows[b].owner {
			return rows[a].owner < rows[b].owner
		}
		return rows[a].name < rows[b].name
	})
	fmt.Fprintf(b, "/// %s\npub(crate) static %s: &[(&str, &str, &str)] = &[\n", meaning, name)
	for _, row := range rows {
		fmt.Fprintf(b, "    (%q, %q, %s),\n", row.owner, row.name, rust(row.text))
	}
	b.WriteString("];\n")
}

type schemaDoc struct {
	Description string               `json:"description"`
	Properties  map[string]schemaDoc `json:"properties"`
	Unions      json.RawMessage      `json:"x-kubernetes-unions"`
	MapType     string               `json:"x-kubernetes-map-type"`
	ListType    string               `json:"x-kubernetes-list-type"`
	Format      string               `json:"format"`
}

// extensions notes unions, and maps that are said to be merged field by field, as they are anyhow.
func (s schemaDoc) extensions(name string, all map[word]bool) {
	if s.Unions != nil {
		var compact bytes.Buffer
		if json.Compact(&compact, s.Unions) == nil {
			all[word{name, "", fmt.Sprintf(`{"x-kubernetes-unions":%s}`, compact.String())}] = true
		}
	}
	granular := `{"x-kubernetes-map-type":"granular"}`
	if s.MapType == "granular" {
		all[word{name, "", granular}] = true
	}
	for field, p := range s.Properties {
		if p.MapType == "granular" {
			all[word{name, field, granular}] = true
		}
		if p.Format == "byte" && p.ListType != "" { // bytes are a list to Go alone
			all[word{name, field, fmt.Sprintf(`{"x-kubernetes-list-type":%q}`, p.ListType)}] = true
		}
	}
}

// collectParameters notes what a path's query parameters mean; those of patches and of connecting mean their own.
func collectParameters(path map[string]json.RawMessage, scopes map[string]map[string]map[string]bool) {
	owner := ""
	note := func(owner string, parameters []parameterDoc) {
		for _, p := range parameters {
			if p.In != "query" {
				continue
			}
			if scopes[p.Name] == nil {
				scopes[p.Name] = map[string]map[string]bool{}
			}
			if scopes[p.Name][p.Description] == nil {
				scopes[p.Name][p.Description] = map[string]bool{}
			}
			scopes[p.Name][p.Description][owner] = true
		}
	}
	for method, raw := range path {
		var op operationDoc
		if method == "parameters" || json.Unmarshal(raw, &op) != nil {
			continue
		}
		switch {
		case op.Action == "connect":
			owner = op.Kind.Kind
			note(owner, op.Parameters)
		case method == "patch":
			note("patch", op.Parameters)
		default:
			note("", op.Parameters)
		}
	}
	var common []parameterDoc
	if raw, ok := path["parameters"]; ok && json.Unmarshal(raw, &common) == nil {
		note(owner, common)
	}
}

// rust writes a text as a Rust literal.
func rust(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(text) + `"`
}
