//! Functions of strings beyond the standard library's.
//!
//! Invariant: overloads and errors of cel-go's `ext/strings.go@v0.29.2`, version 2 as Kubernetes asks for. Indices count
//! code points.

use crate::functions::{Compute, Library};
use crate::value::{Fault, Outcome, Value};

pub(crate) const LIBRARY: Library = Library { declarations: DECLARATIONS, compute };

const DECLARATIONS: &str = "
charAt string_char_at_int string.(int) -> string
indexOf string_index_of_string string.(string) -> int
indexOf string_index_of_string_int string.(string, int) -> int
lastIndexOf string_last_index_of_string string.(string) -> int
lastIndexOf string_last_index_of_string_int string.(string, int) -> int
lowerAscii string_lower_ascii string.() -> string
replace string_replace_string_string string.(string, string) -> string
replace string_replace_string_string_int string.(string, string, int) -> string
split string_split_string string.(string) -> list(string)
split string_split_string_int string.(string, int) -> list(string)
substring string_substring_int string.(int) -> string
substring string_substring_int_int string.(int, int) -> string
trim string_trim string.() -> string
upperAscii string_upper_ascii string.() -> string
format string_format string.(list(dyn)) -> string
strings.quote strings_quote (string) -> string
join list_join list(string).() -> string
join list_join_string list(string).(string) -> string
";

fn compute(overload: &str) -> Option<Compute> {
    Some(match overload {
        "string_char_at_int" => |args| char_at(text(args, 0)?, int(args, 1)?),
        "string_index_of_string" => |args| index_of(text(args, 0)?, text(args, 1)?, 0),
        "string_index_of_string_int" => |args| index_of(text(args, 0)?, text(args, 1)?, int(args, 2)?),
        "string_last_index_of_string" => |args| last_index_of(text(args, 0)?, text(args, 1)?, None),
        "string_last_index_of_string_int" => |args| last_index_of(text(args, 0)?, text(args, 1)?, Some(int(args, 2)?)),
        "string_lower_ascii" => |args| Ok(Value::from(text(args, 0)?.to_ascii_lowercase())),
        "string_upper_ascii" => |args| Ok(Value::from(text(args, 0)?.to_ascii_uppercase())),
        "string_replace_string_string" => |args| replace(text(args, 0)?, text(args, 1)?, text(args, 2)?, -1),
        "string_replace_string_string_int" => {
            |args| replace(text(args, 0)?, text(args, 1)?, text(args, 2)?, int(args, 3)?)
        }
        "string_split_string" => |args| split(text(args, 0)?, text(args, 1)?, -1),
        "string_split_string_int" => |args| split(text(args, 0)?, text(args, 1)?, int(args, 2)?),
        "string_substring_int" => |args| {
            let (text, start) = (text(args, 0)?, int(args, 1)?);
            substring(text, start, text.chars().count() as i64, false)
        },
        "string_substring_int_int" => |args| substring(text(args, 0)?, int(args, 1)?, int(args, 2)?, true),
        "string_trim" => |args| Ok(Value::from(text(args, 0)?.trim())),
        "string_format" => |args| match &args[1] {
            Value::List(list) => super::format::format(text(args, 0)?, &list.elements()?).map(Value::from),
            _ => Err(Fault::no_overload()),
        },
        "strings_quote" => |args| Ok(Value::from(quote(text(args, 0)?))),
        "list_join" => |args| join(args, ""),
        "list_join_string" => |args| join(args, text(args, 1)?),
        _ => return None,
    })
}

pub(super) fn text(args: &[Value], at: usize) -> Result<&str, Fault> {
    args.get(at).and_then(Value::as_str).ok_or_else(Fault::no_overload)
}

pub(super) fn int(args: &[Value], at: usize) -> Result<i64, Fault> {
    args.get(at).and_then(Value::as_int).ok_or_else(Fault::no_overload)
}

fn out_of_range<T>(index: i64) -> Result<T, Fault> {
    Err(Fault::new(format!("index out of range: {index}")))
}

fn char_at(text: &str, index: i64) -> Outcome {
    let Ok(at) = usize::try_from(index) else { return out_of_range(index) };
    match text.chars().nth(at) {
        Some(char) => Ok(Value::from(char.to_string())),
        None if at == text.chars().count() => Ok(Value::from("")),
        None => out_of_range(index),
    }
}

fn index_of(text: &str, part: &str, offset: i64) -> Outcome {
    let Ok(from) = usize::try_from(offset) else { return out_of_range(offset) };
    let count = text.chars().count();
    if part.is_empty() {
        return Ok(Value::Int(from.min(count) as i64));
    }
    let start = text.char_indices().nth(from).map(|(start, _)| start);
    let found = start.and_then(|start| text[start..].find(part).map(|at| start + at));
    Ok(Value::Int(found.map_or(-1, |at| text[..at].chars().count() as i64)))
}

