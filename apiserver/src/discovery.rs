//! Discovery: the groups, versions and resources that are served, aggregated and not, from the registry.

use api::status::Status;
use http::Response;

use crate::chain::Asked;
use crate::respond::Body;

pub(crate) fn answer(_asked: &Asked<'_>, _path: &str) -> Result<Response<Body>, Status> {
    Err(Status::no_such_path())
}
