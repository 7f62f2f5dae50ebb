// Records what cel-go, with the environment of Kubernetes, makes of expressions.
//
//	go run . record <../expressions.txt >../recorded.jsonl
//	go run . spec DIR >../spec.jsonl
//
// DIR is tests/simple/testdata of module cel.dev/expr.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
	"github.com/google/cel-go/common/types"
	"k8s.io/apimachinery/pkg/util/version"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"
)

// row is one expression and all that came of it.
type row struct {
	Env     string     `json:"env,omitempty"`
	Expr    string     `json:"expr,omitempty"`
	Issues  string     `json:"issues,omitempty"`
	Program string     `json:"program,omitempty"`
	Type    string     `json:"type,omitempty"`
	Value   string     `json:"value,omitempty"`
	Error   string     `json:"error,omitempty"`
	Cost    *uint64    `json:"cost,omitempty"`
	Est     *[2]uint64 `json:"est,omitempty"`
	// Varies says that what came of it depends on the random order of Go's maps.
	Varies bool `json:"varies,omitempty"`
}

// rounds is how often each expression runs.
const rounds = 40

// Limit is the budget of one call.
const Limit = 1000000

func main() {
	var err error
	switch {
	case len(os.Args) == 2 && os.Args[1] == "record":
		err = record()
	case len(os.Args) == 3 && os.Args[1] == "spec":
		err = spec(os.Args[2])
	default:
		err = fmt.Errorf("usage: record | spec DIR")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// record reads expressions, one a line; `# env NAME` changes the environment. A line that begins with a quote is a JSON string.
func record() error {
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	env, name := vars(), ""
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "# env "):
			name = strings.TrimPrefix(line, "# env ")
			env = map[string]func() environ{"vars": vars, "self": self, "authz": authz}[name]()
			continue
		case line == "" || strings.HasPrefix(line, "# "):
			continue
		case strings.HasPrefix(line, "#json "):
			if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "#json ")), &line); err != nil {
				return err
			}
		}
		r, ok := tryRun(env, line)
		if !ok {
			continue
		}
		r.Env = name
		if err := out.Encode(r); err != nil {
			return err
		}
	}
	return lines.Err()
}

// environ is an environment with values for its variables.
type environ struct {
	env    *cel.Env
	values map[string]any
	sizes  checker.CostEstimator
}

// tryRun reports whether cel-go got through; its validators can panic.
func tryRun(e environ, expr string) (r row, ok bool) {
	defer func() { _ = recover() }()
	return run(e, expr), true
}

func run(e environ, expr string) row {
	r := row{Expr: expr}
	ast, issues := e.env.Compile(expr)
	if issues != nil {
		r.Issues = issues.String()
		return r
	}
	r.Type = checker.FormatCELType(ast.OutputType())
	program, err := e.env.Program(ast, cel.CostLimit(Limit))
	if err != nil {
		r.Program = err.Error()
		return r
	}
	for i := range rounds {
		value, details, err := program.Eval(e.values)
		again := r
		again.Error, again.Value, again.Cost = "", "", nil
		if err != nil {
			again.Error = err.Error()
		} else {
			again.Value = types.Format(value)
		}
		if details != nil {
			again.Cost = details.ActualCost()
		}
		if i > 0 && (again.Error != r.Error || again.Value != r.Value || *again.Cost != *r.Cost) {
			again.Varies = true
		}
		r = again
	}
	if estimate, err := e.env.EstimateCost(ast, &library.CostEstimator{SizeEstimator: e.sizes}); err == nil {
		r.Est = &[2]uint64{estimate.Min, estimate.Max}
	}
	return r
}

func extended(opts ...cel.EnvOption) *cel.Env {
	set, err := environment.MustBaseEnvSet(version.MajorMinor(1, 37)).Extend(environment.VersionedOptions{
		IntroducedVersion: version.MajorMinor(1, 0),
		EnvOptions:        opts,
	})
	if err != nil {
		panic(err)
	}
	env, err := set.Env(environment.StoredExpressions)
	if err != nil {
		panic(err)
	}
	return env
}

