//! A parser that goes on after errors, the way ANTLR's generated ones do.
//!
//! Invariant: messages, their places and what is skipped are those of `error_strategy.go` of antlr4-go v4.13.1, under the
//! limits of cel-go's `parser/parser.go@v0.29.2`. Non-goal: speed; it runs when it is known that there is an error.

use super::super::lexer::{Lexeme, Token};
use super::super::{MAX_DEPTH, MAX_REPORTS, TOO_MANY};
use super::network::{Edge, Kind, NETWORK, RULES, Rule, StateId, Step, Tokens, What};
use super::predict::{Prediction, Predictor, next_in_context};

/// Most attempts to go on after an error.
const MAX_RECOVERIES: usize = 30;
/// Most tokens skipped in one attempt.
const MAX_SKIPPED: usize = 256;

/// What was read of a rule.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) rule: Rule,
    /// Of a choice or an operation, counted from 0.
    pub(super) alternative: Option<usize>,
    pub(super) start: usize,
    pub(super) parts: Vec<Part>,
}

impl Drop for Tree {
    /// Without a call within a call for each operation that stands within another.
    fn drop(&mut self) {
        let mut open = std::mem::take(&mut self.parts);
        while let Some(part) = open.pop() {
            if let Part::Tree(mut tree) = part {
                open.append(&mut tree.parts);
            }
        }
    }
}

#[derive(Debug)]
pub(super) enum Part {
    Token(Lexeme),
    Tree(Tree),
}

pub(super) struct Report {
    /// None for what is nowhere in the text.
    pub(super) offset: Option<usize>,
    pub(super) message: String,
}

/// Why a rule does not go on.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Mismatch,
    /// No alternative is left at the token of this number.
    NoAlternative(usize),
}

/// A step that did not succeed.
enum Broken {
    Rule(Fault),
    /// Everything ends.
    All,
}

type Done<T> = Result<T, Broken>;

pub(super) struct Parser<'a> {
    tokens: &'a [Lexeme],
    at: usize,
    state: StateId,
    /// The text between two places, without what is no token.
    text: &'a dyn Fn(usize, usize) -> String,
    /// Where the rules under way return to.
    calls: Vec<StateId>,
    depths: [usize; RULES],
    predictor: Predictor,
    recovering: bool,
    /// Where the last recovery was, and in which states.
    last: Option<(usize, Vec<StateId>)>,
    recoveries: usize,
    pub(super) reports: Vec<Report>,
    reported: usize,
}

