//! What a request is about, read once from its path and query
//! (k8s.io/apiserver/pkg/endpoints/request/requestinfo.go@v0.37.2).
//!
//! Invariant: names and namespaces are percent-decoded once and are valid path segments before
//! anybody builds a key or asks the authoriser with them.

use api::status::Status;
use http::Method;
use percent_encoding::percent_decode_str;

/// Path and query, understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Info {
    pub(crate) is_resource: bool,
    pub(crate) path: String,
    pub(crate) verb: &'static str,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) name: String,
    /// What follows the subresource: the path a proxy request goes on with.
    pub(crate) rest: String,
    pub(crate) query: Query,
}

/// Query parameters in order, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// As Go's `url.ParseQuery`: what cannot be read is left out.
    pub(crate) fn parse(text: &str) -> Self {
        Query(api::gourl::parameters(text))
    }

    /// The first value of `name`; "" when absent.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|pair| pair.0 == name).map_or("", |pair| &pair.1)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|pair| pair.0 == name)
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |pair| pair.0 == name).map(|pair| pair.1.as_str())
    }

    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Go's strconv.ParseBool, with anything but a clear false being true as upstream's conversion has it.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.has(name) && !matches!(self.get(name).to_ascii_lowercase().as_str(), "false" | "0")
    }
}

/// Subresources of a namespace that are not resources in it.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

impl Info {
    pub(crate) fn new(method: &Method, path: &str, query: &str) -> Result<Self, Status> {
        let mut info = Info { path: path.to_string(), query: Query::parse(query), ..Info::default() };
        info.verb = http_verb(method);
        let mut parts = path.trim_matches('/').split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>();
        if parts.len() < 3 || !matches!(parts[0], "api" | "apis") {
            return Ok(info);
        }
        if parts.remove(0) == "apis" {
            if parts.len() < 3 {
                return Ok(info);
            }
            info.group = parts.remove(0).to_string();
        }
        info.version = parts.remove(0).to_string();
        info.is_resource = true;
        info.verb = resource_verb(method);
        info.place(parts)?;
        info.refine(method);
        Ok(info)
    }

    fn place(&mut self, mut parts: Vec<&str>) -> Result<(), Status> {
        if matches!(parts.first(), Some(&"watch" | &"proxy")) && parts.len() > 1 {
            self.verb = if parts[0] == "watch" { "watch" } else { "proxy" };
            parts.remove(0);
        }
        if parts.first() == Some(&"namespaces") && parts.len() > 1 {
            self.namespace = segment(parts[1])?;
            if parts.len() > 2 && !NAMESPACE_SUBRESOURCES.contains(&parts[2]) {
                parts.drain(..2);
            }
        }
        let mut parts = parts.into_iter();
        self.resource = parts.next().map(segment).transpose()?.unwrap_or_default();
        self.name = parts.next().map(segment).transpose()?.unwrap_or_default();
        self.subresource = parts.next().map(segment).transpose()?.unwrap_or_default();
        self.rest = parts.collect::<Vec<_>>().join("/");
        Ok(())
    }

    fn refine(&mut self, method: &Method) {
        if self.name.is_empty() {
            match self.verb {
                "get" => self.verb = if self.query.flag("watch") { "watch" } else { "list" },
                "delete" => self.verb = "deletecollection",
                _ => {}
            }
        }
        // A list or watch of one name is authorised as for that name.
        if matches!(self.verb, "list" | "watch" | "deletecollection") && self.name.is_empty() {
            let selector = self.query.get("fieldSelector");
            if let Some(name) = selector.split(',').find_map(|part| part.strip_prefix("metadata.name=")) {
                let name = name.trim_start_matches('=');
                if api::names::is_path_segment_name(name).is_empty() {
                    self.name = name.to_string();
                }
            }
        }
        if *method == Method::OPTIONS {
            self.verb = "";
        }
    }

    /// True for a request about a collection.
    pub(crate) fn is_collection(&self) -> bool {
        matches!(self.verb, "list" | "watch" | "deletecollection") || (self.verb == "create" && self.name.is_empty())
    }
}

fn segment(text: &str) -> Result<String, Status> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| Status::bad_request("invalid path segment"))?;
    let wrong = api::names::is_path_segment_name(&decoded);
    if wrong.is_empty() {
        return Ok(decoded.into_owned());
    }
    Err(Status::bad_request(format!("invalid path segment {}: {}", api::field::go_quote(&decoded), wrong.join(", "))))
}

fn http_verb(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "get",
        "HEAD" => "head",
        "POST" => "post",
        "PUT" => "put",
        "PATCH" => "patch",
        "DELETE" => "delete",
        "OPTIONS" => "options",
        _ => "",
    }
}

fn resource_verb(method: &Method) -> &'static str {
    match method.as_str() {
        "POST" => "create",
        "GET" | "HEAD" => "get",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// method path?query -> verb group/version ns/resource/name/subresource rest
    fn check(request: &str, expect: &str) {
        let (method, target) = request.split_once(' ').expect("method");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let method = method.parse().expect("method");
        let got = match Info::new(&method, path, query) {
            Ok(i) if i.is_resource => format!(
                "{} {}/{} {}|{}|{}|{}|{}",
                i.verb, i.group, i.version, i.namespace, i.resource, i.name, i.subresource, i.rest
            ),
            Ok(i) => format!("{} {}", i.verb, i.path),
            Err(status) => status.code.to_string(),
        };
        assert_eq!(got, expect, "{request}");
    }

    #[test]
    fn parameters_that_cannot_be_read_are_left_out() {
        for (query, want) in [
            ("a=1&b", vec![("a", "1"), ("b", "")]),
            ("a+b=c%20d&&=e", vec![("a b", "c d"), ("", "e")]),
            ("limit=%zz&a=1", vec![("a", "1")]),
            ("a=1;b=2&c=%", vec![]),
            ("a=%ff", vec![("a", "\u{fffd}")]),
        ] {
            assert_eq!(Query::parse(query).pairs().collect::<Vec<_>>(), want, "{query}");
        }
    }

    #[test]
    fn paths_are_understood_as_upstream_does() {
        check("GET /api/v1/namespaces", "list /v1 |namespaces|||");
        check("GET /api/v1/namespaces/other", "get /v1 other|namespaces|other||");
        check("PUT /api/v1/namespaces/other/finalize", "update /v1 other|namespaces|other|finalize|");
        check("GET /api/v1/namespaces/other/pods", "list /v1 other|pods|||");
        check("POST /api/v1/namespaces/other/pods", "create /v1 other|pods|||");
        check("GET /api/v1/namespaces/other/pods/foo/log", "get /v1 other|pods|foo|log|");
        check("GET /api/v1/watch/namespaces/other/pods", "watch /v1 other|pods|||");
        check("GET /apis/apps/v1/deployments?watch=1", "watch apps/v1 |deployments|||");
        check("GET /apis/apps/v1/deployments?watch=false", "list apps/v1 |deployments|||");
        check("DELETE /apis/apps/v1/namespaces/a/deployments", "deletecollection apps/v1 a|deployments|||");
        check("GET /api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dfoo", "list /v1 a|pods|foo||");
        check(
            "POST /api/v1/namespaces/a/services/http:web:80/proxy/x/y",
            "create /v1 a|services|http:web:80|proxy|x/y",
        );
        check("GET /apis/apps", "get /apis/apps");
        check("GET /apis/apps/v1", "get /apis/apps/v1");
        check("GET /healthz", "get /healthz");
        check("GET /api/v1/namespaces/%2e%2e/pods", "400");
        check("GET /api/v1/namespaces/a/pods/b%2Fc", "400");
    }
}
