package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"log"
	"sort"
	"strings"
)

// How a function of k8s.io/apimachinery/pkg/api/validate sees a value.
var setKinds = []string{"Value", "Pointer", "Slice", "Map"}

var formats = map[string]bool{
	"ShortName": true, "LongName": true, "LongNameCaseless": true, "LabelKey": true, "PrefixedLabelKey": true, "LabelValue": true,
	"PathSegmentName": true, "UUID": true, "ResourcePoolName": true, "ExtendedResourceName": true, "ResourceFullyQualifiedName": true,
}

// test renders validate.X(ctx, op, fldPath, obj, oldObj, args...).
func (r *ruleBody) test(call *ast.CallExpr) string {
	return r.named(call.Fun, call.Args[5:])
}

func (r *ruleBody) named(function ast.Expr, args []ast.Expr) string {
	name := selected(function)
	for _, kind := range setKinds {
		switch name {
		case "Required" + kind, "Optional" + kind:
			return "Test::Required(Set::" + kind + ")"
		case "Forbidden" + kind:
			return "Test::Forbidden(Set::" + kind + ")"
		}
	}
	if formats[name] {
		return "Test::Format(Format::" + name + ")"
	}
	if custom, ok := strings.CutPrefix(name, "ValidateCustom_"); ok {
		return fmt.Sprintf("Test::Custom(%q)", custom)
	}
	switch name {
	case "Immutable", "Monotonic":
		return "Test::" + name
	case "MaxItems", "MaxLength", "MaxBytes", "Minimum", "Maximum":
		return fmt.Sprintf("Test::%s(%s)", name, number(args[0]))
	case "Enum":
		return r.enum(args)
	case "UpdatePointer", "UpdateValueByCompare":
		set := map[string]string{"UpdatePointer": "Pointer", "UpdateValueByCompare": "Value"}[name]
		return fmt.Sprintf("Test::Update(Set::%s, Match::None, %s)", set, constraints(args))
	case "ValSliceUpdate":
		return fmt.Sprintf("Test::Update(Set::Slice, %s, %s)", r.match(args[0]), constraints(args[1:]))
	case "ValSliceUnique":
		return "Test::Unique(" + r.match(args[0]) + ")"
	case "EachValSliceVal":
		return r.each(args)
	case "EachMapVal":
		return wrap("Test::MapValues(&[%s])", r.validator(args[1]))
	case "EachMapKey":
		return wrap("Test::MapKeys(&[%s])", r.validator(args[0]))
	case "Subfield":
		return wrap(fmt.Sprintf("Test::Subfield(Inside { name: %q, inline: false, pointer: false, rules: &[%%s] })", text(args[0])), r.validator(args[3]))
	case "IfOption":
		return wrap(fmt.Sprintf("Test::Option(%q, %s, &[%%s])", text(args[0]), selected(args[1])), r.validator(args[2]))
	case "Union", "ZeroOrOneOfUnion":
		return r.union(name == "Union", args)
	case "Discriminated":
		return r.discriminated(args)
	case "DependentRequired", "DependentForbidden":
		return fmt.Sprintf("Test::Dependent { forbidden: %t, trigger: %q, trigger_set: %s, dependent: %q, dependent_set: %s }",
			name == "DependentForbidden", text(args[0]), r.isSet(args[1]), text(args[2]), r.isSet(args[3]))
	}
	log.Fatalf("unknown rule %s", name)
	return ""
}

func wrap(format string, rules []string) string {
	if len(rules) == 0 {
		return ""
	}
	return fmt.Sprintf(format, strings.Join(rules, ", "))
}

func number(e ast.Expr) string {
	if unary, ok := e.(*ast.UnaryExpr); ok && unary.Op == token.SUB {
		return "-" + number(unary.X)
	}
	lit, ok := e.(*ast.BasicLit)
	if !ok {
		log.Fatalf("not a number: %T", e)
	}
	return lit.Value
}

func constraints(args []ast.Expr) string {
	var names []string
	for _, arg := range args {
		names = append(names, "Constraint::"+selected(arg))
	}
	return "&[" + strings.Join(names, ", ") + "]"
}

// validator renders a function that is handed over: one of package validate, of a type, or a literal.
func (r *ruleBody) validator(e ast.Expr) []string {
	if lit, ok := e.(*ast.FuncLit); ok {
		return r.block(lit.Body.List)
	}
	if strings.HasPrefix(selected(e), "Validate_") {
		if name := r.set.rules(r.file.function(e)); name != "" {
			return []string{"Rule::Type(&" + name + ")"}
		}
		return nil
	}
	return []string{"Rule::Check(Check { told: true, test: " + r.named(e, nil) + " })"}
}

func (r *ruleBody) each(args []ast.Expr) string {
	rules := r.validator(args[2])
	if len(rules) == 0 {
		return ""
	}
	same := "true"
	if selected(args[1]) == "nil" {
		same = "false"
	}
	return fmt.Sprintf("Test::Each { by: %s, compare: %s, rules: &[%s] }", r.match(args[0]), same, strings.Join(rules, ", "))
}

