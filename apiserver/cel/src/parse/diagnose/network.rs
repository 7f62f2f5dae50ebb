//! The grammar as a network of states, and as the steps in which a generated parser goes through it.
//!
//! Invariant: rules, alternatives and their order are those of cel-go's `parser/gen/CEL.g4`; states stand where ANTLR puts
//! them, for its messages list what can follow a state and its recovery depends on the kind of a state.
//! Non-goal: the numbers of states.

use std::sync::LazyLock;

use super::super::lexer::Token;
use Token::*;

/// A set of tokens, one bit each; the highest says that the end of the rule can be reached without any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tokens(u64);

impl Tokens {
    pub(super) const NONE: Tokens = Tokens(0);
    pub(super) const END_OF_RULE: Tokens = Tokens(1 << 63);

    const fn of(list: &[Token]) -> Tokens {
        let (mut bits, mut at) = (0, 0);
        while at < list.len() {
            bits |= 1 << list[at] as u64;
            at += 1;
        }
        Tokens(bits)
    }

    pub(super) fn contains(self, token: Token) -> bool {
        self.0 >> token as u64 & 1 == 1
    }

    pub(super) fn with(self, other: Tokens) -> Tokens {
        Tokens(self.0 | other.0)
    }

    pub(super) fn without(self, other: Tokens) -> Tokens {
        Tokens(self.0 & !other.0)
    }

    pub(super) fn ends_rule(self) -> bool {
        self.with(Tokens::END_OF_RULE) == self
    }

    pub(super) fn first(self) -> Option<Token> {
        TOKENS.into_iter().find(|token| self.contains(*token))
    }

    /// `'('`, or `{'(', IDENTIFIER}`.
    pub(super) fn display(self) -> std::string::String {
        let names: Vec<&str> = (0..NAMES.len()).filter(|at| self.0 >> at & 1 == 1).map(|at| NAMES[at]).collect();
        if names.len() == 1 { names[0].to_owned() } else { format!("{{{}}}", names.join(", ")) }
    }
}

/// Tokens as messages name them, in the order of their enum.
#[rustfmt::skip]
const NAMES: [&str; 36] = [
    "<EOF>", "'=='", "'!='", "'in'", "'<'", "'<='", "'>='", "'>'", "'&&'", "'||'", "'['", "']'", "'{'", "'}'", "'('", "')'",
    "'.'", "','", "'-'", "'!'", "'?'", "':'", "'+'", "'*'", "'/'", "'%'", "'true'", "'false'", "'null'",
    "NUM_FLOAT", "NUM_INT", "NUM_UINT", "STRING", "BYTES", "IDENTIFIER", "ESC_IDENTIFIER",
];

/// All tokens in the order of their enum.
#[rustfmt::skip]
const TOKENS: [Token; 36] = [
    End, Equals, NotEquals, In, Less, LessEquals, GreaterEquals, Greater, And, Or, LeftBracket, RightBracket, LeftBrace,
    RightBrace, LeftParen, RightParen, Dot, Comma, Minus, Not, Question, Colon, Plus, Star, Slash, Percent, True, False, Null,
    Float, Int, Uint, String, Bytes, Ident, EscapedIdent,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Start,
    Expr,
    Or,
    And,
    Relation,
    Calc,
    Unary,
    Member,
    Primary,
    ExprList,
    ListInit,
    FieldInit,
    OptField,
    MapInit,
    EscapeIdent,
    OptExpr,
    Literal,
}

pub(super) const RULES: usize = Rule::Literal as usize + 1;

/// A part of a rule, as the grammar writes it.
enum Item {
    Token(Token),
    OneOf(Tokens),
    Rule(Rule),
    /// The rule, for operators that bind at least as tightly as this.
    Operand(Rule, u8),
    Optional(Vec<Item>),
    /// Any number of times.
    Any(Vec<Item>),
    /// Any number of times, where one token does not tell whether once more.
    AnyPredicted(Vec<Item>),
    Some(Token),
    SomePredicted(Token),
    /// Where the next token tells which.
    OneToken(Vec<Vec<Item>>),
    Predicted(Vec<Vec<Item>>),
    /// What follows the left operand, by how tightly it binds.
    Operations(Vec<(u8, Vec<Item>)>),
}

const RELATIONS: Tokens = Tokens::of(&[Less, LessEquals, GreaterEquals, Greater, Equals, NotEquals, In]);

fn list(first: Vec<Item>, more: Vec<Item>, predicted: bool) -> Vec<Item> {
    let more = [Item::Token(Comma)].into_iter().chain(more).collect();
    let more = if predicted { Item::AnyPredicted(more) } else { Item::Any(more) };
    first.into_iter().chain([more]).collect()
}

