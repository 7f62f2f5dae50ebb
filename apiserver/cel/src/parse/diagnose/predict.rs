//! Which alternative a parser takes where one token does not tell.
//!
//! Invariant: the alternative, or the token at which none was left, is what ANTLR's adaptive prediction finds: first without
//! regard to what called the rule, and again with it where that leaves several (`parser_atn_simulator.go@v4.13.1`).
//! Non-goal: precedences, which its callers decide by one token.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::super::lexer::Token;
use super::network::{Edge, Kind, NETWORK, StateId, Tokens};

/// An interned stack of states to return to. Number 0 is empty.
type Stack = usize;

const EMPTY: Stack = 0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Config {
    state: StateId,
    alternative: usize,
    stack: Stack,
    /// Whether the rule of the decision was left.
    outside: bool,
}

/// What the prediction came to.
pub(super) enum Prediction {
    /// Counted from 0.
    Alternative(usize),
    /// None is left at this many tokens from the start.
    None(usize),
}

type NodeId = usize;

/// What is possible after some tokens.
struct Node {
    configs: Vec<Config>,
    /// Whether what called the rule counts.
    full: bool,
}

#[derive(Clone, Copy)]
enum Reached {
    Node(NodeId),
    Alternative(usize),
    Nothing,
    /// It depends on what called the rule.
    Conflict,
}

/// Remembers what it found, for texts repeat themselves.
pub(super) struct Predictor {
    /// Every stack but the empty one, as its top and the rest.
    stacks: Vec<(StateId, Stack)>,
    known: HashMap<(StateId, Stack), Stack>,
    nodes: Vec<Node>,
    starts: HashMap<(StateId, Stack, bool), NodeId>,
    reached: HashMap<(NodeId, Token), Reached>,
}

impl Predictor {
    pub(super) fn new() -> Predictor {
        Predictor {
            stacks: vec![(0, EMPTY)],
            known: HashMap::new(),
            nodes: Vec::new(),
            starts: HashMap::new(),
            reached: HashMap::new(),
        }
    }

    /// Predicts at a state from the tokens ahead; `calls` are the states that rules under way return to, outermost first.
    pub(super) fn predict(&mut self, state: StateId, tokens: &dyn Fn(usize) -> Token, calls: &[StateId]) -> Prediction {
        let start = self.start(state, EMPTY, false);
        self.run(start, tokens).unwrap_or_else(|| {
            let outer = calls.iter().fold(EMPTY, |stack, call| self.push(*call, stack));
            let start = self.start(state, outer, true);
            self.run(start, tokens).unwrap_or(Prediction::None(0))
        })
    }

    /// None where it depends on what called the rule.
    fn run(&mut self, start: NodeId, tokens: &dyn Fn(usize) -> Token) -> Option<Prediction> {
        let (mut node, mut ahead) = (start, 0);
        loop {
            let token = tokens(ahead);
            let reached = match self.reached.get(&(node, token)) {
                Some(reached) => *reached,
                None => {
                    let reached = self.advance(node, token);
                    self.reached.insert((node, token), reached);
                    reached
                }
            };
            match reached {
                Reached::Node(next) => node = next,
                Reached::Alternative(alternative) => return Some(Prediction::Alternative(alternative)),
                Reached::Nothing => return Some(fallback(&self.nodes[node].configs, ahead)),
                Reached::Conflict => return None,
            }
            ahead += usize::from(token != Token::End);
        }
    }

    fn advance(&mut self, node: NodeId, token: Token) -> Reached {
        let full = self.nodes[node].full;
        let Some(configs) = self.reach(node, token) else { return Reached::Nothing };
        if let Some(alternative) = unique(&configs) {
            return Reached::Alternative(alternative);
        }
        if full {
            let least = self.conflicting(&configs, full);
            let least: BTreeSet<usize> = least.iter().filter_map(|own| own.first().copied()).collect();
            if let (1, Some(alternative)) = (least.len(), least.first()) {
                return Reached::Alternative(*alternative);
            }
        } else if self.conflicts(&configs) {
            return Reached::Conflict;
        }
        self.nodes.push(Node { configs, full });
        Reached::Node(self.nodes.len() - 1)
    }

    fn push(&mut self, top: StateId, rest: Stack) -> Stack {
        let next = self.stacks.len();
        let stack = *self.known.entry((top, rest)).or_insert(next);
        if stack == next {
            self.stacks.push((top, rest));
        }
        stack
    }

