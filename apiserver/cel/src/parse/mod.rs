//! From text to syntax tree, macros expanded.
//!
//! Invariant: accepts what cel-go's parser accepts (`parser/parser.go@v0.29.2`), gives ids in its order, and reports its
//! errors. Non-goal: types.

mod builder;
mod diagnose;
mod grammar;
mod lexer;
pub(crate) mod macros;
mod text;

use std::sync::Arc;

use crate::ast::{Expr, Places};
use crate::source::{Issues, Location, Source};
use macros::Macro;

/// Most code points of an expression.
const MAX_CODE_POINTS: usize = 100_000;
/// Most rules of one kind, and most operations, within each other.
const MAX_DEPTH: usize = 250;
/// Most syntax errors; one more says so and ends it.
const MAX_REPORTS: usize = 100;
const TOO_MANY: &str = "More than 100 syntax errors";
/// The variable macros gather their result in; no text can name it.
pub(crate) const ACCUMULATOR: &str = "@result";
/// What the accumulator was once called; still refused as an iteration variable.
pub(crate) const OLD_ACCUMULATOR: &str = "__result__";

/// What the environment says about syntax.
#[derive(Debug, Clone, Default)]
pub(crate) struct Syntax {
    pub(crate) macros: Vec<&'static Macro>,
    /// Whether `.?`, `[?` and `?` in literals are known.
    pub(crate) optional: bool,
}

/// A tree and where its nodes stand.
#[derive(Debug, Clone)]
pub(crate) struct Parsed {
    pub(crate) expr: Expr,
    pub(crate) places: Places,
    pub(crate) source: Arc<Source>,
}

pub(crate) fn parse(text: &str, syntax: &Syntax) -> Result<Parsed, Issues> {
    let source = Arc::new(Source::new(text));
    let size = source.chars().len();
    if size > MAX_CODE_POINTS {
        let mut issues = Issues::new(&source);
        let message = format!("expression code point size exceeds limit: size: {size}, limit {MAX_CODE_POINTS}");
        issues.report(Location::NONE, message);
        return Err(issues);
    }
    let (expr, places) = grammar::read(&source, syntax)?;
    Ok(Parsed { expr, places, source })
}
