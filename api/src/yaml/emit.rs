//! YAML text of JSON values, byte for byte as upstream's writer lays it out: sorted keys, lists not indented below
//! their key, lines folded after 80 columns, quotes only where a reader would take the text for something else.
//!
//! Facts: go.yaml.in/yaml/v2@v2.4.4/{encode,sorter,resolve,emitterc}.go. Non-goal: flow style, anchors, tags.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use super::plain::is_taken_for_text;

/// A space after this column becomes a line break.
const WIDTH: usize = 80;
const STEP: usize = 2;
/// The longest key, in bytes, that stands on a line with its colon.
const SIMPLE_KEY_BYTES: usize = 128;

pub(super) fn document(value: &Value) -> String {
    let mut out = Emitter { text: String::new(), column: 0 };
    match value {
        Value::Object(map) if !map.is_empty() => out.map(map, 0),
        Value::Array(list) if !list.is_empty() => out.list(list, 0),
        other => out.leaf(other, 0, false),
    }
    out.end_line();
    out.text
}

struct Emitter {
    text: String,
    column: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

impl Emitter {
    fn put(&mut self, c: char) {
        self.text.push(c);
        self.column = if c == '\n' { 0 } else { self.column + 1 };
    }

    fn put_all(&mut self, text: &str) {
        text.chars().for_each(|c| self.put(c));
    }

    fn end_line(&mut self) {
        if self.column > 0 {
            self.put('\n');
        }
    }

    /// To a column of this line when it is ahead, else of a new one.
    fn indent(&mut self, to: usize) {
        if self.column > to {
            self.put('\n');
        }
        while self.column < to {
            self.put(' ');
        }
    }

    /// A map whose keys are at a column; the first may stand behind what is on the line already.
    fn map(&mut self, map: &Map<String, Value>, at: usize) {
        let mut keys: Vec<&String> = map.keys().collect();
        keys.sort_by(|a, b| natural(a, b));
        for key in keys {
            self.indent(at);
            let simple = key.len() <= SIMPLE_KEY_BYTES && !has_break(key);
            if simple {
                self.string(key, at, true);
                self.put(':');
                self.below_key(&map[key], at);
            } else {
                self.put_all("? ");
                self.string(key, at, false);
                self.end_line();
                self.indent(at);
                self.put(':');
                self.item(&map[key], at);
            }
            self.end_line();
        }
    }

    fn below_key(&mut self, value: &Value, at: usize) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                self.put('\n');
                self.map(map, at + STEP);
            }
            Value::Array(list) if !list.is_empty() => {
                self.put('\n');
                self.list(list, at);
            }
            other => {
                self.put(' ');
                self.leaf(other, at, false);
            }
        }
    }

    fn list(&mut self, list: &[Value], at: usize) {
        for item in list {
            self.indent(at);
            self.put('-');
            self.item(item, at);
            self.end_line();
        }
    }

    /// What stands behind a dash or a lone colon at a column.
    fn item(&mut self, value: &Value, at: usize) {
        match value {
            Value::Object(map) if !map.is_empty() => self.map(map, at + STEP),
            Value::Array(list) if !list.is_empty() => self.list(list, at + STEP),
            other => {
                self.put(' ');
                self.leaf(other, at, false);
            }
        }
    }

    fn leaf(&mut self, value: &Value, at: usize, key: bool) {
        match value {
            Value::Null => self.put_all("null"),
            Value::Bool(value) => self.put_all(if *value { "true" } else { "false" }),
            Value::Number(number) => self.put_all(&number_text(number)),
            Value::String(text) => self.string(text, at, key),
            Value::Array(_) => self.put_all("[]"),
            Value::Object(_) => self.put_all("{}"),
        }
    }

    fn string(&mut self, text: &str, at: usize, key: bool) {
        let below = at + STEP;
        match style(text, key) {
            Style::Plain => self.folded(text, below, !key, |out, c| out.put(c)),
            Style::Single => {
                self.put('\'');
                self.folded(text, below, !key, |out, c| {
                    out.put(c);
                    if c == '\'' {
                        out.put(c);
                    }
                });
                self.put('\'');
            }
            Style::Double => self.double(text, below, !key),
            Style::Literal => self.literal(text, below),
        }
    }

    /// A space between two words far to the right ends the line.
    fn folded(&mut self, text: &str, below: usize, folds: bool, put: fn(&mut Self, char)) {
        let mut after_space = false;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let between = c == ' ' && !after_space && chars.peek().is_some_and(|next| *next != ' ');
            if between && folds && self.column > WIDTH {
                self.indent(below);
            } else {
                put(self, c);
            }
            after_space = c == ' ';
        }
    }

    fn double(&mut self, text: &str, below: usize, folds: bool) {
        self.put('"');
        let mut after_space = false;
        let mut chars = text.chars().enumerate().peekable();
        while let Some((at, c)) = chars.next() {
            let next = chars.peek().map(|(_, next)| *next);
            if c == ' ' && folds && !after_space && self.column > WIDTH && at > 0 && next.is_some() {
                self.indent(below);
                if next == Some(' ') {
                    self.put('\\');
                }
            } else {
                self.put_all(&escaped(c));
            }
            after_space = c == ' ';
        }
        self.put('"');
    }

    fn literal(&mut self, text: &str, below: usize) {
        self.put('|');
        if text.starts_with([' ', '\n']) {
            self.put_all(&STEP.to_string());
        }
        match text.strip_suffix('\n') {
            None => self.put('-'),
            Some(rest) if rest.is_empty() || rest.ends_with('\n') => self.put('+'),
            Some(_) => {}
        }
        self.put('\n');
        for line in text.split_inclusive('\n') {
            if line != "\n" {
                self.indent(below);
            }
            self.put_all(line);
        }
    }
}

