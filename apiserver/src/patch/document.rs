//! A JSON document that is parsed only where a patch reaches, as the library upstream uses does it
//! (gopkg.in/evanphx/json-patch.v4@v4.13.0: lazyNode, partialDoc, partialArray).
//!
//! Invariant: what no patch reached stays text, in its own order; an object that was reached has its names sorted. A
//! client is shown the text when it does not decode.

use std::borrow::Cow;
use std::collections::BTreeMap;

use api::json::scan;

/// How deep a document may be: no deeper is read when it is an object again (serde_json's limit), and the functions here
/// call themselves as deep.
pub(super) const DEPTH_MAX: usize = 128;

/// A value; where Go has a nil node (null, or nothing) there is none.
#[derive(Clone, Debug)]
pub(super) struct Node<'t> {
    /// As it stood; what a path leads through has to have one.
    text: Option<Cow<'t, str>>,
    form: Form<'t>,
}

pub(super) type Object<'t> = BTreeMap<String, Option<Node<'t>>>;

#[derive(Clone, Debug)]
pub(super) enum Form<'t> {
    Text,
    Object(Object<'t>),
    Array(Vec<Option<Node<'t>>>),
}

impl<'t> Node<'t> {
    /// `None` for null.
    pub(super) fn of(text: &'t str) -> Option<Self> {
        let text = text.trim();
        (text != "null").then_some(Node { text: Some(Cow::Borrowed(text)), form: Form::Text })
    }

    fn owned(text: String) -> Self {
        Node { text: Some(Cow::Owned(text)), form: Form::Text }
    }

    /// As [`Node::of`], of a text that lives elsewhere.
    fn part(of: &Cow<'t, str>, part: &str) -> Option<Self> {
        match of {
            Cow::Borrowed(whole) => {
                let from = part.as_ptr() as usize - whole.as_ptr() as usize;
                Node::of(&whole[from..from + part.len()])
            }
            Cow::Owned(_) => (part != "null").then(|| Node::owned(part.to_owned())),
        }
    }

    /// The object that the value is (lazyNode.intoDoc).
    pub(super) fn as_object(&mut self) -> Option<&mut Object<'t>> {
        if matches!(self.form, Form::Text) {
            let text = self.text.as_ref()?;
            let members = scan::members(text)?;
            let nodes = members.into_iter().map(|(name, value)| (name, Node::part(text, value))).collect();
            self.form = Form::Object(nodes);
        }
        match &mut self.form {
            Form::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The array that the value is (lazyNode.intoAry).
    pub(super) fn as_array(&mut self) -> Option<&mut Vec<Option<Node<'t>>>> {
        if matches!(self.form, Form::Text) {
            let text = self.text.as_ref()?;
            let nodes = scan::elements(text)?.into_iter().map(|element| Node::part(text, element)).collect();
            self.form = Form::Array(nodes);
        }
        match &mut self.form {
            Form::Array(array) => Some(array),
            _ => None,
        }
    }

    /// Whether a path may lead through the value, once it is parsed (findObject).
    pub(super) fn is_container(&mut self) -> bool {
        self.text.is_some() && (self.as_object().is_some() || self.as_array().is_some())
    }

    pub(super) fn form(&mut self) -> &mut Form<'t> {
        &mut self.form
    }

    /// Numbers are the same when they are written the same.
    pub(super) fn is_same(&mut self, other: &mut Node<'t>) -> bool {
        if self.as_object().is_none() && self.as_array().is_none() {
            return matches!(other.form, Form::Text) && self.written() == other.written();
        }
        match (&mut self.form, other.as_object().is_some() || other.as_array().is_some()) {
            (Form::Object(object), true) => match &mut other.form {
                Form::Object(others) if object.len() == others.len() => object.iter_mut().all(|(name, node)| {
                    others.get_mut(name).is_some_and(|other| are_same(node.as_mut(), other.as_mut()))
                }),
                _ => false,
            },
            (Form::Array(array), true) => match &mut other.form {
                Form::Array(others) if array.len() == others.len() => {
                    array.iter_mut().zip(others).all(|(node, other)| are_same(node.as_mut(), other.as_mut()))
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// How deep its values are nested.
    pub(super) fn depth(&self) -> usize {
        match &self.text {
            Some(text) if matches!(self.form, Form::Text) => scan::depth(text),
            _ => scan::depth(&String::from_utf8_lossy(&self.written())),
        }
    }

    fn written(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// Go's json.Marshal of the node.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match &self.form {
            Form::Text => scan::compact(out, self.text.as_deref().unwrap_or("null")),
            Form::Object(object) => {
                out.push(b'{');
                for (at, (name, node)) in object.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    api::json::encode_value(out, &name.as_str().into());
                    out.push(b':');
                    write(out, node.as_ref());
                }
                out.push(b'}');
            }
            Form::Array(array) => {
                out.push(b'[');
                for (at, node) in array.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    write(out, node.as_ref());
                }
                out.push(b']');
            }
        }
    }

    /// A copy that has its text again (deepCopy).
    pub(super) fn copied<'o>(&self) -> Node<'o> {
        Node::owned(String::from_utf8_lossy(&self.written()).into_owned())
    }

    /// Bytes of the text, where it has one.
    pub(super) fn text_len(&self) -> usize {
        self.text.as_ref().map_or(0, |text| text.len())
    }
}

fn are_same<'t>(a: Option<&mut Node<'t>>, b: Option<&mut Node<'t>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.is_same(b),
        (a, b) => a.is_none() && b.is_none(),
    }
}

fn write(out: &mut Vec<u8>, node: Option<&Node<'_>>) {
    match node {
        Some(node) => node.write(out),
        None => out.extend_from_slice(b"null"),
    }
}
