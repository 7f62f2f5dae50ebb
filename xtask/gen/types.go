package main

import (
	"encoding/json"
	"fmt"
	"log"
	"reflect"
	"sort"
	"strconv"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	admissionv1beta1 "k8s.io/api/admission/v1beta1"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	apidiscoveryv2beta1 "k8s.io/api/apidiscovery/v2beta1"
	imagepolicyv1alpha1 "k8s.io/api/imagepolicy/v1alpha1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1beta1 "k8s.io/apimachinery/pkg/apis/meta/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// types is every struct reachable from a registered kind, by its OpenAPI name.
type types struct {
	schemas map[string]openAPISchema
	structs map[string]*structType
	kinds   map[schema.GroupVersionKind]string
	// What is said of a kind that is deprecated in this version.
	deprecated map[schema.GroupVersionKind]string
}

type structType struct {
	name   string
	atomic bool
	kinded bool // carries apiVersion and kind
	fields []field
}

type field struct {
	json, goName string
	number       int
	typ          string
	goType       string // as Go's reflection prints it, where that does not follow from typ
	inline       bool // embedded: its fields appear in the parent's JSON object
	nilable      bool // pointer, slice or map: absent is not encoded
	omit         string
	required     bool
	list         string
	strategy     string
	mergeKey     string
	def          string
	atomicMap    bool
	granular     bool
}

// Types whose JSON form is not that of their struct, and how both forms are called.
var special = map[string]string{
	"io.k8s.apimachinery.pkg.apis.meta.v1.Time":                                                  "Time",
	"io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime":                                             "MicroTime",
	"io.k8s.apimachinery.pkg.apis.meta.v1.Duration":                                              "Duration",
	"io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1":                                              "FieldsV1",
	"io.k8s.apimachinery.pkg.api.resource.Quantity":                                              "Quantity",
	"io.k8s.apimachinery.pkg.util.intstr.IntOrString":                                            "IntOrString",
	"io.k8s.apimachinery.pkg.runtime.RawExtension":                                               "RawExtension",
	"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON":                              "Json",
	"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool":             "SchemaOrBool",
	"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray":            "SchemaOrArray",
	"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray":      "SchemaOrStrings",
	"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1beta1.JSON":                         "Json",
	"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1beta1.JSONSchemaPropsOrBool":        "SchemaOrBool",
	"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1beta1.JSONSchemaPropsOrArray":       "SchemaOrArray",
	"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1beta1.JSONSchemaPropsOrStringArray": "SchemaOrStrings",
}

func collect(schemas map[string]openAPISchema) *types {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		scheme.AddToScheme, apiextensionsv1.AddToScheme, apiextensionsv1beta1.AddToScheme, apiregistrationv1.AddToScheme, metricsv1beta1.AddToScheme,
		admissionv1.AddToScheme, admissionv1beta1.AddToScheme, apidiscoveryv2.AddToScheme, apidiscoveryv2beta1.AddToScheme,
		imagepolicyv1alpha1.AddToScheme, metav1beta1.AddMetaToScheme, metav1.AddMetaToScheme,
	} {
		if err := add(s); err != nil {
			log.Fatal(err)
		}
	}
	t := &types{schemas: schemas, structs: map[string]*structType{}, kinds: map[schema.GroupVersionKind]string{}, deprecated: map[schema.GroupVersionKind]string{}}
	for gvk, typ := range s.AllKnownTypes() {
		if gvk.Version == runtime.APIVersionInternal {
			continue
		}
		t.kinds[gvk] = t.add(typ)
		t.deprecated[gvk] = deprecation(gvk, reflect.New(typ).Interface())
	}
	for _, typ := range []any{
		metav1.Status{}, metav1.DeleteOptions{}, metav1.ListOptions{}, metav1.GetOptions{}, metav1.CreateOptions{}, metav1.UpdateOptions{}, metav1.PatchOptions{},
		metav1.APIGroup{}, metav1.APIGroupList{}, metav1.APIResourceList{}, metav1.APIVersions{}, metav1.WatchEvent{}, metav1.TypeMeta{},
		metav1.PartialObjectMetadata{}, metav1.PartialObjectMetadataList{}, metav1.TableOptions{}, runtime.Unknown{},
	} {
		t.add(reflect.TypeOf(typ))
	}
	return t
}

