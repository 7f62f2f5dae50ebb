//! /debug/api_priority_and_fairness: what waits where
//! (k8s.io/apiserver/pkg/util/flowcontrol/apf_controller_debug.go@v0.37.2).

use api::facts;
use flow::dump::{self, Describe};
use flow::schema::Distinguisher;
use http::Response;

use super::{About, Flow, Gate};
use crate::request::Query;
use crate::respond::{self, Body};

/// What every page's path begins with.
pub(crate) const PREFIX: &str = "/debug/api_priority_and_fairness/";
/// Go's zero time.
const NEVER: &str = "0001-01-01T00:00:00Z";

impl Describe for About {
    fn distinguisher(&self) -> &str {
        match self.by {
            Some(Distinguisher::User) => &self.user,
            Some(Distinguisher::Namespace) => &self.info.namespace,
            None => "",
        }
    }

    fn details(&self) -> [String; 8] {
        let info = &*self.info;
        [
            self.user.to_string(),
            info.verb.to_string(),
            info.path.clone(),
            info.namespace.clone(),
            info.name.clone(),
            facts::api_version(&info.group, &info.version),
            info.resource.clone(),
            info.subresource.clone(),
        ]
    }
}

/// Answers one of the pages.
pub(crate) fn answer(flow: &Flow, path: &str, query: &Query) -> Option<Response<Body>> {
    let Gate::Fair(fair) = &flow.gate else { return None };
    let time = |at: Option<u64>| at.map_or(NEVER.to_string(), |at| flow.clock.wall(at).to_string());
    let text = match path.strip_prefix(PREFIX)? {
        "dump_priority_levels" => dump::priority_levels(&fair.control),
        "dump_queues" => dump::queues(&fair.control),
        "dump_requests" => {
            let details = !query.get("includeRequestDetails").is_empty();
            dump::requests(&fair.control, details, time)
        }
        _ => return None,
    };
    Some(respond::text(200, text))
}
