//! Goes through an object along the rules, beside its old value where there is one.

use api::facts::{Struct, Type};
use api::field::{self, Errors, Path};
use api::rules::{Check, Constraint, Inside, Rule, Rules, Set, Test};
use api::value::{Map, Value};

use super::{custom, format, limits, lists, option, unions};
use crate::resources::common::{IMMUTABLE, same};

/// What a field that is no pointer has when the object does not name it.
static ZERO: Value = Value::Null;

/// Where the walk is; a path is made of it only when there is something to say.
#[derive(Clone, Copy)]
pub(super) enum Place<'p> {
    Root,
    Name(&'p Place<'p>, &'static str),
    Index(&'p Place<'p>, usize),
    Key(&'p Place<'p>, &'p str),
}

impl Place<'_> {
    pub(super) const ROOT: Place<'static> = Place::Root;

    pub(super) fn path(&self) -> Path {
        match self {
            Place::Root => Path::default(),
            Place::Name(parent, name) => parent.path().child(name),
            Place::Index(parent, at) => parent.path().index(*at),
            Place::Key(parent, key) => parent.path().key(key),
        }
    }
}

/// A value, the one it was, and their type. `None` is Go's nil.
#[derive(Clone, Copy)]
pub(super) struct At<'v> {
    pub(super) new: Option<&'v Value>,
    pub(super) old: Option<&'v Value>,
    pub(super) ty: Option<&'v Type>,
}

pub(super) fn map(value: Option<&Value>) -> &Map {
    value.and_then(Value::as_map).unwrap_or(Map::EMPTY)
}

pub(super) fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_list).unwrap_or_default()
}

/// A field of a struct that is there.
fn field_of<'v>(parent: Option<&'v Map>, name: &str, pointer: bool) -> Option<&'v Value> {
    let value = parent?.get(name).filter(|value| !value.is_null());
    if pointer { value } else { Some(value.unwrap_or(&ZERO)) }
}

/// The struct of a value that is there.
fn structure(value: Option<&Value>) -> Option<&Map> {
    value.map(|value| value.as_map().unwrap_or(Map::EMPTY))
}

/// The type of a field, or of what a list or map holds.
pub(super) fn inner<'v>(ty: Option<&'v Type>, name: Option<&str>) -> Option<&'v Type> {
    match (ty?, name) {
        (Type::Struct(ty), Some(name)) => ty.field(name).map(|field| &field.ty),
        (Type::List(inner) | Type::Wrapped(inner) | Type::Map(inner), None) => Some(*inner),
        _ => None,
    }
}

pub(super) fn equal(a: Option<&Value>, b: Option<&Value>) -> bool {
    let zero = |value: Option<&Value>| value.is_some_and(Value::is_zero);
    match (a, b) {
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
        _ => (zero(a) && zero(b)) || same(a, b),
    }
}

pub(super) fn is_set(value: Option<&Value>, set: Set) -> bool {
    match set {
        Set::Pointer => value.is_some_and(|value| !value.is_null()),
        Set::Value | Set::Slice | Set::Map => value.is_some_and(|value| !value.is_zero()),
    }
}

pub(super) struct Walk {
    pub(super) update: bool,
}

impl Walk {
    pub(super) fn rules(&self, rules: &'static [Rule], place: &Place, at: At, told: &mut Errors) {
        for rule in rules {
            match rule {
                Rule::Check(check) => {
                    self.check(check, place, at, told);
                }
                Rule::Gated(gates, rest) => {
                    let failed = gates.iter().filter(|gate| self.check(gate, place, at, told)).count();
                    if failed == 0 {
                        self.rules(rest, place, at, told);
                    }
                }
                Rule::Type(rules) => self.rules(rules.0, place, at, told),
                Rule::Field(inside) if inside.inline => self.rules(inside.rules, place, at, told),
                Rule::Field(inside) => {
                    let both = [structure(at.new), structure(at.old)];
                    self.field(inside, place, both, inner(at.ty, Some(inside.name)), told);
                }
            }
        }
    }

    /// The rules of a whole object, which all are about its fields.
    pub(super) fn object(
        &self,
        rules: &'static Rules,
        both: [Option<&Map>; 2],
        ty: &'static Struct,
        told: &mut Errors,
    ) {
        for rule in rules.0 {
            if let Rule::Field(inside) = rule {
                self.field(inside, &Place::ROOT, both, ty.field(inside.name).map(|field| &field.ty), told);
            }
        }
    }

