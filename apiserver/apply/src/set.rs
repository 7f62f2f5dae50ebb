//! Sets of fields: a trie of path elements with the operations that ownership needs.
//!
//! Invariant: members and children are sorted and unique, and no child is empty
//! (sigs.k8s.io/structured-merge-diff/v6/fieldpath/set.go@v6.4.2).

use std::cmp::Ordering;

use crate::path::{Element, Path};
use crate::schema::Ref;

/// A set of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    pub(crate) members: Vec<Element>,
    pub(crate) children: Vec<(Element, Set)>,
}

impl Set {
    pub fn new() -> Self {
        Set::default()
    }

    /// The set of these paths of field names.
    pub fn of_fields(paths: &[&[&str]]) -> Self {
        let mut set = Set::new();
        paths.iter().for_each(|path| set.insert(&Path::fields(path).0));
        set
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.iter().all(|(_, child)| child.is_empty())
    }

    /// Adds a path; its parents do not become members. The root cannot be owned.
    pub fn insert(&mut self, path: &[Element]) {
        match path {
            [] => {}
            [last] => {
                if let Err(at) = self.members.binary_search(last) {
                    self.members.insert(at, last.clone());
                }
            }
            [first, rest @ ..] => self.descend(first).insert(rest),
        }
    }

    pub(crate) fn descend(&mut self, element: &Element) -> &mut Set {
        let at = match self.child_at(element) {
            Ok(at) => at,
            Err(at) => {
                self.children.insert(at, (element.clone(), Set::new()));
                at
            }
        };
        &mut self.children[at].1
    }

    fn child_at(&self, element: &Element) -> Result<usize, usize> {
        self.children.binary_search_by(|child| child.0.cmp(element))
    }

    /// What is below an element.
    pub(crate) fn child(&self, element: &Element) -> Option<&Set> {
        self.child_at(element).ok().map(|at| &self.children[at].1)
    }

    pub(crate) fn has_member(&self, element: &Element) -> bool {
        self.members.binary_search(element).is_ok()
    }

    pub fn has(&self, path: &[Element]) -> bool {
        match path {
            [] => false,
            [last] => self.has_member(last),
            [first, rest @ ..] => self.child(first).is_some_and(|child| child.has(rest)),
        }
    }

    /// Sorts what was appended in any order; elements must be unique.
    pub(crate) fn order(&mut self) {
        if !self.members.is_sorted() {
            self.members.sort_unstable();
        }
        if !self.children.is_sorted_by(|a, b| a.0 <= b.0) {
            self.children.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        }
    }

    /// What is in either.
    pub fn union(&self, other: &Set) -> Set {
        if self.is_empty() {
            return other.clone();
        }
        let mut out = Set::new();
        merge(&self.members, &other.members, |e| e, |found| out.members.extend(found.any().cloned()));
        merge(
            &self.children,
            &other.children,
            |child| &child.0,
            |found| {
                out.children.push(match found {
                    Found::Both(a, b) => (a.0.clone(), a.1.union(&b.1)),
                    Found::Left(child) | Found::Right(child) => child.clone(),
                });
            },
        );
        out
    }

    /// As [`Set::union`], taking both.
    pub(crate) fn joined(self, other: Set) -> Set {
        match (self.is_empty(), other.is_empty()) {
            (true, _) => other,
            (_, true) => self,
            _ => self.union(&other),
        }
    }

    /// Takes away what is in `other`: [`Set::difference`] in place.
    pub(crate) fn subtract(&mut self, other: &Set) {
        self.subtract_with(other, false);
    }

    /// Takes away what is in `other` and what is below that: [`Set::recursive_difference`] in place.
    pub(crate) fn subtract_recursive(&mut self, other: &Set) {
        self.subtract_with(other, true);
    }

    fn subtract_with(&mut self, other: &Set, recursive: bool) {
        if other.is_empty() {
            return;
        }
        if !other.members.is_empty() {
            self.members.retain(|member| !other.has_member(member));
        }
        self.children.retain_mut(|(element, child)| {
            if recursive && other.has_member(element) {
                return false;
            }
            if let Some(other) = other.child(element) {
                child.subtract_with(other, recursive);
            }
            !child.is_empty()
        });
    }

    /// What is in both.
    pub fn intersection(&self, other: &Set) -> Set {
        let mut out = Set::new();
        merge(
            &self.members,
            &other.members,
            |e| e,
            |found| {
                if let Found::Both(element, _) = found {
                    out.members.push(element.clone());
                }
            },
        );
        merge(
            &self.children,
            &other.children,
            |child| &child.0,
            |found| {
                if let Found::Both(a, b) = found {
                    out.push_child(&a.0, a.1.intersection(&b.1));
                }
            },
        );
        out
    }

    /// What is here and not in `other`; members and what is below them are apart.
    pub fn difference(&self, other: &Set) -> Set {
        if other.is_empty() {
            return self.clone();
        }
        let mut out = Set::new();
        out.members = members_only_here(self, other);
        merge(
            &self.children,
            &other.children,
            |child| &child.0,
            |found| match found {
                Found::Left(child) => out.children.push(child.clone()),
                Found::Both(a, b) => out.push_child(&a.0, a.1.difference(&b.1)),
                Found::Right(_) => {}
            },
        );
        out
    }