    fn start(&mut self, state: StateId, stack: Stack, full: bool) -> NodeId {
        if let Some(node) = self.starts.get(&(state, stack, full)) {
            return *node;
        }
        let mut found = Found::new(full, false);
        for (alternative, edge) in NETWORK.states[state].edges.iter().enumerate() {
            if let Edge::Free(state) = edge {
                self.closure(Config { state: *state, alternative, stack, outside: false }, &mut found);
            }
        }
        self.nodes.push(Node { configs: found.configs, full });
        self.starts.insert((state, stack, full), self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    /// Everything that can be reached from a configuration without reading a token.
    fn closure(&mut self, from: Config, found: &mut Found) {
        let mut open = vec![from];
        while let Some(config) = open.pop() {
            if !found.seen.insert(config) {
                continue;
            }
            let state = &NETWORK.states[config.state];
            if state.kind == Kind::Stop {
                self.leave(config, found, &mut open);
                continue;
            }
            if state.edges.iter().any(|edge| matches!(edge, Edge::Read(..))) {
                found.configs.push(config);
            }
            // A right operand leaves the loop to the operation it belongs to.
            let drop = config.stack != EMPTY && state.recursion.contains(&self.stacks[config.stack].0);
            for edge in state.edges.iter().skip(usize::from(drop)).rev() {
                match edge {
                    Edge::Free(to) => open.push(Config { state: *to, ..config }),
                    Edge::Call { rule, follow } => {
                        let stack = self.push(*follow, config.stack);
                        open.push(Config { state: NETWORK.starts[*rule as usize], stack, ..config });
                    }
                    Edge::Read(tokens, to) if found.end_is_free && tokens.contains(Token::End) => {
                        open.push(Config { state: *to, ..config });
                    }
                    Edge::Read(..) => {}
                }
            }
        }
    }

    /// From the end of a rule to what called it; to all that can call it where that is not known.
    fn leave(&self, config: Config, found: &mut Found, open: &mut Vec<Config>) {
        let follows = &NETWORK.follows[NETWORK.states[config.state].rule as usize];
        if config.stack != EMPTY {
            let (state, stack) = self.stacks[config.stack];
            open.push(Config { state, stack, ..config });
        } else if found.full || follows.is_empty() {
            found.configs.push(config);
        } else {
            open.extend(follows.iter().rev().map(|follow| Config { state: *follow, outside: true, ..config }));
        }
    }

    fn reach(&mut self, node: NodeId, token: Token) -> Option<Vec<Config>> {
        let full = self.nodes[node].full;
        let end = token == Token::End;
        let (mut read, mut stopped) = (Vec::new(), Vec::new());
        for config in &self.nodes[node].configs {
            let state = &NETWORK.states[config.state];
            if state.kind == Kind::Stop && (full || end) {
                stopped.push(*config);
            }
            for edge in &state.edges {
                if let Edge::Read(tokens, to) = edge
                    && tokens.contains(token)
                {
                    read.push(Config { state: *to, ..*config });
                }
            }
        }
        let mut reached = match stopped.is_empty() && !end && unique(&read).is_some() {
            true => read,
            false => {
                let mut found = Found::new(full, end);
                read.into_iter().for_each(|config| self.closure(config, &mut found));
                found.configs
            }
        };
        if end {
            reached.retain(is_stopped);
        }
        if !full || !reached.iter().any(is_stopped) {
            reached.extend(stopped);
        }
        Some(reached).filter(|reached| !reached.is_empty())
    }

    /// The alternatives that are at one state with the same stacks, for every such place.
    fn conflicting(&self, configs: &[Config], full: bool) -> Vec<BTreeSet<usize>> {
        let mut stacks: BTreeMap<(StateId, usize), BTreeSet<Vec<StateId>>> = BTreeMap::new();
        for config in configs {
            stacks.entry((config.state, config.alternative)).or_default().insert(self.states_of(config.stack));
        }
        let mut places: BTreeMap<(StateId, BTreeSet<Vec<StateId>>), BTreeSet<usize>> = BTreeMap::new();
        for ((state, alternative), mut own) in stacks {
            if !full {
                // Where anything can have called a rule, what is known of some callers adds nothing.
                let all = own.clone();
                own.retain(|stack| !all.iter().any(|other| other != stack && stack.starts_with(other)));
            }
            places.entry((state, own)).or_default().insert(alternative);
        }
        places.into_values().collect()
    }

    /// From the top down.
    fn states_of(&self, mut stack: Stack) -> Vec<StateId> {
        let mut states = Vec::new();
        while stack != EMPTY {
            let (top, rest) = self.stacks[stack];
            states.push(top);
            stack = rest;
        }
        states
    }

    fn conflicts(&self, configs: &[Config]) -> bool {
        if configs.iter().all(is_stopped) {
            return true;
        }
        let mut of_state: BTreeMap<StateId, BTreeSet<usize>> = BTreeMap::new();
        for config in configs {
            of_state.entry(config.state).or_default().insert(config.alternative);
        }
        of_state.values().all(|own| own.len() > 1) && self.conflicting(configs, false).iter().any(|own| own.len() > 1)
    }
}

/// Configurations in the order in which they were found.
struct Found {
    configs: Vec<Config>,
    seen: HashSet<Config>,
    full: bool,
    /// Whether the end of the text can be read any number of times.
    end_is_free: bool,
}

impl Found {
    fn new(full: bool, end_is_free: bool) -> Found {
        Found { configs: Vec::new(), seen: HashSet::new(), full, end_is_free }
    }
}

fn is_stopped(config: &Config) -> bool {
    NETWORK.states[config.state].kind == Kind::Stop
}

fn unique(configs: &[Config]) -> Option<usize> {
    let first = configs.first()?.alternative;
    configs.iter().all(|config| config.alternative == first).then_some(first)
}

/// Where no alternative can read on: the first that was through with the rule.
fn fallback(configs: &[Config], ahead: usize) -> Prediction {
    let done = |config: &&Config| config.outside || is_stopped(config) && config.stack == EMPTY;
    match configs.iter().filter(done).map(|config| config.alternative).min() {
        Some(alternative) => Prediction::Alternative(alternative),
        None => Prediction::None(ahead),
    }
}

/// The tokens that can come at a state within what called its rule, outermost first.
pub(super) fn next_in_context(state: StateId, calls: &[StateId]) -> Tokens {
    let mut found = NETWORK.next(state);
    for call in calls.iter().rev() {
        if !found.ends_rule() {
            return found;
        }
        found = found.without(Tokens::END_OF_RULE).with(NETWORK.next(*call));
    }
    found
}