fn is_break(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn has_break(text: &str) -> bool {
    text.contains(is_break)
}

/// What a reader of YAML 1.1 shows as it is; nothing beyond the basic plane.
fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}') && c != '\u{feff}'
}

fn style(text: &str, key: bool) -> Style {
    let look = Look::at(text);
    let wanted = match text {
        text if text.contains('\n') && !key => Style::Literal,
        text if text.contains('\n') => Style::Double,
        text if is_taken_for_text(text) => Style::Plain,
        _ => Style::Double,
    };
    match wanted {
        Style::Plain if look.plain && !has_break(text) => Style::Plain,
        Style::Plain if look.single => Style::Single,
        Style::Literal if look.literal => Style::Literal,
        _ => Style::Double,
    }
}

/// In which styles a text can be written so that it reads back the same.
struct Look {
    plain: bool,
    single: bool,
    literal: bool,
}

impl Look {
    fn at(text: &str) -> Look {
        let ends = |test: fn(char) -> bool| (text.starts_with(test), text.ends_with(test));
        let (leading_space, trailing_space) = ends(|c| c == ' ');
        let (leading_break, trailing_break) = ends(is_break);
        let pairs = || text.chars().zip(text.chars().skip(1));
        let break_space = pairs().any(|(a, b)| is_break(a) && b == ' ');
        let space_break = pairs().any(|(a, b)| a == ' ' && is_break(b));
        let special = !text.chars().all(is_printable);
        let edges = leading_space || leading_break || trailing_space || trailing_break;
        let unsafe_whole = space_break || special;
        Look {
            plain: !edges && !break_space && !unsafe_whole && !has_indicator(text),
            single: !break_space && !unsafe_whole,
            literal: !trailing_space && !unsafe_whole,
        }
    }
}

/// Whether a reader would see structure in the text.
fn has_indicator(text: &str) -> bool {
    let is_blank = |c: Option<&char>| c.is_none_or(|c| matches!(c, ' ' | '\t'));
    if text.starts_with("---") || text.starts_with("...") {
        return true;
    }
    let chars: Vec<char> = text.chars().collect();
    let structural = |(at, c): (usize, &char)| match c {
        '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' if at == 0 => {
            true
        }
        '?' | '-' if at == 0 => is_blank(chars.get(1)),
        ':' => is_blank(chars.get(at + 1)),
        '#' => matches!(chars[at - 1], ' ' | '\t' | '\0') || is_break(chars[at - 1]),
        _ => false,
    };
    chars.iter().enumerate().any(structural)
}

fn escaped(c: char) -> String {
    let short = match c {
        '\0' => '0',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\u{1b}' => 'e',
        '"' | '\\' => c,
        '\u{85}' => 'N',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        _ if is_printable(c) => return c.into(),
        _ => {
            return match u32::from(c) {
                code @ ..=0xff => format!("\\x{code:02X}"),
                code @ ..=0xffff => format!("\\u{code:04X}"),
                code => format!("\\U{code:08X}"),
            };
        }
    };
    format!("\\{short}")
}

