//! Paths of fields in a schema: `.spec.foo`, `.spec.map['key']`
//! (ValidFieldPath in k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/validation.go@v0.37.2).

use api::field::Path;

use crate::schema::Schema;

/// Whether `['key']` may stand in the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Brackets {
    Allowed,
    Refused,
}

/// The field path in canonical form and the schema there, or why there is none.
pub(crate) fn resolve<'a>(
    text: &str,
    schema: &'a Schema,
    brackets: Brackets,
) -> Result<(Path, Option<&'a Schema>), String> {
    let mut tokens = Tokens(text);
    let mut at = Some(schema);
    let mut path = Path::default();
    while let Some(token) = tokens.next() {
        let name = match token {
            "[" if brackets == Brackets::Refused => return Err("array notation is not allowed".into()),
            "[" => {
                let quoted = tokens.next().ok_or("unexpected end of JSON path")?;
                let inner = quoted.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
                let inner = inner.ok_or_else(|| format!("expected single quoted string but got {quoted}"))?;
                unescaped(inner).map_err(|error| format!("invalid string literal: {error}"))?
            }
            "." => tokens.next().ok_or("unexpected end of JSON path")?.to_owned(),
            other => return Err(format!("expected [ or . but got: {other}")),
        };
        (path, at) = step(path, at, &name)?;
        if token == "[" {
            match tokens.next() {
                Some("]") => {}
                Some(other) => return Err(format!("expected ] but got {other}")),
                None => return Err("unexpected end of JSON path".into()),
            }
        }
    }
    Ok((path, at))
}

fn step<'a>(path: Path, schema: Option<&'a Schema>, name: &str) -> Result<(Path, Option<&'a Schema>), String> {
    let nowhere = || "does not refer to a valid field".to_owned();
    let schema = schema.ok_or_else(nowhere)?;
    if !schema.properties.is_empty() {
        return Ok((path.child(name), Some(schema.properties.get(name).ok_or_else(nowhere)?)));
    }
    if schema.additional.is_absent() {
        return Err(nowhere());
    }
    Ok((path.key(name), schema.additional.schema()))
}

/// `.`, `[`, `]`, quoted text, and what stands between.
struct Tokens<'a>(&'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let bytes = self.0.as_bytes();
        let end = match bytes.first()? {
            b'.' | b'[' | b']' => 1,
            b'\'' => {
                let close = (1..bytes.len()).find(|at| bytes[*at] == b'\'' && bytes[at - 1] != b'\\');
                close.map_or(bytes.len(), |at| at + 1)
            }
            _ => self.0.find(['.', '[', ']']).unwrap_or(self.0.len()),
        };
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        Some(token)
    }
}

fn unescaped(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next() {
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('v') => '\u{b}',
            Some(c @ ('\'' | '\\')) => c,
            Some(c) => return Err(format!("invalid escape char \\{c}")),
            None => '\\',
        });
    }
    Ok(out)
}