fn bracketed(open: Token, inner: Rule, close: Token) -> Vec<Item> {
    let (inner, comma) = (Item::Optional(vec![Item::Rule(inner)]), Item::Optional(vec![Item::Token(Comma)]));
    vec![Item::Token(open), inner, comma, Item::Token(close)]
}

fn args() -> Vec<Item> {
    vec![Item::Token(LeftParen), Item::Optional(vec![Item::Rule(Rule::ExprList)]), Item::Token(RightParen)]
}

fn optional(token: Token, then: Vec<Item>) -> Vec<Item> {
    [Item::Optional(vec![Item::Token(token)])].into_iter().chain(then).collect()
}

fn items(rule: Rule) -> Vec<Item> {
    use Item::{Any, OneOf, OneToken, Operand, Operations, Optional, Predicted};
    let sub = Item::Rule;
    let one = Item::Token;
    match rule {
        Rule::Start => vec![sub(Rule::Expr), one(End)],
        Rule::Expr => {
            let branches = vec![one(Question), sub(Rule::Or), one(Colon), sub(Rule::Expr)];
            vec![sub(Rule::Or), Optional(branches)]
        }
        Rule::Or => vec![sub(Rule::And), Any(vec![one(Token::Or), sub(Rule::And)])],
        Rule::And => vec![sub(Rule::Relation), Any(vec![one(Token::And), sub(Rule::Relation)])],
        Rule::Relation => {
            vec![sub(Rule::Calc), Operations(vec![(1, vec![OneOf(RELATIONS), Operand(Rule::Relation, 2)])])]
        }
        Rule::Calc => {
            let product = vec![OneOf(Tokens::of(&[Star, Slash, Percent])), Operand(Rule::Calc, 3)];
            let sum = vec![OneOf(Tokens::of(&[Plus, Minus])), Operand(Rule::Calc, 2)];
            vec![sub(Rule::Unary), Operations(vec![(2, product), (1, sum)])]
        }
        Rule::Unary => vec![Predicted(vec![
            vec![sub(Rule::Member)],
            vec![Item::Some(Not), sub(Rule::Member)],
            vec![Item::SomePredicted(Minus), sub(Rule::Member)],
        ])],
        Rule::Member => {
            let select = vec![one(Dot), Optional(vec![one(Question)]), sub(Rule::EscapeIdent)];
            let call = [one(Dot), one(Ident)].into_iter().chain(args()).collect();
            let index = optional(Question, vec![sub(Rule::Expr), one(RightBracket)]);
            let index = [one(LeftBracket)].into_iter().chain(index).collect();
            vec![sub(Rule::Primary), Operations(vec![(3, select), (2, call), (1, index)])]
        }
        Rule::Primary => {
            let more = Any(vec![one(Dot), one(Ident)]);
            let fields = bracketed(LeftBrace, Rule::FieldInit, RightBrace);
            vec![Predicted(vec![
                optional(Dot, vec![one(Ident)]),
                optional(Dot, [one(Ident)].into_iter().chain(args()).collect()),
                vec![one(LeftParen), sub(Rule::Expr), one(RightParen)],
                bracketed(LeftBracket, Rule::ListInit, RightBracket),
                bracketed(LeftBrace, Rule::MapInit, RightBrace),
                optional(Dot, [one(Ident), more].into_iter().chain(fields).collect()),
                vec![sub(Rule::Literal)],
            ])]
        }
        Rule::ExprList => list(vec![sub(Rule::Expr)], vec![sub(Rule::Expr)], false),
        Rule::ListInit => list(vec![sub(Rule::OptExpr)], vec![sub(Rule::OptExpr)], true),
        Rule::FieldInit => {
            let field = || vec![sub(Rule::OptField), one(Colon), sub(Rule::Expr)];
            list(field(), field(), true)
        }
        Rule::OptField => optional(Question, vec![sub(Rule::EscapeIdent)]),
        Rule::MapInit => {
            let entry = || vec![sub(Rule::OptExpr), one(Colon), sub(Rule::Expr)];
            list(entry(), entry(), true)
        }
        Rule::EscapeIdent => vec![OneToken(vec![vec![one(Ident)], vec![one(EscapedIdent)]])],
        Rule::OptExpr => optional(Question, vec![sub(Rule::Expr)]),
        Rule::Literal => vec![Predicted(vec![
            optional(Minus, vec![one(Int)]),
            vec![one(Uint)],
            optional(Minus, vec![one(Float)]),
            vec![one(Token::String)],
            vec![one(Bytes)],
            vec![one(True)],
            vec![one(False)],
            vec![one(Null)],
        ])],
    }
}

pub(super) type StateId = usize;

