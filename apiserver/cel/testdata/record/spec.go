package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"

	exprpb "cel.dev/expr"
	_ "cel.dev/expr/conformance/proto2"
	_ "cel.dev/expr/conformance/proto3"
	specpb "cel.dev/expr/conformance/test"
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
)

// test is one row of the conformance suite of CEL's specification.
type test struct {
	File      string `json:"file"`
	Section   string `json:"section"`
	Name      string `json:"name"`
	Expr      string `json:"expr"`
	Container string `json:"container,omitempty"`
	// Unchecked expressions are to run as they are parsed; of CheckOnly ones nothing but the type counts.
	Unchecked bool              `json:"unchecked,omitempty"`
	CheckOnly bool              `json:"checkOnly,omitempty"`
	Vars      map[string]string `json:"vars,omitempty"`
	Bindings  map[string]any    `json:"bindings,omitempty"`
	Value     any               `json:"value,omitempty"`
	Error     string            `json:"error,omitempty"`
	Type      string            `json:"type,omitempty"`
	// Kubernetes is what its environment, which checks everything and has no containers, makes of the expression; absent
	// where variables are of types or have values that it has not.
	Kubernetes *row `json:"kubernetes,omitempty"`
}

// spec prints every test of the suite; values are in protobuf's JSON.
func spec(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.textproto"))
	if err != nil {
		return err
	}
	sort.Strings(files)
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var file specpb.SimpleTestFile
		if err := prototext.Unmarshal(text, &file); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, section := range file.Section {
			for _, t := range section.Test {
				row := test{File: file.Name, Section: section.Name, Name: t.Name, Expr: t.Expr, Container: t.Container,
					Unchecked: t.DisableCheck, CheckOnly: t.CheckOnly}
				for _, d := range t.TypeEnv {
					if row.Vars == nil {
						row.Vars = map[string]string{}
					}
					row.Vars[d.Name] = typeText(d.GetIdent().GetType())
				}
				for name, v := range t.Bindings {
					if row.Bindings == nil {
						row.Bindings = map[string]any{}
					}
					row.Bindings[name] = plain(v.GetValue())
				}
				switch r := t.ResultMatcher.(type) {
				case *specpb.SimpleTest_Value:
					row.Value = plain(r.Value)
				case *specpb.SimpleTest_TypedResult:
					row.Value = plain(r.TypedResult.GetResult())
					row.Type = typeText(r.TypedResult.GetDeducedType())
				case *specpb.SimpleTest_EvalError:
					row.Error = "error"
					if len(r.EvalError.Errors) > 0 {
						row.Error = r.EvalError.Errors[0].Message
					}
				case *specpb.SimpleTest_Unknown, *specpb.SimpleTest_AnyUnknowns, *specpb.SimpleTest_AnyEvalErrors:
					row.Error = "unknown"
				default:
					row.Value = map[string]any{"boolValue": true}
				}
				row.Kubernetes = inKubernetes(t)
				if err := out.Encode(row); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// inKubernetes runs a test in the environment of Kubernetes.
func inKubernetes(t *specpb.SimpleTest) (out *row) {
	var opts []cel.EnvOption
	for _, d := range t.TypeEnv {
		of, err := types.ProtoAsType(d.GetIdent().GetType())
		if err != nil || d.GetIdent() == nil || (of.Kind() == types.StructKind || of.Kind() == types.AnyKind) {
			return nil
		}
		opts = append(opts, cel.Variable(d.Name, of))
	}
	values := map[string]any{}
	for name, v := range t.Bindings {
		value, err := cel.ProtoAsValue(types.DefaultTypeAdapter, v.GetValue())
		if err != nil || types.IsError(value) {
			return nil
		}
		values[name] = value
	}
	defer func() {
		// Validators of Kubernetes' cel-go can panic.
		if problem := recover(); problem != nil {
			out = nil
		}
	}()
	r := run(environ{env: extended(opts...), values: values}, t.Expr)
	r.Expr, r.Est = "", nil
	return &r
}

func plain(v *exprpb.Value) any {
	if v == nil {
		return nil
	}
	text, err := protojson.Marshal(v)
	if err != nil {
		return map[string]any{"unreadable": err.Error()}
	}
	// As text, for readers that round numbers of JSON.
	text = doubles.ReplaceAll(text, []byte(`"doubleValue":"$1"`))
	var out any
	if err := json.Unmarshal(text, &out); err != nil {
		panic(err)
	}
	return out
}

var doubles = regexp.MustCompile(`"doubleValue":\s*(-?[0-9][-+.0-9eE]*)`)

func typeText(t *exprpb.Type) string {
	if t == nil {
		return ""
	}
	text, err := prototext.MarshalOptions{}.Marshal(t)
	if err != nil {
		return err.Error()
	}
	return typeName(t, string(text))
}

func typeName(t *exprpb.Type, other string) string {
	switch k := t.TypeKind.(type) {
	case *exprpb.Type_Dyn:
		return "dyn"
	case *exprpb.Type_Null:
		return "null"
	case *exprpb.Type_Primitive:
		return map[exprpb.Type_PrimitiveType]string{
			exprpb.Type_BOOL: "bool", exprpb.Type_INT64: "int", exprpb.Type_UINT64: "uint", exprpb.Type_DOUBLE: "double",
			exprpb.Type_STRING: "string", exprpb.Type_BYTES: "bytes",
		}[k.Primitive]
	case *exprpb.Type_WellKnown:
		return map[exprpb.Type_WellKnownType]string{
			exprpb.Type_ANY: "any", exprpb.Type_TIMESTAMP: "timestamp", exprpb.Type_DURATION: "duration",
		}[k.WellKnown]
	case *exprpb.Type_ListType_:
		return "list(" + typeName(k.ListType.ElemType, other) + ")"
	case *exprpb.Type_MapType_:
		return "map(" + typeName(k.MapType.KeyType, other) + ", " + typeName(k.MapType.ValueType, other) + ")"
	case *exprpb.Type_Type:
		if k.Type.GetTypeKind() == nil {
			return "type"
		}
		return "type(" + typeName(k.Type, other) + ")"
	case *exprpb.Type_AbstractType_:
		name := k.AbstractType.Name
		for i, p := range k.AbstractType.ParameterTypes {
			if i == 0 {
				name += "("
			} else {
				name += ", "
			}
			name += typeName(p, other)
		}
		if len(k.AbstractType.ParameterTypes) > 0 {
			name += ")"
		}
		return name
	case *exprpb.Type_MessageType:
		return "message " + k.MessageType
	case *exprpb.Type_Wrapper:
		return "wrapper(" + typeName(&exprpb.Type{TypeKind: &exprpb.Type_Primitive{Primitive: k.Wrapper}}, other) + ")"
	case *exprpb.Type_TypeParam:
		return k.TypeParam
	}
	return other
}
