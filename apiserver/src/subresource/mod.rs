//! What is asked of a resource beside the plain verbs: subresources with behaviour, and kinds that are
//! only questions (reviews). One list, one file per item.

mod binding;
mod component_status;
pub(crate) mod connect;
mod eviction;
mod reviews;
mod scale;
mod token;

use api::facts::Resource;
use api::status::Status;
use api::value::Map;
use futures::future::BoxFuture;
use http::{Method, Response, Uri};

use crate::chain::Asked;
use crate::registry::Entry;
use crate::respond::Body;
use crate::rest::Call;
use connect::Connect;

/// The rest of a request.
pub(crate) struct Incoming<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) body: Body,
    pub(crate) upgrade: Option<hyper::upgrade::OnUpgrade>,
}

/// One subresource (or question) with behaviour of its own.
pub(crate) trait Special: Send + Sync {
    /// True when the answer is a byte stream that is not negotiated (log, exec, proxy).
    fn streams(&self) -> bool {
        false
    }

    /// What plugins are shown of an object that changes, when that is not the object.
    fn view(&self) -> Option<&dyn View> {
        None
    }

    fn answer<'a>(
        &'a self,
        asked: &'a Asked<'_>,
        call: &'a Call<'_>,
        incoming: Incoming<'a>,
    ) -> BoxFuture<'a, Result<Response<Body>, Status>>;
}

/// A subresource that shows an object as another kind.
pub(crate) trait View: Send + Sync {
    fn of(&self, entry: &Entry, object: &Map) -> Map;

    /// Takes over what was changed in the view.
    fn take(&self, entry: &Entry, object: &mut Map, view: &Map);
}

/// Which resources an item is for: group and plural, `*` for any.
type Row = (&'static str, &'static str, &'static str, &'static [&'static str], &'static dyn Special);

const ANY: &[&str] = &["get", "list", "create", "update", "patch", "delete", "watch", "deletecollection"];

/// GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS (which is no verb) all connect.
const ANY_METHOD: &[&str] = &["get", "create", "update", "patch", "delete", ""];
const STREAM: &[&str] = &["get", "create"];

/// Group, plural, subresource, verbs, behaviour.
const SPECIALS: &[Row] = &[
    ("*", "*", "scale", ANY, &scale::Scale),
    ("", "pods", "binding", &["create"], &binding::Binding),
    ("", "bindings", "", &["create"], &binding::Binding),
    ("", "componentstatuses", "", &["get", "list"], &component_status::ComponentStatuses),
    ("", "pods", "eviction", &["create"], &eviction::Eviction),
    ("", "pods", "log", &["get"], &Connect::Log),
    ("", "pods", "exec", STREAM, &Connect::Exec),
    ("", "pods", "attach", STREAM, &Connect::Attach),
    ("", "pods", "portforward", STREAM, &Connect::PortForward),
    ("", "pods", "proxy", ANY_METHOD, &Connect::PodProxy),
    ("", "nodes", "proxy", ANY_METHOD, &Connect::NodeProxy),
    ("", "services", "proxy", ANY_METHOD, &Connect::ServiceProxy),
    ("", "serviceaccounts", "token", &["create"], &token::Token),
    ("authentication.k8s.io", "tokenreviews", "", &["create"], &reviews::Review),
    ("authentication.k8s.io", "selfsubjectreviews", "", &["create"], &reviews::Review),
    ("authorization.k8s.io", "*", "", &["create"], &reviews::Review),
];

/// The behaviour of a subresource, when it has any of its own.
pub(crate) fn find(facts: &Resource, subresource: &str, verb: &str) -> Option<&'static dyn Special> {
    let is = |pattern: &str, text: &str| pattern == "*" || pattern == text;
    let row = SPECIALS
        .iter()
        .find(|row| row.2 == subresource && is(row.0, facts.group) && is(row.1, facts.plural) && row.3.contains(&verb));
    row.map(|row| row.4)
}
