//! Formats of strings by name.
//!
//! Invariant: the formats, their messages and the lengths of their expressions are those of
//! `k8s.io/apiserver/pkg/cel/library/format.go@v0.37.2` and `k8s.io/kube-openapi/pkg/validation/strfmt`.

use std::any::Any;
use std::sync::LazyLock;

use regex::Regex;

use super::strings::text;

use crate::functions::{Compute, Library};
use crate::types::Type;
use crate::value::{Fault, Object, Outcome, Value};
use api::names;

pub(crate) const LIBRARY: Library = Library { declarations: DECLARATIONS, compute };

const DECLARATIONS: &str = "
validate format-validate kubernetes.NamedFormat.(string) -> optional(list(string))
format.named format-named (string) -> optional(kubernetes.NamedFormat)
format.dns1123Label format.dns1123Label () -> kubernetes.NamedFormat
format.dns1123Subdomain format.dns1123Subdomain () -> kubernetes.NamedFormat
format.dns1035Label format.dns1035Label () -> kubernetes.NamedFormat
format.qualifiedName format.qualifiedName () -> kubernetes.NamedFormat
format.dns1123LabelPrefix format.dns1123LabelPrefix () -> kubernetes.NamedFormat
format.dns1123SubdomainPrefix format.dns1123SubdomainPrefix () -> kubernetes.NamedFormat
format.dns1035LabelPrefix format.dns1035LabelPrefix () -> kubernetes.NamedFormat
format.labelValue format.labelValue () -> kubernetes.NamedFormat
format.uri format.uri () -> kubernetes.NamedFormat
format.uuid format.uuid () -> kubernetes.NamedFormat
format.byte format.byte () -> kubernetes.NamedFormat
format.date format.date () -> kubernetes.NamedFormat
format.datetime format.datetime () -> kubernetes.NamedFormat
";

/// The longest regular expression of a format; what estimates assume.
pub(crate) const MAX_REGEX_SIZE: f64 = 128.0;
/// The longest name of a format.
pub(crate) const MAX_NAME_SIZE: u64 = 64;

const UUID: &str = "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$";
const DATE_TIME: &str = "^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))$";
const BASE64: &str = "^(?:[A-Za-z0-9+\\/]{4})*(?:[A-Za-z0-9+\\/]{2}==|[A-Za-z0-9+\\/]{3}=|[A-Za-z0-9+\\/]{4})$";
const URL_REGEX_SIZE: u64 = 1103;
const BASE64_REGEX_SIZE: u64 = 84;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Format {
    name: &'static str,
    validate: fn(&str) -> Vec<String>,
    regex_size: u64,
}

impl Format {
    pub(crate) fn regex_size(&self) -> u64 {
        self.regex_size
    }

    fn named(name: &str) -> Option<Format> {
        let (name, regex_size, validate): (_, _, fn(&str) -> Vec<String>) = match name {
            "dns1123Label" => ("DNS1123Label", 30, |text| names::name_is_dns_label(text, false)),
            "dns1123Subdomain" => ("DNS1123Subdomain", 60, |text| names::name_is_dns_subdomain(text, false)),
            "dns1035Label" => ("DNS1035Label", 30, |text| names::name_is_dns1035_label(text, false)),
            "qualifiedName" => ("QualifiedName", 60, names::is_qualified_name),
            "dns1123LabelPrefix" => ("DNS1123LabelPrefix", 30, |text| names::name_is_dns_label(text, true)),
            "dns1123SubdomainPrefix" => ("DNS1123SubdomainPrefix", 60, |text| names::name_is_dns_subdomain(text, true)),
            "dns1035LabelPrefix" => ("DNS1035LabelPrefix", 30, |text| names::name_is_dns1035_label(text, true)),
            "labelValue" => ("LabelValue", 40, names::is_valid_label_value),
            "uri" => ("URI", URL_REGEX_SIZE, |text| api::gourl::parse_request_uri(text).err().into_iter().collect()),
            "uuid" => ("uuid", UUID.len() as u64, |text| unless(matches(UUID, text), "does not match the UUID format")),
            "byte" => ("byte", BASE64_REGEX_SIZE, |text| unless(matches(BASE64, text), "invalid base64")),
            "date" => ("date", DATE_TIME.len() as u64, |text| unless(is_date(text), "invalid date")),
            "datetime" => ("datetime", DATE_TIME.len() as u64, |text| unless(is_date_time(text), "invalid datetime")),
            _ => return None,
        };
        Some(Format { name, validate, regex_size })
    }
}

fn unless(valid: bool, message: &str) -> Vec<String> {
    if valid { Vec::new() } else { vec![message.to_owned()] }
}

/// The three expressions, compiled once.
fn matches(pattern: &'static str, text: &str) -> bool {
    static COMPILED: LazyLock<[(&str, Regex); 3]> = LazyLock::new(|| {
        [UUID, BASE64, DATE_TIME].map(|pattern| (pattern, Regex::new(pattern).expect("a regular expression of ours")))
    });
    COMPILED.iter().any(|(known, regex)| *known == pattern && regex.is_match(text))
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && crate::value::parse_timestamp(&format!("{text}T00:00:00Z")).is_ok()
        || text.starts_with("0000-") && text.len() == 10 && is_date(&text.replacen("0000", "0400", 1))
}

fn is_date_time(text: &str) -> bool {
    let lower = text.to_lowercase();
    let mut parts = lower.split('t');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else { return false };
    let below = |at: usize, most: &str| time.get(at..at + 2).is_some_and(|digits| digits <= most);
    is_date(date) && matches(DATE_TIME, time) && below(0, "23") && below(3, "59") && below(6, "59")
}

impl Object for Format {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn cel_type(&self) -> Type {
        Type::object("kubernetes.NamedFormat")
    }

    fn equals(&self, other: &Value) -> Result<bool, Fault> {
        let other = other.downcast::<Format>().ok_or_else(Fault::no_overload)?;
        Ok(self.name == other.name)
    }

    fn text(&self) -> String {
        self.name.to_owned()
    }
}

fn compute(overload: &str) -> Option<Compute> {
    Some(match overload {
        "format-validate" => validate,
        "format-named" => |args| Ok(Value::optional(Format::named(text(args, 0)?).map(Value::object))),
        "format.dns1123Label" => |_| constant("dns1123Label"),
        "format.dns1123Subdomain" => |_| constant("dns1123Subdomain"),
        "format.dns1035Label" => |_| constant("dns1035Label"),
        "format.qualifiedName" => |_| constant("qualifiedName"),
        "format.dns1123LabelPrefix" => |_| constant("dns1123LabelPrefix"),
        "format.dns1123SubdomainPrefix" => |_| constant("dns1123SubdomainPrefix"),
        "format.dns1035LabelPrefix" => |_| constant("dns1035LabelPrefix"),
        "format.labelValue" => |_| constant("labelValue"),
        "format.uri" => |_| constant("uri"),
        "format.uuid" => |_| constant("uuid"),
        "format.byte" => |_| constant("byte"),
        "format.date" => |_| constant("date"),
        "format.datetime" => |_| constant("datetime"),
        _ => return None,
    })
}

fn constant(name: &str) -> Outcome {
    Format::named(name).map(Value::object).ok_or_else(Fault::no_overload)
}

fn validate(args: &[Value]) -> Outcome {
    let format = args[0].downcast::<Format>().ok_or_else(Fault::no_overload)?;
    let messages = (format.validate)(text(args, 1)?);
    let messages = (!messages.is_empty()).then(|| Value::list(messages.into_iter().map(Value::from).collect()));
    Ok(Value::optional(messages))
}
