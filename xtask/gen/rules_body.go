package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"log"
	"strings"
)

// ruleBody turns the statements of one validation function into rules.
type ruleBody struct {
	set  *ruleSet
	file *goFile
}

// block renders statements: the checks before an early return are gates of what follows them.
func (r *ruleBody) block(list []ast.Stmt) []string {
	var rules []string
	var gates []string
	for at, stmt := range list {
		if isEarlyReturn(stmt) {
			rest := r.block(list[at+1:])
			if len(gates) == 0 {
				return append(rules, rest...)
			}
			if len(rest) == 0 && !anyTold(gates) {
				return rules
			}
			return append(rules, fmt.Sprintf("Rule::Gated(&[%s], &[%s])", strings.Join(gates, ", "), strings.Join(rest, ", ")))
		}
		check, stops := r.check(stmt)
		switch {
		case stops && check == "": // its rules are never told, and what they gate is not told then either
		case stops:
			gates = append(gates, check)
		case check != "":
			rules = append(rules, asRules([]string{check})...)
		default:
			rules = append(rules, r.other(stmt)...)
		}
	}
	return append(rules, asRules(gates)...)
}

func asRules(checks []string) []string {
	var rules []string
	for _, check := range checks {
		if anyTold([]string{check}) {
			rules = append(rules, "Rule::Check("+check+")")
		}
	}
	return rules
}

func anyTold(checks []string) bool {
	for _, check := range checks {
		if strings.HasPrefix(check, "Check { told: true") {
			return true
		}
	}
	return false
}

func isEarlyReturn(stmt ast.Stmt) bool {
	branch, ok := stmt.(*ast.IfStmt)
	if !ok || branch.Init != nil {
		return false
	}
	cond, ok := branch.Cond.(*ast.Ident)
	return ok && cond.Name == "earlyReturn"
}

// check reads `if e := validate.X(...).MarkBeta(); len(e) != 0 { errs = append(errs, e...); earlyReturn = true }`.
func (r *ruleBody) check(stmt ast.Stmt) (string, bool) {
	branch, ok := stmt.(*ast.IfStmt)
	if !ok || branch.Init == nil {
		return "", false
	}
	told, stops := false, false
	for _, inner := range branch.Body.List {
		assign := inner.(*ast.AssignStmt)
		told = told || assign.Lhs[0].(*ast.Ident).Name == "errs"
		stops = stops || assign.Lhs[0].(*ast.Ident).Name == "earlyReturn"
	}
	return r.call(branch.Init.(*ast.AssignStmt).Rhs[0], told), stops
}

// call renders a call with its marks. Errors of alpha rules are never told, but they end what a gate guards.
func (r *ruleBody) call(e ast.Expr, told bool) string {
	call := e.(*ast.CallExpr)
	for {
		method, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !strings.HasPrefix(method.Sel.Name, "Mark") {
			break
		}
		told = told && method.Sel.Name != "MarkAlpha"
		call = method.X.(*ast.CallExpr)
	}
	test := r.test(call)
	if test == "" {
		return ""
	}
	return fmt.Sprintf("Check { told: %t, test: %s }", told, test)
}

// other reads what is not a check: fields, cohorts, calls of a type's function.
func (r *ruleBody) other(stmt ast.Stmt) []string {
	switch s := stmt.(type) {
	case *ast.BlockStmt:
		return r.field(s)
	case *ast.ExprStmt:
		return r.block(s.X.(*ast.CallExpr).Fun.(*ast.FuncLit).Body.List)
	case *ast.ReturnStmt:
		if len(s.Results) == 1 {
			if call, ok := s.Results[0].(*ast.CallExpr); ok {
				return keep(r.call(call, true))
			}
		}
		return nil
	case *ast.IfStmt: // the comparison with the old value, which every field has
		return nil
	case *ast.AssignStmt:
		call, ok := s.Rhs[0].(*ast.CallExpr)
		if !ok || selected(call.Fun) != "append" {
			return nil
		}
		inner := call.Args[1].(*ast.CallExpr)
		if strings.HasPrefix(selected(inner.Fun), "Validate_") {
			if name := r.set.rules(r.file.function(inner.Fun)); name != "" {
				return []string{"Rule::Type(&" + name + ")"}
			}
			return nil
		}
		return keep(r.call(inner, true))
	}
	log.Fatalf("unexpected statement %T", stmt)
	return nil
}

func keep(check string) []string {
	if check == "" || !anyTold([]string{check}) {
		return nil
	}
	return []string{"Rule::Check(" + check + ")"}
}

// field reads `{ fn := func(...) {...}; oldVal := ...; errs = append(errs, fn(fldPath.Child("x"), &obj.X, oldVal, ...)...) }`.
func (r *ruleBody) field(block *ast.BlockStmt) []string {
	body := block.List[0].(*ast.AssignStmt).Rhs[0].(*ast.FuncLit).Body.List
	rules := r.block(body)
	if len(rules) == 0 {
		return nil
	}
	last := block.List[len(block.List)-1].(*ast.AssignStmt).Rhs[0].(*ast.CallExpr).Args[1].(*ast.CallExpr)
	path := last.Args[0].(*ast.CallExpr)
	name, inline := "", false
	if selected(path.Fun) == "Value" { // safe.Value(fldPath, ...): an embedded struct is where its parent is
		inline = true
	} else {
		name = text(path.Args[0])
	}
	pointer := true
	if unary, ok := last.Args[1].(*ast.UnaryExpr); ok && unary.Op == token.AND {
		pointer = false
	}
	return []string{fmt.Sprintf("Rule::Field(Inside { name: %q, inline: %t, pointer: %t, rules: &[%s] })", name, inline, pointer, strings.Join(rules, ", "))}
}