    /// What is here and neither in `other` nor below one of its members.
    pub fn recursive_difference(&self, other: &Set) -> Set {
        if other.is_empty() {
            return self.clone();
        }
        let mut out = Set::new();
        out.members = members_only_here(self, other);
        merge(
            &self.children,
            &other.children,
            |child| &child.0,
            |found| match found {
                Found::Left(child) | Found::Both(child, _) if other.has_member(&child.0) => {}
                Found::Left(child) => out.children.push(child.clone()),
                Found::Both(a, b) => out.push_child(&a.0, a.1.recursive_difference(&b.1)),
                Found::Right(_) => {}
            },
        );
        out
    }

    /// Appends a member and what is below it, in any order.
    pub(crate) fn push_whole(&mut self, element: Element, below: Set) {
        if !below.is_empty() {
            self.children.push((element.clone(), below));
        }
        self.members.push(element);
    }

    fn push_child(&mut self, element: &Element, child: Set) {
        if !child.is_empty() {
            self.children.push((element.clone(), child));
        }
    }

    /// The members that have nothing below them.
    pub fn leaves(&self) -> Set {
        let bare = self.members.iter().filter(|member| self.child_at(member).is_err());
        Set {
            members: bare.cloned().collect(),
            children: self.children.iter().map(|(element, child)| (element.clone(), child.leaves())).collect(),
        }
    }

    /// With `a.b.c` also `a` and `a.b`, where they are fields that the schema names.
    pub fn ensure_named_fields_are_members(&self, ty: Option<Ref<'_>>) -> Set {
        let mut out = Set { members: self.members.clone(), children: Vec::with_capacity(self.children.len()) };
        let atom = ty.and_then(Ref::atom);
        for (element, child) in &self.children {
            let below = match (element, atom) {
                (Element::Field(name), Some(atom)) if atom.map.is_some() => {
                    let field = ty.and_then(|ty| ty.field(name));
                    if field.is_some() && !self.has_member(element) {
                        out.members.push(element.clone());
                    }
                    field.or(atom.map.and_then(|map| map.element))
                }
                (Element::Key(_), Some(atom)) => atom.list.map(|list| list.element),
                _ => None,
            };
            out.children.push((element.clone(), child.ensure_named_fields_are_members(below)));
        }
        out.order();
        out
    }

    /// Calls `visit` with each path: members first, then what is below.
    pub fn each(&self, visit: &mut impl FnMut(&Path)) {
        self.each_below(&mut Path::default(), visit);
    }

    fn each_below(&self, prefix: &mut Path, visit: &mut impl FnMut(&Path)) {
        for member in &self.members {
            prefix.0.push(member.clone());
            visit(prefix);
            prefix.0.pop();
        }
        for (element, child) in &self.children {
            prefix.0.push(element.clone());
            child.each_below(prefix, visit);
            prefix.0.pop();
        }
    }
}

fn members_only_here(set: &Set, other: &Set) -> Vec<Element> {
    let mut out = Vec::with_capacity(set.members.len());
    merge(
        &set.members,
        &other.members,
        |e| e,
        |found| {
            if let Found::Left(element) = found {
                out.push(element.clone());
            }
        },
    );
    out
}

enum Found<'a, T> {
    Left(&'a T),
    Right(&'a T),
    Both(&'a T, &'a T),
}

impl<'a, T> Found<'a, T> {
    fn any(self) -> Option<&'a T> {
        match self {
            Found::Left(one) | Found::Right(one) | Found::Both(one, _) => Some(one),
        }
    }
}

/// Walks two sorted lists together.
fn merge<T>(left: &[T], right: &[T], key: impl Fn(&T) -> &Element, mut visit: impl FnMut(Found<'_, T>)) {
    let (mut i, mut j) = (0, 0);
    while let (Some(a), Some(b)) = (left.get(i), right.get(j)) {
        match key(a).cmp(key(b)) {
            Ordering::Less => visit(Found::Left(a)),
            Ordering::Greater => visit(Found::Right(b)),
            Ordering::Equal => visit(Found::Both(a, b)),
        }
        let order = key(a).cmp(key(b));
        i += usize::from(order.is_le());
        j += usize::from(order.is_ge());
    }
    left[i..].iter().for_each(|a| visit(Found::Left(a)));
    right[j..].iter().for_each(|b| visit(Found::Right(b)));
}

/// Which fields of a set count; the others are not owned through a path that resets them.
#[derive(Clone, Debug)]
pub enum Filter {
    /// Not these, nor what is below them.
    Exclude(Set),
}

impl Filter {
    pub fn apply(&self, mut set: Set) -> Set {
        match self {
            Filter::Exclude(fields) => {
                set.subtract_recursive(fields);
                set
            }
        }
    }
}