func openAPIName(typ reflect.Type) string {
	path := strings.TrimPrefix(typ.PkgPath(), "k8s.io/")
	return "io.k8s." + strings.ReplaceAll(path, "/", ".") + "." + typ.Name()
}

func (t *types) add(typ reflect.Type) string {
	name := openAPIName(typ)
	if _, done := t.structs[name]; done {
		return name
	}
	st := &structType{name: name, atomic: t.schemas[name].MapType == "atomic"}
	t.structs[name] = st
	if _, custom := typ.MethodByName("MarshalJSON"); custom && special[name] == "" && typ.NumField() > 0 {
		log.Printf("note: %s has its own JSON form", name)
	}
	facts := t.schemas[name]
	for i := range typ.NumField() {
		st.kinded = st.kinded || typ.Field(i).Type == reflect.TypeOf(metav1.TypeMeta{})
		if f, ok := t.field(typ.Field(i), facts); ok {
			st.fields = append(st.fields, f)
		}
	}
	return name
}

func (t *types) field(sf reflect.StructField, facts openAPISchema) (field, bool) {
	tag := strings.Split(sf.Tag.Get("json"), ",")
	if tag[0] == "-" || !sf.IsExported() || sf.Type == reflect.TypeOf(metav1.TypeMeta{}) {
		return field{}, false
	}
	f := field{json: tag[0], goName: sf.Name, omit: "Never", inline: sf.Anonymous && tag[0] == ""}
	for _, option := range tag[1:] {
		switch option {
		case "omitempty":
			if f.omit == "Never" {
				f.omit = "Empty"
			}
		case "omitzero":
			f.omit = "Zero"
		case "inline":
			f.inline = true
		}
	}
	if p := strings.Split(sf.Tag.Get("protobuf"), ","); len(p) > 1 {
		f.number, _ = strconv.Atoi(p[1])
	}
	switch sf.Type.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
		f.nilable = true
	}
	if name := openAPIName(sf.Type); f.inline && sf.Type.Kind() == reflect.Struct {
		// What is embedded need not be published on its own; its fields are then described with the parent's.
		if _, published := t.schemas[name]; !published {
			t.schemas[name] = facts
		}
	}
	f.typ = t.typeOf(sf.Type)
	if printed := pointed(sf.Type).String(); printed != plain(sf.Type) {
		f.goType = printed
	}
	p := facts.Properties[f.json]
	f.strategy, f.mergeKey = sf.Tag.Get("patchStrategy"), sf.Tag.Get("patchMergeKey")
	f.atomicMap = p.MapType == "atomic"
	f.granular = p.MapType == "granular"
	switch p.ListType {
	case "map":
		f.list = fmt.Sprintf("List::Map(%s)", strs(p.ListKeys))
	case "set":
		f.list = "List::Set"
	default:
		f.list = "List::Atomic"
	}
	for _, r := range facts.Required {
		f.required = f.required || r == f.json
	}
	if p.Default != nil {
		if raw, err := json.Marshal(p.Default); err == nil && string(raw) != "{}" {
			f.def = string(raw)
		}
	}
	return f, true
}

