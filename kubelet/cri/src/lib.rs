//! The container runtime as the kubelet sees it: CRI v1 over a unix socket, or a fake one that runs
//! no processes (fake nodes).
//!
//! Must not know: any Kubernetes API type, any kubelet. It speaks CRI nouns only
//! (k8s.io/cri-api/pkg/apis/runtime/v1/api.proto@v0.37.2).

pub mod fake;
pub mod grpc;
pub mod runtime;

#[rustfmt::skip]
#[allow(clippy::all, unreachable_pub, missing_docs)]
#[path = "gen/runtime_v1.rs"]
pub mod v1;

use std::fmt;
use std::sync::Arc;

use tonic::Code;

/// A runtime that many tasks share.
pub type RuntimeHandle = Arc<dyn runtime::Runtime>;

/// What a runtime answered instead of a response; prints as grpc-go prints a status, because users
/// and tests read these texts in events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub code: Code,
    pub message: String,
}

impl Error {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Error { code, message: message.into() }
    }

    pub fn is_not_found(&self) -> bool {
        self.code == Code::NotFound
    }

    /// True when the runtime does not have this call.
    pub fn is_unimplemented(&self) -> bool {
        self.code == Code::Unimplemented
    }

    pub fn is_deadline(&self) -> bool {
        self.code == Code::DeadlineExceeded
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = match self.code {
            Code::Cancelled => "Canceled".to_owned(),
            other => format!("{other:?}"),
        };
        write!(f, "rpc error: code = {code} desc = {}", self.message)
    }
}

impl std::error::Error for Error {}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        Error { code: status.code(), message: status.message().to_owned() }
    }
}

pub type Result<T, E = Error> = std::result::Result<T, E>;
