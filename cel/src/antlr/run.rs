//! The parser itself: the steps of rules, as ANTLR's generated code takes them.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::Told;
use super::grammar::{ARGUMENTS, EXPR, GRAMMAR, IDENTIFIER, LITERAL, MEMBER, PRIMARY, START, is_recursive};
use super::network::{Network, Place, Step};
use super::predict::{Decision, Predicted, Stack};
use super::tokens::{BYTES, ESCAPED, FLOAT, INT, Kinds, NAME, STRING, Token, UINT};
use crate::check::macros;
use crate::{RESERVED, lex, parse};

/// Deepest nesting of one rule.
const DEPTH: usize = 250;

/// Why a rule is not gone on with.
pub(super) enum Stop {
    /// A token does not fit: which, and what is told.
    Wrong(usize, String),
    /// Nothing is read any more.
    End,
}

type Done = Result<(), Stop>;

/// A rule that the parser is in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context {
    rule: usize,
    /// Where it was called.
    pub(super) invoked: Option<Place>,
    /// The token it began with.
    start: usize,
    /// Which of its ways was taken.
    way: usize,
}

pub(super) struct Parser<'p> {
    pub(super) network: &'static Network,
    pub(super) text: &'p str,
    pub(super) tokens: Vec<Token>,
    /// Bytes that no token is made of: from, to.
    pub(super) skipped: Vec<(usize, usize)>,
    /// What is wrong with what was read.
    visited: Vec<Told>,
    /// The next token's number.
    pub(super) next: usize,
    /// The state that the parser is at.
    pub(super) at: Place,
    /// The rules that it is in, and where each was called.
    pub(super) contexts: Vec<Context>,
    precedences: Vec<u8>,
    /// Of the lists of arguments that it is in, the tokens of each argument.
    arguments: Vec<Vec<(usize, usize)>>,
    /// How deep each rule is nested.
    depths: Vec<usize>,
    pub(super) errors: Vec<Told>,
    /// Something was told and nothing has fitted since.
    pub(super) recovering: bool,
    pub(super) recoveries: usize,
    /// Where it recovered last: the token's number, and the states there.
    pub(super) last: Option<usize>,
    pub(super) states: BTreeSet<Place>,
}

/// What is wrong with an expression's tokens.
pub(super) fn errors(text: &str, tokens: Vec<Token>, skipped: Vec<(usize, usize)>) -> Vec<Told> {
    let network = &*GRAMMAR;
    let mut parser = Parser {
        network,
        text,
        tokens,
        skipped,
        visited: Vec::new(),
        next: 0,
        at: 0,
        contexts: Vec::new(),
        precedences: vec![0],
        arguments: Vec::new(),
        depths: vec![0; network.rules.len()],
        errors: Vec::new(),
        recovering: false,
        recoveries: 0,
        last: None,
        states: BTreeSet::new(),
    };
    let done = parser.rule(START, 0, None);
    let mut errors = parser.errors;
    // What was read is looked at in any case, unless the reading was ended.
    if done.is_ok() && !errors.is_empty() {
        errors.append(&mut parser.visited);
    }
    errors
}

