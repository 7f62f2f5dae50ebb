//! Validation of names and other short texts, and generated names.
//!
//! Invariant: what is accepted and the messages are those of `k8s.io/apimachinery/pkg/util/validation`,
//! `pkg/api/validation` and `pkg/api/validate/content` @v0.37.2. Functions return the messages of all rules broken, none
//! for a valid value; the caller says which field it was. Lengths count bytes though some messages say characters.
//! Non-goal: validation of whole objects.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::field::{self, Path, go_quote};

pub const LABEL_VALUE_MAX_LENGTH: usize = 63;
pub const DNS1123_LABEL_MAX_LENGTH: usize = 63;
pub const DNS1035_LABEL_MAX_LENGTH: usize = 63;
pub const DNS1123_SUBDOMAIN_MAX_LENGTH: usize = 253;
const LABEL_KEY_NAME_MAX_LENGTH: usize = 63;
const PORT_NAME_MAX_LENGTH: usize = 15;
const MAX_PORT: i64 = 65_535;
const MAX_USER_ID: i64 = i32::MAX as i64;
const MAX_GROUP_ID: i64 = i32::MAX as i64;

/// Names are generated within the length of a DNS label, of which the random end takes part.
const GENERATED_NAME_MAX_LENGTH: usize = 63;
const GENERATED_SUFFIX_LENGTH: usize = 5;
/// Without vowels, so that no words come about.
const SUFFIX_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Upstream's `maxLength` message in `util/validation`.
pub fn max_len_error(length: usize) -> String {
    format!("must be no more than {length} characters")
}

/// The same in `validate/content`, which counts honestly.
fn max_bytes_error(length: usize) -> String {
    format!("must be no more than {length} bytes")
}

pub fn empty_error() -> String {
    "must be non-empty".to_owned()
}

pub fn inclusive_range_error(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

/// A message that names the expression upstream matches with, and examples that do match.
pub fn regex_error(message: &str, expression: &str, examples: &[&str]) -> String {
    let quoted: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    let examples = if quoted.is_empty() { String::new() } else { format!("e.g. {}", quoted.join(" or ")) };
    format!("{message} ({examples}regex used for validation is '{expression}')")
}

fn is_lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// `start (inner* end)?` of single-byte classes: the shape of all labels.
fn is_framed(text: &str, start: fn(u8) -> bool, inner: fn(u8) -> bool, end: fn(u8) -> bool) -> bool {
    match text.as_bytes() {
        [] => false,
        [only] => start(*only),
        [first, middle @ .., last] => start(*first) && end(*last) && middle.iter().all(|byte| inner(*byte)),
    }
}

fn consists_of(text: &str, class: fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(class)
}

fn is_label_text(text: &str) -> bool {
    is_framed(text, is_lower_alphanumeric, |byte| is_lower_alphanumeric(byte) || byte == b'-', is_lower_alphanumeric)
}

fn is_subdomain_text(text: &str) -> bool {
    text.split('.').all(is_label_text)
}

/// `_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?`
fn is_underscore_label_text(text: &str) -> bool {
    let inner = |byte| is_lower_alphanumeric(byte) || matches!(byte, b'-' | b'_');
    is_framed(text.strip_prefix('_').unwrap_or(text), is_lower_alphanumeric, inner, is_lower_alphanumeric)
}

/// `([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]`
fn is_label_key_text(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_alphanumeric();
    is_framed(
        text,
        alphanumeric,
        |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'),
        alphanumeric,
    )
}

const LABEL_KEY_EXPRESSION: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

fn label_key_error(subject: &str) -> String {
    let message = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
    regex_error(&format!("{subject} {message}"), LABEL_KEY_EXPRESSION, &["MyName", "my.name", "123-abc"])
}

/// Label keys, annotation keys, resource names: an optional DNS subdomain and `/`, then a name.
pub fn is_qualified_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let parts: Vec<&str> = value.split('/').collect();
    let name = match parts[..] {
        [name] => name,
        ["", name] => {
            errors.push(format!("prefix part {}", empty_error()));
            name
        }
        [prefix, name] => {
            errors.extend(subdomain_errors(prefix, max_bytes_error).iter().map(|error| format!("prefix part {error}")));
            name
        }
        _ => {
            let error = label_key_error("a valid label key");
            return vec![format!("{error} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')")];
        }
    };
    if name.is_empty() {
        errors.push(format!("name part {}", empty_error()));
    } else if name.len() > LABEL_KEY_NAME_MAX_LENGTH {
        errors.push(format!("name part {}", max_bytes_error(LABEL_KEY_NAME_MAX_LENGTH)));
    }
    if !is_label_key_text(name) {
        errors.push(label_key_error("name part"));
    }
    errors
}

