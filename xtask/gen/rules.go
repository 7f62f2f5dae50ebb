package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
)

// Declarative validation: what upstream's validation-gen made of the +k8s: markers, read from the functions it wrote
// (pkg/apis/*/*/zz_generated.validations.go), because their order and their early returns decide what a client is told.

// ruleSet is every validation function by its package and name.
type ruleSet struct {
	goSource  *goSource
	functions map[string]*ruleFunction
	symbols   map[string]ast.Expr // package-level variables: the values of enums, the members of unions
	made      map[string]string   // the Rust expression of a function's rules; empty when it has none
	known     map[string]bool     // types of resources, by their names in types.rs
	served    []servedType
	order     []string
}

type ruleFunction struct {
	file *goFile
	decl *ast.FuncDecl
}

type servedType struct {
	name, function string
	subresources   []string
}

// renderRules renders the rules of the types that the given resources have.
func renderRules(kubernetes string, resources string) string {
	set := &ruleSet{goSource: newGoSource(), functions: map[string]*ruleFunction{}, symbols: map[string]ast.Expr{}, made: map[string]string{}, known: map[string]bool{}}
	for _, m := range regexp.MustCompile(`ty: &(\w+)`).FindAllStringSubmatch(resources, -1) {
		set.known[m[1]] = true
	}
	files, _ := filepath.Glob(kubernetes + "/pkg/apis/*/*/zz_generated.validations.go")
	for _, file := range files {
		set.read(file, "k8s.io/kubernetes/"+strings.TrimPrefix(filepath.Dir(file), kubernetes+"/"))
	}
	meta := "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	set.read(filepath.Join(set.goSource.folder(meta), "zz_generated.validations.go"), meta)
	return set.render()
}

func (s *ruleSet) read(path, pkg string) {
	parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		log.Fatal(err)
	}
	file := newGoFile(s.goSource, pkg, parsed)
	for _, decl := range parsed.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			s.functions[pkg+"."+d.Name.Name] = &ruleFunction{file, d}
			if d.Name.Name == "RegisterValidations" {
				s.register(file, d)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if v, ok := spec.(*ast.ValueSpec); ok {
					s.symbols[pkg+"."+v.Names[0].Name] = v.Values[0]
				}
			}
		}
	}
}

// register reads scheme.AddValidationFunc((*T)(nil), func(...) { switch { case "/", "/status": return Validate_T(...) } }).
func (s *ruleSet) register(file *goFile, decl *ast.FuncDecl) {
	ast.Inspect(decl, func(node ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		if !ok || selected(call.Fun) != "AddValidationFunc" {
			return true
		}
		typ := call.Args[0].(*ast.CallExpr).Fun.(*ast.ParenExpr).X.(*ast.StarExpr).X
		ast.Inspect(call.Args[1], func(node ast.Node) bool {
			clause, ok := node.(*ast.CaseClause)
			if !ok {
				return true
			}
			var paths []string
			for _, value := range clause.List {
				paths = append(paths, strings.TrimPrefix(text(value), "/"))
			}
			function := clause.Body[0].(*ast.ReturnStmt).Results[0].(*ast.CallExpr).Fun
			s.served = append(s.served, servedType{file.openAPI(typ), file.function(function), paths})
			return false
		})
		return false
	})
}

func (s *ruleSet) render() string {
	var table strings.Builder
	sort.SliceStable(s.served, func(a, b int) bool { return s.served[a].name < s.served[b].name })
	for _, served := range s.served {
		if !s.known[ident(served.name)] {
			continue
		}
		if rules := s.rules(served.function); rules != "" {
			fmt.Fprintf(&table, "    Served { name: %q, subresources: %s, rules: &%s },\n", served.name, strs(served.subresources), rules)
		}
	}
	var b strings.Builder
	b.WriteString("use crate::rules::{Case, Check, Constraint, Format, Inside, Match, Rule, Rules, Served, Set, Test};\n\n")
	for _, text := range s.order {
		b.WriteString(text)
	}
	b.WriteString("pub(crate) static SERVED: &[Served] = &[\n" + table.String() + "];\n")
	return b.String()
}

// rules renders a validation function as a static and returns its name, or "" when nothing in it is ever told.
func (s *ruleSet) rules(key string) string {
	if name, done := s.made[key]; done {
		return name
	}
	f, ok := s.functions[key]
	if !ok {
		log.Fatalf("no validation function %s", key)
	}
	name := ruleIdent(key)
	s.made[key] = "" // No type's rules are recursive; if one's were, it would be lost here.
	body := (&ruleBody{set: s, file: f.file}).block(f.decl.Body.List)
	if len(body) == 0 {
		return ""
	}
	s.order = append(s.order, fmt.Sprintf("static %s: Rules = Rules(&[\n    %s,\n]);\n", name, strings.Join(body, ",\n    ")))
	s.made[key] = name
	return name
}

func ruleIdent(key string) string {
	at := strings.LastIndex(key, ".")
	pkg := strings.TrimPrefix(strings.TrimPrefix(key[:at], "k8s.io/kubernetes/pkg/apis/"), "k8s.io/apimachinery/pkg/apis/")
	return strings.ToUpper(strings.NewReplacer("/", "_", ".", "_", "-", "_").Replace(pkg + "_" + strings.TrimPrefix(key[at+1:], "Validate_")))
}

func selected(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.Ident:
		return e.Name
	case *ast.IndexExpr:
		return selected(e.X)
	}
	return ""
}

func text(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok {
		log.Fatalf("not a literal: %T", e)
	}
	value, err := strconv.Unquote(lit.Value)
	if err != nil {
		log.Fatal(err)
	}
	return value
}
