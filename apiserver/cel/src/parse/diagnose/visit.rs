//! What else is wrong with a text, found in what could be read of it: literals, reserved names, arguments of macros.
//!
//! Invariant: the errors that the visitor in cel-go's `parser/parser.go@v0.29.2` adds to those of the syntax.
//! Non-goal: the expression itself, which is dropped.

use std::sync::Arc;

use super::super::builder::Builder;
use super::super::grammar::{self, RESERVED};
use super::super::lexer::{Lexeme, Token};
use super::super::{MAX_DEPTH, text};
use super::network::Rule;
use super::recover::{Part, Tree};
use crate::ast::{Call, Element, Entry, Expr, Kind, Select};
use crate::source::Location;
use crate::value::Value;

/// Text of tokens that were made up.
const MISSING: &str = "<missing undefined>";

/// Too deep; everything ends.
pub(super) struct TooDeep;

type Visited = Result<Expr, TooDeep>;

pub(super) struct Visitor<'v, 'a> {
    pub(super) build: &'v mut Builder<'a>,
    pub(super) text: &'v dyn Fn(usize, usize) -> String,
    pub(super) depth: usize,
}

impl Tree {
    fn tokens(&self, wanted: Token) -> impl Iterator<Item = Lexeme> {
        self.parts.iter().filter_map(move |part| match part {
            Part::Token(lexeme) if lexeme.token == wanted => Some(*lexeme),
            _ => None,
        })
    }

    fn token(&self, wanted: Token) -> Option<Lexeme> {
        self.tokens(wanted).next()
    }

    fn trees(&self) -> impl Iterator<Item = &Tree> {
        self.parts.iter().filter_map(|part| match part {
            Part::Tree(tree) => Some(tree),
            Part::Token(_) => None,
        })
    }

    fn tree(&self, at: usize) -> Option<&Tree> {
        self.trees().nth(at)
    }

    fn of(&self, rule: Rule) -> impl Iterator<Item = &Tree> {
        self.trees().filter(move |tree| tree.rule == rule)
    }

    fn leading_dot(&self) -> bool {
        matches!(self.parts.first(), Some(Part::Token(lexeme)) if lexeme.token == Token::Dot)
    }
}

impl Visitor<'_, '_> {
    pub(super) fn visit(&mut self, tree: &Tree) -> Visited {
        let operation = tree.alternative.is_some();
        let deep = match tree.rule {
            Rule::Expr => tree.token(Token::Question).is_some(),
            Rule::Relation | Rule::Calc | Rule::Member => operation,
            _ => false,
        };
        self.depth += usize::from(deep);
        if self.depth > MAX_DEPTH {
            self.build.issues.report(Location::NONE, "max recursion depth exceeded");
            return Err(TooDeep);
        }
        let expr = match tree.rule {
            Rule::Expr if deep => self.conditional(tree),
            Rule::Or => self.logical(tree, "_||_", Token::Or, "||"),
            Rule::And => self.logical(tree, "_&&_", Token::And, "&&"),
            Rule::Relation | Rule::Calc if operation => self.operation(tree),
            Rule::Unary => self.unary(tree),
            Rule::Member => self.member(tree),
            Rule::Primary => self.primary(tree),
            Rule::Literal => Ok(self.literal(tree)),
            _ => self.part(tree, 0),
        };
        self.depth -= usize::from(deep);
        expr
    }

    fn unspecified(&mut self, at: usize) -> Expr {
        self.build.node(at, Kind::Unspecified)
    }

    fn part(&mut self, tree: &Tree, at: usize) -> Visited {
        match tree.tree(at) {
            Some(part) => self.visit(part),
            None => Ok(Expr { id: self.build.places.add(None), kind: Kind::Unspecified }),
        }
    }

    fn lexeme(&self, lexeme: Lexeme) -> String {
        if lexeme.start == lexeme.end { MISSING.to_owned() } else { (self.text)(lexeme.start, lexeme.end) }
    }

    fn call(&mut self, at: Option<Lexeme>, function: &str, target: Option<Expr>, args: Vec<Expr>) -> Expr {
        let id = self.build.id(at.map_or(0, |at| at.start));
        self.build.call(id, function, target, args)
    }

    fn conditional(&mut self, tree: &Tree) -> Visited {
        let args = vec![self.part(tree, 0)?, self.part(tree, 1)?, self.part(tree, 2)?];
        Ok(self.call(tree.token(Token::Question), "_?_:_", None, args))
    }

