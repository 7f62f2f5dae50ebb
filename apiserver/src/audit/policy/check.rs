//! What is wrong with a policy (k8s.io/apiserver/pkg/apis/audit/validation/validation.go@v0.37.2).

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};

use crate::audit::event::{Level, Stage};

pub(super) fn policy(object: &Map) -> Errors {
    let mut errors = stages(object.list("omitStages"), &Path::new("omitStages"));
    let rules = Path::new("rules");
    for (at, one) in object.list("rules").iter().enumerate() {
        errors.extend(rule(one.as_map().unwrap_or(Map::EMPTY), &rules.index(at)));
    }
    errors
}

fn rule(rule: &Map, path: &Path) -> Errors {
    let mut errors = level(rule.str("level"), &path.child("level"));
    let (urls, at) = (rule.list("nonResourceURLs"), path.child("nonResourceURLs"));
    errors.extend(paths(urls, &at));
    errors.extend(resources(rule, &path.child("resources")));
    errors.extend(stages(rule.list("omitStages"), &path.child("omitStages")));
    let about_resources = !rule.list("resources").is_empty() || !rule.list("namespaces").is_empty();
    if !urls.is_empty() && about_resources {
        let why = "rules cannot apply to both regular resources and non-resource URLs";
        errors.push(field::invalid(&at, Value::List(urls.to_vec()), why));
    }
    errors
}

fn level(text: &str, path: &Path) -> Errors {
    let known = Level::ALL.map(Level::text);
    match text {
        "" => vec![field::required(path, "")],
        text if known.contains(&text) => Errors::new(),
        text => vec![field::not_supported(path, text, &known)],
    }
}

fn paths(urls: &[Value], path: &Path) -> Errors {
    let mut errors = Errors::new();
    for (at, url) in urls.iter().enumerate() {
        let url = url.as_str().unwrap_or_default();
        if url == "*" {
            continue;
        }
        if !url.starts_with('/') {
            let why = "non-resource URL rules must begin with a '/' character";
            errors.push(field::invalid(&path.index(at), url, why));
        }
        if url.find('*').is_some_and(|place| place + 1 < url.len()) {
            let why = "non-resource URL wildcards '*' must be the final character of the rule";
            errors.push(field::invalid(&path.index(at), url, why));
        }
    }
    errors
}

/// Upstream does not say which of the resources is meant.
fn resources(rule: &Map, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for one in rule.list("resources") {
        let one = one.as_map().unwrap_or(Map::EMPTY);
        let group = one.str("group");
        if !matches!(group, "" | "*") {
            let wrong = names::name_is_dns_subdomain(group, false);
            if !wrong.is_empty() {
                errors.push(field::invalid(&path.child("group"), group, wrong.join(",")));
            }
        }
        let named = one.list("resourceNames");
        if !named.is_empty() && one.list("resources").is_empty() {
            let why = "using resourceNames requires at least one resource";
            errors.push(field::invalid(&path.child("resourceNames"), Value::List(named.to_vec()), why));
        }
    }
    errors
}

fn stages(names: &[Value], path: &Path) -> Errors {
    let known = Stage::ALL.map(Stage::text);
    let texts = names.iter().map(|name| name.as_str().unwrap_or_default()).enumerate();
    let unknown = texts.filter(|(_, name)| !known.contains(name));
    let why = format!("allowed stages are {}", known.join(","));
    unknown.map(|(at, name)| field::invalid(&path.index(at), name, &why)).collect()
}
