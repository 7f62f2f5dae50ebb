//! OpenAPI v2 and v3 documents, from the facts and the registry.

use api::status::Status;
use http::Response;

use crate::chain::Asked;
use crate::respond::Body;

/// Answers /openapi/...; `None` for other paths.
pub(crate) fn answer(_asked: &Asked<'_>, _path: &str) -> Option<Result<Response<Body>, Status>> {
    None
}
