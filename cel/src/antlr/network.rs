//! The grammar as states and what leads from one to another (ANTLR's ATN), and the steps of its rules.

use super::grammar::{Part, is_recursive};
use super::tokens::Kinds;

/// A state's number.
pub(super) type Place = usize;

/// That a rule may end, beside the tokens that may come.
pub(super) const NOTHING: Kinds = 1 << 63;

/// What leads to another state.
#[derive(Debug, Clone, Copy)]
pub(super) enum Edge {
    /// Nothing.
    Free(Place),
    /// A precedence that is high enough.
    Precedence(u8, Place),
    /// A token.
    Token(Kinds, Place),
    /// A rule, from its first state; behind it the second.
    Rule {
        rule: usize,
        first: Place,
        then: Place,
        precedence: u8,
    },
    /// The end of a rule: behind one of its calls; whether that is the outermost call of a rule that was left-recursive.
    Return(Place, bool),
}

/// What ANTLR does at a state before it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    /// Where a choice, an option or a loop begins.
    Block,
    /// Where a left-recursive rule's loop begins; the number is of the state in which a round of it ends.
    Suffixes(Place),
    /// Where a loop's next round is asked for.
    Back,
    /// The end of a rule.
    Stop,
}

#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) rule: usize,
    pub(super) kind: Kind,
    pub(super) edges: Vec<Edge>,
}

/// What a rule does.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Token {
        at: Place,
        kinds: Kinds,
    },
    Rule {
        at: Place,
        rule: usize,
        precedence: u8,
    },
    Choice {
        at: Place,
        of: Vec<Vec<Step>>,
        firsts: Option<Vec<Kinds>>,
    },
    Maybe {
        at: Place,
        first: Kinds,
        of: Vec<Step>,
    },
    /// `many`: it begins with a round.
    Loop {
        at: Place,
        back: Place,
        first: Option<Kinds>,
        of: Vec<Step>,
        many: bool,
    },
    /// `choice`: where the suffixes are told apart, if there are several.
    Suffixes {
        at: Place,
        back: Place,
        choice: Option<Place>,
        of: Vec<Vec<Step>>,
    },
}

#[derive(Debug)]
pub(super) struct Network {
    pub(super) states: Vec<State>,
    /// The first states of rules.
    pub(super) firsts: Vec<Place>,
    pub(super) rules: Vec<Vec<Step>>,
}

/// Makes the network; what a rule is about to do depends on what follows, so that it is made from the end.
pub(super) struct Builder {
    states: Vec<State>,
    rule: usize,
    count: usize,
}

impl Builder {
    pub(super) fn network(rules: &[Vec<Part>]) -> Network {
        let count = rules.len();
        let stop = |rule| State {
            rule,
            kind: Kind::Stop,
            edges: Vec::new(),
        };
        let start = |rule| State {
            rule,
            kind: Kind::Plain,
            edges: Vec::new(),
        };
        let mut builder = Self {
            states: (0..count).map(stop).chain((0..count).map(start)).collect(),
            rule: 0,
            count,
        };
        let mut steps = Vec::new();
        for (rule, parts) in rules.iter().enumerate() {
            builder.rule = rule;
            let (own, first) = builder.all(parts, rule);
            builder.states[count + rule].edges.push(Edge::Free(first));
            steps.push(own);
        }
        let calls: Vec<Edge> = builder.states.iter().flat_map(|s| s.edges.clone()).collect();
        for edge in calls {
            if let Edge::Rule {
                rule, then, precedence, ..
            } = edge
            {
                let outermost = is_recursive(rule) && precedence == 0;
                builder.states[rule].edges.push(Edge::Return(then, outermost));
            }
        }
        let mut network = Network {
            states: builder.states,
            firsts: (count..2 * count).collect(),
            rules: Vec::new(),
        };
        for own in &mut steps {
            network.look(own);
        }
        network.rules = steps;
        network
    }

    fn state(&mut self, kind: Kind, edges: Vec<Edge>) -> Place {
        self.states.push(State {
            rule: self.rule,
            kind,
            edges,
        });
        self.states.len() - 1
    }

    /// Parts that lead to `then`: their steps and the first state.
    fn all(&mut self, parts: &[Part], then: Place) -> (Vec<Step>, Place) {
        let (mut steps, mut at) = (Vec::new(), then);
        for part in parts.iter().rev() {
            let (step, first) = self.one(part, at);
            steps.push(step);
            at = first;
        }
        steps.reverse();
        (steps, at)
    }

    fn each(&mut self, of: &[Vec<Part>], then: Place) -> (Vec<Vec<Step>>, Vec<Edge>) {
        let all = of.iter().map(|parts| self.all(parts, then));
        let (steps, firsts): (Vec<_>, Vec<_>) = all.collect::<Vec<_>>().into_iter().unzip();
        (steps, firsts.into_iter().map(Edge::Free).collect())
    }

