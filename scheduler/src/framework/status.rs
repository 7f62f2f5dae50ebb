//! What a plugin says when it does not simply agree.
//!
//! Invariant: a `Status` is never a success; success is `Ok`
//! (k8s.io/kube-scheduler/framework/interface.go@v0.37.2, Status).

use std::borrow::Cow;

/// Why a plugin does not agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// Something went wrong; says nothing about the pod.
    Error,
    /// The pod does not fit now; taking other pods away may help.
    Unschedulable,
    /// The pod does not fit, whatever pods are taken away.
    UnschedulableAndUnresolvable,
    /// The plugin has nothing to say about this pod; its later points are left out.
    Skip,
}

/// A plugin's refusal, with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) code: Code,
    pub(crate) reasons: Vec<Cow<'static, str>>,
    /// The plugin that said so; set by the profile.
    pub(crate) plugin: Option<&'static str>,
}

/// The result of a plugin call.
pub(crate) type Outcome<T = ()> = Result<T, Status>;

impl Status {
    pub(crate) fn new(code: Code, reasons: Vec<Cow<'static, str>>) -> Self {
        Status { code, reasons, plugin: None }
    }

    pub(crate) fn unschedulable(reason: impl Into<Cow<'static, str>>) -> Self {
        Status::new(Code::Unschedulable, vec![reason.into()])
    }

    pub(crate) fn unresolvable(reason: impl Into<Cow<'static, str>>) -> Self {
        Status::new(Code::UnschedulableAndUnresolvable, vec![reason.into()])
    }

    pub(crate) fn error(reason: impl Into<Cow<'static, str>>) -> Self {
        Status::new(Code::Error, vec![reason.into()])
    }

    pub(crate) const fn skip() -> Self {
        Status { code: Code::Skip, reasons: Vec::new(), plugin: None }
    }

    pub(crate) fn by(mut self, plugin: &'static str) -> Self {
        self.plugin = Some(plugin);
        self
    }

    /// True when the plugin refused the pod (rather than failed).
    pub(crate) fn is_rejected(&self) -> bool {
        matches!(self.code, Code::Unschedulable | Code::UnschedulableAndUnresolvable)
    }

    /// The reasons, joined as upstream joins them.
    pub(crate) fn message(&self) -> String {
        self.reasons.join(", ")
    }
}
