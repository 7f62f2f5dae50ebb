//! The selectors of a request as authorizers see them: only field selectors decide anything today (a node may list its
//! own pods).
//!
//! Upstream: `k8s.io/apimachinery/pkg/fields/selector.go@v0.37.2`.

/// A requirement on a field: `field=value`, or `field!=value` when not `equal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldRequirement {
    pub(crate) field: String,
    pub(crate) equal: bool,
    pub(crate) value: String,
}

/// A requirement on a label; the operator is one of In, NotIn, Exists, DoesNotExist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LabelRequirement {
    pub(crate) key: String,
    pub(crate) operator: String,
    pub(crate) values: Vec<String>,
}

/// Whether the requirements pin the field to the value.
pub(crate) fn pins(requirements: &[FieldRequirement], field: &str, value: &str) -> bool {
    requirements.iter().any(|r| r.field == field && r.equal && r.value == value)
}

/// Parses a field selector as a client writes it.
pub(crate) fn parse_field_selector(selector: &str) -> Result<Vec<FieldRequirement>, String> {
    let mut terms = split_terms(selector);
    terms.sort_unstable();
    terms.into_iter().filter(|term| !term.is_empty()).map(|term| parse_term(selector, term)).collect()
}

/// Parses a label selector as a client writes it.
///
/// # Errors
/// Upstream's text.
pub(crate) fn parse_label_selector(selector: &str) -> Result<Vec<LabelRequirement>, String> {
    let selector = api::selector::labels::Selector::parse(selector).map_err(|error| error.to_string())?;
    let requirements = selector.requirements().iter().map(|requirement| LabelRequirement {
        key: requirement.key().to_owned(),
        operator: format!("{:?}", requirement.operator()),
        values: requirement.values().to_vec(),
    });
    Ok(requirements.collect())
}

/// Splits at commas that no backslash escapes.
fn split_terms(selector: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, c) in selector.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&selector[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&selector[start..]);
    terms
}

fn parse_term(selector: &str, term: &str) -> Result<FieldRequirement, String> {
    for (at, _) in term.char_indices() {
        for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = term[at..].strip_prefix(operator) {
                return Ok(FieldRequirement { field: term[..at].to_owned(), equal, value: unescape(value)? });
            }
        }
    }
    Err(format!("invalid selector: '{selector}'; can't understand '{term}'"))
}

fn unescape(value: &str) -> Result<String, String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => out.push(escaped),
                other => {
                    let sequence: String = std::iter::once('\\').chain(other).collect();
                    return Err(format!("invalid field selector: invalid escape sequence: {sequence}"));
                }
            },
            ',' | '=' => return Err(format!("invalid field selector: unescaped character in value: {c}")),
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_selectors() {
        let show = |selector: &str| {
            let parsed = parse_field_selector(selector)?;
            let text = |r: &FieldRequirement| format!("{}{}{}", r.field, if r.equal { "=" } else { "!=" }, r.value);
            Ok::<_, String>(parsed.iter().map(text).collect::<Vec<_>>().join(" "))
        };
        for (selector, want) in [
            ("", Ok("")),
            ("a=b", Ok("a=b")),
            ("b==c,a!=d", Ok("a!=d b=c")),
            (r"a=b\,c\=d\\", Ok(r"a=b,c=d\")),
            ("a=", Ok("a=")),
            ("a", Err("invalid selector: 'a'; can't understand 'a'")),
            ("a=b=c", Err("invalid field selector: unescaped character in value: =")),
            (r"a=\x", Err(r"invalid field selector: invalid escape sequence: \x")),
            (r"a=\", Err(r"invalid field selector: invalid escape sequence: \")),
        ] {
            assert_eq!(show(selector), want.map(String::from).map_err(String::from), "{selector}");
        }
        let own = parse_field_selector("spec.nodeName=n1").unwrap();
        assert!(pins(&own, "spec.nodeName", "n1") && !pins(&own, "spec.nodeName", "n2"));
        assert!(!pins(&parse_field_selector("spec.nodeName!=n1").unwrap(), "spec.nodeName", "n1"));
    }
}
