//! Whether the defaults in a schema satisfy it
//! (k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting/validation.go@v0.37.2).

use api::field::{self, Errors, Path};
use api::value::Value;

use crate::default::{self, Step};
use crate::meta::{self, Malformed};
use crate::rules::{self, Rules};
use crate::schema::Schema;
use crate::{embedded, prune, validate};

/// Everything wrong with defaults of a resource's schema; `pruned`: they may not have unknown fields.
pub(crate) fn validate(path: &Path, schema: &Schema, pruned: bool, rules: Option<&dyn Rules>) -> Errors {
    let mut walk = Walk {
        pruned,
        rules,
        resource: schema,
        steps: Vec::new(),
        budget: rules::REQUEST_COST_MAX,
        errors: Errors::new(),
    };
    walk.node(path, schema, true, false);
    walk.errors
}

struct Walk<'a> {
    pruned: bool,
    rules: Option<&'a dyn Rules>,
    /// The resource around the place: the root, or an embedded one.
    resource: &'a Schema,
    /// From the resource to the place.
    steps: Vec<Step>,
    budget: i64,
    errors: Errors,
}

impl<'a> Walk<'a> {
    fn node(&mut self, path: &Path, schema: &'a Schema, resource: bool, mut in_meta: bool) {
        if !schema.has_defaults || self.budget < 0 {
            return;
        }
        let outside = schema.embedded_resource.then(|| {
            in_meta = false;
            (std::mem::replace(&mut self.resource, schema), std::mem::take(&mut self.steps))
        });
        if let Some(value) = &schema.default {
            let path = path.child("default");
            let value =
                if in_meta { self.in_metadata(&path, value) } else { self.outside_metadata(&path, value, schema) };
            if let Some(value) = value.filter(|value| self.in_schema(&path, value, schema)) {
                self.rules(&path, &value, schema);
            }
        }
        if let Some(items) = schema.items.as_deref() {
            self.below(&path.child("items"), items, Step::Item, in_meta);
        }
        for (name, property) in schema.properties.iter() {
            let meta = in_meta || (resource || schema.embedded_resource) && prune::is_meta(name);
            let path = path.child("properties").key(name);
            self.below(&path, property, Step::Name(name.to_string()), meta);
        }
        if let Some((resource, steps)) = outside {
            (self.resource, self.steps) = (resource, steps);
        }
    }

    fn below(&mut self, path: &Path, schema: &'a Schema, step: Step, in_meta: bool) {
        self.steps.push(step);
        self.node(path, schema, false, in_meta);
        self.steps.pop();
    }

    /// The default in a resource that has nothing else must be good metadata.
    fn in_metadata(&mut self, path: &Path, value: &Value) -> Option<Value> {
        let mut object = default::surrounded(value.clone(), &self.steps);
        if let Value::Map(map) = &mut object {
            for (name, text) in [("kind", "Validation"), ("apiVersion", "validation/v1")] {
                if !map.contains(name) {
                    map.set(name, text);
                }
            }
        }
        let root = Some(self.resource);
        let error = match meta::coerce(&mut object, root, true, Malformed::Refuse) {
            Err(error) => error.to_string(),
            Ok(_) => match embedded::validate(&Path::default(), &object, root, true) {
                errors if errors.is_empty() => return Some(value.clone()),
                errors => super::aggregated(&errors),
            },
        };
        let why = format!("must result in valid metadata: {error}");
        self.errors.push(field::invalid(path, crate::go::sorted(value), why));
        None
    }

    /// The default with its metadata coerced.
    fn outside_metadata(&mut self, path: &Path, value: &Value, schema: &Schema) -> Option<Value> {
        let mut pruned = value.clone();
        prune::prune(&mut pruned, Some(schema), schema.embedded_resource);
        let mut copy = value.clone();
        let coerced = meta::coerce_at(path, &mut copy, Some(schema), schema.embedded_resource, Malformed::Refuse);
        if self.pruned && pruned != *value {
            // Upstream shows what it has coerced by then.
            let why = "must not have unknown fields";
            self.errors.push(field::invalid(path, crate::go::sorted(&copy), why));
        }
        if let Err(error) = coerced {
            self.errors.push(error);
            return None;
        }
        let errors = embedded::validate(path, &copy, Some(schema), schema.embedded_resource);
        let good = errors.is_empty();
        self.errors.extend(errors);
        good.then_some(copy)
    }

    fn in_schema(&mut self, path: &Path, value: &Value, schema: &Schema) -> bool {
        let errors = validate::validate_default(path, value, schema);
        let good = errors.is_empty();
        self.errors.extend(errors);
        good
    }

    /// As an unchanged value, and as a new one; the dearer counts.
    fn rules(&mut self, path: &Path, value: &Value, schema: &Schema) {
        let Some(rules) = self.rules.filter(|_| schema.has_rules) else { return };
        let path = path.to_string();
        let found = rules::validate_at(rules, schema, &path, value, Some(value), self.budget);
        let mut left = found.budget;
        if found.errors.is_empty() {
            let found = rules::validate_at(rules, schema, &path, value, None, self.budget);
            left = left.min(found.budget);
            self.errors.extend(found.errors);
        }
        self.errors.extend(found.errors);
        self.budget = left;
    }
}
