//! Text -> nodes (k8s.io/client-go/util/jsonpath/parser.go@v0.37.2).

use super::{Node, Param};

type Parsed<T> = Result<T, String>;

/// Text with actions in braces.
pub(super) fn template(text: &str) -> Parsed<Vec<Node>> {
    let mut parser = Parser { rest: text };
    let mut nodes = Vec::new();
    while !parser.rest.is_empty() {
        let end = parser.rest.find('{').unwrap_or(parser.rest.len());
        let (text, rest) = parser.rest.split_at(end);
        if !text.is_empty() {
            nodes.push(Node::Text(text.into()));
        }
        parser.rest = rest;
        if parser.consume("{") {
            nodes.push(Node::List(parser.inside()?));
        }
    }
    Ok(nodes)
}

/// One action; what follows it is not looked at.
fn action(text: &str) -> Parsed<Vec<Node>> {
    match template(&format!("{{{text}}}"))?.into_iter().next() {
        Some(Node::List(nodes)) => Ok(nodes),
        _ => Ok(Vec::new()),
    }
}

struct Parser<'a> {
    rest: &'a str,
}

fn ends_name(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n' | '.' | ',' | '[' | ']' | '$' | '@' | '{' | '}')
}

fn in_name(c: char) -> bool {
    c == '_' || c.is_alphabetic() || c.is_numeric()
}

impl<'a> Parser<'a> {
    fn consume(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }

    /// Up to the closing brace.
    fn inside(&mut self) -> Parsed<Vec<Node>> {
        let mut nodes = Vec::new();
        loop {
            if self.consume("}") {
                return Ok(nodes);
            }
            if self.rest.starts_with("[?(") {
                nodes.push(self.filter()?);
                continue;
            }
            if self.consume("..") {
                if nodes.last() == Some(&Node::Recursive) {
                    return Err("invalid multiple recursive descent".into());
                }
                nodes.push(Node::Recursive);
                if self.rest.starts_with(in_name) {
                    nodes.push(self.field());
                }
                continue;
            }
            match self.rest.chars().next() {
                None | Some('\r' | '\n') => return Err("unclosed action".into()),
                Some(' ' | '@' | '$') => drop(self.take(1)),
                Some('[') => nodes.extend(self.array()?),
                Some(quote @ ('"' | '\'')) => nodes.push(self.quoted(quote)?),
                Some('.') => {
                    self.take(1);
                    nodes.push(self.field());
                }
                Some(c) if matches!(c, '+' | '-') || c.is_numeric() => nodes.push(self.number()?),
                Some(c) if in_name(c) => nodes.push(self.identifier()),
                Some(c) => return Err(format!("unrecognized character in action: U+{:04X} '{c}'", c as u32)),
            }
        }
    }

    fn identifier(&mut self) -> Node {
        let end = self.rest.find(ends_name).unwrap_or(self.rest.len());
        match self.take(end) {
            "true" => Node::Bool(true),
            "false" => Node::Bool(false),
            name => Node::Identifier(name.into()),
        }
    }

    fn number(&mut self) -> Parsed<Node> {
        let sign = usize::from(self.rest.starts_with(['+', '-']));
        let digits = self.rest[sign..].find(|c: char| c != '.' && !c.is_numeric());
        let text = self.take(digits.map_or(self.rest.len(), |digits| sign + digits));
        let int = text.parse().map(Node::Int);
        int.or_else(|_| text.parse().map(Node::Float)).map_err(|_| format!("cannot parse number {text}"))
    }

