//! FieldsV1: the JSON form of a set of fields, both ways.
//!
//! Invariant: what is encoded has upstream's names in upstream's order
//! (sigs.k8s.io/structured-merge-diff/v6/fieldpath/serialize.go@v6.4.2).

use std::cmp::Ordering;

use api::value::{Map, Str, Value};

use crate::path::{Element, Malformed};
use crate::set::Set;

const SELF: &str = ".";

/// The set as a FieldsV1 object.
pub fn encode(set: &Set) -> Map {
    contents(set, false)
}

fn contents(set: &Set, is_member: bool) -> Map {
    let mut out = Map::with_capacity(set.members.len().max(set.children.len()) + 1);
    if is_member && !(set.members.is_empty() && set.children.is_empty()) {
        out.push(Str::const_new(SELF), Value::Map(Map::new()));
    }
    let (mut members, mut children) = (set.members.iter().peekable(), set.children.iter().peekable());
    loop {
        let order = match (members.peek(), children.peek()) {
            (None, None) => return out,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(member), Some((element, _))) => (*member).cmp(element),
        };
        let member = if order.is_le() { members.next() } else { None };
        let child = if order.is_ge() { children.next() } else { None };
        match (member, child) {
            (_, Some((element, child))) => out.push(element.encode(), Value::Map(contents(child, member.is_some()))),
            (Some(member), None) => out.push(member.encode(), Value::Map(Map::new())),
            (None, None) => return out,
        }
    }
}

/// The set of a FieldsV1 object; elements of unknown types are dropped.
pub fn decode(fields: &Map) -> Result<Set, Malformed> {
    Ok(read(fields)?.0.unwrap_or_default())
}

/// What is below an object, and whether it is itself a member.
fn read(fields: &Map) -> Result<(Option<Set>, bool), Malformed> {
    let (mut below, mut is_member) = (Set::new(), false);
    for (name, value) in fields.iter() {
        if name == SELF {
            is_member = true;
            continue;
        }
        let Some(element) = Element::decode(name)? else { continue };
        let Value::Map(inner) = value else {
            return Err(Malformed::Content("expect { or n".into()));
        };
        let (grandchildren, child_is_member) = read(inner)?;
        match (grandchildren, child_is_member) {
            (Some(children), true) => {
                below.members.push(element.clone());
                below.children.push((element, children));
            }
            (Some(children), false) => below.children.push((element, children)),
            (None, true) => below.members.push(element),
            (None, false) => {}
        }
    }
    if below.members.is_empty() && below.children.is_empty() {
        return Ok((None, true));
    }
    tidy(&mut below);
    Ok((Some(below), is_member))
}

/// Sorts; of elements that occur twice the last wins.
fn tidy(set: &mut Set) {
    set.members.sort();
    set.members.dedup();
    if set.children.is_sorted_by(|a, b| a.0 < b.0) {
        return;
    }
    set.children.sort_by(|a, b| a.0.cmp(&b.0));
    let mut last: Vec<(Element, Set)> = Vec::with_capacity(set.children.len());
    for child in std::mem::take(&mut set.children) {
        match last.last_mut() {
            Some(previous) if previous.0 == child.0 => *previous = child,
            _ => last.push(child),
        }
    }
    set.children = last;
}
