//! What is wrong with a text that does not follow the grammar.
//!
//! Invariant: the errors of cel-go's parser, which are those of an ANTLR parser that tries to go on after each, and those of
//! what it could read. Non-goal: trees of texts without errors; `grammar.rs` makes them quickly.

mod network;
mod predict;
mod recover;
mod visit;

use super::builder::Builder;
use super::lexer::{Lexeme, Unrecognized};
use crate::source::Location;

/// Reports every error of a text.
pub(super) fn diagnose(build: &mut Builder<'_>, tokens: &[Lexeme], unread: &[Unrecognized]) {
    let source = build.source;
    let text = |start: usize, end: usize| -> String {
        let is_read =
            |at: &usize| unread.get(unread.partition_point(|bad| bad.end <= *at)).is_none_or(|bad| bad.start > *at);
        (start..end).filter(is_read).map(|at| source.slice(at, at + 1)).collect()
    };
    let mut parser = recover::Parser::new(tokens, &text, unread.len());
    let tree = parser.parse();
    for report in parser.reports {
        build.issues.report(report.offset.map_or(Location::NONE, |offset| source.location(offset)), report.message);
    }
    if let Some(tree) = tree {
        // What ended early was reported.
        let _ = visit::Visitor { build, text: &text, depth: 0 }.visit(&tree);
    }
}
