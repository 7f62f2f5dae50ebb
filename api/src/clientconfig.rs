//! Where a webhook may be (k8s.io/apiserver/pkg/util/webhook/validation.go@v0.37.2).

use crate::field::{self, Errors, Path};
use crate::value::Map;
use crate::{gourl, names};

/// ValidateWebhookURL with https demanded.
pub fn url_errors(path: &Path, text: &str) -> Errors {
    const FORM: &str = "; desired format: https://host[/path]";
    let url = match gourl::parse(text) {
        Ok(url) => url,
        Err(error) => return vec![field::required(path, format!("url must be a valid URL: {error}{FORM}"))],
    };
    let mut errors = Errors::new();
    let mut refuse = |shown: &str, why: String| errors.push(field::invalid(path, shown, why));
    if url.scheme != "https" {
        refuse(&url.scheme, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if url.host.is_empty() {
        refuse("", format!("host must be specified{FORM}"));
    }
    if let Some(user) = &url.user {
        refuse(user, "user information is not permitted in the URL".into());
    }
    if !url.fragment.is_empty() {
        refuse(&url.fragment, "fragments are not permitted in the URL".into());
    }
    if !url.query.is_empty() {
        refuse(&url.query, "query parameters are not permitted in the URL".into());
    }
    errors
}

/// Where the service's name and namespace are, in the order they are judged, and under which name each is reported:
/// all callers of upstream's hand them over the wrong way round.
const SWAPPED: [(&str, &str); 2] = [("namespace", "name"), ("name", "namespace")];

/// ValidateWebhookService.
pub fn service_errors(path: &Path, service: &Map) -> Errors {
    let mut errors = Errors::new();
    for (name, shown) in SWAPPED {
        if service.str(name).is_empty() {
            errors.push(field::required(&path.child(shown), ""));
        }
    }
    let port = service.i64("port").unwrap_or(0);
    let wrong = names::is_valid_port_num(port);
    if !wrong.is_empty() {
        let why = format!("port is not valid: {}", wrong.join(", "));
        errors.push(field::invalid(&path.child("port"), port, why));
    }
    path_errors(&path.child("path"), service.str("path"), &mut errors);
    errors
}

fn path_errors(at: &Path, text: &str, errors: &mut Errors) {
    match text {
        "" | "/" => return,
        "//" => return errors.push(field::invalid(at, text, "segment[0] may not be empty")),
        _ => {}
    }
    if !text.starts_with('/') {
        errors.push(field::invalid(at, text, "must start with a '/'"));
    }
    let first = text.chars().next().map_or(0, char::len_utf8);
    let steps = &text[first..];
    for (index, step) in steps.strip_suffix('/').unwrap_or(steps).split('/').enumerate() {
        if step.is_empty() {
            errors.push(field::invalid(at, text, format!("segment[{index}] may not be empty")));
            continue;
        }
        let wrong = names::is_dns1123_subdomain(step);
        errors.extend(wrong.iter().map(|why| field::invalid(at, text, format!("segment[{index}]: {why}"))));
    }
}
