//! Content negotiation: which representation a client accepts, and what a body is
//! (k8s.io/apiserver/pkg/endpoints/handlers/negotiation/negotiate.go@v0.37.2).

use api::status::Status;
use http::{HeaderMap, header};

use crate::request::Query;

/// A wire format of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Yaml,
    Protobuf,
}

/// Formats in the order upstream lists them.
pub(crate) const MEDIA_TYPES: [&str; 3] =
    ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
/// What a route of lists produces, which watches, too.
pub(crate) const LIST_MEDIA_TYPES: [&str; 5] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];

impl Format {
    pub(crate) fn media_type(self) -> &'static str {
        MEDIA_TYPES[self as usize]
    }

    fn of(media_type: &str) -> Option<Self> {
        match media_type {
            "application/json" | "*/*" | "application/*" => Some(Format::Json),
            "application/yaml" => Some(Format::Yaml),
            "application/vnd.kubernetes.protobuf" => Some(Format::Protobuf),
            _ => None,
        }
    }
}

/// What the object is to be shown as (`as=` of the Accept header).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Whole,
    /// With the version of meta.k8s.io.
    Table(String),
    Partial(String),
    PartialList(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) format: Format,
    pub(crate) shape: Shape,
    pub(crate) pretty: bool,
}

impl Accepted {
    pub(crate) fn json() -> Self {
        Accepted { format: Format::Json, shape: Shape::Whole, pretty: false }
    }

    /// The Content-Type of an answer; the shape is not told in it.
    pub(crate) fn content_type(&self, stream: bool) -> String {
        let mut text = self.format.media_type().to_string();
        if stream && self.format != Format::Json {
            text.push_str(";stream=watch");
        }
        text
    }
}

/// One clause of an Accept header: media type, parameters, quality in thousandths.
pub(crate) struct Clause<'a> {
    pub(crate) media_type: &'a str,
    pub(crate) params: Vec<(&'a str, &'a str)>,
    quality: u32,
}

impl Clause<'_> {
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|param| param.0 == name).map(|param| param.1)
    }
}

/// The clauses of the Accept header, best first; none when there is no header.
pub(crate) fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<_> =
        accept.split(',').map(str::trim).filter(|clause| !clause.is_empty()).map(clause).collect();
    clauses.sort_by_key(|clause| std::cmp::Reverse(clause.quality));
    clauses
}

fn clause(text: &str) -> Clause<'_> {
    let mut parts = text.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    let params: Vec<_> =
        parts.filter_map(|part| part.split_once('=')).map(|(k, v)| (k.trim(), v.trim().trim_matches('"'))).collect();
    let quality = params.iter().find(|param| param.0 == "q").and_then(|param| param.1.parse::<f32>().ok());
    Clause { media_type, params, quality: (quality.unwrap_or(1.0) * 1000.0) as u32 }
}

/// What the endpoint can show.
#[derive(Clone, Copy)]
pub(crate) struct Offer {
    /// PartialObjectMetadata is possible.
    pub(crate) partial: bool,
    /// Table is possible.
    pub(crate) table: bool,
    pub(crate) stream: bool,
}

/// Refuses an Accept header that names nothing of what a route produces, as the router does before any handler
/// (github.com/emicklei/go-restful/v3@v3.13.0/route.go: matchesAccept).
pub(crate) fn routed(headers: &HeaderMap, produced: &[&str]) -> Result<(), Status> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let fits = |clause: &Clause<'_>| clause.media_type == "*/*" || produced.contains(&clause.media_type);
    if accept.is_empty() || clauses(accept).iter().any(fits) {
        return Ok(());
    }
    Err(Status::no_route_produces(produced))
}

/// The first representation that the client accepts and the endpoint offers.
pub(crate) fn accepted(headers: &HeaderMap, query: &Query, offer: Offer) -> Result<Accepted, Status> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let pretty = query.flag("pretty") || (!query.has("pretty") && is_for_a_person(headers));
    let found = match clauses(accept) {
        clauses if clauses.is_empty() => Some((Format::Json, Shape::Whole)),
        clauses => clauses.iter().find_map(|clause| Some((Format::of(clause.media_type)?, shape(clause, offer)?))),
    };
    match found {
        Some((format, shape)) => Ok(Accepted { format, shape, pretty }),
        None if offer.stream => Err(Status::not_acceptable(&[
            "application/json",
            "application/json;stream=watch",
            "application/vnd.kubernetes.protobuf;stream=watch",
        ])),
        None => Err(Status::not_acceptable(&MEDIA_TYPES)),
    }
}

/// Upstream pretty-prints for curl, wget and browsers.
fn is_for_a_person(headers: &HeaderMap) -> bool {
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("");
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|start| agent.starts_with(start))
}

fn shape(clause: &Clause<'_>, offer: Offer) -> Option<Shape> {
    let Some(kind) = clause.param("as") else { return Some(Shape::Whole) };
    let version = clause.param("v").unwrap_or("v1").to_string();
    if !offer.partial
        || clause.param("g").unwrap_or("meta.k8s.io") != "meta.k8s.io"
        || !matches!(version.as_str(), "v1" | "v1beta1")
    {
        return None;
    }
    match kind {
        "Table" if offer.table => Some(Shape::Table(version)),
        "PartialObjectMetadata" => Some(Shape::Partial(version)),
        "PartialObjectMetadataList" => Some(Shape::PartialList(version)),
        _ => None,
    }
}

/// The format of a request body; JSON when it does not say.
pub(crate) fn body_format(headers: &HeaderMap) -> Result<Format, Status> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    match media_type {
        "" => Ok(Format::Json),
        "*/*" | "application/*" => Err(Status::unsupported_media_type(&MEDIA_TYPES)),
        other => Format::of(other).ok_or_else(|| Status::unsupported_media_type(&MEDIA_TYPES)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &str, expect: &str) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().expect("header"));
        let got = match accepted(&headers, &Query::default(), Offer { partial: true, table: true, stream: false }) {
            Ok(Accepted { format, shape: Shape::Table(version), .. }) => {
                format!("{} as Table {version}", format.media_type())
            }
            Ok(accepted) => accepted.content_type(false),
            Err(status) => status.code.to_string(),
        };
        assert_eq!(got, expect, "{accept}");
    }

    #[test]
    fn the_first_acceptable_clause_wins() {
        check("*/*", "application/json");
        check("application/vnd.kubernetes.protobuf,application/json", "application/vnd.kubernetes.protobuf");
        check("application/json;q=0.1, application/yaml", "application/yaml");
        check("text/html, application/json;as=Table;v=v1;g=meta.k8s.io", "application/json as Table v1");
        check("application/json;as=Table;v=v1alpha1;g=meta.k8s.io,application/json", "application/json");
        check("application/json;as=Nothing", "406");
        check("text/plain", "406");
    }

    #[test]
    fn routes_look_at_media_types_alone() {
        for (accept, fits) in [
            ("", true),
            ("*/*", true),
            ("text/html, application/yaml;q=0.1", true),
            ("application/json;as=Nothing", true),
            ("application/*", false),
            ("text/html", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().expect("header"));
            let refused = routed(&headers, &MEDIA_TYPES).err();
            assert_eq!(refused.is_none(), fits, "{accept}");
            if let Some(status) = refused {
                assert_eq!((status.code, &status.message[..20]), (406, "406: Not Acceptable\n"));
            }
        }
    }
}
