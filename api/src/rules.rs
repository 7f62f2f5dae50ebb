//! Declarative validation as facts: what upstream's markers (`+k8s:required`, `+k8s:maxItems`, ...) say of a type, in
//! the order in which its generated functions ask (k8s.io/kubernetes/pkg/apis/*/*/zz_generated.validations.go@v1.37.2).
//!
//! Non-goal: judging. What a rule means for a value, and its words, are the API server's.

use crate::generated;

/// What is asked of a type's values, in order.
pub struct Rules(pub &'static [Rule]);

/// A kind whose objects are validated by rules.
pub struct Served {
    /// OpenAPI name, as [`crate::facts::Struct::name`].
    pub name: &'static str,
    /// Where the rules hold; the resource itself is an empty name.
    pub subresources: &'static [&'static str],
    pub rules: &'static Rules,
}

/// One step of a validation.
pub enum Rule {
    Check(Check),
    /// The second are asked when none of the first fails.
    Gated(&'static [Check], &'static [Rule]),
    /// Everything that is asked of a type.
    Type(&'static Rules),
    /// The same of a field, unless an update left it as it was.
    Field(Inside),
}

/// A field and what is asked of it.
pub struct Inside {
    pub name: &'static str,
    /// An embedded struct: its fields stand in the parent's object.
    pub inline: bool,
    /// Absent differs from zero.
    pub pointer: bool,
    pub rules: &'static [Rule],
}

/// A test, and whether a client hears of its failure: it does not when the field is just optional, nor while upstream
/// only tries the rule out (`+k8s:alpha`).
pub struct Check {
    pub told: bool,
    pub test: Test,
}

/// A function of k8s.io/apimachinery/pkg/api/validate@v0.37.2.
pub enum Test {
    Required(Set),
    Forbidden(Set),
    /// The values, sorted, and those that are not values while an option has a state: value, state, option.
    Enum(&'static [&'static str], &'static [(&'static str, bool, &'static str)]),
    MaxItems(usize),
    MaxLength(usize),
    MaxBytes(usize),
    Minimum(i64),
    Maximum(i64),
    Format(Format),
    /// A function that upstream wrote by hand, by its name.
    Custom(&'static str),
    Immutable,
    Monotonic,
    Update(Set, Match, &'static [Constraint]),
    Unique(Match),
    /// Every element of a list; on update not those that are as they were, when `compare` or when found whole.
    Each {
        by: Match,
        compare: bool,
        rules: &'static [Rule],
    },
    MapValues(&'static [Rule]),
    MapKeys(&'static [Rule]),
    Subfield(Inside),
    /// While an option has the state.
    Option(&'static str, bool, &'static [Rule]),
    /// One of the members is set: exactly, or at most.
    Union {
        exactly: bool,
        members: &'static [(&'static str, Case)],
    },
    /// What is asked of `field` depends on the value of another.
    Discriminated {
        field: &'static str,
        by: &'static str,
        cases: &'static [(&'static str, &'static [Rule])],
        other: &'static [Rule],
    },
    /// A field that must be there, or may not, when another is.
    Dependent {
        forbidden: bool,
        trigger: &'static str,
        trigger_set: Case,
        dependent: &'static str,
        dependent_set: Case,
    },
}

/// How Go sees a value, and so when it is set: not zero, not nil, not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    Value,
    Pointer,
    Slice,
    Map,
}

/// When a member of a union is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    Field(&'static str, Set),
    /// A list has an element whose field has the value.
    Item(&'static str, &'static str),
}

/// How an element of a list is found in another list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    None,
    Whole,
    Fields(&'static [&'static str]),
}

/// What an update may not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constraint {
    NoSet,
    NoUnset,
    NoModify,
    NoAddItem,
    NoRemoveItem,
}

/// A form of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    ShortName,
    LongName,
    LongNameCaseless,
    LabelKey,
    PrefixedLabelKey,
    LabelValue,
    PathSegmentName,
    #[expect(clippy::upper_case_acronyms, reason = "upstream's name")]
    UUID,
    ResourcePoolName,
    ExtendedResourceName,
    ResourceFullyQualifiedName,
}

/// What is asked of the objects of a type when they are written through a subresource; an empty name is the resource.
pub fn of(ty: &str, subresource: &str) -> Option<&'static Rules> {
    let all = generated::rules::SERVED;
    let from = all.partition_point(|row| row.name < ty);
    let rows = all[from..].iter().take_while(|row| row.name == ty);
    rows.into_iter().find(|row| row.subresources.contains(&subresource)).map(|row| row.rules)
}
