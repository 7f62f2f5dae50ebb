//! URLs.
//!
//! Invariant: overloads of `k8s.io/apiserver/pkg/cel/library/urls.go@v0.37.2`; Go's `ParseRequestURI`, then `Parse`.

use std::any::Any;
use std::collections::BTreeMap;

use api::gourl;

use super::strings::text;
use crate::functions::{Compute, Library};
use crate::types::Type;
use crate::value::{Fault, Key, Map, Object, Outcome, Value};

pub(crate) const LIBRARY: Library = Library { declarations: DECLARATIONS, compute };

const DECLARATIONS: &str = "
url string_to_url (string) -> kubernetes.URL
getScheme url_get_scheme kubernetes.URL.() -> string
getHost url_get_host kubernetes.URL.() -> string
getHostname url_get_hostname kubernetes.URL.() -> string
getPort url_get_port kubernetes.URL.() -> string
getEscapedPath url_get_escaped_path kubernetes.URL.() -> string
getQuery url_get_query kubernetes.URL.() -> map(string, list(string))
isURL is_url_string (string) -> bool
";

#[derive(Debug)]
struct Url(gourl::Url);

impl Object for Url {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn cel_type(&self) -> Type {
        Type::object("kubernetes.URL")
    }

    fn equals(&self, other: &Value) -> Result<bool, Fault> {
        let other = other.downcast::<Url>().ok_or_else(Fault::no_overload)?;
        Ok(self.text() == other.text())
    }

    fn text(&self) -> String {
        self.0.to_string()
    }
}

fn compute(overload: &str) -> Option<Compute> {
    Some(match overload {
        "string_to_url" => |args| {
            let read = text(args, 0)?;
            let error = |error: String| Fault::new(format!("URL parse error during conversion from string: {error}"));
            gourl::parse_request_uri(read).map_err(error)?;
            gourl::parse(read).map(|url| Value::object(Url(url))).map_err(error)
        },
        "url_get_scheme" => |args| part(args, |url| url.scheme.clone()),
        "url_get_host" => |args| part(args, |url| String::from_utf8_lossy(&url.host).into_owned()),
        "url_get_hostname" => |args| part(args, |url| url.host_and_port().0),
        "url_get_port" => |args| part(args, |url| url.host_and_port().1),
        "url_get_escaped_path" => |args| part(args, gourl::Url::escaped_path),
        "url_get_query" => query,
        "is_url_string" => |args| Ok(Value::Bool(gourl::parse_request_uri(text(args, 0)?).is_ok())),
        _ => return None,
    })
}

fn url(args: &[Value]) -> Result<&gourl::Url, Fault> {
    args[0].downcast::<Url>().map(|url| &url.0).ok_or_else(Fault::no_overload)
}

fn part(args: &[Value], of: fn(&gourl::Url) -> String) -> Outcome {
    url(args).map(|url| Value::from(of(url)))
}

fn query(args: &[Value]) -> Outcome {
    let mut found: BTreeMap<Key, Vec<Value>> = BTreeMap::new();
    for (key, value) in url(args)?.parameters() {
        found.entry(Key::String(key.into())).or_default().push(Value::from(value));
    }
    Ok(Value::Map(Map::new(found.into_iter().map(|(key, values)| (key, Value::list(values))).collect())))
}
