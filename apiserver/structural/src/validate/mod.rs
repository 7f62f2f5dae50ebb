//! Validation of values against a schema, with the findings that kube-openapi's validator has
//! (k8s.io/kube-openapi/pkg/validation/validate, k8s.io/apiextensions-apiserver/pkg/apiserver/validation/{validation,ratcheting}.go@v0.37.2).
//!
//! Invariant: on updates what is wrong in an unchanged part is no error (ratcheting), along properties and items, not inside
//! allOf, anyOf, oneOf and not.
//! Non-goal: lists of type set and map ([`crate::lists`]), rules ([`crate::rules`]).

mod issue;
mod number;

use api::field::{Errors, Path};
use api::value::{Map, Value};

use crate::correlate;
use crate::schema::{Additional, Checks, List as ListType, Schema, Type};
use crate::trail::Trail;
use issue::{Issue, Tally};

/// Everything wrong with a value.
pub fn validate(path: &Path, value: &Value, schema: &Schema) -> Errors {
    run(path, value, None, schema, Dialect::Served)
}

/// Everything wrong with a value that was not so in the old one.
pub fn validate_update(path: &Path, value: &Value, old: &Value, schema: &Schema) -> Errors {
    run(path, value, Some(old), schema, Dialect::Served)
}

/// Everything wrong with a default in a schema.
pub(crate) fn validate_default(path: &Path, value: &Value, schema: &Schema) -> Errors {
    run(path, value, None, schema, Dialect::Defaults)
}

fn run(path: &Path, value: &Value, old: Option<&Value>, schema: &Schema, dialect: Dialect) -> Errors {
    let mut walk = Walk { trail: Trail::default(), dialect };
    let tally = walk.ratcheted(value, old, schema);
    tally.issues.iter().map(|issue| issue.field_error(path)).collect()
}

/// Which schema the validator sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// ConvertJSONSchemaProps: int-or-string is both types, formats that mean nothing are dropped.
    Served,
    /// ToKubeOpenAPI: as written.
    Defaults,
}

struct Walk {
    trail: Trail,
    dialect: Dialect,
}

/// The types a value may have, and how an error names them.
struct Types<'a> {
    ty: &'a Type,
    int_or_string: bool,
}

impl Types<'_> {
    fn has(&self, name: &str) -> bool {
        if self.int_or_string {
            matches!(name, "integer" | "string")
        } else {
            self.ty.name() == name && !name.is_empty()
        }
    }

    fn is_any(&self) -> bool {
        !self.int_or_string && *self.ty == Type::Any
    }

    fn name(&self) -> &str {
        if self.int_or_string { "integer,string" } else { self.ty.name() }
    }
}

