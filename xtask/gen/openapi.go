package main

import (
	"encoding/json"
	"log"
	"os"
	"path/filepath"
)

// schema is what the OpenAPI documents say of one type that its Go tags do not.
type openAPISchema struct {
	Required   []string            `json:"required"`
	Properties map[string]property `json:"properties"`
	MapType    string              `json:"x-kubernetes-map-type"`
	GVKs       []struct {
		Group, Version, Kind string
	} `json:"x-kubernetes-group-version-kind"`
}

type property struct {
	Default  any      `json:"default"`
	ListType string   `json:"x-kubernetes-list-type"`
	ListKeys []string `json:"x-kubernetes-list-map-keys"`
	MapType  string   `json:"x-kubernetes-map-type"`
	MergeKey string   `json:"x-kubernetes-patch-merge-key"`
	Strategy string   `json:"x-kubernetes-patch-strategy"`
}

func readSchemas(kubernetes string) map[string]openAPISchema {
	files, err := filepath.Glob(kubernetes + "/api/openapi-spec/v3/*_openapi.json")
	if err != nil || len(files) == 0 {
		log.Fatalf("no OpenAPI documents under %s: %v", kubernetes, err)
	}
	all := map[string]openAPISchema{}
	for _, file := range files {
		var doc struct {
			Components struct {
				Schemas map[string]openAPISchema `json:"schemas"`
			} `json:"components"`
		}
		readJSON(file, &doc)
		for name, s := range doc.Components.Schemas {
			all[name] = s
		}
	}
	return all
}

func readJSON(path string, into any) {
	raw, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		log.Fatalf("%s: %v", path, err)
	}
}