// match renders how an element is found again: not at all, whole, or by fields.
func (r *ruleBody) match(e ast.Expr) string {
	switch selected(e) {
	case "nil":
		return "Match::None"
	case "DirectEqual", "SemanticDeepEqual":
		return "Match::Whole"
	}
	lit := e.(*ast.FuncLit)
	typ := lit.Type.Params.List[0].Type.(*ast.StarExpr).X
	seen, fields := map[string]bool{}, []string{}
	ast.Inspect(lit.Body, func(node ast.Node) bool {
		sel, ok := node.(*ast.SelectorExpr)
		if ok && selected(sel.X) == "a" && !seen[sel.Sel.Name] {
			seen[sel.Sel.Name] = true
			fields = append(fields, r.file.jsonName(typ, sel.Sel.Name))
		}
		return true
	})
	return "Match::Fields(" + strs(fields) + ")"
}

func (r *ruleBody) enum(args []ast.Expr) string {
	var values []string
	sets, ok := r.set.symbols[r.file.pkg+"."+selected(args[0])].(*ast.CallExpr)
	if !ok {
		log.Fatalf("no values of %s", selected(args[0]))
	}
	for _, value := range sets.Args {
		values = append(values, r.file.constant(value))
	}
	sort.Strings(values)
	var excluded []string
	if selected(args[1]) != "nil" {
		list := r.set.symbols[r.file.pkg+"."+selected(args[1])].(*ast.CompositeLit)
		for _, row := range list.Elts {
			parts := row.(*ast.CompositeLit).Elts
			at := func(i int) ast.Expr {
				if pair, ok := parts[i].(*ast.KeyValueExpr); ok {
					return pair.Value
				}
				return parts[i]
			}
			excluded = append(excluded, fmt.Sprintf("(%q, %s, %q)", r.file.constant(at(0)), selected(at(1)), text(at(2))))
		}
	}
	return fmt.Sprintf("Test::Enum(%s, &[%s])", strs(values), strings.Join(excluded, ", "))
}

func (r *ruleBody) union(exactly bool, args []ast.Expr) string {
	membership := r.set.symbols[r.file.pkg+"."+selected(args[0])].(*ast.CallExpr)
	var members []string
	for at, member := range membership.Args {
		members = append(members, fmt.Sprintf("(%q, %s)", text(member.(*ast.CallExpr).Args[0]), r.isSet(args[1+at])))
	}
	return fmt.Sprintf("Test::Union { exactly: %t, members: &[%s] }", exactly, strings.Join(members, ", "))
}

// isSet renders func(obj *T) bool { ...; return obj.X != nil } and func(list []T) bool { ...list[i].Type == "Approved"... }.
func (r *ruleBody) isSet(e ast.Expr) string {
	lit := e.(*ast.FuncLit)
	if star, ok := lit.Type.Params.List[0].Type.(*ast.StarExpr); ok {
		last := lit.Body.List[len(lit.Body.List)-1].(*ast.ReturnStmt).Results[0].(*ast.BinaryExpr)
		x, kind := last.X, "Value"
		if call, ok := x.(*ast.CallExpr); ok {
			x, kind = call.Args[0], "Slice"
		} else if selected(last.Y) == "nil" {
			kind = "Pointer"
		}
		return fmt.Sprintf("Case::Field(%q, Set::%s)", r.file.jsonName(star.X, selected(x)), kind)
	}
	typ := lit.Type.Params.List[0].Type.(*ast.ArrayType).Elt
	var rendered string
	ast.Inspect(lit.Body, func(node ast.Node) bool {
		if cond, ok := node.(*ast.BinaryExpr); ok && cond.Op == token.EQL {
			rendered = fmt.Sprintf("Case::Item(%q, %q)", r.file.jsonName(typ, selected(cond.X)), r.file.constant(cond.Y))
		}
		return true
	})
	return rendered
}

func (r *ruleBody) discriminated(args []ast.Expr) string {
	getter := func(e ast.Expr) string {
		lit := e.(*ast.FuncLit)
		result := lit.Body.List[len(lit.Body.List)-1].(*ast.ReturnStmt).Results[0]
		return r.file.jsonName(lit.Type.Params.List[0].Type.(*ast.StarExpr).X, selected(result))
	}
	var cases []string
	for _, elt := range args[5].(*ast.CompositeLit).Elts {
		value, rules := "", []string(nil)
		for _, part := range elt.(*ast.CompositeLit).Elts {
			pair := part.(*ast.KeyValueExpr)
			if selected(pair.Key) == "Value" {
				value = r.file.constant(pair.Value)
			} else if selected(pair.Value) != "nil" {
				rules = r.validator(pair.Value)
			}
		}
		cases = append(cases, fmt.Sprintf("(%q, &[%s])", value, strings.Join(rules, ", ")))
	}
	other := ""
	if selected(args[4]) != "nil" {
		other = strings.Join(r.validator(args[4]), ", ")
	}
	return fmt.Sprintf("Test::Discriminated { field: %q, by: %q, cases: &[%s], other: &[%s] }", text(args[0]), getter(args[2]), strings.Join(cases, ", "), other)
}