    /// A field's rules, unless an update left it alone. `both`: the new struct and the old one.
    fn field(
        &self,
        inside: &'static Inside,
        place: &Place,
        both: [Option<&Map>; 2],
        ty: Option<&Type>,
        told: &mut Errors,
    ) {
        let [new, old] = both.map(|parent| field_of(parent, inside.name, inside.pointer));
        if self.update && both[1].is_some() && equal(new, old) {
            return;
        }
        self.rules(inside.rules, &Place::Name(place, inside.name), At { new, old, ty }, told);
    }

    /// True when the test failed.
    fn check(&self, check: &'static Check, place: &Place, at: At, told: &mut Errors) -> bool {
        let errors = self.test(&check.test, place, at);
        let failed = !errors.is_empty();
        if check.told {
            told.extend(errors);
        }
        failed
    }

    fn test(&self, test: &'static Test, place: &Place, at: At) -> Errors {
        let mut errors = Errors::new();
        match test {
            Test::Required(set) if !is_set(at.new, *set) => errors.push(field::required(&place.path(), "")),
            Test::Forbidden(set) if is_set(at.new, *set) => errors.push(field::forbidden(&place.path(), "")),
            Test::Required(_) | Test::Forbidden(_) => {}
            Test::Immutable if self.update => errors.push(field::invalid(&place.path(), Value::Null, IMMUTABLE)),
            Test::Immutable => {}
            Test::Monotonic => limits::monotonic(self, place, at, &mut errors),
            Test::Enum(values, excluded) => limits::one_of(values, excluded, place, at, &mut errors),
            Test::MaxItems(max) => limits::items(*max, place, at, &mut errors),
            Test::MaxLength(max) => limits::characters(*max, place, at, &mut errors),
            Test::MaxBytes(max) => limits::bytes(*max, place, at, &mut errors),
            Test::Minimum(min) => limits::minimum(*min, place, at, &mut errors),
            Test::Maximum(max) => limits::maximum(*max, place, at, &mut errors),
            Test::Format(wanted) => {
                if let Some(text) = at.new.and_then(text) {
                    errors = format::check(*wanted, text, &place.path());
                }
            }
            Test::Custom(name) => errors = custom::check(name, place, at),
            Test::Update(set, by, constraints) => {
                if self.update {
                    self.update(*set, constraints, place, at, &mut errors);
                    lists::update(*by, constraints, place, at, &mut errors);
                }
            }
            Test::Unique(by) => lists::unique(*by, place, at, &mut errors),
            Test::Each { by, compare, rules } => lists::each(self, *by, *compare, rules, place, at, &mut errors),
            Test::MapValues(rules) => lists::map_values(self, rules, place, at, &mut errors),
            Test::MapKeys(rules) => lists::map_keys(self, rules, place, at, &mut errors),
            Test::Subfield(inside) => {
                let both = [structure(at.new), structure(at.old)];
                self.field(inside, place, both, inner(at.ty, Some(inside.name)), &mut errors);
            }
            Test::Option(name, state, rules) if option(name) == *state => self.rules(rules, place, at, &mut errors),
            Test::Option(..) => {}
            Test::Union { exactly, members } => unions::union(self, *exactly, members, place, at, &mut errors),
            Test::Discriminated { field, by, cases, other } => {
                let choice = unions::Choice { field: *field, by: *by, cases: *cases, other: *other };
                unions::discriminated(self, &choice, place, at, &mut errors);
            }
            Test::Dependent { forbidden, trigger, trigger_set, dependent, dependent_set } => {
                let names = [(*trigger, *trigger_set), (*dependent, *dependent_set)];
                unions::dependent(self, *forbidden, names, place, at, &mut errors);
            }
        }
        errors
    }

    /// What an update may not do to a field as a whole (validate/update.go).
    fn update(&self, set: Set, constraints: &[Constraint], place: &Place, at: At, errors: &mut Errors) {
        if set == Set::Value && at.old.is_none() {
            return;
        }
        let (now, was) = (is_set(at.new, set), is_set(at.old, set));
        for constraint in constraints {
            let why = match constraint {
                Constraint::NoSet if now && !was => "field cannot be set once created",
                Constraint::NoUnset if was && !now => "field cannot be cleared once set",
                Constraint::NoModify if was && now => "field cannot be modified once set",
                _ => continue,
            };
            errors.push(field::invalid(&place.path(), Value::Null, why));
        }
    }
}

/// The text of a value; a field that is not named is empty text.
pub(super) fn text(value: &Value) -> Option<&str> {
    if value.is_null() { Some("") } else { value.as_str() }
}
