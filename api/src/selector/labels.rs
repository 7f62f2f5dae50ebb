//! Label selectors: `app=web,tier in (a,b),!legacy`.
//!
//! Invariant: same grammar, canonical text and errors as `k8s.io/apimachinery/pkg/labels@v0.37.2`; a parsed selector's
//! requirements are sorted by key. Non-goal: indexing.

use std::collections::{BTreeSet, HashSet};
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::Error;
use crate::field::{self, Path};
use crate::names;

/// How a label relates to a requirement's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    In,
    NotIn,
    Equals,
    DoubleEquals,
    NotEquals,
    GreaterThan,
    LessThan,
    Exists,
    DoesNotExist,
}

/// The operators that take values, as upstream lists them in errors.
const BINARY_OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

/// One condition on one label. Its values are within the operator's bounds and valid label values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

/// A conjunction of requirements, or the selector that matches nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// None matches no object at all.
    requirements: Option<Vec<Requirement>>,
}

/// Values as JSON, as an error shows them; an empty list is Go's nil.
struct Values<'a>(&'a [String]);

impl field::Shown for Values<'_> {
    fn shown(&self) -> String {
        if self.0.is_empty() {
            return "null".to_owned();
        }
        let json = field::Json(&self.0).shown();
        // Go escapes what HTML would read as markup.
        json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    }
}

impl Requirement {
    /// Upstream's `NewRequirement`; `path` is where the requirement stands, by default nowhere.
    pub fn new(key: &str, operator: Operator, values: Vec<String>, path: &Path) -> Result<Requirement, field::Errors> {
        let mut errors = check_key(key, &path.child("key"));
        let at = path.child("values");
        let detail = match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                Some("for 'in', 'notin' operators, values set can't be empty")
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
                Some("exact-match compatibility requires one single value")
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                Some("values set must be empty for exists and does not exist")
            }
            Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
                Some("for 'Gt', 'Lt' operators, exactly one value is required")
            }
            _ => None,
        };
        errors.extend(detail.map(|detail| field::invalid(&at, Values(&values), detail)));
        if matches!(operator, Operator::GreaterThan | Operator::LessThan) {
            let wrong = values.iter().enumerate().filter(|(_, value)| value.parse::<i64>().is_err());
            errors.extend(wrong.map(|(index, value)| {
                field::invalid(&at.index(index), value, "for 'Gt', 'Lt' operators, the value must be an integer")
            }));
        }
        for (index, value) in values.iter().enumerate() {
            let messages = names::is_valid_label_value(value);
            if !messages.is_empty() {
                errors.push(field::invalid(&at.index(index).key(key), value, messages.join("; ")));
            }
        }
        if errors.is_empty() { Ok(Requirement { key: key.to_owned(), operator, values }) } else { Err(errors) }
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn operator(&self) -> Operator {
        self.operator
    }

    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// Whether a label with this value, or its absence, satisfies the requirement.
    pub fn matches(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| self.values.iter().any(|known| known == value);
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => value.is_some_and(listed),
            Operator::NotIn | Operator::NotEquals => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => self.compared(value).is_some_and(|(label, bound)| label > bound),
            Operator::LessThan => self.compared(value).is_some_and(|(label, bound)| label < bound),
        }
    }

    fn compared(&self, value: Option<&str>) -> Option<(i64, i64)> {
        Some((value?.parse().ok()?, self.values.first()?.parse().ok()?))
    }
}

fn check_key(key: &str, path: &Path) -> field::Errors {
    let messages = names::is_qualified_name(key);
    if messages.is_empty() { Vec::new() } else { vec![field::invalid(path, key, messages.join("; "))] }
}

/// Upstream's `ErrorList.ToAggregate().Error()`.
fn aggregate(errors: &field::Errors) -> String {
    let mut seen = HashSet::new();
    let texts: Vec<String> = errors.iter().map(ToString::to_string).filter(|text| seen.insert(text.clone())).collect();
    if texts.len() == 1 { texts.concat() } else { format!("[{}]", texts.join(", ")) }
}

