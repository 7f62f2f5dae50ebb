//! Answers of the node's server: those of every component, and failures of the runtime.

use http::Response;

pub(super) use serving::respond::{Body, full, json, metrics, only_get, text, typed};

/// A failure of the runtime (k8s.io/cri-streaming/pkg/streaming/errors.go@v0.37.2, WriteError).
pub(super) fn runtime_failure(error: &cri::Error) -> Response<Body> {
    text(if error.is_not_found() { 404 } else { 500 }, error.to_string())
}