/// Kinds of states that recovery tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Basic,
    /// Before alternatives, something optional, or a loop.
    Entry,
    /// Where a loop goes around.
    Back,
    Stop,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Edge {
    Free(StateId),
    Read(Tokens, StateId),
    Call { rule: Rule, follow: StateId },
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) kind: Kind,
    pub(super) rule: Rule,
    pub(super) edges: Vec<Edge>,
    /// Where right operands of the rule itself return to, at the entry of its operations.
    pub(super) recursion: Vec<StateId>,
}

/// What a parser does at a state.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) state: StateId,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Read(Tokens),
    Call(Rule, u8),
    Optional(Tokens, Vec<Step>),
    /// Around again on these tokens, or as predicted.
    Any {
        back: StateId,
        again: Option<Tokens>,
        body: Vec<Step>,
    },
    Some {
        back: StateId,
        again: Option<Tokens>,
        body: Vec<Step>,
    },
    /// By the next token, or as predicted.
    Choice {
        first: Option<Vec<Tokens>>,
        alternatives: Vec<Vec<Step>>,
    },
    Operations {
        back: StateId,
        choice: StateId,
        alternatives: Vec<(u8, Tokens, Vec<Step>)>,
    },
}

#[derive(Debug, Default)]
pub(super) struct Network {
    pub(super) states: Vec<State>,
    pub(super) steps: Vec<Vec<Step>>,
    /// By rule.
    pub(super) starts: Vec<StateId>,
    /// By state, what can come within its rule.
    nexts: Vec<Tokens>,
    /// Where calls of a rule return to.
    pub(super) follows: Vec<Vec<StateId>>,
}

const ALL: [Rule; RULES] = {
    use Rule::*;
    [
        Start,
        Expr,
        Or,
        And,
        Relation,
        Calc,
        Unary,
        Member,
        Primary,
        ExprList,
        ListInit,
        FieldInit,
        OptField,
        MapInit,
        EscapeIdent,
        OptExpr,
        Literal,
    ]
};

pub(super) static NETWORK: LazyLock<Network> = LazyLock::new(Network::new);

impl Network {
    fn new() -> Network {
        let mut network = Network { follows: vec![Vec::new(); RULES], ..Network::default() };
        for rule in ALL {
            let stop = network.state(Kind::Stop, rule, Vec::new());
            let steps = network.sequence(rule, items(rule), stop);
            network.starts.push(steps[0].state);
            network.steps.push(steps);
        }
        network.nexts = (0..network.states.len()).map(|state| network.look_ahead(state)).collect();
        for at in 0..network.steps.len() {
            let mut steps = std::mem::take(&mut network.steps[at]);
            network.look(&mut steps);
            network.steps[at] = steps;
        }
        network
    }

    fn state(&mut self, kind: Kind, rule: Rule, edges: Vec<Edge>) -> StateId {
        self.states.push(State { kind, rule, edges, recursion: Vec::new() });
        self.states.len() - 1
    }

    fn sequence(&mut self, rule: Rule, items: Vec<Item>, end: StateId) -> Vec<Step> {
        let (mut steps, mut next) = (Vec::new(), end);
        for item in items.into_iter().rev() {
            let step = self.step(rule, item, next);
            next = step.state;
            steps.push(step);
        }
        steps.reverse();
        steps
    }

    fn step(&mut self, rule: Rule, item: Item, next: StateId) -> Step {
        match item {
            Item::Token(token) => self.read(rule, Tokens::of(&[token]), next),
            Item::OneOf(tokens) => self.read(rule, tokens, next),
            Item::Rule(called) => self.call(rule, called, 0, next),
            Item::Operand(called, precedence) => self.call(rule, called, precedence, next),
            Item::Optional(body) => {
                let body = self.sequence(rule, body, next);
                let state = self.state(Kind::Entry, rule, vec![Edge::Free(body[0].state), Edge::Free(next)]);
                Step { state, what: What::Optional(Tokens::NONE, body) }
            }
            Item::Any(body) => self.any(rule, body, next, Some(Tokens::NONE)),
            Item::AnyPredicted(body) => self.any(rule, body, next, None),
            Item::Some(token) => self.some(rule, token, next, Some(Tokens::NONE)),
            Item::SomePredicted(token) => self.some(rule, token, next, None),
            Item::OneToken(alternatives) => self.choice(rule, alternatives, next, Some(Vec::new())),
            Item::Predicted(alternatives) => self.choice(rule, alternatives, next, None),
            Item::Operations(alternatives) => self.operations(rule, alternatives, next),
        }
    }

    fn read(&mut self, rule: Rule, tokens: Tokens, next: StateId) -> Step {
        let state = self.state(Kind::Basic, rule, vec![Edge::Read(tokens, next)]);
        Step { state, what: What::Read(tokens) }
    }

    fn call(&mut self, rule: Rule, called: Rule, precedence: u8, next: StateId) -> Step {
        self.follows[called as usize].push(next);
        let state = self.state(Kind::Basic, rule, vec![Edge::Call { rule: called, follow: next }]);
        Step { state, what: What::Call(called, precedence) }
    }