impl Selector {
    /// Matches every object.
    pub fn everything() -> Selector {
        Selector { requirements: Some(Vec::new()) }
    }

    /// Matches no object.
    pub fn nothing() -> Selector {
        Selector { requirements: None }
    }

    /// Upstream's `Parse`.
    pub fn parse(text: &str) -> Result<Selector, Error> {
        Ok(Selector::sorted(Parser::new(text).parse().map_err(Error::Label)?))
    }

    /// Upstream's `SelectorFromSet`: every label must be exactly so. The labels are not validated.
    pub fn from_set<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Selector {
        let requirement = |(key, value): (&String, &String)| Requirement {
            key: key.clone(),
            operator: Operator::Equals,
            values: vec![value.clone()],
        };
        Selector::sorted(labels.into_iter().map(requirement).collect())
    }

    /// Upstream's `LabelSelectorAsSelector`: an absent selector matches nothing, an empty one everything.
    pub fn from_label_selector(selector: Option<&LabelSelector>) -> Result<Selector, Error> {
        let Some(selector) = selector else { return Ok(Selector::nothing()) };
        let new = |key: &str, operator, values| {
            Requirement::new(key, operator, values, &Path::default()).map_err(|errors| Error::Label(aggregate(&errors)))
        };
        let mut requirements = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            requirements.push(new(key, Operator::Equals, vec![value.clone()])?);
        }
        for expression in selector.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    let quoted = field::go_quote(other);
                    return Err(Error::Label(format!("{quoted} is not a valid label selector operator")));
                }
            };
            requirements.push(new(&expression.key, operator, expression.values.clone().unwrap_or_default())?);
        }
        Ok(Selector::sorted(requirements))
    }

    /// The conjunction of these requirements.
    pub fn from_requirements(requirements: Vec<Requirement>) -> Selector {
        Selector::sorted(requirements)
    }

    fn sorted(mut requirements: Vec<Requirement>) -> Selector {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Selector { requirements: Some(requirements) }
    }

    /// Whether an object whose labels `get` looks up is selected.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        let Some(requirements) = &self.requirements else { return false };
        requirements.iter().all(|requirement| requirement.matches(get(&requirement.key)))
    }

    /// True when nothing is restricted.
    pub fn is_empty(&self) -> bool {
        self.requirements.as_ref().is_some_and(Vec::is_empty)
    }

    /// True for the selector that matches no object whatever its labels.
    pub fn matches_nothing(&self) -> bool {
        self.requirements.is_none()
    }

    /// The requirements in key order; none for [`Selector::nothing`].
    pub fn requirements(&self) -> &[Requirement] {
        self.requirements.as_deref().unwrap_or_default()
    }

    /// The one value a label must have (upstream's `RequiresExactMatch`).
    pub fn requires_exact(&self, key: &str) -> Option<&str> {
        let requirement = self.requirements().iter().find(|requirement| requirement.key == key)?;
        match (requirement.operator, requirement.values.as_slice()) {
            (Operator::Equals | Operator::DoubleEquals | Operator::In, [value]) => Some(value),
            _ => None,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements().iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{requirement}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let values = || {
            let mut sorted: Vec<&str> = self.values.iter().map(String::as_str).collect();
            sorted.sort_unstable();
            sorted.join(",")
        };
        match self.operator {
            Operator::In => write!(f, "{key} in ({})", values()),
            Operator::NotIn => write!(f, "{key} notin ({})", values()),
            Operator::Equals => write!(f, "{key}={}", values()),
            Operator::DoubleEquals => write!(f, "{key}=={}", values()),
            Operator::NotEquals => write!(f, "{key}!={}", values()),
            Operator::GreaterThan => write!(f, "{key}>{}", values()),
            Operator::LessThan => write!(f, "{key}<{}", values()),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    End,
    ClosedPar,
    Comma,
    Not,
    DoubleEquals,
    Equals,
    GreaterThan,
    Identifier,
    In,
    LessThan,
    NotEquals,
    NotIn,
    OpenPar,
}

fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The operator or punctuation mark `text` starts with.
fn symbol(text: &str) -> Option<(Token, &'static str)> {
    const SYMBOLS: [(&str, Token); 9] = [
        ("==", Token::DoubleEquals),
        ("!=", Token::NotEquals),
        ("=", Token::Equals),
        ("!", Token::Not),
        ("(", Token::OpenPar),
        (")", Token::ClosedPar),
        (",", Token::Comma),
        (">", Token::GreaterThan),
        ("<", Token::LessThan),
    ];
    SYMBOLS.iter().find(|(literal, _)| text.starts_with(literal)).map(|(literal, token)| (*token, *literal))
}

/// Splits a text into tokens. A NUL between tokens ends the text, one that follows a token only ends that token: upstream
/// takes NUL for the end.
fn tokens(text: &str) -> Vec<(Token, &str)> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        if rest.is_empty() || rest.starts_with('\0') {
            tokens.push((Token::End, ""));
            return tokens;
        }
        let (token, literal) = symbol(rest).unwrap_or_else(|| word(rest));
        tokens.push((token, literal));
        rest = &rest[literal.len()..];
        rest = rest.strip_prefix('\0').unwrap_or(rest);
    }
}

