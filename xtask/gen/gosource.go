package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"log"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
)

// goSource knows the constants and the structs of the packages of published modules.
type goSource struct {
	packages map[string]*goPackage
	modules  map[string]string
}

type goPackage struct {
	constants map[string]constant
	structs   map[string]map[string]string // type, Go field: JSON name
}

// constant is an expression and the file that it stands in.
type constant struct {
	file  *goFile
	value ast.Expr
}

func newGoSource() *goSource {
	return &goSource{packages: map[string]*goPackage{}, modules: map[string]string{}}
}

// folder is where a package of a module that this program requires lies.
func (s *goSource) folder(pkg string) string {
	module := strings.Join(strings.SplitN(pkg, "/", 3)[:2], "/")
	if s.modules[module] == "" {
		out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
		if err != nil {
			log.Fatalf("%s: %v", module, err)
		}
		s.modules[module] = strings.TrimSpace(string(out))
	}
	return filepath.Join(s.modules[module], strings.TrimPrefix(pkg, module))
}

func (s *goSource) load(pkg string) *goPackage {
	if done := s.packages[pkg]; done != nil {
		return done
	}
	p := &goPackage{constants: map[string]constant{}, structs: map[string]map[string]string{}}
	s.packages[pkg] = p
	files, _ := filepath.Glob(s.folder(pkg) + "/*.go")
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			log.Fatal(err)
		}
		in := newGoFile(s, pkg, parsed)
		ast.Inspect(parsed, func(node ast.Node) bool {
			p.declaration(in, node)
			return true
		})
	}
	return p
}

func (p *goPackage) declaration(in *goFile, node ast.Node) {
	switch d := node.(type) {
	case *ast.ValueSpec:
		for at, name := range d.Names {
			if at < len(d.Values) {
				p.constants[name.Name] = constant{in, d.Values[at]}
			}
		}
	case *ast.TypeSpec:
		if st, ok := d.Type.(*ast.StructType); ok {
			p.structs[d.Name.Name] = jsonNames(st)
		}
	}
}

func jsonNames(st *ast.StructType) map[string]string {
	fields := map[string]string{}
	for _, f := range st.Fields.List {
		if f.Tag == nil {
			continue
		}
		tag, _ := strconv.Unquote(f.Tag.Value)
		name, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
		for _, goName := range f.Names {
			fields[goName.Name] = name
		}
		if len(f.Names) == 0 {
			fields[selected(f.Type)] = name
		}
	}
	return fields
}

// goFile resolves the names that a file uses.
type goFile struct {
	source  *goSource
	pkg     string
	imports map[string]string
}

func newGoFile(source *goSource, pkg string, parsed *ast.File) *goFile {
	f := &goFile{source, pkg, map[string]string{}}
	for _, spec := range parsed.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		name := path[strings.LastIndex(path, "/")+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		f.imports[name] = path
	}
	return f
}

// resolve is the package and the name of an expression like corev1.PodSpec or PodSpec.
func (f *goFile) resolve(e ast.Expr) (string, string) {
	if sel, ok := e.(*ast.SelectorExpr); ok {
		return f.imports[selected(sel.X)], sel.Sel.Name
	}
	return f.pkg, selected(e)
}

func (f *goFile) function(e ast.Expr) string {
	pkg, name := f.resolve(e)
	return pkg + "." + name
}

func (f *goFile) openAPI(typ ast.Expr) string {
	pkg, name := f.resolve(typ)
	return "io.k8s." + strings.ReplaceAll(strings.TrimPrefix(pkg, "k8s.io/"), "/", ".") + "." + name
}

func (f *goFile) constant(e ast.Expr) string {
	if lit, ok := e.(*ast.BasicLit); ok {
		return text(lit)
	}
	if conversion, ok := e.(*ast.CallExpr); ok {
		return f.constant(conversion.Args[0])
	}
	pkg, name := f.resolve(e)
	found, ok := f.source.load(pkg).constants[name]
	if !ok {
		log.Fatalf("no constant %s.%s", pkg, name)
	}
	return found.file.constant(found.value)
}

func (f *goFile) jsonName(typ ast.Expr, goField string) string {
	pkg, name := f.resolve(typ)
	json, ok := f.source.load(pkg).structs[name][goField]
	if !ok {
		log.Fatalf("no field %s.%s.%s", pkg, name, goField)
	}
	return json
}