impl<'a> Parser<'a> {
    /// After so many errors of the lexer.
    pub(super) fn new(tokens: &'a [Lexeme], text: &'a dyn Fn(usize, usize) -> String, reported: usize) -> Parser<'a> {
        Parser {
            tokens,
            at: 0,
            state: 0,
            text,
            calls: Vec::new(),
            depths: [0; RULES],
            predictor: Predictor::new(),
            recovering: false,
            last: None,
            recoveries: 0,
            reports: Vec::new(),
            reported,
        }
    }

    /// The tree, unless a limit ended it.
    pub(super) fn parse(&mut self) -> Option<Tree> {
        self.rule(Rule::Start, 0).ok()
    }

    fn lexeme(&self, ahead: usize) -> Lexeme {
        self.tokens[(self.at + ahead).min(self.tokens.len() - 1)]
    }

    fn peek(&self) -> Token {
        self.lexeme(0).token
    }

    fn consume(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len() - 1);
    }

    fn rule(&mut self, rule: Rule, precedence: u8) -> Done<Tree> {
        self.depths[rule as usize] += 1;
        if self.depths[rule as usize] > MAX_DEPTH {
            let message = format!("expression recursion limit exceeded: {MAX_DEPTH}");
            self.reports.push(Report { offset: None, message });
            return Err(Broken::All);
        }
        let mut tree = Tree { rule, alternative: None, start: self.lexeme(0).start, parts: Vec::new() };
        match self.steps(&NETWORK.steps[rule as usize], precedence, &mut tree) {
            Err(Broken::Rule(fault)) => {
                self.report_fault(fault)?;
                self.recover()?;
            }
            Err(Broken::All) => return Err(Broken::All),
            Ok(()) => {}
        }
        self.depths[rule as usize] -= 1;
        Ok(tree)
    }

    fn steps(&mut self, steps: &'static [Step], precedence: u8, tree: &mut Tree) -> Done<()> {
        steps.iter().try_for_each(|step| self.step(step, precedence, tree))
    }

    fn step(&mut self, step: &'static Step, precedence: u8, tree: &mut Tree) -> Done<()> {
        self.state = step.state;
        match &step.what {
            What::Read(tokens) => self.read(*tokens, tree),
            What::Call(rule, operand) => {
                let inner = self.call(step.state, *rule, *operand)?;
                tree.parts.push(Part::Tree(inner));
                Ok(())
            }
            What::Optional(first, body) => {
                self.sync()?;
                if first.contains(self.peek()) { self.steps(body, precedence, tree) } else { Ok(()) }
            }
            What::Any { back, again, body } => {
                self.sync()?;
                while self.again(*again, step.state)? {
                    self.steps(body, precedence, tree)?;
                    self.state = *back;
                    self.sync()?;
                }
                Ok(())
            }
            What::Some { back, again, body } => {
                self.sync()?;
                loop {
                    self.steps(body, precedence, tree)?;
                    self.state = *back;
                    self.sync()?;
                    if !self.again(*again, *back)? {
                        return Ok(());
                    }
                }
            }
            What::Choice { first, alternatives } => {
                self.sync()?;
                let alternative = match first {
                    Some(first) => first.iter().position(|own| own.contains(self.peek())),
                    None => Some(self.predict(step.state)?),
                };
                let alternative = alternative.ok_or(Broken::Rule(Fault::NoAlternative(self.at)))?;
                tree.alternative = Some(alternative);
                self.steps(&alternatives[alternative], precedence, tree)
            }
            What::Operations { back, choice, alternatives } => {
                self.sync()?;
                while let Some(alternative) = self.operation(*choice, alternatives, precedence)? {
                    // What was read is the left operand.
                    let next =
                        Tree { rule: tree.rule, alternative: Some(alternative), start: tree.start, parts: Vec::new() };
                    let left = std::mem::replace(tree, next);
                    tree.parts.push(Part::Tree(left));
                    self.steps(&alternatives[alternative].2, precedence, tree)?;
                    self.state = *back;
                    self.sync()?;
                }
                Ok(())
            }
        }
    }

    fn call(&mut self, state: StateId, rule: Rule, operand: u8) -> Done<Tree> {
        if let Some(Edge::Call { follow, .. }) = NETWORK.states[state].edges.first() {
            self.calls.push(*follow);
        }
        let inner = self.rule(rule, operand)?;
        self.calls.pop();
        self.state = state;
        Ok(inner)
    }

    fn again(&mut self, again: Option<Tokens>, decision: StateId) -> Done<bool> {
        match again {
            Some(tokens) => Ok(tokens.contains(self.peek())),
            None => self.predict(decision).map(|alternative| alternative == 0),
        }
    }

    fn predict(&mut self, decision: StateId) -> Done<usize> {
        let (tokens, at) = (self.tokens, self.at);
        let ahead = |ahead: usize| tokens[(at + ahead).min(tokens.len() - 1)].token;
        match self.predictor.predict(decision, &ahead, &self.calls) {
            Prediction::Alternative(alternative) => Ok(alternative),
            Prediction::None(ahead) => Err(Broken::Rule(Fault::NoAlternative(self.at + ahead))),
        }
    }

    /// Which operation comes next, if one does that binds tightly enough.
    fn operation(
        &mut self,
        choice: StateId,
        alternatives: &[(u8, Tokens, Vec<Step>)],
        precedence: u8,
    ) -> Done<Option<usize>> {
        let token = self.peek();
        let fits = |(own, first, _): &(u8, Tokens, Vec<Step>)| *own >= precedence && first.contains(token);
        let Some(first) = alternatives.iter().position(fits) else { return Ok(None) };
        if alternatives.len() == 1 {
            return Ok(Some(first));
        }
        self.state = choice;
        self.sync()?;
        self.predict(choice).map(Some)
    }

    fn read(&mut self, tokens: Tokens, tree: &mut Tree) -> Done<()> {
        if !tokens.contains(self.peek()) {
            let found = self.recover_inline()?;
            tree.parts.push(Part::Token(found));
            return Ok(());
        }
        self.matched();
        tree.parts.push(Part::Token(self.lexeme(0)));
        self.consume();
        Ok(())
    }

    fn matched(&mut self) {
        self.recovering = false;
        self.last = None;
    }

    /// Before something optional, a choice, or a loop: drops a token that is in the way, or gives up on the rule.
    fn sync(&mut self) -> Done<()> {
        let next = NETWORK.next(self.state);
        if self.recovering || next.ends_rule() || next.contains(self.peek()) {
            return Ok(());
        }
        match NETWORK.states[self.state].kind {
            Kind::Entry if self.delete()?.is_some() => Ok(()),
            Kind::Entry => Err(Broken::Rule(Fault::Mismatch)),
            Kind::Back => {
                self.report_unwanted()?;
                let wanted = self.expected().with(self.follow());
                self.skip_until(wanted, usize::MAX)
            }
            Kind::Basic | Kind::Stop => Ok(()),
        }
    }

    /// The tokens that can come now.
    fn expected(&self) -> Tokens {
        next_in_context(self.state, &self.calls)
    }

    /// The tokens that can come after any of the rules under way.
    fn follow(&self) -> Tokens {
        let all = self.calls.iter().map(|call| NETWORK.next(*call)).fold(Tokens::NONE, Tokens::with);
        all.without(Tokens::END_OF_RULE)
    }

    fn skip_until(&mut self, wanted: Tokens, limit: usize) -> Done<()> {
        let mut skipped = 0;
        while self.peek() != Token::End && !wanted.contains(self.peek()) {
            if skipped == limit {
                let message = format!("error recovery token lookahead limit exceeded: {MAX_SKIPPED}");
                self.reports.push(Report { offset: None, message });
                return Err(Broken::All);
            }
            skipped += 1;
            self.consume();
        }
        Ok(())
    }

    /// Drops the next token if the one after it fits.
    fn delete(&mut self) -> Done<Option<Lexeme>> {
        if !self.expected().contains(self.lexeme(1).token) {
            return Ok(None);
        }
        self.report_unwanted()?;
        self.consume();
        self.matched();
        Ok(Some(self.lexeme(0)))
    }

    /// In place of a token that is not there: the one after the next, or one that is made up.
    fn recover_inline(&mut self) -> Done<Lexeme> {
        self.attempt()?;
        if let Some(found) = self.delete()? {
            self.consume();
            return Ok(found);
        }
        let after = match NETWORK.states[self.state].edges.first() {
            Some(Edge::Read(_, to)) => next_in_context(*to, &self.calls),
            _ => Tokens::NONE,
        };
        if !after.contains(self.peek()) {
            return Err(Broken::Rule(Fault::Mismatch));
        }
        let (next, missing) = (self.lexeme(0), self.expected());
        if !std::mem::replace(&mut self.recovering, true) {
            self.report(next, format!("missing {} at {}", missing.display(), self.shown(next)))?;
        }
        let token = missing.first().unwrap_or(Token::End);
        let last = self.at.checked_sub(1).map_or(next, |before| self.tokens[before]);
        let start = if next.token == Token::End { last.start } else { next.start };
        Ok(Lexeme { token, start, end: start })
    }

    fn attempt(&mut self) -> Done<()> {
        self.recoveries += 1;
        if self.recoveries <= MAX_RECOVERIES {
            return Ok(());
        }
        self.report(self.lexeme(0), format!("error recovery attempt limit exceeded: {MAX_RECOVERIES}"))?;
        Err(Broken::All)
    }

    /// Skips to what can follow a rule under way; a token further than that if it was here before.
    fn recover(&mut self) -> Done<()> {
        self.attempt()?;
        let mut skipped = 0;
        let mut states = match self.last.take() {
            Some((at, states)) => {
                if at == self.at && states.contains(&self.state) {
                    self.consume();
                    skipped += 1;
                }
                states
            }
            None => Vec::new(),
        };
        states.push(self.state);
        self.last = Some((self.at, states));
        self.skip_until(self.follow(), MAX_SKIPPED - skipped)
    }

    fn report_fault(&mut self, fault: Fault) -> Done<()> {
        if std::mem::replace(&mut self.recovering, true) {
            return Ok(());
        }
        let next = self.lexeme(0);
        match fault {
            Fault::Mismatch => {
                let expected = self.expected().display();
                self.report(next, format!("mismatched input {} expecting {expected}", self.shown(next)))
            }
            Fault::NoAlternative(at) => {
                let offending = self.tokens[at.min(self.tokens.len() - 1)];
                let input = match next.token {
                    Token::End => "<EOF>".to_owned(),
                    _ => (self.text)(next.start, offending.end),
                };
                let message = match input.get(1..).filter(|word| matches!(*word, "true" | "false" | "null")) {
                    Some(word) => format!("mismatched input '{word}' expecting IDENTIFIER"),
                    None => format!("no viable alternative at input {}", quoted(&input)),
                };
                self.report(offending, message)
            }
        }
    }

    fn report_unwanted(&mut self) -> Done<()> {
        if std::mem::replace(&mut self.recovering, true) {
            return Ok(());
        }
        let next = self.lexeme(0);
        self.report(next, format!("extraneous input {} expecting {}", self.shown(next), self.expected().display()))
    }

    fn shown(&self, lexeme: Lexeme) -> String {
        match lexeme.token {
            Token::End => quoted("<EOF>"),
            _ => quoted(&(self.text)(lexeme.start, lexeme.end)),
        }
    }

    fn report(&mut self, at: Lexeme, message: String) -> Done<()> {
        let whole = self.reported >= MAX_REPORTS;
        let message = if whole { TOO_MANY.to_owned() } else { message };
        self.reports.push(Report { offset: Some(at.start), message: format!("Syntax error: {message}") });
        self.reported += 1;
        if whole { Err(Broken::All) } else { Ok(()) }
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r"))
}