    fn logical(&mut self, tree: &Tree, function: &str, operator: Token, name: &str) -> Visited {
        let first = self.part(tree, 0)?;
        let (mut terms, mut ops) = (vec![first], Vec::new());
        for (at, op) in tree.tokens(operator).enumerate() {
            let Some(term) = tree.tree(at + 1) else {
                return Ok(self.build.error(tree.start, format!("unexpected character, wanted '{name}'")));
            };
            terms.push(self.visit(term)?);
            ops.push(self.build.id(op.start));
        }
        Ok(Builder::balanced(&Arc::from(function), &mut terms.into_iter(), &ops))
    }

    fn operation(&mut self, tree: &Tree) -> Visited {
        let found = tree.parts.iter().find_map(|part| match part {
            Part::Token(lexeme) => grammar::binary(lexeme.token).map(|(function, _)| (*lexeme, function)),
            Part::Tree(_) => None,
        });
        let Some((op, function)) = found else { return Ok(self.build.error(tree.start, "operator not found")) };
        let args = vec![self.part(tree, 0)?, self.part(tree, 1)?];
        Ok(self.call(Some(op), function, None, args))
    }

    fn unary(&mut self, tree: &Tree) -> Visited {
        let (operator, function) = match tree.alternative {
            None => return Ok(self.build.literal(tree.start, Value::from("<<error>>"))),
            Some(1) => (Token::Not, "!_"),
            Some(2) => (Token::Minus, "-_"),
            Some(_) => return self.part(tree, 0),
        };
        let member = self.part(tree, 0)?;
        match tree.tokens(operator).count() % 2 {
            0 => Ok(member),
            _ => Ok(self.call(tree.token(operator), function, None, vec![member])),
        }
    }

    fn member(&mut self, tree: &Tree) -> Visited {
        let operand = self.part(tree, 0)?;
        match tree.alternative {
            None => Ok(operand),
            Some(0) => Ok(self.selection(tree, operand)),
            Some(1) => {
                let Some(name) = tree.token(Token::Ident) else { return Ok(self.unspecified(tree.start)) };
                let args = self.args(tree)?;
                let name = self.lexeme(name);
                Ok(self.call(tree.token(Token::LeftParen), &name, Some(operand), args))
            }
            Some(_) => {
                let Some(open) = tree.token(Token::LeftBracket) else { return Ok(self.unspecified(tree.start)) };
                let index = self.part(tree, 1)?;
                let optional = tree.token(Token::Question).is_some();
                if optional && !self.build.syntax.optional {
                    return Ok(self.build.error(open.start, "unsupported syntax '[?'"));
                }
                Ok(self.call(Some(open), if optional { "_[?_]" } else { "_[_]" }, None, vec![operand, index]))
            }
        }
    }

    fn selection(&mut self, tree: &Tree, operand: Expr) -> Expr {
        let (Some(dot), Some(name)) = (tree.token(Token::Dot), tree.of(Rule::EscapeIdent).next()) else {
            return self.unspecified(tree.start);
        };
        let field = self.field(Some(name), name.start).unwrap_or_default();
        match tree.token(Token::Question) {
            None => {
                let select = Select { operand, field: Arc::from(field), test: false };
                self.build.node(dot.start, Kind::Select(Box::new(select)))
            }
            Some(_) if !self.build.syntax.optional => self.build.error(dot.start, "unsupported syntax '.?'"),
            Some(_) => {
                let field = self.build.literal(name.start, Value::from(field.as_str()));
                let call = Call { target: None, function: Arc::from("_?._"), args: vec![operand, field] };
                self.build.node(dot.start, Kind::Call(Box::new(call)))
            }
        }
    }

    /// A field's name; without one, an error at the place.
    fn field(&mut self, tree: Option<&Tree>, at: usize) -> Option<String> {
        let found = tree.and_then(|tree| tree.token(Token::Ident).or_else(|| tree.token(Token::EscapedIdent)));
        if found.is_none() {
            self.build.error(at, "unsupported ident kind");
        }
        found.map(|found| self.lexeme(found).trim_matches('`').to_owned())
    }

    fn args(&mut self, tree: &Tree) -> Result<Vec<Expr>, TooDeep> {
        match tree.of(Rule::ExprList).next() {
            Some(list) => list.trees().map(|arg| self.visit(arg)).collect(),
            None => Ok(Vec::new()),
        }
    }