    fn one(&mut self, part: &Part, then: Place) -> (Step, Place) {
        match part {
            Part::Token(kinds) => {
                let kinds = *kinds;
                let at = self.state(Kind::Plain, vec![Edge::Token(kinds, then)]);
                (Step::Token { at, kinds }, at)
            }
            Part::Rule(rule, precedence) => {
                let (rule, precedence) = (*rule, *precedence);
                let first = self.count + rule;
                let edge = Edge::Rule {
                    rule,
                    first,
                    then,
                    precedence,
                };
                let at = self.state(Kind::Plain, vec![edge]);
                (Step::Rule { at, rule, precedence }, at)
            }
            Part::Choice { of, simple } => {
                let (of, edges) = self.each(of, then);
                let at = self.state(Kind::Block, edges);
                let firsts = simple.then(Vec::new);
                (Step::Choice { at, of, firsts }, at)
            }
            Part::Maybe(parts) => {
                let (of, first) = self.all(parts, then);
                let at = self.state(Kind::Block, vec![Edge::Free(first), Edge::Free(then)]);
                (Step::Maybe { at, first: 0, of }, at)
            }
            Part::Loop { of, simple } => {
                let at = self.state(Kind::Block, Vec::new());
                let back = self.state(Kind::Back, vec![Edge::Free(at)]);
                let (of, first) = self.all(of, back);
                self.states[at].edges = vec![Edge::Free(first), Edge::Free(then)];
                let (first, many) = (simple.then_some(0), false);
                (
                    Step::Loop {
                        at,
                        back,
                        first,
                        of,
                        many,
                    },
                    at,
                )
            }
            Part::Many { of, simple } => {
                let at = self.state(Kind::Block, Vec::new());
                let back = self.state(Kind::Back, vec![Edge::Free(at), Edge::Free(then)]);
                let (of, first) = self.all(of, back);
                self.states[at].edges = vec![Edge::Free(first)];
                let (first, many) = (simple.then_some(0), true);
                (
                    Step::Loop {
                        at,
                        back,
                        first,
                        of,
                        many,
                    },
                    at,
                )
            }
            Part::Suffixes(all) => {
                let at = self.state(Kind::Plain, Vec::new());
                let back = self.state(Kind::Back, vec![Edge::Free(at)]);
                let end = self.state(Kind::Plain, vec![Edge::Free(back)]);
                let (mut of, mut edges) = (Vec::new(), Vec::new());
                for (precedence, parts) in all {
                    let (steps, first) = self.all(parts, end);
                    let asked = self.state(Kind::Plain, vec![Edge::Precedence(*precedence, first)]);
                    of.push(steps);
                    edges.push(Edge::Free(asked));
                }
                let several = edges.len() > 1;
                let block = self.state(Kind::Block, edges);
                self.states[at].kind = Kind::Suffixes(end);
                self.states[at].edges = vec![Edge::Free(block), Edge::Free(then)];
                let choice = several.then_some(block);
                (Step::Suffixes { at, back, choice, of }, at)
            }
        }
    }
}

impl Network {
    /// The tokens that may come at a state, and whether its rule may end there.
    pub(super) fn next(&self, at: Place) -> Kinds {
        let (mut found, mut seen, mut open) = (0, vec![false; self.states.len()], vec![at]);
        while let Some(at) = open.pop() {
            if std::mem::replace(&mut seen[at], true) {
                continue;
            }
            if self.states[at].kind == Kind::Stop {
                found |= NOTHING;
                continue;
            }
            for edge in &self.states[at].edges {
                match edge {
                    Edge::Free(to) | Edge::Precedence(_, to) | Edge::Return(to, _) => open.push(*to),
                    Edge::Token(kinds, _) => found |= kinds,
                    // No rule is empty.
                    Edge::Rule { first, .. } => found |= self.next(*first),
                }
            }
        }
        found
    }

    /// Finds out by which tokens steps are told apart.
    fn look(&self, steps: &mut [Step]) {
        for step in steps {
            match step {
                Step::Token { .. } | Step::Rule { .. } => {}
                Step::Choice { at, of, firsts } => {
                    of.iter_mut().for_each(|own| self.look(own));
                    if let Some(firsts) = firsts {
                        *firsts = (0..of.len()).map(|i| self.behind(*at, i)).collect();
                    }
                }
                Step::Maybe { at, first, of } => {
                    self.look(of);
                    *first = self.behind(*at, 0);
                }
                Step::Loop { at, first, of, .. } => {
                    self.look(of);
                    *first = first.map(|_| self.behind(*at, 0));
                }
                Step::Suffixes { of, .. } => of.iter_mut().for_each(|own| self.look(own)),
            }
        }
    }

    fn behind(&self, at: Place, edge: usize) -> Kinds {
        match self.states[at].edges.get(edge) {
            Some(Edge::Free(to)) => self.next(*to),
            _ => 0,
        }
    }

    /// The state behind a call.
    pub(super) fn follow(&self, call: Place) -> Option<Place> {
        match self.states[call].edges.first() {
            Some(Edge::Rule { then, .. }) => Some(*then),
            _ => None,
        }
    }
}