    fn any(&mut self, rule: Rule, body: Vec<Item>, next: StateId, again: Option<Tokens>) -> Step {
        let state = self.state(Kind::Entry, rule, Vec::new());
        let back = self.state(Kind::Back, rule, vec![Edge::Free(state)]);
        let body = self.sequence(rule, body, back);
        self.states[state].edges = vec![Edge::Free(body[0].state), Edge::Free(next)];
        Step { state, what: What::Any { back, again, body } }
    }

    fn some(&mut self, rule: Rule, token: Token, next: StateId, again: Option<Tokens>) -> Step {
        let state = self.state(Kind::Entry, rule, Vec::new());
        let back = self.state(Kind::Back, rule, vec![Edge::Free(state), Edge::Free(next)]);
        let body = self.sequence(rule, vec![Item::Token(token)], back);
        self.states[state].edges = vec![Edge::Free(body[0].state)];
        Step { state, what: What::Some { back, again, body } }
    }

    fn choice(&mut self, rule: Rule, alternatives: Vec<Vec<Item>>, next: StateId, first: Option<Vec<Tokens>>) -> Step {
        let alternatives: Vec<_> = alternatives.into_iter().map(|own| self.sequence(rule, own, next)).collect();
        let edges = alternatives.iter().map(|steps| Edge::Free(steps[0].state)).collect();
        let state = self.state(Kind::Entry, rule, edges);
        Step { state, what: What::Choice { first, alternatives } }
    }

    fn operations(&mut self, rule: Rule, alternatives: Vec<(u8, Vec<Item>)>, next: StateId) -> Step {
        let state = self.state(Kind::Entry, rule, Vec::new());
        let back = self.state(Kind::Back, rule, vec![Edge::Free(state)]);
        let alternatives: Vec<_> = alternatives
            .into_iter()
            .map(|(precedence, items)| (precedence, Tokens::NONE, self.sequence(rule, items, back)))
            .collect();
        let edges = alternatives.iter().map(|(_, _, steps)| Edge::Free(steps[0].state)).collect();
        let choice = self.state(Kind::Entry, rule, edges);
        let recursion = self.follows[rule as usize].iter().copied().filter(|at| self.states[*at].rule == rule);
        let recursion = recursion.collect();
        let entry = &mut self.states[state];
        entry.edges = vec![Edge::Free(choice), Edge::Free(next)];
        entry.recursion = recursion;
        Step { state, what: What::Operations { back, choice, alternatives } }
    }

    /// Fills in which tokens lead where.
    fn look(&self, steps: &mut [Step]) {
        for step in steps {
            match &mut step.what {
                What::Read(_) | What::Call(..) => {}
                What::Optional(first, body) => {
                    *first = self.next(body[0].state);
                    self.look(body);
                }
                What::Any { again, body, .. } | What::Some { again, body, .. } => {
                    if let Some(again) = again {
                        *again = self.next(body[0].state);
                    }
                    self.look(body);
                }
                What::Choice { first, alternatives } => {
                    if let Some(first) = first {
                        *first = alternatives.iter().map(|own| self.next(own[0].state)).collect();
                    }
                    alternatives.iter_mut().for_each(|own| self.look(own));
                }
                What::Operations { alternatives, .. } => {
                    for (_, first, own) in alternatives {
                        *first = self.next(own[0].state);
                        self.look(own);
                    }
                }
            }
        }
    }

    /// The tokens that can come at a state, within its rule.
    pub(super) fn next(&self, state: StateId) -> Tokens {
        self.nexts[state]
    }

    fn look_ahead(&self, state: StateId) -> Tokens {
        let mut seen = vec![false; self.states.len()];
        self.next_unseen(state, &mut seen)
    }

    fn next_unseen(&self, state: StateId, seen: &mut Vec<bool>) -> Tokens {
        if std::mem::replace(&mut seen[state], true) {
            return Tokens::NONE;
        }
        if self.states[state].kind == Kind::Stop {
            return Tokens::END_OF_RULE;
        }
        let mut of = |edge: &Edge| match edge {
            Edge::Free(to) => self.next_unseen(*to, seen),
            Edge::Read(tokens, _) => *tokens,
            Edge::Call { rule, follow } => {
                // Rules do not begin with themselves, so what was seen outside does not matter inside.
                let inside = self.look_ahead(self.starts[*rule as usize]);
                match inside.ends_rule() {
                    true => inside.without(Tokens::END_OF_RULE).with(self.next_unseen(*follow, seen)),
                    false => inside,
                }
            }
        };
        self.states[state].edges.iter().map(&mut of).fold(Tokens::NONE, Tokens::with)
    }
}