/// The identifier or keyword `text` starts with.
fn word(text: &str) -> (Token, &str) {
    let ends = |byte: u8| is_white_space(byte) || b"=!(),><\0".contains(&byte);
    let word = &text[..text.bytes().position(ends).unwrap_or(text.len())];
    match word {
        "in" => (Token::In, word),
        "notin" => (Token::NotIn, word),
        _ => (Token::Identifier, word),
    }
}

/// Recursive descent over the tokens. Errors are upstream's texts.
struct Parser<'a> {
    tokens: Vec<(Token, &'a str)>,
    position: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Parser { tokens: tokens(text), position: 0 }
    }

    fn peek_operator(&self) -> (Token, &'a str) {
        self.tokens.get(self.position).copied().unwrap_or((Token::End, ""))
    }

    /// The next token where `in` and `notin` are names like any other.
    fn peek(&self) -> (Token, &'a str) {
        match self.peek_operator() {
            (Token::In | Token::NotIn, literal) => (Token::Identifier, literal),
            other => other,
        }
    }

    fn next(&mut self) -> (Token, &'a str) {
        let token = self.peek();
        self.position += 1;
        token
    }

    fn parse(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                (Token::Identifier | Token::Not, _) => {}
                (Token::End, _) => return Ok(requirements),
                (_, found) => return Err(format!("found '{found}', expected: !, identifier, or 'end of string'")),
            }
            let requirement = self.requirement().map_err(|error| format!("unable to parse requirement: {error}"))?;
            requirements.push(requirement);
            match self.next() {
                (Token::End, _) => return Ok(requirements),
                (Token::Comma, _) => match self.peek() {
                    (Token::Identifier | Token::Not, _) => {}
                    (_, found) => return Err(format!("found '{found}', expected: identifier after ','")),
                },
                (_, found) => return Err(format!("found '{found}', expected: ',' or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let negated = self.peek().0 == Token::Not;
        if negated {
            self.next();
        }
        let (Token::Identifier, key) = self.peek() else {
            return Err(format!("found '{}', expected: identifier", self.peek().1));
        };
        self.next();
        let errors = check_key(key, &Path::default());
        if !errors.is_empty() {
            return Err(aggregate(&errors));
        }
        let (operator, values) = if negated {
            (Operator::DoesNotExist, BTreeSet::new())
        } else if matches!(self.peek().0, Token::End | Token::Comma) {
            (Operator::Exists, BTreeSet::new())
        } else {
            self.operator_and_values()?
        };
        let values = values.into_iter().map(str::to_owned).collect();
        Requirement::new(key, operator, values, &Path::default()).map_err(|errors| aggregate(&errors))
    }

    fn operator_and_values(&mut self) -> Result<(Operator, BTreeSet<&'a str>), String> {
        let (token, found) = self.peek_operator();
        self.position += 1;
        let operator = match token {
            Token::In => Operator::In,
            Token::NotIn => Operator::NotIn,
            Token::Equals => Operator::Equals,
            Token::DoubleEquals => Operator::DoubleEquals,
            Token::NotEquals => Operator::NotEquals,
            Token::GreaterThan => Operator::GreaterThan,
            Token::LessThan => Operator::LessThan,
            _ => return Err(format!("found '{found}', expected: {BINARY_OPERATORS}")),
        };
        let set = matches!(operator, Operator::In | Operator::NotIn);
        Ok((operator, if set { self.values()? } else { self.exact_value()? }))
    }

    /// `(a,b)`: possibly empty, of possibly empty values.
    fn values(&mut self) -> Result<BTreeSet<&'a str>, String> {
        let (Token::OpenPar, _) = self.peek() else {
            return Err(format!("found '{}' expected: '('", self.peek().1));
        };
        self.next();
        let mut values = BTreeSet::new();
        match self.peek() {
            (Token::Identifier | Token::Comma, _) => {}
            (Token::ClosedPar, _) => {
                self.next();
                values.insert("");
                return Ok(values);
            }
            (_, found) => return Err(format!("found '{found}', expected: ',', ')' or identifier")),
        }
        loop {
            match self.next() {
                (Token::Identifier, value) => {
                    values.insert(value);
                    match self.peek() {
                        (Token::Comma, _) => continue,
                        (Token::ClosedPar, _) => break,
                        (_, found) => return Err(format!("found '{found}', expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    let after = self.peek().0;
                    if values.is_empty() || matches!(after, Token::Comma | Token::ClosedPar) {
                        values.insert("");
                    }
                    if after == Token::ClosedPar {
                        break;
                    }
                }
                (_, found) => return Err(format!("found '{found}', expected: ',', or identifier")),
            }
        }
        self.next();
        Ok(values)
    }

    fn exact_value(&mut self) -> Result<BTreeSet<&'a str>, String> {
        match self.peek() {
            (Token::End | Token::Comma, _) => Ok(BTreeSet::from([""])),
            (Token::Identifier, value) => {
                self.next();
                Ok(BTreeSet::from([value]))
            }
            (_, found) => Err(format!("found '{found}', expected: identifier")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const NOT_A_LABEL: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

    fn selector(text: &str) -> Selector {
        Selector::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn canonical_text() {
        let cases = [
            ("", ""),
            (" \t\r\n", ""),
            ("x=a,y=b,z=c", "x=a,y=b,z=c"),
            ("z=c,x=a", "x=a,z=c"),
            ("x!=a,y==b", "x!=a,y==b"),
            ("x=", "x="),
            ("x= ,z= ", "x=,z="),
            ("!x", "!x"),
            ("x>1,z<5", "x>1,z<5"),
            ("x in (b,a,a)", "x in (a,b)"),
            ("x in ()", "x in ()"),
            ("x notin (a,,)", "x notin (,a)"),
            ("in in (in,notin)", "in in (in,notin)"),
            ("notin", "notin"),
            ("a.b/c=d", "a.b/c=d"),
            ("x,y in\n( a , b )", "x,y in (a,b)"),
            ("x\0,y\0 \0,z", "x,y"),
        ];
        for (text, want) in cases {
            assert_eq!(selector(text).to_string(), want, "{text}");
        }
    }

    #[test]
    fn refused() {
        let wrong_value = format!(r#"values[0][x]: Invalid value: "a||y": {NOT_A_LABEL}"#);
        let requirements = [
            ("x=a||y", wrong_value.as_str()),
            ("x<a", r#"values[0]: Invalid value: "a": for 'Gt', 'Lt' operators, the value must be an integer"#),
            ("x a", "found 'a', expected: in, notin, =, ==, !=, gt, lt"),
            ("x in a", "found 'a' expected: '('"),
            ("x in (a", "found '', expected: ',' or ')'"),
            ("x in (", "found '', expected: ',', ')' or identifier"),
            ("x in (,", "found '', expected: ',', or identifier"),
            ("x=(", "found '(', expected: identifier"),
            ("!", "found '', expected: identifier"),
            ("/x", r#"<nil>: Invalid value: "/x": prefix part must be non-empty"#),
        ];
        for (text, want) in requirements {
            let want = format!("unable to parse requirement: {want}");
            assert_eq!(Selector::parse(text).map_err(|error| error.to_string()), Err(want), "{text}");
        }
        let selectors = [
            ("x==a==b", "found '==', expected: ',' or 'end of string'"),
            ("!x=a", "found '=', expected: ',' or 'end of string'"),
            ("!x in (a)", "found 'in', expected: ',' or 'end of string'"),
            ("x,", "found '', expected: identifier after ','"),
            (",x", "found ',', expected: !, identifier, or 'end of string'"),
        ];
        for (text, want) in selectors {
            assert_eq!(Selector::parse(text), Err(Error::Label(want.to_owned())), "{text}");
        }
    }

    #[test]
    fn matching() {
        let get = |key: &str| match key {
            "app" => Some("web"),
            "tier" => Some("2"),
            "empty" => Some(""),
            _ => None,
        };
        let cases = [
            ("", true),
            ("app", true),
            ("app=web", true),
            ("app==api", false),
            ("app!=api", true),
            ("none!=api", true),
            ("app in (api,web)", true),
            ("app notin (api,web)", false),
            ("none notin (api)", true),
            ("!none", true),
            ("!app", false),
            ("empty=", true),
            ("none=", false),
            ("tier>1,tier<3", true),
            ("tier>2", false),
            ("app>0", false),
            ("none<5", false),
        ];
        for (text, want) in cases {
            assert_eq!(selector(text).matches(get), want, "{text}");
        }
        assert!(!Selector::nothing().matches(get));
        assert!(Selector::everything().matches(get));
    }

    #[test]
    fn exact_values() {
        let cases = [
            ("x=a", Some("a")),
            ("x==a", Some("a")),
            ("x in (a)", Some("a")),
            ("x in (a,b)", None),
            ("x!=a", None),
            ("x", None),
            ("y=a", None),
            ("x,x=a", None),
        ];
        for (text, want) in cases {
            assert_eq!(selector(text).requires_exact("x"), want, "{text}");
        }
    }

    #[test]
    fn from_label_selectors() {
        let parse = |json: &str| {
            let selector: LabelSelector = serde_json::from_str(json).expect("a label selector");
            Selector::from_label_selector(Some(&selector)).map(|s| s.to_string()).map_err(|error| error.to_string())
        };
        let two_errors = format!(
            r#"[values: Invalid value: ["\u003c\u0026\u003e"]: values set must be empty for exists and does not exist, values[0][a]: Invalid value: "<&>": {NOT_A_LABEL}]"#
        );
        let cases = [
            (r#"{}"#, Ok("")),
            (r#"{"matchLabels":{"b":"2","a":"1"}}"#, Ok("a=1,b=2")),
            (
                r#"{"matchLabels":{"b":"2"},"matchExpressions":[{"key":"a","operator":"In","values":["y","x"]},{"key":"c","operator":"DoesNotExist"}]}"#,
                Ok("a in (x,y),b=2,!c"),
            ),
            (
                r#"{"matchExpressions":[{"key":"a","operator":"In"}]}"#,
                Err("values: Invalid value: null: for 'in', 'notin' operators, values set can't be empty"),
            ),
            (r#"{"matchExpressions":[{"key":"a","operator":"Exists","values":["<&>"]}]}"#, Err(two_errors.as_str())),
            (
                r#"{"matchExpressions":[{"key":"a","operator":"Gt"}]}"#,
                Err(r#""Gt" is not a valid label selector operator"#),
            ),
        ];
        for (json, want) in cases {
            assert_eq!(parse(json), want.map(str::to_owned).map_err(str::to_owned), "{json}");
        }
        assert!(Selector::from_label_selector(None).is_ok_and(|selector| selector.matches_nothing()));
        let set = BTreeMap::from([("b".to_owned(), "not a value!".to_owned()), ("a".to_owned(), String::new())]);
        assert_eq!(Selector::from_set(&set).to_string(), "a=,b=not a value!");
    }
}