/// A qualified name that has its prefix.
pub fn is_prefixed_label_key(value: &str) -> Vec<String> {
    let errors = is_qualified_name(value);
    if errors.is_empty() && !value.contains('/') {
        return vec!["must include a prefix (e.g. 'example.com/key')".to_owned()];
    }
    errors
}

pub fn is_valid_label_value(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > LABEL_VALUE_MAX_LENGTH {
        errors.push(max_bytes_error(LABEL_VALUE_MAX_LENGTH));
    }
    if !value.is_empty() && !is_label_key_text(value) {
        let message = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
        let expression = format!("({LABEL_KEY_EXPRESSION})?");
        errors.push(regex_error(message, &expression, &["MyValue", "my_value", "12345"]));
    }
    errors
}

fn label_errors(value: &str, too_long: fn(usize) -> String) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS1123_LABEL_MAX_LENGTH {
        errors.push(too_long(DNS1123_LABEL_MAX_LENGTH));
    }
    if is_label_text(value) {
        return errors;
    }
    errors.push(if is_subdomain_text(value) {
        "must not contain dots".to_owned()
    } else {
        let message = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
        regex_error(message, "[a-z0-9]([-a-z0-9]*[a-z0-9])?", &["my-name", "123-abc"])
    });
    errors
}

pub fn is_dns1123_label(value: &str) -> Vec<String> {
    label_errors(value, max_len_error)
}

/// A label in the words of `validate/content`.
pub fn is_short_name(value: &str) -> Vec<String> {
    label_errors(value, max_bytes_error)
}

fn subdomain_errors(value: &str, too_long: fn(usize) -> String) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX_LENGTH {
        errors.push(too_long(DNS1123_SUBDOMAIN_MAX_LENGTH));
    }
    if !is_subdomain_text(value) {
        let message = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
        let expression = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
        errors.push(regex_error(message, expression, &["example.com"]));
    }
    errors
}

pub fn is_dns1123_subdomain(value: &str) -> Vec<String> {
    subdomain_errors(value, max_len_error)
}

/// A subdomain in the words of `validate/content`.
pub fn is_long_name(value: &str) -> Vec<String> {
    subdomain_errors(value, max_bytes_error)
}

/// As [`is_long_name`], with letters of either case.
pub fn is_long_name_caseless(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX_LENGTH {
        errors.push(max_bytes_error(DNS1123_SUBDOMAIN_MAX_LENGTH));
    }
    if !is_subdomain_text(&value.to_ascii_lowercase()) {
        let message = "an RFC 1123 subdomain must consist of alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
        let expression = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
        errors.push(regex_error(message, expression, &["Example.com"]));
    }
    errors
}

/// A subdomain whose labels may start with and hold `_`, as DNS search paths have it.
pub fn is_dns1123_subdomain_with_underscore(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX_LENGTH {
        errors.push(max_len_error(DNS1123_SUBDOMAIN_MAX_LENGTH));
    }
    if !value.split('.').all(is_underscore_label_text) {
        let message = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character";
        let expression = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
        errors.push(regex_error(message, expression, &["example.com"]));
    }
    errors
}

pub fn is_dns1035_label(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS1035_LABEL_MAX_LENGTH {
        errors.push(max_len_error(DNS1035_LABEL_MAX_LENGTH));
    }
    if !(is_label_text(value) && value.starts_with(|c: char| c.is_ascii_lowercase())) {
        let message = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
        errors.push(regex_error(message, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]));
    }
    errors
}

