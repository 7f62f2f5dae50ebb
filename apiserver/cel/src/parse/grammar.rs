//! The grammar, by recursive descent.
//!
//! Invariant: the rules of cel-go's `parser/gen/CEL.g4`, and its limits on depth: rules of one kind within each other while
//! reading, operations within each other in what was read.
//! Non-goal: saying what is wrong with a text; that is done anew once it is known that something is.

use std::sync::Arc;

use super::builder::Builder;
use super::diagnose;
use super::lexer::{self, Lexeme, Token, Unrecognized};
use super::{MAX_DEPTH, MAX_REPORTS, Syntax, TOO_MANY, text};
use crate::ast::{Element, Entry, Expr, Field, Id, Kind, Places, Select, Struct};
use crate::source::{Issues, Location, Source};
use crate::value::Value;

/// Names no variable or function may have.
pub(super) const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "package",
    "namespace",
    "null",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// Why reading ended early.
enum Stop {
    /// The text does not follow the grammar, from this token on.
    Syntax,
    Depth(String),
}

impl Stop {
    fn message(self) -> String {
        match self {
            Stop::Syntax => "Syntax error".to_owned(),
            Stop::Depth(message) => message,
        }
    }
}

type Read<T> = Result<T, Stop>;

/// An expression and how many operations stand within each other in it.
struct Node {
    expr: Expr,
    height: usize,
}

struct Reader<'a> {
    tokens: Vec<Lexeme>,
    at: usize,
    build: Builder<'a>,
    /// How many rules of a kind are within each other: expressions, relations, sums.
    depths: [usize; 3],
}

/// Terms of `&&` or `||`.
struct Terms {
    function: &'static str,
    terms: Vec<Expr>,
    ops: Vec<Id>,
    height: usize,
}

impl Terms {
    fn new(function: &'static str) -> Terms {
        Terms { function, terms: Vec::new(), ops: Vec::new(), height: 0 }
    }

    fn push(&mut self, term: Node, op: Option<Id>) {
        self.height = self.height.max(term.height);
        self.terms.push(term.expr);
        self.ops.extend(op);
    }

    fn node(self) -> Node {
        let expr = Builder::balanced(&Arc::from(self.function), &mut self.terms.into_iter(), &self.ops);
        Node { expr, height: self.height }
    }
}

pub(super) fn read(source: &Source, syntax: &Syntax) -> Result<(Expr, Places), Issues> {
    let (tokens, unread) = lexer::tokens(source);
    let mut reader = Reader { tokens, at: 0, build: Builder::new(source, syntax), depths: [0; 3] };
    let result = reader.expr().and_then(|node| reader.expect(Token::End).map(|_| node.expr));
    let mut build = reader.build;
    match result {
        Ok(expr) if unread.is_empty() && build.issues.is_empty() => return Ok((expr, build.places)),
        Ok(_) if unread.len() <= MAX_REPORTS => unrecognized(&unread, &mut build),
        result => {
            build = Builder::new(source, syntax);
            unrecognized(&unread, &mut build);
            if unread.len() <= MAX_REPORTS {
                diagnose::diagnose(&mut build, &reader.tokens, &unread);
            }
            if let (Err(stop), true) = (result, build.issues.is_empty()) {
                build.issues.report(Location::NONE, stop.message());
            }
        }
    }
    Err(build.issues)
}

fn unrecognized(unread: &[Unrecognized], build: &mut Builder<'_>) {
    for (at, bad) in unread.iter().take(MAX_REPORTS + 1).enumerate() {
        let text = build.source.slice(bad.start, bad.end);
        let message = match at < MAX_REPORTS {
            true => format!("token recognition error at: '{text}'"),
            false => TOO_MANY.to_owned(),
        };
        build.issues.report(build.source.location(bad.start), format!("Syntax error: {message}"));
    }
}

