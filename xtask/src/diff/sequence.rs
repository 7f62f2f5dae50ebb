//! What is sent: sequences of requests, each with objects of its own.
//!
//! Invariant: both servers get the same steps in the same order; only [`UID`], [`REVISION`] and [`CONTINUE`] are
//! replaced by what that server has answered before. Sequences know nothing of each other, unless their plan is `alone`.

use serde_json::Value;

/// Replaced by the uid of the object that the server answered last with `remember`.
pub(super) const UID: &str = "$UID";
/// Replaced by its resourceVersion.
pub(super) const REVISION: &str = "$RV";
/// Replaced by the continue token of the last list.
pub(super) const CONTINUE: &str = "$CONTINUE";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Makes what the others need; when either server refuses it, the rest of the sequence has no meaning.
    Setup,
    /// Its answers are compared.
    Compared,
    /// Removes what the step before made; sent when either server has made it, and compared.
    Cleanup,
    /// Waits, by a watch, until the condition named by `note` is there.
    Await,
}

#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) role: Role,
    pub(super) method: &'static str,
    /// With its query.
    pub(super) target: String,
    pub(super) accept: Option<&'static str>,
    pub(super) content_type: Option<&'static str>,
    pub(super) body: Option<String>,
    /// What is particular about it, such as the mutation.
    pub(super) note: String,
    /// The answer is the object that later steps speak of.
    pub(super) remember: bool,
    /// The schema kind of its answer differs from that of the sequence, such as a Scale.
    pub(super) subresource: Option<String>,
}

impl Step {
    pub(super) fn new(method: &'static str, target: impl Into<String>, note: impl Into<String>) -> Self {
        Step {
            role: Role::Compared,
            method,
            target: target.into(),
            accept: None,
            content_type: None,
            body: None,
            note: note.into(),
            remember: false,
            subresource: None,
        }
    }

    pub(super) fn json(self, body: &Value) -> Self {
        self.text("application/json", body.to_string())
    }

    pub(super) fn text(mut self, content_type: &'static str, body: impl Into<String>) -> Self {
        self.content_type = Some(content_type);
        self.body = Some(body.into());
        self
    }

    pub(super) fn accept(mut self, accept: &'static str) -> Self {
        self.accept = Some(accept);
        self
    }

    pub(super) fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    pub(super) fn remember(mut self) -> Self {
        self.remember = true;
        self
    }

    pub(super) fn of(mut self, subresource: &str) -> Self {
        self.subresource = Some(subresource.to_owned());
        self
    }
}

#[derive(Clone, Debug)]
pub(super) struct Sequence {
    /// Stable for a seed: `apps.v1.Deployment/create/12`.
    pub(super) id: String,
    /// `apps.v1.Deployment`.
    pub(super) kind: String,
    pub(super) steps: Vec<Step>,
}
