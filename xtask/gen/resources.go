package main

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// storage is where upstream keeps the objects of one resource, from its own etcd path test.
type storage struct {
	prefix string // below /registry/
	gvk    *schema.GroupVersionKind
}

var (
	rowStart = regexp.MustCompile(`gvr\("([^"]*)", "([^"]*)", "([^"]*)"\): \{`)
	etcdPath = regexp.MustCompile(`ExpectedEtcdPath:\s*"/registry/([^"]*)"`)
	rowGVK   = regexp.MustCompile(`ExpectedGVK:\s*gvkP\("([^"]*)", "([^"]*)", "([^"]*)"\)`)
)

func readStorage(kubernetes string) map[schema.GroupVersionResource]storage {
	raw, err := os.ReadFile(kubernetes + "/test/integration/etcd/data.go")
	if err != nil {
		log.Fatal(err)
	}
	rows := map[schema.GroupVersionResource]storage{}
	var at schema.GroupVersionResource
	for _, line := range strings.Split(string(raw), "\n") {
		if m := rowStart.FindStringSubmatch(line); m != nil {
			at = schema.GroupVersionResource{Group: m[1], Version: m[2], Resource: m[3]}
		}
		row := rows[at]
		if m := etcdPath.FindStringSubmatch(line); m != nil {
			row.prefix = prefixOf(m[1])
			rows[at] = row
		}
		if m := rowGVK.FindStringSubmatch(line); m != nil {
			row.gvk = &schema.GroupVersionKind{Group: m[1], Version: m[2], Kind: m[3]}
			rows[at] = row
		}
	}
	return rows
}

// prefixOf cuts the namespace or object name off: "configmaps/" (then + namespace) or "minions/node1".
func prefixOf(path string) string {
	if strings.HasSuffix(path, "/") {
		return strings.TrimSuffix(path, "/")
	}
	return path[:strings.LastIndex(path, "/")]
}

func renderResources(kubernetes string, t *types) string {
	files, _ := filepath.Glob(kubernetes + "/api/discovery/api*__*.json")
	sort.Strings(files)
	rows := readStorage(kubernetes)
	order := groupOrder(kubernetes)
	var b strings.Builder
	b.WriteString("use super::types::*;\nuse crate::facts::{Resource, Subresource};\n\npub(crate) static ALL: &[Resource] = &[\n")
	for _, file := range files {
		var list metav1.APIResourceList
		readJSON(file, &list)
		if list.GroupVersion == "" {
			continue
		}
		gv, _ := schema.ParseGroupVersion(list.GroupVersion)
		for _, r := range list.APIResources {
			if !strings.Contains(r.Name, "/") {
				renderResource(&b, t, gv, r, list.APIResources, rows)
			}
		}
	}
	b.WriteString("];\n\n/// Groups and their versions in upstream's order of preference.\n")
	b.WriteString("pub(crate) static GROUPS: &[(&str, &[&str])] = &[\n" + order + "];\n")
	return b.String()
}

func groupOrder(kubernetes string) string {
	var groups metav1.APIGroupList
	readJSON(kubernetes+"/api/discovery/apis.json", &groups)
	out := "    (\"\", &[\"v1\"]),\n"
	for _, g := range groups.Groups {
		var versions []string
		for _, v := range g.Versions {
			versions = append(versions, v.Version)
		}
		out += fmt.Sprintf("    (%q, %s),\n", g.Name, strs(versions))
	}
	return out
}

func renderResource(b *strings.Builder, t *types, gv schema.GroupVersion, r metav1.APIResource, all []metav1.APIResource, rows map[schema.GroupVersionResource]storage) {
	row, stored := rows[gv.WithResource(r.Name)]
	gvk := kindOf(gv, r)
	storageGVK := gvk
	if row.gvk != nil {
		storageGVK = *row.gvk
	}
	prefix := row.prefix
	if !stored {
		prefix = storageGuess(gv, r, rows)
	}
	fmt.Fprintf(b, "    Resource { group: %q, version: %q, kind: %q, plural: %q, singular: %q, namespaced: %t,\n", gv.Group, gv.Version, r.Kind, r.Name, r.SingularName, r.Namespaced)
	fmt.Fprintf(b, "        short_names: %s, categories: %s, verbs: %s,\n", strs(r.ShortNames), strs(r.Categories), strs(r.Verbs))
	fmt.Fprintf(b, "        ty: &%s, storage_hash: %q, storage_prefix: %q, storage_group: %q, storage_version: %q, deprecated: %q, subresources: &[\n", t.structIdent(gvk), r.StorageVersionHash, prefix, storageGVK.Group, storageGVK.Version, t.deprecated[gvk])
	for _, s := range all {
		if name, ok := strings.CutPrefix(s.Name, r.Name+"/"); ok {
			k := kindOf(gv, s)
			fmt.Fprintf(b, "            Subresource { name: %q, group: %q, version: %q, kind: %q, verbs: %s, ty: %s, deprecated: %q },\n", name, k.Group, k.Version, k.Kind, strs(s.Verbs), t.optionalIdent(k), t.deprecated[k])
		}
	}
	b.WriteString("        ] },\n")
}

// storageGuess finds the row of another version of the same resource: all versions share one place.
func storageGuess(gv schema.GroupVersion, r metav1.APIResource, rows map[schema.GroupVersionResource]storage) string {
	for gvr, row := range rows {
		if gvr.Group == gv.Group && gvr.Resource == r.Name {
			return row.prefix
		}
	}
	return ""
}

func kindOf(gv schema.GroupVersion, r metav1.APIResource) schema.GroupVersionKind {
	gvk := gv.WithKind(r.Kind)
	if r.Version != "" {
		gvk.Group, gvk.Version = r.Group, r.Version
	}
	return gvk
}

func (t *types) structIdent(gvk schema.GroupVersionKind) string {
	name, ok := t.kinds[gvk]
	if !ok {
		log.Fatalf("no Go type for %s", gvk)
	}
	return ident(name)
}

func (t *types) optionalIdent(gvk schema.GroupVersionKind) string {
	if name, ok := t.kinds[gvk]; ok {
		return "Some(&" + ident(name) + ")"
	}
	return "None"
}