func (t *types) typeOf(typ reflect.Type) string {
	if typ.Name() != "" && strings.HasPrefix(typ.PkgPath(), "k8s.io/") {
		if s := special[openAPIName(typ)]; s != "" {
			if strings.HasPrefix(s, "Schema") {
				elem := reflect.TypeOf(apiextensionsv1.JSONSchemaProps{})
				if strings.Contains(typ.PkgPath(), "v1beta1") {
					elem = reflect.TypeOf(apiextensionsv1beta1.JSONSchemaProps{})
				}
				return fmt.Sprintf("Type::%s(&%s)", s, ident(t.add(elem)))
			}
			return "Type::" + s
		}
	}
	switch typ.Kind() {
	case reflect.Pointer:
		return t.typeOf(typ.Elem())
	case reflect.Bool:
		return "Type::Bool"
	case reflect.Int, reflect.Int64:
		return "Type::Int64"
	case reflect.Int8, reflect.Int16, reflect.Int32:
		return "Type::Int32"
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return "Type::Uint32"
	case reflect.Uint64:
		return "Type::Uint64"
	case reflect.Float32, reflect.Float64:
		return "Type::Float64"
	case reflect.String:
		return "Type::String"
	case reflect.Slice:
		if typ.Elem().Kind() == reflect.Uint8 {
			return "Type::Bytes"
		}
		kind := "List"
		if typ.Name() != "" && typ.PkgPath() != "" { // a named list is a message of its own in protobuf
			kind = "Wrapped"
		}
		return fmt.Sprintf("Type::%s(&%s)", kind, t.typeOf(typ.Elem()))
	case reflect.Map:
		return fmt.Sprintf("Type::Map(&%s)", t.typeOf(typ.Elem()))
	case reflect.Struct:
		return fmt.Sprintf("Type::Struct(&%s)", ident(t.add(typ)))
	case reflect.Interface:
		return "Type::RawExtension"
	}
	log.Fatalf("unexpected type %s", typ)
	return ""
}

func pointed(typ reflect.Type) reflect.Type {
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	return typ
}

// plain is what facts.rs makes of a type whose name is not among the facts.
func plain(typ reflect.Type) string {
	typ = pointed(typ)
	switch typ.Kind() {
	case reflect.Struct:
		return typ.String()
	case reflect.Slice:
		return "[]" + plain(typ.Elem())
	case reflect.Map:
		return "map[string]" + plain(typ.Elem())
	default:
		return typ.Kind().String()
	}
}

func ident(name string) string {
	r := strings.NewReplacer(".", "_", "-", "_")
	return strings.ToUpper(r.Replace(strings.TrimPrefix(name, "io.k8s.")))
}

func strs(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = strconv.Quote(s)
	}
	return "&[" + strings.Join(quoted, ", ") + "]"
}

func (t *types) render() string {
	var b strings.Builder
	b.WriteString("use crate::facts::{Field, Index, List, Omit, Struct, Type};\n\n")
	names := make([]string, 0, len(t.structs))
	for name := range t.structs {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if special[name] != "" {
			continue
		}
		t.structs[name].render(&b)
	}
	b.WriteString("pub(crate) static ALL: &[&Struct] = &[\n")
	for _, name := range names {
		if special[name] == "" {
			fmt.Fprintf(&b, "    &%s,\n", ident(name))
		}
	}
	b.WriteString("];\n")
	return b.String()
}

func (s *structType) render(b *strings.Builder) {
	fmt.Fprintf(b, "pub static %s: Struct = Struct { name: %q, atomic: %t, kinded: %t, open: false, index: Index::new(), fields: &[\n", ident(s.name), s.name, s.atomic, s.kinded)
	for _, f := range s.fields {
		name := f.json
		if f.inline {
			name = f.goName
		}
		fmt.Fprintf(b, "    Field { name: %q, number: %d, ty: %s", name, f.number, f.typ)
		fmt.Fprintf(b, ", omit: Omit::%s", f.omit)
		for _, flag := range []struct {
			name string
			on   bool
		}{{"inline", f.inline}, {"nilable", f.nilable}, {"required", f.required}, {"atomic_map", f.atomicMap}, {"granular", f.granular}} {
			if flag.on {
				fmt.Fprintf(b, ", %s: true", flag.name)
			}
		}
		if f.goType != "" {
			fmt.Fprintf(b, ", go_type: %q", f.goType)
		}
		if f.list != "List::Atomic" {
			fmt.Fprintf(b, ", list: %s", f.list)
		}
		if f.strategy != "" {
			fmt.Fprintf(b, ", patch_strategy: %q", f.strategy)
		}
		if f.mergeKey != "" {
			fmt.Fprintf(b, ", patch_merge_key: %q", f.mergeKey)
		}
		if f.def != "" {
			fmt.Fprintf(b, ", default: Some(%q)", f.def)
		}
		b.WriteString(", ..Field::BASE },\n")
	}
	b.WriteString("] };\n")
}