/// `*.` and a subdomain.
pub fn is_wildcard_dns1123_subdomain(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX_LENGTH {
        errors.push(max_len_error(DNS1123_SUBDOMAIN_MAX_LENGTH));
    }
    if !value.strip_prefix("*.").is_some_and(is_subdomain_text) {
        let message = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
        let expression = r"\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
        errors.push(regex_error(message, expression, &["*.example.com"]));
    }
    errors
}

pub fn is_c_identifier(value: &str) -> Vec<String> {
    let start = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if is_framed(value, start, rest, rest) {
        return Vec::new();
    }
    let message = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'";
    vec![regex_error(message, "[A-Za-z_][A-Za-z0-9_]*", &["my_name", "MY_NAME", "MyName"])]
}

pub fn is_in_range(value: i64, min: i64, max: i64) -> Vec<String> {
    if (min..=max).contains(&value) { Vec::new() } else { vec![inclusive_range_error(min, max)] }
}

pub fn is_valid_port_num(port: i64) -> Vec<String> {
    is_in_range(port, 1, MAX_PORT)
}

pub fn is_valid_group_id(gid: i64) -> Vec<String> {
    is_in_range(gid, 0, MAX_GROUP_ID)
}

pub fn is_valid_user_id(uid: i64) -> Vec<String> {
    is_in_range(uid, 0, MAX_USER_ID)
}

pub fn is_valid_port_name(port: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if port.len() > PORT_NAME_MAX_LENGTH {
        errors.push(max_len_error(PORT_NAME_MAX_LENGTH));
    }
    let rules = [
        (
            consists_of(port, |byte| is_lower_alphanumeric(byte) || byte == b'-'),
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
        ),
        (port.bytes().any(|byte| byte.is_ascii_lowercase()), "must contain at least one letter (a-z)"),
        (!port.contains("--"), "must not contain consecutive hyphens"),
        (!port.starts_with('-') && !port.ends_with('-'), "must not begin or end with a hyphen"),
    ];
    errors.extend(rules.into_iter().filter(|(kept, _)| !kept).map(|(_, message)| message.to_owned()));
    errors
}

pub fn is_valid_percent(percent: &str) -> Vec<String> {
    if percent.strip_suffix('%').is_some_and(|digits| consists_of(digits, |byte| byte.is_ascii_digit())) {
        return Vec::new();
    }
    let message = "a valid percent string must be a numeric string followed by an ending '%'";
    vec![regex_error(message, "[0-9]+%", &["1%", "93%"])]
}

pub fn is_http_header_name(value: &str) -> Vec<String> {
    if consists_of(value, |byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Vec::new();
    }
    let message = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![regex_error(message, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

/// The names of files that would leave a directory.
fn directory_errors(value: &str) -> Option<String> {
    let message = match value {
        "." => "must not be '.'",
        ".." => "must not be '..'",
        _ if value.starts_with("..") => "must not start with '..'",
        _ => return None,
    };
    Some(message.to_owned())
}

/// The strict form, from before any printable character was allowed.
pub fn is_env_var_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if !is_framed(value, |byte| is_key_byte(byte) && !byte.is_ascii_digit(), is_key_byte, is_key_byte) {
        let message = "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not start with a digit";
        let examples = ["my.env-name", "MY_ENV.NAME", "MyEnvName1"];
        errors.push(regex_error(message, "[-._a-zA-Z][-._a-zA-Z0-9]*", &examples));
    }
    errors.extend(directory_errors(value));
    errors
}

/// Printable ASCII but `=`; the rule for pods.
pub fn is_relaxed_env_var_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.is_empty() {
        errors.push(format!("environment variable name {}", empty_error()));
    }
    if !value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=') {
        let message =
            "a valid environment variable name must consist only of printable ASCII characters other than '='";
        errors.push(message.to_owned());
    }
    errors
}