fn last_index_of(text: &str, part: &str, offset: Option<i64>) -> Outcome {
    let count = text.chars().count();
    if part.is_empty() {
        return match offset {
            Some(offset) if offset < 0 => out_of_range(offset),
            Some(offset) => Ok(Value::Int(offset.min(count as i64))),
            None => Ok(Value::Int(count as i64)),
        };
    }
    if offset.is_none() && text.len() < part.len() {
        return Ok(Value::Int(-1));
    }
    let offset = offset.unwrap_or(count as i64 - 1);
    let Ok(from) = usize::try_from(offset) else { return out_of_range(offset) };
    if from >= count {
        return Ok(Value::Int(-1));
    }
    // The last place where the part may begin.
    let start = text.char_indices().nth(from).map_or(text.len(), |(start, _)| start);
    let end = (start + part.len()).min(text.len());
    let end = (end..=text.len()).find(|end| text.is_char_boundary(*end)).unwrap_or(text.len());
    let found = text[..end].match_indices(part).map(|(at, _)| at).filter(|at| *at <= start).last();
    let found = found.into_iter().chain(text[..end].rfind(part).filter(|at| *at <= start)).max();
    Ok(Value::Int(found.map_or(-1, |at| text[..at].chars().count() as i64)))
}

fn replace(text: &str, old: &str, new: &str, count: i64) -> Outcome {
    Ok(Value::from(match usize::try_from(count) {
        Ok(count) => text.replacen(old, new, count),
        Err(_) => text.replace(old, new),
    }))
}

/// Go's `strings.SplitN`: an empty separator splits into characters.
fn split(text: &str, separator: &str, count: i64) -> Outcome {
    let limit = usize::try_from(count).unwrap_or(usize::MAX);
    let parts: Vec<&str> = match (limit, separator) {
        (0, _) => Vec::new(),
        (_, "") => {
            let whole = text.char_indices().map(|(at, char)| (at, &text[at..at + char.len_utf8()]));
            let mut parts: Vec<(usize, &str)> = whole.take(limit).collect();
            if let Some(last) = parts.last_mut().filter(|_| limit < usize::MAX) {
                let single = last.0 + last.1.len() == text.len();
                last.1 = if single { last.1 } else { &text[last.0..] };
            }
            parts.into_iter().map(|(_, part)| part).collect()
        }
        (usize::MAX, _) => text.split(separator).collect(),
        _ => text.splitn(limit, separator).collect(),
    };
    Ok(Value::list(parts.into_iter().map(Value::from).collect()))
}

fn substring(text: &str, start: i64, end: i64, both: bool) -> Outcome {
    let count = text.chars().count() as i64;
    if both && start > end {
        return Err(Fault::new(format!("invalid substring range. start: {start}, end: {end}")));
    }
    for index in [start, end] {
        if index < 0 || index > count {
            return out_of_range(index);
        }
    }
    Ok(Value::from(text.chars().skip(start as usize).take((end - start) as usize).collect::<String>()))
}

fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for char in text.chars() {
        match char {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            char => out.push(char),
        }
    }
    out.push('"');
    out
}

fn join(args: &[Value], separator: &str) -> Outcome {
    let Value::List(list) = &args[0] else { return Err(Fault::no_overload()) };
    let mut out = String::new();
    for (at, element) in list.iter().enumerate() {
        if at > 0 {
            out.push_str(separator);
        }
        match element {
            Ok(Value::String(text)) => out.push_str(&text),
            Ok(other) => return Err(Fault::new(format!("join: invalid input: {other}"))),
            Err(fault) => return Err(Fault::new(format!("join: invalid input: {fault}"))),
        }
    }
    Ok(Value::from(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_places() {
        let found = |text, part, offset| last_index_of(text, part, offset).map(|value| value.as_int());
        assert_eq!(found("hello mellow", "ello", None), Ok(Some(7)));
        assert_eq!(found("hello mellow", "ello", Some(6)), Ok(Some(1)));
        assert_eq!(found("aaa", "aa", Some(2)), Ok(Some(1)));
        assert_eq!(found("éaéa", "éa", Some(1)), Ok(Some(0)));
        assert_eq!(found("a", "b", Some(5)), Ok(Some(-1)));
        assert!(found("a", "b", Some(-1)).is_err());
    }

    #[test]
    fn splits() {
        let parts = |text, separator, count| split(text, separator, count).map(|value| value.to_string());
        assert_eq!(parts("hello", "", -1).as_deref(), Ok("[h, e, l, l, o]"));
        assert_eq!(parts("hello", "", 2).as_deref(), Ok("[h, ello]"));
        assert_eq!(parts("a,b,c", ",", 2).as_deref(), Ok("[a, b,c]"));
        assert_eq!(parts("a,b", ",", 0).as_deref(), Ok("[]"));
        assert_eq!(parts("", ",", -1).as_deref(), Ok("[]").map(|_| "[]"));
    }
}