impl Reader<'_> {
    fn peek(&self) -> Token {
        self.tokens[self.at].token
    }

    fn peek_at(&self, ahead: usize) -> Token {
        self.tokens.get(self.at + ahead).map_or(Token::End, |lexeme| lexeme.token)
    }

    fn take(&mut self) -> Lexeme {
        let lexeme = self.tokens[self.at];
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        lexeme
    }

    fn accept(&mut self, token: Token) -> Option<Lexeme> {
        (self.peek() == token).then(|| self.take())
    }

    fn expect(&mut self, token: Token) -> Read<Lexeme> {
        self.accept(token).ok_or(Stop::Syntax)
    }

    fn text(&self, lexeme: Lexeme) -> String {
        self.build.source.slice(lexeme.start, lexeme.end)
    }

    /// Reads what stands within a rule, and as deep in sums and relations as operators before it are still open.
    fn within<T>(&mut self, added: [usize; 3], read: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        let before = self.depths;
        self.depths = [0, 1, 2].map(|rule| before[rule] + added[rule]);
        if self.depths.iter().any(|depth| *depth > MAX_DEPTH) {
            return Err(Stop::Depth(format!("expression recursion limit exceeded: {MAX_DEPTH}")));
        }
        let result = read(self);
        self.depths = before;
        result
    }

    /// A node one operation higher than its parts.
    fn operation(&self, expr: Expr, parts: impl IntoIterator<Item = usize>) -> Read<Node> {
        let height = parts.into_iter().max().unwrap_or(0) + 1;
        match height > MAX_DEPTH {
            true => Err(Stop::Depth("max recursion depth exceeded".to_owned())),
            false => Ok(Node { expr, height }),
        }
    }

    fn expr(&mut self) -> Read<Node> {
        self.within([1, 0, 0], |reader| {
            let condition = reader.logical()?;
            let Some(op) = reader.accept(Token::Question) else { return Ok(condition) };
            let id = reader.build.id(op.start);
            let yes = reader.logical()?;
            reader.expect(Token::Colon)?;
            let no = reader.expr()?;
            let heights = [condition.height, yes.height, no.height];
            let expr = reader.build.call(id, "_?_:_", None, vec![condition.expr, yes.expr, no.expr]);
            reader.operation(expr, heights)
        })
    }

    /// `||` of `&&` of relations. An operator gets its id after what follows it.
    fn logical(&mut self) -> Read<Node> {
        let (mut any, mut or) = (Terms::new("_||_"), None);
        loop {
            let (mut all, mut and) = (Terms::new("_&&_"), None);
            loop {
                let term = self.relation()?;
                all.push(term, and.map(|op: Lexeme| self.build.id(op.start)));
                and = self.accept(Token::And);
                if and.is_none() {
                    break;
                }
            }
            any.push(all.node(), or.map(|op: Lexeme| self.build.id(op.start)));
            or = self.accept(Token::Or);
            if or.is_none() {
                return Ok(any.node());
            }
        }
    }

    /// Relations of sums of products, with the operators that are still open on a stack.
    fn relation(&mut self) -> Read<Node> {
        let mut open: Vec<(Node, Id, &'static str, u8)> = Vec::new();
        loop {
            let sums = open.iter().filter(|(_, _, _, precedence)| *precedence > RELATION).count();
            let mut node = self.within([0, 1 + open.len() - sums, 1 + sums], Self::unary)?;
            let next = binary(self.peek());
            // What binds at least as tightly as the next operator is done.
            while open.last().is_some_and(|last| next.is_none_or(|(_, precedence)| last.3 >= precedence)) {
                let Some((left, id, function, _)) = open.pop() else { break };
                let heights = [left.height, node.height];
                let expr = self.build.call(id, function, None, vec![left.expr, node.expr]);
                node = self.operation(expr, heights)?;
            }
            let Some((function, precedence)) = next else { return Ok(node) };
            let op = self.take();
            let id = self.build.id(op.start);
            open.push((node, id, function, precedence));
        }
    }

    fn unary(&mut self) -> Read<Node> {
        let (function, operator) = match self.peek() {
            Token::Not => ("!_", Token::Not),
            // A sign belongs to the number after it.
            Token::Minus if !matches!(self.peek_at(1), Token::Int | Token::Float) => ("-_", Token::Minus),
            _ => return self.member(),
        };
        let (first, mut count) = (self.take(), 1);
        while self.accept(operator).is_some() {
            count += 1;
        }
        if count % 2 == 0 {
            return self.member();
        }
        let id = self.build.id(first.start);
        let node = self.member()?;
        Ok(Node { expr: self.build.call(id, function, None, vec![node.expr]), height: node.height })
    }

    fn member(&mut self) -> Read<Node> {
        let mut node = self.primary()?;
        loop {
            node = match self.peek() {
                Token::Dot => self.selection(node)?,
                Token::LeftBracket => self.index(node)?,
                _ => return Ok(node),
            };
        }
    }

    /// `.name`, `.?name` or `.name(...)`.
    fn selection(&mut self, operand: Node) -> Read<Node> {
        let dot = self.take();
        let optional = self.accept(Token::Question);
        let name = match self.peek() {
            Token::Ident | Token::EscapedIdent => self.take(),
            _ => return Err(Stop::Syntax),
        };
        let called = name.token == Token::Ident && optional.is_none() && self.peek() == Token::LeftParen;
        let text = self.text(name);
        if called {
            let id = {
                let open = self.take();
                self.build.id(open.start)
            };
            let (args, height) = self.args()?;
            let expr = self.build.call(id, &text, Some(operand.expr), args);
            return self.operation(expr, [operand.height, height]);
        }
        let field: Arc<str> = Arc::from(text.trim_matches('`'));
        if optional.is_none() {
            let select = Select { operand: operand.expr, field, test: false };
            let expr = self.build.node(dot.start, Kind::Select(Box::new(select)));
            return self.operation(expr, [operand.height]);
        }
        if !self.build.syntax.optional {
            let expr = self.build.error(dot.start, "unsupported syntax '.?'");
            return self.operation(expr, [operand.height]);
        }
        let field = self.build.literal(name.start, Value::String(field));
        let id = self.build.id(dot.start);
        let call = crate::ast::Call { target: None, function: Arc::from("_?._"), args: vec![operand.expr, field] };
        self.operation(Expr { id, kind: Kind::Call(Box::new(call)) }, [operand.height])
    }

    fn index(&mut self, operand: Node) -> Read<Node> {
        let open = self.take();
        let id = self.build.id(open.start);
        let optional = self.accept(Token::Question);
        let index = self.expr()?;
        self.expect(Token::RightBracket)?;
        let heights = [operand.height, index.height];
        let expr = match optional {
            Some(_) if !self.build.syntax.optional => self.build.error(open.start, "unsupported syntax '[?'"),
            _ => {
                let function = if optional.is_some() { "_[?_]" } else { "_[_]" };
                self.build.call(id, function, None, vec![operand.expr, index.expr])
            }
        };
        self.operation(expr, heights)
    }

    /// Arguments and the closing parenthesis.
    fn args(&mut self) -> Read<(Vec<Expr>, usize)> {
        let (mut args, mut height) = (Vec::new(), 0);
        if self.accept(Token::RightParen).is_some() {
            return Ok((args, height));
        }
        loop {
            let arg = self.expr()?;
            height = height.max(arg.height);
            args.push(arg.expr);
            if self.accept(Token::Comma).is_none() {
                return self.expect(Token::RightParen).map(|_| (args, height));
            }
        }
    }

    fn primary(&mut self) -> Read<Node> {
        let leaf = |expr| Ok(Node { expr, height: 0 });
        match self.peek() {
            Token::LeftParen => {
                self.take();
                let node = self.expr()?;
                self.expect(Token::RightParen).map(|_| node)
            }
            Token::LeftBracket => self.list(),
            Token::LeftBrace => self.map(),
            Token::Dot | Token::Ident => self.name(),
            Token::Minus if matches!(self.peek_at(1), Token::Int | Token::Float) => {
                let sign = self.take();
                let number = self.take();
                leaf(self.number(sign.start, number, true))
            }
            Token::Int | Token::Uint | Token::Float => {
                let number = self.take();
                leaf(self.number(number.start, number, false))
            }
            Token::String | Token::Bytes => leaf(self.string()),
            Token::True | Token::False => {
                let token = self.take();
                leaf(self.build.literal(token.start, Value::Bool(token.token == Token::True)))
            }
            Token::Null => {
                let token = self.take();
                leaf(self.build.literal(token.start, Value::Null))
            }
            _ => Err(Stop::Syntax),
        }
    }

    fn number(&mut self, start: usize, lexeme: Lexeme, negative: bool) -> Expr {
        let digits = self.text(lexeme);
        let (value, name) = match lexeme.token {
            Token::Int => (text::int(&digits, negative).map(Value::Int), "int"),
            Token::Uint => (text::uint(&digits).map(Value::Uint), "uint"),
            _ => (text::double(&digits, negative).map(Value::Double), "double"),
        };
        match value {
            Some(value) => self.build.literal(start, value),
            None => self.build.error(start, format!("invalid {name} literal")),
        }
    }

    fn string(&mut self) -> Expr {
        let lexeme = self.take();
        let literal = self.text(lexeme);
        let bytes = lexeme.token == Token::Bytes;
        let read = text::unescape(&literal[usize::from(bytes)..], bytes);
        let value = match read {
            Ok(read) if bytes => Value::Bytes(Arc::from(read)),
            Ok(read) => Value::String(Arc::from(String::from_utf8_lossy(&read))),
            Err(message) => {
                self.build.error(lexeme.start, message);
                Value::String(Arc::from(literal))
            }
        };
        self.build.literal(lexeme.start, value)
    }

    fn list(&mut self) -> Read<Node> {
        let open = self.take();
        let id = self.build.id(open.start);
        let (mut elements, mut height, mut more) = (Vec::new(), 0, None);
        while self.begins(Token::RightBracket, more) {
            let mark = self.accept(Token::Question);
            let node = self.expr()?;
            height = height.max(node.height);
            self.known_optional(mark);
            elements.push(Element { value: node.expr, optional: mark.is_some() });
            more = Some(self.another(Token::RightBracket));
        }
        self.accept(Token::Comma);
        self.expect(Token::RightBracket)?;
        Ok(Node { expr: Expr { id, kind: Kind::List(elements) }, height })
    }

    /// Whether another element is to be read; `more` is None before the first.
    fn begins(&self, close: Token, more: Option<bool>) -> bool {
        more.unwrap_or_else(|| self.peek() != close && self.peek() != Token::Comma)
    }

    /// Steps over a comma that another element follows.
    fn another(&mut self, close: Token) -> bool {
        let more = self.peek() == Token::Comma && self.peek_at(1) != close;
        if more {
            self.take();
        }
        more
    }

    fn known_optional(&mut self, mark: Option<Lexeme>) {
        if let Some(mark) = mark.filter(|_| !self.build.syntax.optional) {
            self.build.error(mark.start, "unsupported syntax '?'");
        }
    }

    fn map(&mut self) -> Read<Node> {
        let open = self.take();
        let id = self.build.id(open.start);
        let (mut entries, mut height, mut more) = (Vec::new(), 0, None);
        while self.begins(Token::RightBrace, more) {
            // The entry's id comes first though its place is that of the colon.
            let entry = self.build.id(open.start);
            let mark = self.accept(Token::Question);
            self.known_optional(mark);
            let key = self.expr()?;
            let colon = self.expect(Token::Colon)?;
            self.build.places.place(entry, colon.start);
            let value = self.expr()?;
            height = height.max(key.height).max(value.height);
            entries.push(Entry { key: key.expr, value: value.expr, optional: mark.is_some() });
            more = Some(self.another(Token::RightBrace));
        }
        self.accept(Token::Comma);
        self.expect(Token::RightBrace)?;
        Ok(Node { expr: Expr { id, kind: Kind::Map(entries) }, height })
    }

    /// A variable, a call, or the name of a struct that is made.
    fn name(&mut self) -> Read<Node> {
        let dot = self.accept(Token::Dot);
        if self.peek() != Token::Ident {
            return Err(Stop::Syntax);
        }
        let mut ahead = 1;
        while self.peek_at(ahead) == Token::Dot && self.peek_at(ahead + 1) == Token::Ident {
            ahead += 2;
        }
        if self.peek_at(ahead) == Token::LeftBrace {
            return self.object(dot, ahead);
        }
        let name = self.take();
        let text = self.text(name);
        let called = self.accept(Token::LeftParen);
        if RESERVED.contains(&text.as_str()) {
            if called.is_some() {
                self.args()?;
            }
            let start = dot.unwrap_or(name).start;
            return Ok(Node { expr: self.build.error(start, format!("reserved identifier: {text}")), height: 0 });
        }
        let text = if dot.is_some() { format!(".{text}") } else { text };
        let Some(open) = called else {
            let expr = self.build.node(name.start, Kind::Ident(Arc::from(text)));
            return Ok(Node { expr, height: 0 });
        };
        let id = self.build.id(open.start);
        let (args, height) = self.args()?;
        Ok(Node { expr: self.build.call(id, &text, None, args), height })
    }

    fn object(&mut self, dot: Option<Lexeme>, names: usize) -> Read<Node> {
        let mut name = String::from(if dot.is_some() { "." } else { "" });
        for _ in 0..names {
            let part = self.take();
            name.push_str(&self.text(part));
        }
        let open = self.take();
        let id = self.build.id(open.start);
        let (mut fields, mut height, mut more) = (Vec::new(), 0, None);
        while self.begins(Token::RightBrace, more) {
            let mark = self.accept(Token::Question);
            let field = match self.peek() {
                Token::Ident | Token::EscapedIdent => self.take(),
                _ => return Err(Stop::Syntax),
            };
            let colon = self.expect(Token::Colon)?;
            let own = self.build.id(colon.start);
            self.known_optional(mark);
            let value = self.expr()?;
            height = height.max(value.height);
            let name = Arc::from(self.text(field).trim_matches('`'));
            fields.push(Field { id: own, name, value: value.expr, optional: mark.is_some() });
            more = Some(self.another(Token::RightBrace));
        }
        self.accept(Token::Comma);
        self.expect(Token::RightBrace)?;
        let kind = Kind::Struct(Box::new(Struct { name: Arc::from(name), fields }));
        Ok(Node { expr: Expr { id, kind }, height })
    }
}

/// The precedence of relations; sums and products are above.
const RELATION: u8 = 1;

pub(super) fn binary(token: Token) -> Option<(&'static str, u8)> {
    Some(match token {
        Token::Less => ("_<_", RELATION),
        Token::LessEquals => ("_<=_", RELATION),
        Token::Greater => ("_>_", RELATION),
        Token::GreaterEquals => ("_>=_", RELATION),
        Token::Equals => ("_==_", RELATION),
        Token::NotEquals => ("_!=_", RELATION),
        Token::In => ("@in", RELATION),
        Token::Plus => ("_+_", 2),
        Token::Minus => ("_-_", 2),
        Token::Star => ("_*_", 3),
        Token::Slash => ("_/_", 3),
        Token::Percent => ("_%_", 3),
        _ => return None,
    })
}
