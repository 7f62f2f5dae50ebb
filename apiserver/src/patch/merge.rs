//! JSON merge patch (RFC 7386; gopkg.in/evanphx/json-patch.v4@v4.13.0: merge.go).

use api::json::scan;

use super::document::{DEPTH_MAX, Form, Node, Object};

/// A patch that is none: null.
pub(crate) const BAD_PATCH: &str = "Invalid JSON Patch";

/// The text of the document with the patch merged in; a patch that is an array takes the document's place.
///
/// # Errors
/// The library's text.
pub(crate) fn apply(document: &str, patch: &str) -> Result<Vec<u8>, String> {
    let bad = || BAD_PATCH.to_owned();
    if scan::depth(patch) > DEPTH_MAX {
        return Err(scan::TOO_DEEP.into());
    }
    let mut patch = Node::of(patch).ok_or_else(bad)?;
    let mut document = Node::of(document).ok_or("Invalid JSON Document")?;
    let mut out = Vec::new();
    if patch.as_object().is_some() {
        merge_objects(&mut document, patch);
        document.write(&mut out);
    } else {
        patch.as_array().ok_or_else(bad)?.iter_mut().flatten().for_each(prune);
        patch.write(&mut out);
    }
    Ok(out)
}

fn merge_objects<'t>(document: &mut Node<'t>, patch: Node<'t>) {
    let Some(object) = document.as_object() else { return };
    let mut patch = patch;
    if let Form::Object(changes) = patch.form() {
        for (name, change) in std::mem::take(changes) {
            merge_member(object, name, change);
        }
    }
}

fn merge_member<'t>(object: &mut Object<'t>, name: String, change: Option<Node<'t>>) {
    let Some(mut change) = change else {
        object.remove(&name);
        return;
    };
    if let Some(Some(present)) = object.get_mut(&name)
        && present.as_object().is_some()
    {
        if change.as_object().is_some() {
            merge_objects(present, change);
        } else {
            *present = change;
        }
        return;
    }
    prune(&mut change);
    object.insert(name, Some(change));
}

/// Takes the nulls out of the objects of a value that is new.
fn prune(node: &mut Node<'_>) {
    if let Some(object) = node.as_object() {
        object.retain(|_, member| member.is_some());
        object.values_mut().flatten().for_each(prune);
    } else if let Some(array) = node.as_array() {
        array.iter_mut().flatten().for_each(prune);
    }
}