/// A number as Go's shortest `g` format has it.
fn number_text(number: &Number) -> String {
    match number.as_f64().filter(|_| number.is_f64()) {
        None => number.to_string(),
        Some(float) => {
            let text = format!("{float:e}");
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            match exponent.parse::<i32>() {
                Ok(exponent) if !(-4..6).contains(&exponent) => {
                    let sign = if exponent < 0 { '-' } else { '+' };
                    format!("{mantissa}e{sign}{:02}", exponent.abs())
                }
                _ => float.to_string(),
            }
        }
    }
}

/// The order of keys: numbers in them count as numbers, letters come last.
fn natural(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(at) = (0..a.len().min(b.len())).find(|at| a[*at] != b[*at]) else { return a.len().cmp(&b.len()) };
    match (a[at].is_alphabetic(), b[at].is_alphabetic()) {
        (true, true) => return a[at].cmp(&b[at]),
        (false, true) => return Ordering::Less,
        (true, false) => return Ordering::Greater,
        (false, false) => {}
    }
    // A zero within a number that has begun counts.
    let digits_before = a[..at].iter().rev().take_while(|c| c.is_ascii_digit());
    let begun = (a[at] == '0' || b[at] == '0') && digits_before.into_iter().any(|c| *c != '0');
    let number = |text: &[char]| {
        let digits = text[at..].iter().map_while(|c| c.to_digit(10));
        let value =
            |(value, count): (i64, usize), digit| (value.wrapping_mul(10).wrapping_add(i64::from(digit)), count + 1);
        digits.fold((i64::from(begun), 0_usize), value)
    };
    number(&a).cmp(&number(&b)).then(a[at].cmp(&b[at]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(value: &Value, expect: &str) {
        assert_eq!(document(value), expect, "{value}");
    }

    #[test]
    fn layout() {
        check(
            &json!({"a": {"b": [1, {"c": null, "d": [[2, 3], []]}, "x"], "e": {}}, "f": true}),
            "a:\n  b:\n  - 1\n  - c: null\n    d:\n    - - 2\n      - 3\n    - []\n  - x\n  e: {}\nf: true\n",
        );
        check(&json!([{"a": 1}]), "- a: 1\n");
        check(&json!("x"), "x\n");
        let key = "k".repeat(129);
        check(&json!({ key.clone(): {"a": 1} }), &format!("? {key}\n: a: 1\n"));
    }

    #[test]
    fn keys_in_their_natural_order() {
        check(
            &json!({"f:a": 1, ".": 2, "f:10": 3, "f:9": 4, "f:B": 5, "k:{\"x\":1}": 6}),
            ".: 2\nf:9: 4\nf:10: 3\nf:B: 5\nf:a: 1\nk:{\"x\":1}: 6\n",
        );
    }

    #[test]
    fn texts_that_read_back_the_same() {
        for (text, expect) in [
            ("f:spec", "f:spec"),
            ("a: b", "'a: b'"),
            ("a:", "'a:'"),
            ("a #b", "'a #b'"),
            ("a#b", "a#b"),
            ("-", "'-'"),
            ("-x", "-x"),
            ("- x", "'- x'"),
            ("", "\"\""),
            ("true", "\"true\""),
            ("1.5", "\"1.5\""),
            (" x", "' x'"),
            ("it's", "it's"),
            ("'x", "'''x'"),
            ("{x}", "'{x}'"),
            ("a\tb", "\"a\\tb\""),
            ("\u{1f600}", "\"\\U0001F600\""),
            ("é", "é"),
            ("a\nb", "|-\n  a\n  b"),
            ("a\n\nb\n", "|\n  a\n\n  b"),
            ("a\n\n", "|+\n  a\n"),
            (" a\nb", "|2-\n   a\n  b"),
            ("a \nb", "\"a \\nb\""),
        ] {
            check(&json!({ "k": text }), &format!("k: {expect}\n"));
        }
    }

    #[test]
    fn long_lines_are_folded() {
        let words = ["word"; 20].join(" ");
        let (first, rest) = (["word"; 16].join(" "), ["word"; 4].join(" "));
        check(&json!({ "key": words }), &format!("key: {first}\n  {rest}\n"));
        let double = format!("{words}\t");
        check(&json!({ "key": double }), &format!("key: \"{first}\n  {rest}\\t\"\n"));
    }

    #[test]
    fn numbers() {
        for (number, expect) in [
            ("1", "1"),
            ("-7", "-7"),
            ("0.5", "0.5"),
            ("1234567.5", "1.2345675e+06"),
            ("0.00001", "1e-05"),
            ("100000.5", "100000.5"),
        ] {
            let value: Value = serde_json::from_str(number).expect("a number");
            check(&value, &format!("{expect}\n"));
        }
    }
}
