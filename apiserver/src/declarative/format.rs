//! Forms of texts (k8s.io/apimachinery/pkg/api/validate/strfmt.go).

use api::field::{self, Errors, Path};
use api::names;
use api::rules::Format;

const UUID_LENGTH: usize = 36;
const UUID_DASHES: [usize; 4] = [8, 13, 18, 23];
const POOL_NAME_BYTES_MAX: usize = 253;
const RESOURCE_DOMAIN_BYTES_MAX: usize = 63;
const RESOURCE_NAME_BYTES_MAX: usize = 32;
/// Names of extended resources must stay names with this before them, which quotas put there.
const REQUESTS: &str = "requests.";
const DEFAULT_DOMAIN: &str = "kubernetes.io/";

/// What is wrong with a text that should have the form.
pub(super) fn check(format: Format, text: &str, path: &Path) -> Errors {
    let said = |messages: Vec<String>| messages.iter().map(|why| field::invalid(path, text, why)).collect();
    match format {
        Format::ShortName => said(names::is_short_name(text)),
        Format::LongName => said(names::is_long_name(text)),
        Format::LongNameCaseless => said(names::is_long_name_caseless(text)),
        Format::LabelKey => said(names::is_qualified_name(text)),
        Format::PrefixedLabelKey => said(names::is_prefixed_label_key(text)),
        Format::LabelValue => said(names::is_valid_label_value(text)),
        Format::PathSegmentName => said(names::is_path_segment_name(text)),
        Format::UUID if is_uuid(text) => Errors::new(),
        Format::UUID => said(vec!["must be a lowercase UUID in 8-4-4-4-12 format".to_owned()]),
        Format::ResourcePoolName => pool_name(text, path),
        Format::ExtendedResourceName => extended_resource(text, path),
        Format::ResourceFullyQualifiedName => fully_qualified(text, path),
    }
}

fn is_uuid(text: &str) -> bool {
    let fits = |(at, byte): (usize, u8)| match UUID_DASHES.contains(&at) {
        true => byte == b'-',
        false => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    text.len() == UUID_LENGTH && text.bytes().enumerate().all(fits)
}

/// Long names between slashes.
fn pool_name(text: &str, path: &Path) -> Errors {
    let mut errors = Errors::new();
    if text.len() > POOL_NAME_BYTES_MAX {
        errors.push(field::too_long(path, POOL_NAME_BYTES_MAX));
    }
    for (at, part) in text.split('/').enumerate() {
        if part.is_empty() {
            errors.push(field::invalid(path, text, format!("segment {at}: must not be empty")));
            continue;
        }
        let wrong = names::is_long_name(part);
        errors.extend(wrong.iter().map(|why| field::invalid(path, part, format!("segment {at}: {why}"))));
    }
    errors
}

fn extended_resource(text: &str, path: &Path) -> Errors {
    let mut wrong = Vec::new();
    if !text.contains('/') {
        wrong.push("a name must be a domain-prefixed path, such as 'example.com/my-prop'".to_owned());
    } else if text.contains(DEFAULT_DOMAIN) {
        wrong.push(format!("must not have {} domain", field::go_quote(DEFAULT_DOMAIN)));
    }
    if text.starts_with(REQUESTS) {
        wrong.push(format!("must not have {} prefix", field::go_quote(REQUESTS)));
    }
    wrong.extend(names::is_qualified_name(&format!("{REQUESTS}{text}")));
    wrong.iter().map(|why| field::invalid(path, text, why)).collect()
}

/// A name of a device's attribute or capacity: an identifier, with or without a domain.
fn qualified(text: &str, path: &Path) -> Errors {
    let parts: Vec<&str> = text.split('/').collect();
    let mut errors = Errors::new();
    match parts[..] {
        [name] => identifier(name, path, &mut errors),
        [domain, name] => {
            if domain.is_empty() {
                errors.push(field::invalid(path, "", "prefix must not be empty"));
            } else {
                if domain.len() > RESOURCE_DOMAIN_BYTES_MAX {
                    errors.push(field::too_long(path, RESOURCE_DOMAIN_BYTES_MAX));
                }
                let wrong = names::is_long_name(domain);
                errors.extend(wrong.iter().map(|why| field::invalid(path, domain, format!("prefix: {why}"))));
            }
            if name.is_empty() {
                errors.push(field::invalid(path, "", "name must not be empty"));
            } else {
                identifier(name, path, &mut errors);
            }
        }
        _ => {}
    }
    errors
}

fn fully_qualified(text: &str, path: &Path) -> Errors {
    let mut errors = qualified(text, path);
    if !text.contains('/') {
        let why = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(field::invalid(path, text, why));
    }
    errors
}

fn identifier(text: &str, path: &Path, errors: &mut Errors) {
    if text.len() > RESOURCE_NAME_BYTES_MAX {
        errors.push(field::too_long(path, RESOURCE_NAME_BYTES_MAX));
    }
    errors.extend(names::is_c_identifier(text).iter().map(|why| field::invalid(path, text, why)));
}
