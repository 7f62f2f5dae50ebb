//! A rich object with a rich status, put up to be looked at and then removed.

use serde_json::{Value, json};

use super::builder::Builder;
use super::{Plan, Subject};
use crate::diff::catalog::Kind;
use crate::diff::sequence::Step;

/// An object at the version it is looked at.
pub(in crate::diff) struct Exhibit {
    pub(in crate::diff) kind: Kind,
    pub(in crate::diff) namespace: String,
    pub(in crate::diff) name: String,
    /// What was sent of it: texts that stand there are nobody's choice.
    pub(in crate::diff) request: String,
    /// Makes it.
    pub(in crate::diff) made: Plan<'static>,
    /// Removes it.
    pub(in crate::diff) gone: Plan<'static>,
}

impl Exhibit {
    /// The paths of the object and of its list.
    pub(in crate::diff) fn paths(&self) -> [String; 2] {
        let collection = self.kind.collection(&self.namespace);
        [format!("{collection}/{}", self.name), collection]
    }
}

pub(super) fn of(subject: Subject<'_>) -> Exhibit {
    let (mut builder, kind) = (Builder::new(subject, "shown", 0), subject.kind.name());
    let names = builder.names("it");
    let removal = Step::new("DELETE", builder.item(&names), "removed");
    builder.create_rich(&names);
    let status = status(&subject).map(|status| names.fill(&status));
    if let Some(status) = &status {
        let step = Step::new("PATCH", format!("{}/status", builder.item(&names)), "status");
        builder.push(step.text("application/merge-patch+json", status.to_string()));
    }
    let needed = names.fill(&json!(subject.template.needs));
    Exhibit {
        kind: subject.kind.clone(),
        namespace: names.namespace.clone(),
        name: names.text(&subject.template.name),
        request: json!([subject.template.rich(subject.kind, &names), status, needed]).to_string(),
        made: Plan::ready(kind.clone(), "made", builder.finish().steps),
        gone: Plan::ready(kind, "gone", vec![removal]),
    }
}

/// The merge patch that sets the template's status; none when the kind has no such subresource.
fn status(subject: &Subject<'_>) -> Option<Value> {
    let subresource = subject.kind.subresource("status")?;
    let can = subresource.verbs.iter().any(|verb| verb == "patch");
    let status = subject.template.status.as_ref().filter(|_| can)?;
    Some(json!({"status": status}))
}