// vars has variables of simple types.
func vars() environ {
	env := extended(
		cel.Variable("d", cel.DynType),
		cel.Variable("i", cel.IntType),
		cel.Variable("u", cel.UintType),
		cel.Variable("x", cel.DoubleType),
		cel.Variable("s", cel.StringType),
		cel.Variable("b", cel.BoolType),
		cel.Variable("by", cel.BytesType),
		cel.Variable("l", cel.ListType(cel.IntType)),
		cel.Variable("ls", cel.ListType(cel.StringType)),
		cel.Variable("m", cel.MapType(cel.StringType, cel.StringType)),
		cel.Variable("mi", cel.MapType(cel.StringType, cel.IntType)),
		cel.Variable("t", cel.TimestampType),
		cel.Variable("dur", cel.DurationType),
		cel.Variable("o", cel.OptionalType(cel.StringType)),
		cel.Variable("none", cel.OptionalType(cel.StringType)),
		cel.Variable("absent", cel.IntType),
		cel.Variable("a.b", cel.IntType),
	)
	values := map[string]any{
		"d": map[string]any{
			"a": int64(1), "f": 1.5, "s": "text", "l": []any{int64(1), "x", nil}, "m": map[string]any{"k": "v"},
			"n": nil, "t": true,
		},
		"i": int64(5), "u": uint64(7), "x": 2.5, "s": "hello", "b": true, "by": []byte("abc"),
		"l": []int64{3, 1, 2}, "ls": []string{"a", "b", "c"},
		"m": map[string]string{"a": "1", "b": "2"}, "mi": map[string]int64{"one": 1},
		"t":   types.Timestamp{Time: time.Date(2023, 7, 14, 10, 30, 45, 123000000, time.UTC)},
		"dur": types.Duration{Duration: 3723500 * time.Millisecond},
		"o":   types.OptionalOf(types.String("x")), "none": types.OptionalNone,
		"a.b": int64(9),
	}
	return environ{env: env, values: values}
}

// self has one variable, an object with bounds on its sizes.
func self() environ {
	text := func(most int64) *apiservercel.DeclType {
		t := apiservercel.NewSimpleTypeWithMinSize("string", cel.StringType, types.String(""), apiservercel.MinStringSize)
		t.MaxElements = most
		return t
	}
	field := func(name string, t *apiservercel.DeclType) (string, *apiservercel.DeclField) {
		return name, apiservercel.NewDeclField(name, t, false, nil, nil)
	}
	fields := func(pairs ...any) map[string]*apiservercel.DeclField {
		m := map[string]*apiservercel.DeclField{}
		for i := 0; i < len(pairs); i += 2 {
			name, f := field(pairs[i].(string), pairs[i+1].(*apiservercel.DeclType))
			m[name] = f
		}
		return m
	}
	item := apiservercel.NewObjectType("object", fields("key", text(16), "value", apiservercel.IntType))
	intOrString := apiservercel.NewSimpleTypeWithMinSize("dyn", cel.DynType, nil, 1)
	intOrString.MaxElements = 40
	decl := apiservercel.NewObjectType("object", fields(
		"name", text(10),
		"replicas", apiservercel.IntType,
		"ratio", apiservercel.DoubleType,
		"on", apiservercel.BoolType,
		"tags", apiservercel.NewListType(text(20), 5),
		"labels", apiservercel.NewMapType(apiservercel.StringType, text(30), 100),
		"items", apiservercel.NewListType(item, 50),
		"spec", apiservercel.NewObjectType("object", fields("deep", item, "port", intOrString)),
		"grid", apiservercel.NewListType(apiservercel.NewListType(apiservercel.IntType, 4), 3),
		"when", apiservercel.NewSimpleTypeWithMinSize("timestamp", cel.TimestampType, types.Timestamp{}, 22),
	)).MaybeAssignTypeName("Thing")
	env := extended(cel.Variable("self", decl.CelType()), cel.Variable("oldSelf", decl.CelType()))
	provider := apiservercel.NewDeclTypeProvider(decl)
	opts, err := provider.EnvOptions(env.CELTypeProvider())
	if err != nil {
		panic(err)
	}
	env, err = env.Extend(opts...)
	if err != nil {
		panic(err)
	}
	value := func(name string) map[string]any {
		return map[string]any{
			"name": name, "replicas": int64(3), "ratio": 0.5, "on": true,
			"tags":   []any{"red", "green"},
			"labels": map[string]any{"app": "web", "tier": "front"},
			"items": []any{
				map[string]any{"key": "a", "value": int64(1)},
				map[string]any{"key": "b", "value": int64(2)},
				map[string]any{"key": "c"},
			},
			"spec": map[string]any{"deep": map[string]any{"key": "k", "value": int64(7)}, "port": "80%"},
			"grid": []any{[]any{int64(1), int64(2)}, []any{int64(3)}},
			"when": types.Timestamp{Time: time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC)},
		}
	}
	values := map[string]any{"self": value("new"), "oldSelf": value("old")}
	return environ{env: env, values: values, sizes: &sizes{decl}}
}

// sizes is what CustomResourceDefinitions estimate sizes with.
type sizes struct {
	root *apiservercel.DeclType
}

func (s *sizes) EstimateSize(element checker.AstNode) *checker.SizeEstimate {
	if len(element.Path()) == 0 {
		return nil
	}
	at := s.root
	for _, name := range element.Path()[1:] {
		switch name {
		case "@items", "@values":
			if at.ElemType == nil {
				return nil
			}
			at = at.ElemType
		case "@keys":
			if at.KeyType == nil {
				return nil
			}
			at = at.KeyType
		default:
			field, ok := at.Fields[name]
			if !ok || field.Type == nil {
				return nil
			}
			at = field.Type
		}
	}
	return &checker.SizeEstimate{Min: 0, Max: uint64(at.MaxElements)}
}

func (s *sizes) EstimateCallCost(function, overloadID string, target *checker.AstNode, args []checker.AstNode) *checker.CallEstimate {
	return nil
}
