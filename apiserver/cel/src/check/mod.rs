//! The type checker: gives every node a type, every name and call what it refers to.
//!
//! Invariant: types, references and errors are those of cel-go's `checker/checker.go@v0.29.2`, the cross-type comparisons of
//! numbers included. Names that turn out to be qualified are written into the tree.
//! Non-goal: containers and aliases, which Kubernetes does not use.

mod mapping;

use std::collections::HashMap;
use std::sync::Arc;

use crate::ast::{Comprehension, Expr, Id, Kind};
use crate::functions::{Function, Functions};
use crate::messages;
use crate::parse::Parsed;
use crate::source::Issues;
use crate::types::{self, Type, TypeProvider};
use crate::value::Value;
use mapping::{Mapping, most_general};

/// What the environment declares.
pub(crate) struct Declarations<'a> {
    pub(crate) functions: &'a Functions,
    pub(crate) variables: &'a HashMap<Arc<str>, Type>,
    pub(crate) types: &'a dyn TypeProvider,
    /// Types with a name of their own, such as `int`.
    pub(crate) idents: &'a HashMap<&'static str, Type>,
}

/// What a name or call refers to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reference {
    Ident(Arc<str>),
    Overloads(Vec<Arc<str>>),
}

/// A tree with the types and references of its nodes.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    pub(crate) parsed: Parsed,
    types: Vec<Option<Type>>,
    references: Vec<Option<Reference>>,
}

impl Checked {
    pub(crate) fn type_of(&self, id: Id) -> &Type {
        self.types.get(id as usize).and_then(Option::as_ref).unwrap_or(&Type::Dyn)
    }

    pub(crate) fn ident(&self, id: Id) -> Option<&Arc<str>> {
        match self.references.get(id as usize)? {
            Some(Reference::Ident(name)) => Some(name),
            _ => None,
        }
    }

    /// The overloads a call may come to.
    pub(crate) fn overloads(&self, id: Id) -> &[Arc<str>] {
        match self.references.get(id as usize) {
            Some(Some(Reference::Overloads(ids))) => ids,
            _ => &[],
        }
    }

    /// Every variable and type the expression refers to.
    pub(crate) fn idents(&self) -> impl Iterator<Item = &Arc<str>> {
        self.references.iter().filter_map(|reference| match reference {
            Some(Reference::Ident(name)) => Some(name),
            _ => None,
        })
    }

    pub(crate) fn output(&self) -> &Type {
        self.type_of(self.parsed.expr.id)
    }
}

pub(crate) fn check(parsed: Parsed, declarations: &Declarations<'_>) -> Result<Checked, Issues> {
    let bound = parsed.places.bound();
    let Parsed { mut expr, places, source } = parsed;
    let mut checker = Checker {
        declarations,
        issues: Issues::new(&source),
        parsed: Parsed { expr: Expr { id: 0, kind: Kind::Unspecified }, places, source },
        types: vec![None; bound],
        references: vec![None; bound],
        mapping: Mapping::default(),
        locals: Vec::new(),
        variables: 0,
    };
    checker.expr(&mut expr);
    if !checker.issues.is_empty() {
        return Err(checker.issues);
    }
    let Checker { mut parsed, types, references, mapping, .. } = checker;
    parsed.expr = expr;
    let types = types.iter().map(|of| of.as_ref().map(|of| mapping.substitute(of, true))).collect();
    Ok(Checked { parsed, types, references })
}

struct Checker<'a> {
    declarations: &'a Declarations<'a>,
    issues: Issues,
    /// For places only; the tree is elsewhere while it is checked.
    parsed: Parsed,
    types: Vec<Option<Type>>,
    references: Vec<Option<Reference>>,
    mapping: Mapping,
    /// Variables of comprehensions, innermost last.
    locals: Vec<(Arc<str>, Type)>,
    /// How many unknown types there are.
    variables: usize,
}

/// A variable or type that a name stands for.
struct Resolved {
    /// With a leading dot where a local variable of that name hides it.
    name: Arc<str>,
    of: Type,
}