impl Walk {
    fn types<'a>(&self, schema: &'a Schema) -> Types<'a> {
        Types { ty: &schema.ty, int_or_string: schema.int_or_string && self.dialect == Dialect::Served }
    }

    /// The format the validator sees.
    fn format<'a>(&self, schema: &'a Schema) -> &'a str {
        let Some(checks) = &schema.checks else { return "" };
        let ty = if schema.int_or_string { "" } else { schema.ty.name() };
        let seen = self.dialect == Dialect::Defaults || crate::format::is_recognized(ty, &checks.format);
        if seen { &checks.format } else { "" }
    }

    /// A value along the spine: unchanged ones keep their errors to themselves.
    fn ratcheted(&mut self, value: &Value, old: Option<&Value>, schema: &Schema) -> Tally {
        let mut tally = self.value(value, old, schema);
        if let Some(old) = old
            && !tally.issues.is_empty()
            && correlate::equal(schema, value, old)
        {
            tally.issues.clear();
        }
        tally
    }

    fn value(&mut self, value: &Value, old: Option<&Value>, schema: &Schema) -> Tally {
        let mut tally = Tally::default();
        let types = self.types(schema);
        let format = self.format(schema);
        if value.is_null() {
            tally.merge(self.null(&types, schema));
            tally.merge(self.enumeration(value, schema.checks.as_deref()));
            return tally;
        }
        if !types.is_any() || !format.is_empty() {
            tally.merge_counted(self.type_of(value, &types, format));
        }
        if let Some(checks) = schema.checks.as_deref() {
            tally.merge_counted(self.junctors(value, checks));
        } else {
            tally.matches += 2;
        }
        match value {
            Value::String(text) => self.text(text, format, schema, &mut tally),
            Value::Int(_) | Value::Float(_) => {
                let number = number::Number { value, types: &types, format };
                tally.merge_counted(number.check(self.trail.as_str(), schema.checks.as_deref()));
            }
            Value::List(list) => tally.merge_counted(self.list(list, old, schema)),
            _ => {}
        }
        tally.merge_counted(self.enumeration(value, schema.checks.as_deref()));
        if let Value::Map(map) = value {
            tally.merge_counted(self.object(map, value, old, schema));
        }
        tally.matches += 1;
        tally
    }

    fn null(&self, types: &Types<'_>, schema: &Schema) -> Tally {
        if types.is_any() || types.has("null") || schema.nullable {
            return Tally::matching();
        }
        Tally::of(Issue::wrong_type(self.trail.as_str(), types.name(), "null"))
    }

    fn type_of(&self, value: &Value, types: &Types<'_>, format: &str) -> Tally {
        let (ty, own_format) = match value {
            Value::Bool(_) => ("boolean", ""),
            Value::String(_) => ("string", ""),
            Value::Int(_) => ("integer", "int64"),
            Value::Float(_) => ("number", "float64"),
            Value::List(_) => ("array", ""),
            Value::Map(_) | Value::Null => ("object", ""),
        };
        let whole = matches!(value, Value::Float(number) if number::is_whole(*number)) && types.has("integer");
        let fits = types.has(ty) || whole || ty == "integer" && types.has("number");
        let textual = matches!(value, Value::String(_) | Value::List(_));
        if !textual && !format.is_empty() && !fits && own_format != format {
            return Tally::of(Issue::wrong_type(self.trail.as_str(), format, own_format));
        }
        // Text (and lists) with a format is left to the format.
        if textual && !format.is_empty() && !types.has("number") && !types.has("integer") {
            return Tally::matching();
        }
        if fits { Tally::matching() } else { Tally::of(Issue::wrong_type(self.trail.as_str(), types.name(), ty)) }
    }

    fn text(&self, text: &str, format: &str, schema: &Schema, tally: &mut Tally) {
        let checks = schema.checks.as_deref();
        tally.merge_counted(
            checks.and_then(|checks| self.length_and_pattern(text, checks)).map(Tally::of).unwrap_or_default(),
        );
        let Some(known) = checks.and_then(|checks| checks.known_format).filter(|_| !format.is_empty()) else { return };
        let bad = !known.accepts(text);
        let issue = || Tally::of(Issue::wrong_type(self.trail.as_str(), format, text));
        tally.merge_counted(if bad { issue() } else { Tally::default() });
    }

    /// The first thing wrong.
    fn length_and_pattern(&self, text: &str, checks: &Checks) -> Option<Issue> {
        let at = self.trail.as_str();
        let length = || text.chars().count() as i64;
        if let Some(max) = checks.max_length.filter(|max| length() > *max) {
            return Some(Issue::too_long(at, max));
        }
        if let Some(min) = checks.min_length.filter(|min| length() < *min) {
            return Some(Issue::other(at, text, &format!("should be at least {min} chars long")));
        }
        let pattern = checks.pattern.as_ref()?;
        let why = match &pattern.compiled {
            Ok(compiled) if compiled.is_match(text) => return None,
            Ok(_) => format!("should match '{}'", pattern.text),
            Err(error) => format!("should match '{}, but pattern is invalid: {error}'", pattern.text),
        };
        Some(Issue::other(at, text, &why))
    }

    fn enumeration(&self, value: &Value, checks: Option<&Checks>) -> Tally {
        match checks.map_or(&[][..], |checks| &checks.enumeration) {
            [] => Tally::default(),
            allowed if allowed.iter().any(|allowed| is_enumerated(value, allowed)) => Tally::default(),
            allowed => Tally::of(Issue::not_enumerated(self.trail.as_str(), value, allowed)),
        }
    }

    fn junctors(&mut self, value: &Value, checks: &Checks) -> Tally {
        let mut tally = Tally::default();
        self.any_of(value, &checks.any_of, &mut tally);
        self.one_of(value, &checks.one_of, &mut tally);
        self.all_of(value, &checks.all_of, &mut tally);
        if let Some(not) = &checks.not
            && self.value(value, None, not).issues.is_empty()
        {
            tally.add(self.junctor_issue("must not validate the schema (not)"));
        }
        tally.matches += 1;
        tally
    }

    fn junctor_issue(&self, why: &str) -> Issue {
        Issue::unplaced(format!("{} {why}", api::field::go_quote(self.trail.as_str())))
    }

    /// The first that is satisfied, else the one that fails last.
    fn any_of(&mut self, value: &Value, schemas: &[Schema], tally: &mut Tally) {
        let mut best: Option<Tally> = None;
        for schema in schemas {
            let result = self.value(value, None, schema);
            if result.issues.is_empty() {
                tally.merge(result);
                return;
            }
            if best.as_ref().is_none_or(|best| result.matches > best.matches) {
                best = Some(result);
            }
        }
        if let Some(best) = best {
            tally.add(self.junctor_issue("must validate at least one schema (anyOf)"));
            tally.merge(best);
        }
    }

    fn one_of(&mut self, value: &Value, schemas: &[Schema], tally: &mut Tally) {
        let mut best: Option<Tally> = None;
        let mut first: Option<Tally> = None;
        let mut satisfied = 0;
        for schema in schemas {
            let result = self.value(value, None, schema);
            if result.issues.is_empty() {
                satisfied += 1;
                best = None;
                first.get_or_insert(result);
            } else if satisfied == 0 && best.as_ref().is_none_or(|best| result.matches > best.matches) {
                best = Some(result);
            }
        }
        if schemas.is_empty() {
            return;
        }
        if satisfied == 1 {
            tally.merge(first.unwrap_or_default());
            return;
        }
        let found = match satisfied {
            0 => "Found none valid".into(),
            count => format!("Found {count} valid alternatives"),
        };
        tally.add(self.junctor_issue(&format!("must validate one and only one schema (oneOf). {found}")));
        tally.merge(best.unwrap_or_default());
    }

    fn all_of(&mut self, value: &Value, schemas: &[Schema], tally: &mut Tally) {
        let mut satisfied = 0;
        for schema in schemas {
            let result = self.value(value, None, schema);
            satisfied += usize::from(result.issues.is_empty());
            tally.merge(result);
        }
        if satisfied != schemas.len() {
            let none = if satisfied == 0 { ". None validated" } else { "" };
            tally.add(self.junctor_issue(&format!("must validate all the schemas (allOf){none}")));
        }
    }

    fn list(&mut self, list: &[Value], old: Option<&Value>, schema: &Schema) -> Tally {
        let mut tally = Tally::default();
        if let Some(items) = schema.items.as_deref() {
            let mut finder =
                old.filter(|_| schema.list == ListType::Map).map(|old| correlate::Finder::new(schema, old));
            for (at, item) in list.iter().enumerate() {
                let old = finder.as_mut().and_then(|finder| finder.find(item));
                let mark = self.trail.index(at);
                tally.merge(self.ratcheted(item, old, items));
                self.trail.back(mark);
            }
        }
        if let Some(checks) = schema.checks.as_deref() {
            self.size_of_list(list, checks, &mut tally);
        }
        tally.matches += 1;
        tally
    }

    fn size_of_list(&self, list: &[Value], checks: &Checks, tally: &mut Tally) {
        let (at, size) = (self.trail.as_str(), list.len() as i64);
        if let Some(min) = checks.min_items.filter(|min| size < *min) {
            tally.add(Issue::other(at, size, &format!("should have at least {min} items")));
        }
        if let Some(max) = checks.max_items.filter(|max| size > *max) {
            tally.add(Issue::too_many(at, size, max, "items"));
        }
        let repeats = |(at, item): (usize, &Value)| list[..at].contains(item);
        if checks.unique_items && list.iter().enumerate().any(repeats) {
            tally.add(Issue::other(at, "", "shouldn't contain duplicates"));
        }
    }

    fn object(&mut self, map: &Map, value: &Value, old: Option<&Value>, schema: &Schema) -> Tally {
        let mut tally = Tally::default();
        if let Some(checks) = schema.checks.as_deref() {
            self.size_of_object(map, checks, &mut tally);
        }
        for (name, field) in map.iter().filter(|(name, _)| !schema.properties.contains(name)) {
            match &schema.additional {
                Additional::Absent | Additional::Allowed(true) => {}
                Additional::Allowed(false) => tally.add(Issue::forbidden_property(self.trail.as_str(), name)),
                Additional::Schema(other) => {
                    let old = self.old_field(old, schema, value, name);
                    let mark = self.trail.dotted(name);
                    tally.merge(self.ratcheted(field, old, other));
                    self.trail.back(mark);
                }
            }
        }
        for (name, property) in schema.properties.iter() {
            let Some(field) = map.get(name) else { continue };
            let old = self.old_field(old, schema, value, name);
            let mark = self.trail.name(name);
            tally.merge(self.ratcheted(field, old, property));
            self.trail.back(mark);
        }
        let required = schema.checks.as_deref().map_or(&[][..], |checks| &checks.required);
        for name in required.iter().filter(|name| !map.contains(name)) {
            tally.add(Issue::required(self.trail.as_str(), name));
        }
        tally
    }

    fn size_of_object(&self, map: &Map, checks: &Checks, tally: &mut Tally) {
        let (at, size) = (self.trail.as_str(), map.len() as i64);
        if let Some(min) = checks.min_properties.filter(|min| size < *min) {
            tally.add(Issue::other(at, size, &format!("should have at least {min} properties")));
        }
        if let Some(max) = checks.max_properties.filter(|max| size > *max) {
            tally.add(Issue::too_many(at, size, max, "properties"));
        }
    }

    fn old_field<'v>(&self, old: Option<&'v Value>, schema: &Schema, value: &Value, name: &str) -> Option<&'v Value> {
        // Both were converted to the same version: a change of these is not seen.
        if self.trail.is_empty() && matches!(name, "kind" | "apiVersion") {
            return None;
        }
        correlate::field(schema, value, old?, name).map(|(_, old)| old)
    }
}

/// Go's conversions make numbers equal that are not, and a number the text of its code point.
fn is_enumerated(value: &Value, allowed: &Value) -> bool {
    match (value, allowed) {
        (_, Value::Null) => false,
        (Value::Int(number), Value::Float(allowed)) => *number as f64 == *allowed,
        (Value::Float(number), Value::Int(allowed)) => number::truncated(*number) == *allowed,
        (Value::Int(code), Value::String(allowed)) => {
            let c = u32::try_from(*code).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
            allowed.chars().eq([c])
        }
        (value, allowed) => value == allowed,
    }
}