    /// A name up to one of `ends_name` that no backslash stands before.
    fn field(&mut self) -> Node {
        let mut end = self.rest.len();
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            if c == '\\' {
                chars.next();
            } else if ends_name(c) {
                end = at;
                break;
            }
        }
        match self.take(end) {
            "*" => Node::Wildcard,
            name => Node::Field(name.replace('\\', "")),
        }
    }

    fn array(&mut self) -> Parsed<Vec<Node>> {
        let end = self.rest.find(['\n', ']']).filter(|end| self.rest[*end..].starts_with(']'));
        let Some(end) = end else { return Err("unterminated array".into()) };
        let text = &self.take(end + 1)[1..end];
        let text = if text == "*" { ":" } else { text };
        if text.contains(',') {
            let parts = text.split(',').map(|part| action(&format!("[{}]", part.trim_matches(' '))));
            return Ok(vec![Node::Union(parts.collect::<Parsed<_>>()?)]);
        }
        let key = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
        if let Some(key) = key.filter(|key| !key.contains('\'')) {
            return action(&format!(".{key}"));
        }
        slice(text).map(|params| vec![Node::Array(params)])
    }

    fn filter(&mut self) -> Parsed<Node> {
        self.take(3);
        let (end, after) = self.filter_end()?;
        let text = &self.rest[..end];
        self.rest = &self.rest[after..];
        let operator = text.find(['!', '<', '>', '=']).filter(|at| *at > 0);
        if let Some(at) = operator {
            let (left, rest) = text.split_at(at);
            let length = rest.find(|c| !matches!(c, '!' | '<' | '>' | '=')).unwrap_or(rest.len());
            let (operator, right) = rest.split_at(length);
            if !right.is_empty() && !right.contains('\n') {
                let (left, right) = (action(left)?, action(right)?);
                return Ok(Node::Filter { left, operator: operator.into(), right });
            }
        }
        Ok(Node::Filter { left: action(text)?, operator: "exists".into(), right: Vec::new() })
    }

    /// Where the filter's text ends, and its brackets: at the first `)` outside of the first quotes.
    fn filter_end(&self) -> Parsed<(usize, usize)> {
        let (mut quote, mut closed) = (None, false);
        let mut before = '(';
        for (at, c) in self.rest.char_indices() {
            match c {
                '\n' => break,
                '"' | '\'' => match quote {
                    None => quote = Some(c),
                    Some(quote) => closed |= before != '\\' && quote == c,
                },
                ')' if quote.is_some() == closed => {
                    let bracket = self.rest[at + 1..].starts_with(']');
                    return if bracket { Ok((at, at + 2)) } else { Err("unclosed array expect ]".into()) };
                }
                _ => {}
            }
            before = c;
        }
        Err("unterminated filter".into())
    }

    fn quoted(&mut self, quote: char) -> Parsed<Node> {
        let mut before = quote;
        for (at, c) in self.rest.char_indices().skip(1) {
            if c == '\n' {
                break;
            }
            if c == quote && before != '\\' {
                let text = &self.take(at + 1)[1..at];
                return unquoted(text, quote).map(Node::Text);
            }
            before = c;
        }
        Err("unterminated quoted string".into())
    }
}

/// `start`, `start:end` or `start:end:step`, each of which may be missing.
fn slice(text: &str) -> Parsed<[Param; 3]> {
    let parts: Vec<&str> = text.split(':').collect();
    let numeric = |part: &&str| part.strip_prefix('-').unwrap_or(part).bytes().all(|byte| byte.is_ascii_digit());
    if parts.len() > 3 || !parts.iter().all(numeric) {
        return Err(format!("invalid array index {text}"));
    }
    let mut params = [Param::default(); 3];
    for (at, param) in params.iter_mut().enumerate() {
        match parts.get(at) {
            Some(part) if !part.is_empty() => {
                param.value = part.parse().map_err(|_| format!("array index {part} is not a number"))?;
                param.known = true;
            }
            _ => {}
        }
    }
    if parts.len() == 1 {
        params[1] = Param { value: params[0].value + 1, known: true, derived: true };
    }
    Ok(params)
}

fn unquoted(text: &str, quote: char) -> Parsed<String> {
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
            Some('\\') => '\\',
            Some(c) if c == quote => c,
            Some('x') => coded(&mut chars, 2, 16)?,
            Some('u') => coded(&mut chars, 4, 16)?,
            Some('U') => coded(&mut chars, 8, 16)?,
            _ => return Err(format!("unquote string {quote}{text}{quote} error invalid syntax")),
        });
    }
    Ok(out)
}

fn coded(chars: &mut std::str::Chars<'_>, digits: usize, radix: u32) -> Parsed<char> {
    let text: String = chars.by_ref().take(digits).collect();
    let code = u32::from_str_radix(&text, radix).ok().filter(|_| text.len() == digits);
    code.and_then(char::from_u32).ok_or_else(|| "invalid syntax".into())
}