impl Checker<'_> {
    fn report(&mut self, id: Id, message: impl Into<String>) {
        let location = self.parsed.places.location(id, &self.parsed.source);
        self.issues.report(location, message);
    }

    fn set(&mut self, id: Id, of: Type) {
        self.types[id as usize] = Some(of);
    }

    fn get(&self, id: Id) -> Type {
        self.types[id as usize].clone().unwrap_or(Type::Error)
    }

    fn refer(&mut self, id: Id, reference: Reference) {
        self.references[id as usize] = Some(reference);
    }

    fn unknown(&mut self) -> Type {
        self.variables += 1;
        Type::Param(Arc::from(format!("_var{}", self.variables - 1)))
    }

    fn undeclared(&mut self, id: Id, name: &str) {
        self.report(id, format!("undeclared reference to '{name}' (in container '')"));
        self.set(id, Type::Error);
    }

    fn mismatch(&mut self, id: Id, expected: &Type, found: &Type) {
        let (expected, found) = (types::format(expected), types::format(found));
        self.report(id, format!("expected type '{expected}' but found '{found}'"));
    }

    fn expr(&mut self, expr: &mut Expr) {
        let id = expr.id;
        match &mut expr.kind {
            Kind::Unspecified => self.report(id, "unexpected unspecified type: "),
            Kind::Literal(value) => self.set(id, value.cel_type()),
            Kind::Ident(_) => self.ident(expr),
            Kind::Select(_) => self.select(expr),
            Kind::Call(_) => self.call(expr),
            Kind::List(_) => self.list(expr),
            Kind::Map(_) => self.map(expr),
            Kind::Struct(_) => self.object(expr),
            Kind::Comprehension(fold) => self.comprehension(id, fold),
        }
    }

    fn local(&self, name: &str) -> Option<&Type> {
        let name = name.trim_start_matches('.');
        self.locals.iter().rev().find(|(known, _)| known.as_ref() == name).map(|(_, of)| of)
    }

    fn global(&self, name: &str) -> Option<Type> {
        let name = name.trim_start_matches('.');
        let declared = self.declarations.variables.get(name).cloned();
        let named = || self.declarations.idents.get(name).cloned().map(Type::of_type);
        let object = || self.declarations.types.has_type(name).then(|| Type::of_type(Type::object(name)));
        declared.or_else(named).or_else(object)
    }

    fn resolve_simple(&self, name: &str) -> Option<Resolved> {
        let local = self.local(name);
        if let Some(of) = local.filter(|_| !name.starts_with('.')) {
            return Some(Resolved { name: Arc::from(name), of: of.clone() });
        }
        let bare = name.trim_start_matches('.');
        let of = self.global(bare)?;
        let name = if local.is_some() { format!(".{bare}") } else { bare.to_owned() };
        Some(Resolved { name: Arc::from(name), of })
    }

    /// `a.b.c` as one variable or type.
    fn resolve_qualified(&self, name: &str) -> Option<Resolved> {
        let absolute = name.starts_with('.');
        let bare = name.trim_start_matches('.');
        let local = self.local(bare.split('.').next().unwrap_or_default()).is_some();
        if local && !absolute {
            return None;
        }
        let of = self.global(bare)?;
        let name = if local { format!(".{bare}") } else { bare.to_owned() };
        Some(Resolved { name: Arc::from(name), of })
    }

    fn resolved(&mut self, expr: &mut Expr, resolved: Resolved) {
        self.set(expr.id, resolved.of);
        self.refer(expr.id, Reference::Ident(resolved.name.clone()));
        expr.kind = Kind::Ident(resolved.name);
    }

    fn ident(&mut self, expr: &mut Expr) {
        let Kind::Ident(name) = &expr.kind else { return };
        let name = name.clone();
        match self.resolve_simple(&name) {
            Some(resolved) => self.resolved(expr, resolved),
            None => self.undeclared(expr.id, &name),
        }
    }

    fn select(&mut self, expr: &mut Expr) {
        if let Some(resolved) = expr.qualified_name().and_then(|name| self.resolve_qualified(&name)) {
            return self.resolved(expr, resolved);
        }
        let id = expr.id;
        let Kind::Select(select) = &mut expr.kind else { return };
        let (field, test) = (select.field.clone(), select.test);
        let of = self.field(id, &mut select.operand, &field, false);
        let of = if test { Type::Bool } else { of };
        let of = self.mapping.substitute(&of, false);
        self.set(id, of);
    }

    fn field(&mut self, id: Id, operand: &mut Expr, field: &str, optional: bool) -> Type {
        self.expr(operand);
        let operand = self.mapping.substitute(&self.get(operand.id), false);
        let target = operand.optional_value().unwrap_or(&operand).clone();
        let result = match &target {
            Type::Map(entry) => entry.1.clone(),
            Type::Struct(name) => self.struct_field(id, name, field).unwrap_or(Type::Error),
            Type::Param(_) => {
                self.mapping.is_assignable(&Type::Dyn, &target);
                Type::Dyn
            }
            Type::Dyn | Type::Error => Type::Dyn,
            other => {
                self.report(id, format!("type '{}' does not support field selection", types::format(other)));
                Type::Dyn
            }
        };
        if optional || operand.optional_value().is_some() { Type::optional(result) } else { result }
    }

    fn struct_field(&mut self, id: Id, object: &str, field: &str) -> Option<Type> {
        let well_known = messages::cel_type(object).is_some();
        if !well_known && !self.declarations.types.has_type(object) {
            self.report(id, format!("unexpected failed resolution of '{object}'"));
            return None;
        }
        let found =
            if well_known { messages::field(object, field) } else { self.declarations.types.field(object, field) };
        if found.is_none() {
            self.report(id, format!("undefined field '{field}'"));
        }
        found
    }

    fn opt_select(&mut self, expr: &mut Expr) {
        let id = expr.id;
        let Kind::Call(call) = &mut expr.kind else { return };
        let [operand, field] = call.args.as_mut_slice() else { return };
        let Some(Value::String(name)) = field.literal().cloned() else { return };
        let of = self.field(id, operand, &name, true);
        let of = self.mapping.substitute(&of, false);
        self.set(id, of);
        self.refer(id, Reference::Overloads(vec![Arc::from("select_optional_field")]));
    }

    fn call(&mut self, expr: &mut Expr) {
        let id = expr.id;
        let Kind::Call(call) = &mut expr.kind else { return };
        if call.function.as_ref() == "_?._" {
            return self.opt_select(expr);
        }
        call.args.iter_mut().for_each(|arg| self.expr(arg));
        let functions = self.declarations.functions;
        // A target of nothing but names can be the beginning of the function's name.
        let prefix = call.target.as_ref().and_then(Expr::qualified_name);
        let namespaced = prefix.and_then(|prefix| functions.find(&format!("{prefix}.{}", call.function)));
        if namespaced.is_some() {
            call.target = None;
        } else if let Some(target) = &mut call.target {
            self.expr(target);
        }
        let Some(function) = namespaced.or_else(|| functions.find(&call.function)) else {
            let name = call.function.clone();
            return self.undeclared(id, &name);
        };
        call.function = function.name.clone();
        let target = call.target.as_ref().map(|target| target.id);
        let args: Vec<Id> = call.args.iter().map(|arg| arg.id).collect();
        match self.overload(id, function, target, &args) {
            Some((of, ids)) => {
                self.set(id, of);
                self.refer(id, Reference::Overloads(ids));
            }
            None => self.set(id, Type::Error),
        }
    }

    fn overload(
        &mut self,
        id: Id,
        function: &Function,
        target: Option<Id>,
        args: &[Id],
    ) -> Option<(Type, Vec<Arc<str>>)> {
        let given: Vec<Type> = target.iter().chain(args).map(|arg| self.get(*arg)).collect();
        if matches!(function.name.as_ref(), "_&&_" | "_||_") {
            return self.logical(function, args, &given);
        }
        let mut result: Option<Type> = None;
        let mut found = Vec::new();
        for overload in function.overloads.iter().filter(|overload| overload.member == target.is_some()) {
            let mut fresh = HashMap::new();
            let wanted: Vec<Type> = overload.args.iter().map(|arg| self.instance(arg, &mut fresh)).collect();
            if !self.mapping.are_assignable(&given, &wanted) {
                continue;
            }
            found.push(overload.id.clone());
            let own = self.instance(&overload.result, &mut fresh);
            let own = self.mapping.substitute(&own, false);
            result = Some(match result {
                None => own,
                Some(before) if !before.is_dyn() && !own.is_exact(&before) => Type::Dyn,
                Some(before) => before,
            });
        }
        if result.is_none() {
            let given: Vec<Type> = given.iter().map(|of| self.mapping.substitute(of, true)).collect();
            let signature = signature(&given, target.is_some());
            self.report(id, format!("found no matching overload for '{}' applied to '{signature}'", function.name));
        }
        result.map(|result| (result, found))
    }

    fn logical(&mut self, function: &Function, args: &[Id], given: &[Type]) -> Option<(Type, Vec<Arc<str>>)> {
        let mut right = true;
        for (arg, of) in args.iter().zip(given) {
            if !self.mapping.is_assignable(of, &Type::Bool) {
                self.mismatch(*arg, &Type::Bool, of);
                right = false;
            }
        }
        let ids = function.overloads.iter().map(|overload| overload.id.clone()).collect();
        right.then_some((Type::Bool, ids))
    }

    /// A type of a signature, each parameter replaced by an unknown type of its own.
    fn instance(&mut self, of: &Type, fresh: &mut HashMap<Arc<str>, Type>) -> Type {
        match of {
            Type::Param(name) => match fresh.get(name) {
                Some(known) => known.clone(),
                None => {
                    let unknown = self.unknown();
                    fresh.insert(name.clone(), unknown.clone());
                    unknown
                }
            },
            _ => of.with_parameters(|part| self.instance(part, fresh)),
        }
    }

    /// The type of what an element or entry brings; of optional ones what is in them.
    fn brought(&mut self, value: &Expr, optional: bool) -> Type {
        let of = self.get(value.id);
        if !optional {
            return of;
        }
        match of.optional_value() {
            Some(inner) => inner.clone(),
            None => {
                if !of.is_dyn() {
                    self.mismatch(value.id, &Type::optional(of.clone()), &of);
                }
                of
            }
        }
    }

    /// The type of elements so far with one more; validation sees to it that they are of one type.
    fn join(&mut self, before: Option<Type>, now: Type) -> Type {
        match before {
            None => now,
            Some(before) if self.mapping.is_assignable(&before, &now) => most_general(&before, &now),
            Some(_) => Type::Dyn,
        }
    }

    fn list(&mut self, expr: &mut Expr) {
        let Kind::List(elements) = &mut expr.kind else { return };
        let mut of = None;
        for element in elements {
            self.expr(&mut element.value);
            let own = self.brought(&element.value, element.optional);
            of = Some(self.join(of, own));
        }
        let of = of.unwrap_or_else(|| self.unknown());
        self.set(expr.id, Type::list(of));
    }

    fn map(&mut self, expr: &mut Expr) {
        let Kind::Map(entries) = &mut expr.kind else { return };
        let (mut keys, mut values) = (None, None);
        for entry in entries {
            self.expr(&mut entry.key);
            let key = self.get(entry.key.id);
            keys = Some(self.join(keys, key));
            self.expr(&mut entry.value);
            let value = self.brought(&entry.value, entry.optional);
            values = Some(self.join(values, value));
        }
        let keys = keys.unwrap_or_else(|| self.unknown());
        let values = values.unwrap_or_else(|| self.unknown());
        self.set(expr.id, Type::map(keys, values));
    }

    fn object(&mut self, expr: &mut Expr) {
        let id = expr.id;
        let Kind::Struct(object) = &mut expr.kind else { return };
        let written = object.name.clone();
        let name: Arc<str> = Arc::from(written.trim_start_matches('.'));
        let named = self.declarations.idents.get(name.as_ref()).cloned();
        if named.is_none() && !self.declarations.types.has_type(&name) {
            return self.undeclared(id, &written);
        }
        object.name = name.clone();
        self.refer(id, Reference::Ident(name.clone()));
        let message = match &named {
            None => Some((name.as_ref(), Type::object(&name))),
            // These are types of messages under another name, though not of ones that can be made.
            Some(Type::Null) => Some(("google.protobuf.NullValue", Type::Null)),
            Some(Type::List(_)) => Some(("google.protobuf.ListValue", Type::list(Type::Dyn))),
            Some(_) => messages::cel_type(&name).map(|of| (name.as_ref(), of)),
        };
        let (message, of) = message.unwrap_or_else(|| {
            self.report(id, format!("'{}' is not a message type", named.as_ref().map_or("", Type::name)));
            (name.as_ref(), Type::Error)
        });
        self.set(id, of);
        for field in &mut object.fields {
            self.expr(&mut field.value);
            let declared = self.struct_field(field.id, message, &field.name).unwrap_or(Type::Error);
            let given = self.brought(&field.value, field.optional);
            if !self.mapping.is_assignable(&declared, &given) {
                let (declared, given) = (types::format(&declared), types::format(&given));
                let message =
                    format!("expected type of field '{}' is '{declared}' but provided type is '{given}'", field.name);
                self.report(field.id, message);
            }
        }
    }

    fn comprehension(&mut self, id: Id, fold: &mut Comprehension) {
        self.expr(&mut fold.range);
        self.expr(&mut fold.init);
        let range = self.mapping.substitute(&self.get(fold.range.id), false);
        let accumulator = self.get(fold.init.id);
        let (first, second) = self.iteration(&range, fold);
        self.locals.push((fold.accumulator.clone(), accumulator.clone()));
        self.locals.push((fold.variable.clone(), first));
        if let Some(name) = &fold.second {
            self.locals.push((name.clone(), second));
        }
        self.expr(&mut fold.condition);
        self.assert(&fold.condition, &Type::Bool);
        self.expr(&mut fold.step);
        self.assert(&fold.step, &accumulator);
        self.locals.truncate(self.locals.len() - 1 - usize::from(fold.second.is_some()));
        self.expr(&mut fold.result);
        self.locals.pop();
        let of = self.mapping.substitute(&self.get(fold.result.id), false);
        self.set(id, of);
    }

    /// The types of the variables of a fold over a range.
    fn iteration(&mut self, range: &Type, fold: &Comprehension) -> (Type, Type) {
        match range {
            Type::List(element) if fold.second.is_some() => (Type::Int, element.as_ref().clone()),
            Type::List(element) => (element.as_ref().clone(), Type::Error),
            Type::Map(entry) => (entry.0.clone(), entry.1.clone()),
            Type::Dyn | Type::Error | Type::Param(_) => {
                self.mapping.is_assignable(&Type::Dyn, range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let message = format!(
                    "expression of type '{}' cannot be range of a comprehension (must be list, map, or dynamic)",
                    types::format(other)
                );
                self.report(fold.range.id, message);
                (Type::Error, Type::Error)
            }
        }
    }

    fn assert(&mut self, expr: &Expr, of: &Type) {
        let own = self.get(expr.id);
        if !self.mapping.is_assignable(of, &own) {
            self.mismatch(expr.id, of, &own);
        }
    }
}

/// `int.(string)` or `(int, string)`.
fn signature(given: &[Type], member: bool) -> String {
    let texts: Vec<String> = given.iter().map(types::format).collect();
    match texts.split_first().filter(|_| member) {
        Some((target, args)) => format!("{target}.({})", args.join(", ")),
        None => format!("({})", texts.join(", ")),
    }
}
