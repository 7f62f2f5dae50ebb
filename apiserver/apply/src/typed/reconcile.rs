//! Field sets written under an older schema, made to fit the present one: what became atomic is owned
//! as a whole (sigs.k8s.io/structured-merge-diff/v6/typed/reconcile_schema.go@v6.4.2).

use super::{Handler, Problems, Typed, handler, invalid_atom};
use crate::path::Element;
use crate::schema::{Ref, Relation, Scalar};
use crate::set::Set;

/// The set that fits the schema, or `None` when it already does.
pub(crate) fn reconcile(set: &Set, ty: Ref<'_>) -> Result<Option<Set>, String> {
    let mut problems = Problems::default();
    let found = visit(Some(set), ty, false, &mut problems);
    if !problems.0.is_empty() {
        return Err(format!("errors reconciling field set with schema: {problems}"));
    }
    Ok(match found {
        Found::Nothing | Found::Whole => None,
        Found::Below(paths) => Some(set.recursive_difference(&paths).union(&paths)),
    })
}

/// What has to be owned as a whole.
enum Found {
    Nothing,
    /// The place itself.
    Whole,
    /// Places below it.
    Below(Set),
}

fn visit(set: Option<&Set>, ty: Ref<'_>, is_leaf: bool, problems: &mut Problems) -> Found {
    let Some(atom) = ty.atom() else {
        problems.push(format!("could not resolve {}", ty.name().unwrap_or("inlined type")));
        return Found::Nothing;
    };
    match handler(atom) {
        Handler::Scalar(_) => Found::Nothing,
        Handler::List(list) => match list.relation {
            Relation::Atomic if !is_leaf => Found::Whole,
            _ => below(set, |_| Some(list.element), problems),
        },
        Handler::Map(map) => {
            if map.element.is_some_and(is_deduced) && !ty.has_fields() {
                return Found::Nothing;
            }
            if map.atomic && !is_leaf {
                return if set.is_some_and(|set| !set.is_empty()) { Found::Whole } else { Found::Nothing };
            }
            let entry = |element: &Element| match element {
                Element::Field(name) => ty.field(name).or(map.element),
                _ => map.element,
            };
            below(set, entry, problems)
        }
        Handler::Invalid => {
            problems.push(invalid_atom(ty));
            Found::Nothing
        }
    }
}

/// Types that are deduced know neither atomic nor granular; nothing is to be reconciled.
fn is_deduced(ty: Ref<'_>) -> bool {
    match ty.name() {
        Some(name) => name == "__untyped_deduced_",
        None => matches!(ty, Ref::Custom(..)) && ty.atom().is_some_and(|atom| atom.scalar == Some(Scalar::Untyped)),
    }
}

fn below<'s>(set: Option<&Set>, entry: impl Fn(&Element) -> Option<Ref<'s>>, problems: &mut Problems) -> Found {
    let Some(set) = set else { return Found::Nothing };
    let mut out = Set::new();
    let bare = set.children.iter().map(|child| &child.0).filter(|element| !set.has_member(element));
    for element in bare.chain(&set.members) {
        let Some(ty) = entry(element) else { continue };
        let child = set.child(element);
        let is_leaf = child.is_none() && set.has_member(element);
        match visit(child, ty, is_leaf, problems) {
            Found::Nothing => {}
            Found::Whole => out.insert(std::slice::from_ref(element)),
            Found::Below(paths) => *out.descend(element) = paths,
        }
    }
    if out.is_empty() { Found::Nothing } else { Found::Below(out) }
}

impl Typed<'_> {
    /// A field set of this object, made to fit its type.
    pub fn reconcile(self, set: &Set) -> Result<Set, String> {
        Ok(reconcile(set, self.ty)?.unwrap_or_else(|| set.clone()))
    }
}
