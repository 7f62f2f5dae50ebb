//! The one error type of this crate, and what a controller asks of an API server's answer.
//!
//! Non-goal: mapping to HTTP. The texts are those upstream's controllers put into events and conditions.

/// Why a sync did not finish; the harness retries the key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}", text(.0))]
    Api(#[from] kube::Error),
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error("{0}")]
    Other(String),
    /// Several failures of one sync, in upstream's form (k8s.io/apimachinery/pkg/util/errors/errors.go@v0.37.2).
    #[error("[{}]", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Aggregate(Vec<Error>),
}

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn other(text: impl Into<String>) -> Self {
        Error::Other(text.into())
    }

    /// `Ok` when there are no errors, the error itself when there is one.
    pub(crate) fn all(mut errors: Vec<Error>) -> Result<()> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Error::Aggregate(errors)),
        }
    }

    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Error::Api(error) if is_not_found(error))
    }
}

/// The error's text as client-go prints it: the Status' message when the server gave one.
pub(crate) fn text(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

fn has(error: &kube::Error, code: u16, reason: &str) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code && (reason.is_empty() || status.reason == reason))
}

pub(crate) fn is_not_found(error: &kube::Error) -> bool {
    has(error, 404, "")
}

pub(crate) fn is_conflict(error: &kube::Error) -> bool {
    has(error, 409, "Conflict")
}

pub(crate) fn is_already_exists(error: &kube::Error) -> bool {
    has(error, 409, "AlreadyExists")
}

pub(crate) fn is_invalid(error: &kube::Error) -> bool {
    has(error, 422, "")
}

pub(crate) fn is_method_not_supported(error: &kube::Error) -> bool {
    has(error, 405, "")
}

pub(crate) fn is_unsupported_media_type(error: &kube::Error) -> bool {
    has(error, 415, "")
}

/// True when a create failed because its namespace is going away: nothing to retry.
pub(crate) fn is_namespace_terminating(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    status.details.iter().flat_map(|details| &details.causes).any(|cause| cause.reason == "NamespaceTerminating")
}
