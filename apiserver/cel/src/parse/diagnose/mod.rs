//! What is wrong with a text that does not follow the grammar.
//!
//! Invariant: the errors of cel-go's parser, which are those of an ANTLR parser that tries to go on after each.
//! Non-goal: trees of texts without errors; `grammar.rs` makes them quickly.

mod network;
mod predict;
mod recover;

use super::lexer::{Lexeme, Unrecognized};
use crate::source::{Issues, Location, Source};

/// Reports every error of a text.
pub(super) fn diagnose(source: &Source, tokens: &[Lexeme], unread: &[Unrecognized], issues: &mut Issues) {
    let text = |start: usize, end: usize| -> String {
        let is_read = |at: &usize| !unread.iter().any(|bad| (bad.start..bad.end).contains(at));
        (start..end).filter(is_read).map(|at| source.slice(at, at + 1)).collect()
    };
    let mut parser = recover::Parser::new(tokens, &text, unread.len());
    parser.parse();
    for report in parser.reports {
        issues.report(report.offset.map_or(Location::NONE, |offset| source.location(offset)), report.message);
    }
}