    fn primary(&mut self, tree: &Tree) -> Visited {
        match tree.alternative {
            Some(0) => Ok(self.ident(tree).unwrap_or_else(|expr| expr)),
            Some(1) => self.global(tree),
            Some(3) => self.list(tree),
            Some(4) => self.entries(tree),
            Some(5) => self.fields(tree),
            _ => self.part(tree, 0),
        }
    }

    /// A variable, or what stands for a name that is none.
    fn ident(&mut self, tree: &Tree) -> Result<Expr, Expr> {
        let Some(name) = tree.token(Token::Ident) else { return Err(self.unspecified(tree.start)) };
        let bare = self.lexeme(name);
        if RESERVED.contains(&bare.as_str()) {
            return Err(self.build.error(tree.start, format!("reserved identifier: {bare}")));
        }
        let full = if tree.leading_dot() { format!(".{bare}") } else { bare };
        Ok(self.build.node(name.start, Kind::Ident(Arc::from(full))))
    }

    fn global(&mut self, tree: &Tree) -> Visited {
        let name = match self.ident(tree) {
            Ok(Expr { kind: Kind::Ident(name), .. }) => name,
            Ok(other) | Err(other) => return Ok(other),
        };
        let args = self.args(tree)?;
        Ok(self.call(tree.token(Token::LeftParen), &name, None, args))
    }

    fn list(&mut self, tree: &Tree) -> Visited {
        let mut elements = Vec::new();
        for own in tree.of(Rule::ListInit).flat_map(Tree::trees) {
            let value = self.part(own, 0)?;
            let mark = own.token(Token::Question);
            if let Some(mark) = mark.filter(|_| !self.build.syntax.optional) {
                self.build.error(mark.start, "unsupported syntax '?'");
            }
            elements.push(Element { value, optional: mark.is_some() });
        }
        Ok(self.build.node(tree.start, Kind::List(elements)))
    }

    fn entries(&mut self, tree: &Tree) -> Visited {
        let mut entries = Vec::new();
        if let Some(list) = tree.of(Rule::MapInit).next() {
            let values: Vec<&Tree> = list.of(Rule::Expr).collect();
            let keys: Vec<&Tree> = list.of(Rule::OptExpr).collect();
            for at in 0..list.tokens(Token::Colon).count() {
                let (Some(key), Some(value)) = (keys.get(at), values.get(at)) else { break };
                let optional = key.token(Token::Question).is_some();
                if optional && !self.build.syntax.optional {
                    self.build.error(key.start, "unsupported syntax '?'");
                    continue;
                }
                entries.push(Entry { key: self.part(key, 0)?, value: self.visit(value)?, optional });
            }
        }
        Ok(self.build.node(tree.start, Kind::Map(entries)))
    }

    fn fields(&mut self, tree: &Tree) -> Visited {
        if let Some(list) = tree.of(Rule::FieldInit).next() {
            let values: Vec<&Tree> = list.of(Rule::Expr).collect();
            for (at, own) in list.of(Rule::OptField).enumerate() {
                let Some(value) = values.get(at) else { break };
                if own.token(Token::Question).is_some() && !self.build.syntax.optional {
                    self.build.error(own.start, "unsupported syntax '?'");
                } else if self.field(own.of(Rule::EscapeIdent).next(), list.start).is_some() {
                    self.visit(value)?;
                }
            }
        }
        Ok(self.unspecified(tree.token(Token::LeftBrace).map_or(tree.start, |open| open.start)))
    }

    fn literal(&mut self, tree: &Tree) -> Expr {
        let Some(Part::Token(last)) = tree.parts.last() else { return self.unspecified(tree.start) };
        let digits = self.lexeme(*last);
        let negative = tree.token(Token::Minus).is_some();
        let (value, wrong) = match last.token {
            Token::Int => (text::int(&digits, negative).map(Value::Int), "invalid int literal"),
            Token::Uint => (text::uint(&digits).map(Value::Uint), "invalid uint literal"),
            Token::Float => (text::double(&digits, negative).map(Value::Double), "invalid double literal"),
            Token::String | Token::Bytes => {
                let bytes = last.token == Token::Bytes;
                return match text::unescape(&digits[usize::from(bytes)..], bytes) {
                    Ok(read) => self.build.literal(tree.start, Value::from(String::from_utf8_lossy(&read).as_ref())),
                    Err(message) => self.build.error(tree.start, message),
                };
            }
            Token::Null => (Some(Value::Null), ""),
            token => (Some(Value::Bool(token == Token::True)), ""),
        };
        match value {
            Some(value) => self.build.literal(tree.start, value),
            None => self.build.error(tree.start, wrong),
        }
    }
}