/// Keys of config maps and secrets.
pub fn is_config_map_key(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX_LENGTH {
        errors.push(max_len_error(DNS1123_SUBDOMAIN_MAX_LENGTH));
    }
    if !consists_of(value, is_key_byte) {
        let message = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        errors.push(regex_error(message, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    errors.extend(directory_errors(value));
    errors
}

/// A whole number as a person writes it: no sign but `-`, no leading zeros.
pub fn is_decimal_integer(value: &str) -> Vec<String> {
    if value.is_empty() {
        return vec![empty_error()];
    }
    let digits = value.strip_prefix('-').unwrap_or(value);
    let canonical = consists_of(digits, |byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    if canonical || value == "0" {
        return Vec::new();
    }
    vec!["must be a valid decimal integer in canonical form".to_owned()]
}

/// A name that can stand in a URL's path. It may be empty or long.
pub fn is_path_segment_name(name: &str) -> Vec<String> {
    match name {
        "." | ".." => vec![format!("may not be '{name}'")],
        _ => is_path_segment_prefix(name),
    }
}

/// The start of such a name.
pub fn is_path_segment_prefix(name: &str) -> Vec<String> {
    ["/", "%"].iter().filter(|part| name.contains(**part)).map(|part| format!("may not contain '{part}'")).collect()
}

/// A name that will be appended to may end in a dash; upstream judges it without its last two bytes and an `a` instead.
fn masked(name: &str, prefix: bool) -> String {
    match name.len() {
        length if prefix && length > 1 && name.ends_with('-') => {
            format!("{}a", String::from_utf8_lossy(&name.as_bytes()[..length - 2]))
        }
        _ => name.to_owned(),
    }
}

/// Upstream's `NameIsDNSSubdomain`; `prefix` tells that a random end will be appended (`generateName`).
pub fn name_is_dns_subdomain(name: &str, prefix: bool) -> Vec<String> {
    is_dns1123_subdomain(&masked(name, prefix))
}

/// Upstream's `NameIsDNSLabel`.
pub fn name_is_dns_label(name: &str, prefix: bool) -> Vec<String> {
    is_dns1123_label(&masked(name, prefix))
}

/// Upstream's `NameIsDNS1035Label`.
pub fn name_is_dns1035_label(name: &str, prefix: bool) -> Vec<String> {
    is_dns1035_label(&masked(name, prefix))
}

/// `acme.io/foo`: a subdomain and an HTTP path. Errors are about the part that is wrong, so they come with the field.
pub fn is_domain_prefixed_path(path: &Path, value: &str) -> field::Errors {
    if value.is_empty() {
        return vec![field::required(path, "")];
    }
    let Some((host, rest)) = value.split_once('/').filter(|(host, rest)| !host.is_empty() && !rest.is_empty()) else {
        return vec![field::invalid(path, value, "must be a domain-prefixed path (such as \"acme.io/foo\")")];
    };
    let mut errors: field::Errors =
        is_dns1123_subdomain(host).iter().map(|message| field::invalid(path, host, message)).collect();
    if !consists_of(rest, |byte| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte)) {
        let message = regex_error("Invalid path", r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+", &[]);
        errors.push(field::invalid(path, rest, message));
    }
    errors
}

/// `acme.io/foo`: a qualified name with its prefix.
pub fn is_domain_prefixed_key(path: &Path, key: &str) -> field::Errors {
    if key.is_empty() {
        return vec![field::required(path, "")];
    }
    let errors: field::Errors =
        is_qualified_name(key).iter().map(|message| field::invalid(path, key, message)).collect();
    if errors.is_empty() && !key.contains('/') {
        return vec![field::invalid(path, key, "must be a domain-prefixed key (such as \"acme.io/foo\")")];
    }
    errors
}

/// A subdomain of at least three segments.
pub fn is_fully_qualified_name(path: &Path, name: &str) -> field::Errors {
    if name.is_empty() {
        return vec![field::required(path, "")];
    }
    let messages = is_dns1123_subdomain(name);
    if !messages.is_empty() {
        return vec![field::invalid(path, name, messages.join(","))];
    }
    if name.split('.').count() < 3 {
        return vec![field::invalid(path, name, "should be a domain with at least three segments separated by dots")];
    }
    Vec::new()
}

/// A subdomain of at least two segments, each a label; a trailing dot is fine.
pub fn is_fully_qualified_domain_name(path: &Path, name: &str) -> field::Errors {
    if name.is_empty() {
        return vec![field::required(path, "")];
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let messages = is_dns1123_subdomain(name);
    if !messages.is_empty() {
        return vec![field::invalid(path, name, messages.join(","))];
    }
    if name.split('.').count() < 2 {
        return vec![field::invalid(path, name, "should be a domain with at least two segments separated by dots")];
    }
    let wrong =
        name.split('.').map(|label| (label, is_dns1123_label(label))).find(|(_, messages)| !messages.is_empty());
    wrong.into_iter().map(|(label, messages)| field::invalid(path, label, messages.join(","))).collect()
}

/// Parses an address as leniently as Kubernetes always did: leading zeros are decimal digits.
pub fn parse_ip_sloppy(text: &str) -> Option<IpAddr> {
    match text.bytes().find(|byte| matches!(byte, b'.' | b':'))? {
        b'.' => parse_ipv4_sloppy(text).map(IpAddr::V4),
        _ => parse_ipv6_sloppy(text).map(IpAddr::V6),
    }
}

fn parse_ipv4_sloppy(text: &str) -> Option<Ipv4Addr> {
    let octet = |text: &str| {
        let digits = consists_of(text, |byte| byte.is_ascii_digit());
        digits
            .then(|| text.trim_start_matches('0'))
            .map(|text| if text.is_empty() { Some(0) } else { text.parse().ok() })?
    };
    let octets: Vec<u8> = text.split('.').map(octet).collect::<Option<_>>()?;
    <[u8; 4]>::try_from(octets).ok().map(Ipv4Addr::from)
}

fn parse_ipv6_sloppy(text: &str) -> Option<Ipv6Addr> {
    let group = |group: &str| {
        if group.contains('.') {
            return parse_ipv4_sloppy(group).map(|address| address.to_string());
        }
        let significant = group.trim_start_matches('0');
        let zero = significant.is_empty() && !group.is_empty();
        Some(if zero { "0".to_owned() } else { significant.to_owned() })
    };
    let groups: Vec<String> = text.split(':').map(group).collect::<Option<_>>()?;
    groups.join(":").parse().ok()
}

/// Go shows an IPv4 address that is mapped to IPv6 as IPv4.
fn canonical_ip(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

fn is_mapped(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
}

/// For fields from before strict validation (`IsValidIPForLegacyField`): any form, but no leading zeros and no mapped IPv4.
pub fn is_valid_ip_for_legacy_field(value: &str) -> Vec<String> {
    let message = if parse_ip_sloppy(value).is_none() {
        "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
    } else {
        match value.parse::<IpAddr>() {
            Err(_) => "must not have leading 0s",
            Ok(address) if is_mapped(&address) => "must not be an IPv4-mapped IPv6 address",
            Ok(_) => return Vec::new(),
        }
    };
    vec![message.to_owned()]
}

fn not_canonical(value: &str, canonical: String) -> Vec<String> {
    if value == canonical {
        return Vec::new();
    }
    vec![format!("must be in canonical form ({})", go_quote(&canonical))]
}

/// An address in its canonical form.
pub fn is_valid_ip(value: &str) -> Vec<String> {
    let errors = is_valid_ip_for_legacy_field(value);
    match parse_ip_sloppy(value) {
        Some(address) if errors.is_empty() => not_canonical(value, address.to_string()),
        _ => errors,
    }
}

/// Address and prefix length; leading zeros are allowed in both.
pub fn parse_cidr_sloppy(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let address = parse_ipv4_sloppy(address).map(IpAddr::V4).or_else(|| parse_ipv6_sloppy(address).map(IpAddr::V6))?;
    let limit = if address.is_ipv4() { 32 } else { 128 };
    let length = consists_of(length, |byte| byte.is_ascii_digit()).then_some(length)?.parse::<u8>().ok()?;
    (length <= limit).then_some((address, length))
}

fn has_host_bits(address: IpAddr, length: u8) -> bool {
    match address {
        IpAddr::V4(address) => address.to_bits().checked_shl(u32::from(length)).unwrap_or(0) != 0,
        IpAddr::V6(address) => address.to_bits().checked_shl(u32::from(length)).unwrap_or(0) != 0,
    }
}

/// For fields from before strict validation (`IsValidCIDRForLegacyField`): any form of a whole subnet.
pub fn is_valid_cidr_for_legacy_field(value: &str) -> Vec<String> {
    let Some((address, length)) = parse_cidr_sloppy(value) else {
        return vec!["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".to_owned()];
    };
    let (text, digits) = value.split_once('/').unwrap_or_default();
    let strict = text.parse::<IpAddr>().is_ok() && digits == length.to_string();
    let message = if !strict {
        "must not have leading 0s in IP or prefix length"
    } else if is_mapped(&address) {
        "must not have an IPv4-mapped IPv6 address"
    } else if has_host_bits(address, length) {
        "must not have bits set beyond the prefix length"
    } else {
        return Vec::new();
    };
    vec![message.to_owned()]
}

/// A subnet in its canonical form.
pub fn is_valid_cidr(value: &str) -> Vec<String> {
    let errors = is_valid_cidr_for_legacy_field(value);
    match parse_cidr_sloppy(value) {
        Some((address, length)) if errors.is_empty() => not_canonical(value, format!("{address}/{length}")),
        _ => errors,
    }
}

/// An address with its subnet's length (`192.168.1.5/24`), in canonical form.
pub fn is_valid_interface_address(value: &str) -> Vec<String> {
    let Some((address, length)) = parse_cidr_sloppy(value) else {
        return vec!["must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)".to_owned()];
    };
    let length = i32::from(length);
    let length = if is_mapped(&address) && length > 32 { length - 96 } else { length };
    not_canonical(value, format!("{}/{length}", canonical_ip(address)))
}

/// A name from a base and five random letters (`k8s.io/apiserver/pkg/storage/names`), at most 63 bytes.
pub fn generate_name(base: &str, mut random: impl FnMut() -> u32) -> String {
    let keep = base.floor_char_boundary(GENERATED_NAME_MAX_LENGTH - GENERATED_SUFFIX_LENGTH);
    let mut name = String::with_capacity(keep + GENERATED_SUFFIX_LENGTH);
    name.push_str(&base[..keep]);
    while name.len() < keep + GENERATED_SUFFIX_LENGTH {
        // Five bits a letter; the few values past the alphabet are thrown away so that all letters are equally likely.
        if let Some(letter) = SUFFIX_ALPHABET.get((random() & 31) as usize) {
            name.push(char::from(*letter));
        }
    }
    name
}

/// How versions are ordered, the best the greatest: v10, v2, v1, v11beta2, v1beta1, v3alpha1, then other names, of
/// which the alphabetically first is the best (k8s.io/apimachinery/pkg/version/helpers.go@v0.37.2).
pub fn compare_versions(a: &str, b: &str) -> std::cmp::Ordering {
    match (version_rank(a), version_rank(b)) {
        (None, None) => b.cmp(a),
        (a, b) => a.cmp(&b),
    }
}

/// Stability, major and minor number of `v1`, `v1beta2`, `v1alpha3`.
fn version_rank(version: &str) -> Option<(u8, u64, u64)> {
    let number = |text: &str| if text.starts_with('0') { None } else { text.parse::<u64>().ok() };
    let rest = version.strip_prefix('v')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (major, rest) = (number(&rest[..end])?, &rest[end..]);
    let stage = |name: &str, rank| Some((rank, major, number(rest.strip_prefix(name)?)?));
    if rest.is_empty() { Some((2, major, 0)) } else { stage("beta", 1).or_else(|| stage("alpha", 0)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rule = fn(&str) -> Vec<String>;

    fn check(name: &str, rule: Rule, accepted: &[&str], refused: &[&str]) {
        for text in accepted {
            assert_eq!(rule(text), Vec::<String>::new(), "{name}: {text}");
        }
        for text in refused {
            assert!(!rule(text).is_empty(), "{name}: {text}");
        }
    }

    /// Texts each rule accepts and refuses, after upstream's validation tests.
    #[test]
    fn accepted_and_refused() {
        let (l63, l64) = (&*"a".repeat(63), &*"a".repeat(64));
        let (l253, l254) = (&*"a".repeat(253), &*"a".repeat(254));
        let cases: [(&str, Rule, &[&str], &[&str]); 16] = [
            (
                "qualified name",
                is_qualified_name,
                &["simple", "now-with-dashes", "1-num.2-num", "1234/5678", "1.2.3.4/5678", "Uppercase_Is_OK_123", l63],
                &[
                    "nospecialchars%^=@",
                    "cantendwithadash-",
                    "-cantstart",
                    "only/one/slash",
                    "a/",
                    "/a",
                    "",
                    "A/b",
                    l64,
                ],
            ),
            ("label value", is_valid_label_value, &["", "simple", "1_2.3-4", l63], &["-a", "a-", "a b", "a/b", l64]),
            ("label", is_dns1123_label, &["a", "ab", "0-1", "a--1", l63], &["", "A", "-", "a-", "_", "a.a", "é", l64]),
            (
                "subdomain",
                is_dns1123_subdomain,
                &["a", "0.a", "a.b-2", l253],
                &["", ".a", "a.", "a..b", "a.B", "a_b", l254],
            ),
            ("underscore", is_dns1123_subdomain_with_underscore, &["_a.b_c", "a.b"], &["__a", "a_", "_", "a._"]),
            ("1035", is_dns1035_label, &["a", "a-1", l63], &["", "1a", "-a", "a-", "A", l64]),
            (
                "wildcard",
                is_wildcard_dns1123_subdomain,
                &["*.a", "*.a.b"],
                &["*", "*.", "a.b", "*.*.a", "*a.b", "f*.a"],
            ),
            ("C identifier", is_c_identifier, &["a", "_", "A1_b"], &["", "1", "a-b", "a.b"]),
            (
                "port",
                is_valid_port_name,
                &["re-mail-ck", "a", "0a"],
                &["", "-a", "a--b", "80", "A", "a-", "morethan15bytes-"],
            ),
            ("percent", is_valid_percent, &["0%", "100%"], &["", "%", "1", "1%%", "-1%"]),
            ("header", is_http_header_name, &["X-Header", "0"], &["", "X_Y", "X Y"]),
            ("environment", is_env_var_name, &["A", "_", "my.env-1", "-a"], &["", "1A", "A=B", ".", "..", "..a"]),
            ("relaxed", is_relaxed_env_var_name, &["1A", "a b", "..", "!"], &["", "a=b", "é", "\n", "\u{7f}"]),
            ("config key", is_config_map_key, &["a", "A.b_c-d", ".a", l253], &["", ".", "..", "..a", "a/b", l254]),
            ("integer", is_decimal_integer, &["0", "1", "-10"], &["", "-", "-0", "01", "+1", "1.0"]),
            ("path segment", is_path_segment_name, &["", "a", "...", ".a", "é"], &[".", "..", "a/b", "a%b"]),
        ];
        for (name, rule, accepted, refused) in cases {
            check(name, rule, accepted, refused);
        }
    }

    #[test]
    fn addresses() {
        let cases: [(&str, Rule, &[&str], &[&str]); 4] = [
            (
                "IP",
                is_valid_ip,
                &["1.2.3.4", "::1", "2001:db8::1"],
                &["", "1.2.3", "01.2.3.4", "::ffff:1.2.3.4", "::0001", "FE80::1"],
            ),
            (
                "old IP",
                is_valid_ip_for_legacy_field,
                &["FE80::0001", "1.2.3.4"],
                &["1.2.3.04", "::ffff:1.2.3.4", "1:2"],
            ),
            (
                "CIDR",
                is_valid_cidr,
                &["10.0.0.0/8", "::/0", "0.0.0.0/0"],
                &["10.0.0.1/8", "10.0.0.0/08", "::/129", "2001:DB8::/32"],
            ),
            (
                "interface",
                is_valid_interface_address,
                &["10.0.0.1/8", "fe80::1/64"],
                &["10.0.0.01/8", "::ffff:10.0.0.1/120", "10.0.0.1"],
            ),
        ];
        for (name, rule, accepted, refused) in cases {
            check(name, rule, accepted, refused);
        }
        let legacy = is_valid_cidr_for_legacy_field;
        assert_eq!(legacy("10.0.0.1/8"), ["must not have bits set beyond the prefix length"]);
        assert_eq!(legacy("10.0.0.0/08"), ["must not have leading 0s in IP or prefix length"]);
        assert_eq!(legacy("::ffff:1.2.3.4/128"), ["must not have an IPv4-mapped IPv6 address"]);
    }

    #[test]
    fn messages() {
        let label = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
        let name = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
        let cases: [(Vec<String>, &[&str]); 12] = [
            (is_dns1123_label("A"), &[label]),
            (is_dns1123_label(&"A".repeat(64)), &["must be no more than 63 characters", label]),
            (is_dns1123_label("a.b"), &["must not contain dots"]),
            (is_valid_label_value(&"a".repeat(64)), &["must be no more than 63 bytes"]),
            (is_qualified_name("/"), &["prefix part must be non-empty", "name part must be non-empty", name]),
            (is_valid_port_num(0), &["must be between 1 and 65535, inclusive"]),
            (is_valid_user_id(-1), &["must be between 0 and 2147483647, inclusive"]),
            (is_valid_group_id(1 << 31), &["must be between 0 and 2147483647, inclusive"]),
            (is_path_segment_name("."), &["may not be '.'"]),
            (is_path_segment_name("/%"), &["may not contain '/'", "may not contain '%'"]),
            (is_valid_ip("1.2.3.04"), &["must not have leading 0s"]),
            (is_valid_ip("0::1"), &["must be in canonical form (\"::1\")"]),
        ];
        for (got, want) in cases {
            assert_eq!(got, want);
        }
    }

    #[test]
    fn field_errors() {
        let path = &Path::new("f");
        let texts = |errors: field::Errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let cases = [
            (is_domain_prefixed_path(path, "acme.io/foo/b%20r"), ""),
            (is_domain_prefixed_path(path, ""), "f: Required value"),
            (
                is_domain_prefixed_path(path, "acme.io"),
                r#"f: Invalid value: "acme.io": must be a domain-prefixed path (such as "acme.io/foo")"#,
            ),
            (
                is_domain_prefixed_path(path, "acme.io/#"),
                r##"f: Invalid value: "#": Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')"##,
            ),
            (
                is_domain_prefixed_key(path, "foo"),
                r#"f: Invalid value: "foo": must be a domain-prefixed key (such as "acme.io/foo")"#,
            ),
            (
                is_fully_qualified_name(path, "a.b"),
                r#"f: Invalid value: "a.b": should be a domain with at least three segments separated by dots"#,
            ),
            (is_fully_qualified_domain_name(path, "a.b."), ""),
        ];
        for (errors, want) in cases {
            assert_eq!(texts(errors), want);
        }
    }

    #[test]
    fn prefixes_may_end_in_a_dash() {
        for (name, valid) in [("web-", true), ("a-", true), ("web--", true), ("-", false), ("Web-", false)] {
            assert_eq!(name_is_dns_subdomain(name, true).is_empty(), valid, "{name}");
            assert_eq!(name_is_dns_label(name, true).is_empty(), valid, "{name}");
            assert!(!name_is_dns1035_label(name, false).is_empty(), "{name}");
        }
    }

    #[test]
    fn generated_names() {
        let mut next = 24;
        let mut random = || {
            next += 1;
            next
        };
        // 27 to 31 are past the alphabet, 32 starts over.
        assert_eq!(generate_name("web-", &mut random), "web-89bcd");
        let long = generate_name(&"x".repeat(80), &mut random);
        assert_eq!((long.len(), &long[..58]), (63, "x".repeat(58).as_str()));
        // Never in the middle of a character.
        assert_eq!(generate_name(&format!("{}é", "x".repeat(57)), &mut random).len(), 62);
    }

    #[test]
    fn versions_are_ordered_as_kubectl_does() {
        let best_first =
            ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo1", "foo10"];
        let mut sorted = best_first.to_vec();
        sorted.sort_by(|a, b| compare_versions(b, a));
        assert_eq!(sorted, best_first);
    }
}