impl Parser<'_> {
    pub(super) fn token(&self, i: usize) -> Token {
        let found = self.tokens.get(i).or(self.tokens.last());
        found.copied().unwrap_or(Token {
            kind: 0,
            start: 0,
            end: 0,
        })
    }

    /// The kind of a token, counted from the next one.
    pub(super) fn kind(&self, i: usize) -> u8 {
        self.token(self.next + i).kind
    }

    pub(super) fn consume(&mut self) {
        if self.kind(0) != 0 {
            self.next += 1;
        }
    }

    fn is(&self, kinds: Kinds) -> bool {
        kinds & (1 << self.kind(0)) != 0
    }

    fn rule(&mut self, rule: usize, precedence: u8, invoked: Option<Place>) -> Done {
        self.depths[rule] += 1;
        if self.depths[rule] > DEPTH {
            self.errors
                .push((None, format!("expression recursion limit exceeded: {DEPTH}")));
            return Err(Stop::End);
        }
        let start = self.next;
        self.contexts.push(Context {
            rule,
            invoked,
            start,
            way: 0,
        });
        if is_recursive(rule) {
            self.precedences.push(precedence);
        }
        if rule == ARGUMENTS {
            self.arguments.push(Vec::new());
        }
        self.at = self.network.firsts[rule];
        let network = self.network;
        let mut done = self.steps(&network.rules[rule]);
        if let Err(Stop::Wrong(token, message)) = done {
            done = self.recover(token, &message);
            if rule == IDENTIFIER && self.caller() == Some(MEMBER) {
                let at = self.token(start).start;
                self.visited.push((Some(at), "unsupported ident kind".to_owned()));
            }
        }
        if rule == ARGUMENTS
            && let Some(all) = self.arguments.pop()
        {
            self.called(start, &all);
        }
        if rule == EXPR && self.caller() == Some(ARGUMENTS) {
            let end = self.next;
            self.arguments
                .last_mut()
                .into_iter()
                .for_each(|all| all.push((start, end)));
        }
        if is_recursive(rule) {
            self.precedences.pop();
        } else if let Some(invoked) = invoked {
            self.at = invoked;
        }
        self.contexts.pop();
        self.depths[rule] -= 1;
        done
    }

    /// The rule that called the one the parser is in.
    fn caller(&self) -> Option<usize> {
        let i = self.contexts.len().checked_sub(2)?;
        self.contexts.get(i).map(|c| c.rule)
    }

    /// Looks at the next token, which fits, as cel-go does when all is read.
    fn visit(&mut self) {
        let Some(context) = self.contexts.last().copied() else {
            return;
        };
        let token = self.token(self.next);
        let text = &self.text[token.start..token.end];
        let at = self.token(context.start).start;
        let wrong = match (context.rule, token.kind) {
            (IDENTIFIER, ESCAPED) => "unsupported syntax: '`'".to_owned(),
            (PRIMARY, NAME) if context.way < 2 && RESERVED.contains(&text) => format!("reserved identifier: {text}"),
            (LITERAL, INT | UINT | FLOAT | STRING | BYTES) => {
                let negative = context.start < self.next;
                match lex::wrong(token.kind, text, negative) {
                    Some(why) => why.to_owned(),
                    None => return,
                }
            }
            _ => return,
        };
        self.visited.push((Some(at), wrong));
    }

    /// Looks at a call whose arguments, the first of which begins at this token, were read: those of macros are told of
    /// even where something else cannot be read.
    fn called(&mut self, first: usize, all: &[(usize, usize)]) {
        let Some(name) = first.checked_sub(2).map(|i| self.token(i)) else {
            return;
        };
        let read = |(from, to): &(usize, usize)| {
            let start = self.token(*from).start;
            let last = to.checked_sub(1).filter(|last| last >= from)?;
            let text = self.text.get(start..self.token(last).end)?;
            Some((start, parse::read(text).ok()?))
        };
        // Where an argument is itself wrong, nothing is known of it.
        let Some(read) = all.iter().map(read).collect::<Option<Vec<_>>>() else {
            return;
        };
        let (starts, args): (Vec<usize>, Vec<parse::Expr>) = read.into_iter().unzip();
        let method = self.caller() == Some(MEMBER);
        let name = &self.text[name.start..name.end];
        self.visited.extend(macros::misnamed(method, name, &args, &starts));
    }

    fn steps(&mut self, steps: &'static [Step]) -> Done {
        steps.iter().try_for_each(|step| self.step(step))
    }

    /// Goes to where a decision is made.
    fn enter(&mut self, at: Place) -> Done {
        self.at = at;
        self.sync()
    }

    fn step(&mut self, step: &'static Step) -> Done {
        match step {
            Step::Token { at, kinds } => {
                self.at = *at;
                if self.is(*kinds) {
                    self.matched();
                    self.visit();
                    self.consume();
                    return Ok(());
                }
                self.recover_inline()
            }
            Step::Rule { at, rule, precedence } => {
                self.at = *at;
                self.rule(*rule, *precedence, Some(*at))
            }
            Step::Choice { at, of, firsts } => {
                self.enter(*at)?;
                let taken = match firsts {
                    Some(firsts) => match firsts.iter().position(|f| self.is(*f)) {
                        Some(i) => i,
                        None => return Err(self.no_alternative(self.next, self.next)),
                    },
                    None => self.predict(*at)? - 1,
                };
                if let Some(context) = self.contexts.last_mut() {
                    context.way = taken;
                }
                self.steps(&of[taken])
            }
            Step::Maybe { at, first, of } => {
                self.enter(*at)?;
                if self.is(*first) { self.steps(of) } else { Ok(()) }
            }
            Step::Loop {
                at,
                back,
                first,
                of,
                many,
            } => {
                self.enter(*at)?;
                let decides = if *many { *back } else { *at };
                let mut more = *many || self.another(decides, *first)?;
                while more {
                    self.steps(of)?;
                    // Where this is predicted behind a first round, what is missing is told by the prediction.
                    self.enter(*back)?;
                    more = self.another(decides, *first)?;
                }
                Ok(())
            }
            Step::Suffixes { at, back, choice, of } => {
                self.enter(*at)?;
                while self.predict(*at)? == 1 {
                    let taken = match choice {
                        Some(choice) => {
                            self.enter(*choice)?;
                            self.predict(*choice)? - 1
                        }
                        None => 0,
                    };
                    self.steps(&of[taken])?;
                    self.enter(*back)?;
                }
                Ok(())
            }
        }
    }

    /// Whether a loop has another round.
    fn another(&mut self, at: Place, first: Option<Kinds>) -> Result<bool, Stop> {
        match first {
            Some(first) => Ok(self.is(first)),
            None => Ok(self.predict(at)? == 1),
        }
    }

    fn predict(&mut self, at: Place) -> Result<usize, Stop> {
        let mut context = Stack::Empty;
        for context_of in &self.contexts {
            if let Some(follow) = context_of.invoked.and_then(|at| self.network.follow(at)) {
                context = Stack::Then(follow, Rc::new(context));
            }
        }
        let decision = Decision {
            network: self.network,
            tokens: self.tokens.get(self.next..).unwrap_or_default(),
            at,
            precedence: self.precedences.last().copied().unwrap_or_default(),
            context,
        };
        match decision.predict() {
            Predicted::Alternative(i) => Ok(i),
            Predicted::None(i) => Err(self.no_alternative(self.next, (self.next + i).min(self.tokens.len() - 1))),
        }
    }
}
