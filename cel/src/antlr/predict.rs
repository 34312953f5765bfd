//! Which of several ways a decision takes (ANTLR's `ParserATNSimulator`): all are followed at once, first without regard
//! to where the decision stands (SLL), and with it (LL) where that leaves a doubt.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::network::{Edge, Kind, Network, Place};
use super::tokens::Token;

/// States to come back to, the innermost first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stack {
    /// Nothing is known of what is outside; in the whole context: there is nothing.
    Empty,
    Then(Place, Rc<Stack>),
}

impl Stack {
    /// Whether this says the same as the other, or less.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Empty, _) => true,
            (Self::Then(a, rest), Self::Then(b, more)) => a == b && rest.covers(more),
            (Self::Then(..), Self::Empty) => false,
        }
    }
}

/// A way, followed to a state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    at: Place,
    alternative: usize,
    stack: Stack,
}

/// What is known of a way beside where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Note {
    /// It left the rule that the decision stands in.
    left: bool,
    /// It is not left out though another way is where it is.
    kept: bool,
}

type Ways = BTreeMap<Way, Note>;

/// What comes of a decision.
pub(super) enum Predicted {
    Alternative(usize),
    /// None fits: the number of the token that is told as the one that does not.
    None(usize),
}

/// A decision at a state, with the tokens from the next one on.
pub(super) struct Decision<'n> {
    pub(super) network: &'n Network,
    pub(super) tokens: &'n [Token],
    pub(super) at: Place,
    pub(super) precedence: u8,
    pub(super) context: Stack,
}

/// One pass over the ways.
struct Pass<'d, 'n> {
    decision: &'d Decision<'n>,
    whole: bool,
    /// Whether precedences are asked for.
    asked: bool,
    found: Ways,
    seen: BTreeSet<(Way, Note, bool)>,
}

impl Decision<'_> {
    fn is_of_suffixes(&self) -> bool {
        matches!(self.network.states[self.at].kind, Kind::Suffixes(_))
    }

    fn kind(&self, i: usize) -> u8 {
        // The last is the end, again and again.
        self.tokens.get(i).or(self.tokens.last()).map_or(0, |t| t.kind)
    }

    pub(super) fn predict(&self) -> Predicted {
        let mut ways = self.start(false);
        for i in 0.. {
            let Some(reached) = self.reach(&ways, self.kind(i), false) else {
                return finished(&ways).map_or(Predicted::None(i), Predicted::Alternative);
            };
            if let Some(only) = only(&reached) {
                return Predicted::Alternative(only);
            }
            if self.conflicts(&reached) {
                return self.predict_whole();
            }
            ways = reached;
        }
        Predicted::None(0)
    }

    fn predict_whole(&self) -> Predicted {
        let mut ways = self.start(true);
        for i in 0.. {
            let Some(reached) = self.reach(&ways, self.kind(i), true) else {
                return finished(&ways).map_or(Predicted::None(0), Predicted::Alternative);
            };
            if let Some(only) = only(&reached) {
                return Predicted::Alternative(only);
            }
            // All that is left comes to the same: the first way is taken.
            let least: BTreeSet<usize> = subsets(&reached)
                .into_iter()
                .filter_map(|s| s.first().copied())
                .collect();
            if let (1, Some(first)) = (least.len(), least.first()) {
                return Predicted::Alternative(*first);
            }
            if i > self.tokens.len() {
                break;
            }
            ways = reached;
        }
        Predicted::None(0)
    }

    fn pass(&self, whole: bool, asked: bool) -> Pass<'_, '_> {
        Pass {
            decision: self,
            whole,
            asked,
            found: Ways::new(),
            seen: BTreeSet::new(),
        }
    }

    fn start(&self, whole: bool) -> Ways {
        let mut pass = self.pass(whole, true);
        for (i, edge) in self.network.states[self.at].edges.iter().enumerate() {
            if let Edge::Free(to) = edge {
                let stack = if whole { self.context.clone() } else { Stack::Empty };
                let way = Way {
                    at: *to,
                    alternative: i + 1,
                    stack,
                };
                pass.follow(way, Note::default(), 0);
            }
        }
        let mut ways = pass.settled();
        if !whole && self.is_of_suffixes() {
            // Another round goes before the end of the loop where both come to the same.
            let first: BTreeSet<(Place, Stack)> = ways
                .keys()
                .filter(|w| w.alternative == 1)
                .map(|w| (w.at, w.stack.clone()))
                .collect();
            ways.retain(|w, n| w.alternative == 1 || n.kept || !first.contains(&(w.at, w.stack.clone())));
        }
        ways
    }

    fn reach(&self, ways: &Ways, kind: u8, whole: bool) -> Option<Ways> {
        let (mut stopped, mut next) = (Ways::new(), Ways::new());
        for (way, note) in ways {
            let state = &self.network.states[way.at];
            if state.kind == Kind::Stop {
                if whole || kind == 0 {
                    stopped.insert(way.clone(), *note);
                }
                continue;
            }
            for edge in &state.edges {
                if let Edge::Token(kinds, to) = edge
                    && kinds & (1 << kind) != 0
                {
                    let mut way = way.clone();
                    way.at = *to;
                    add(&mut next, way, *note);
                }
            }
        }
        let mut reached = if stopped.is_empty() && kind != 0 && only(&next).is_some() {
            next
        } else {
            let mut pass = self.pass(whole, false);
            for (way, note) in next {
                pass.follow(way, note, 0);
            }
            pass.settled()
        };
        let stops = |ways: &Ways| ways.keys().any(|w| self.network.states[w.at].kind == Kind::Stop);
        if kind == 0 {
            reached.retain(|w, _| self.network.states[w.at].kind == Kind::Stop);
        }
        if !whole || !stops(&reached) {
            reached.extend(stopped);
        }
        (!reached.is_empty()).then_some(reached)
    }

    /// Whether there is no telling the ways apart without their context.
    fn conflicts(&self, ways: &Ways) -> bool {
        if ways.keys().all(|w| self.network.states[w.at].kind == Kind::Stop) {
            return true;
        }
        let mut by_state: BTreeMap<Place, BTreeSet<usize>> = BTreeMap::new();
        for way in ways.keys() {
            by_state.entry(way.at).or_default().insert(way.alternative);
        }
        subsets(ways).iter().any(|s| s.len() > 1) && !by_state.values().any(|s| s.len() == 1)
    }
}

fn add(ways: &mut Ways, way: Way, note: Note) {
    let known = ways.entry(way).or_default();
    known.left |= note.left;
    known.kept |= note.kept;
}

fn only(ways: &Ways) -> Option<usize> {
    let mut all = ways.keys().map(|w| w.alternative);
    let first = all.next()?;
    all.all(|a| a == first).then_some(first)
}

/// The first alternative that got through the rule it stands in.
fn finished(ways: &Ways) -> Option<usize> {
    ways.iter()
        .filter(|(_, note)| note.left)
        .map(|(w, _)| w.alternative)
        .min()
}

/// Alternatives that are at the same state with the same stacks.
fn subsets(ways: &Ways) -> Vec<BTreeSet<usize>> {
    let mut stacks: BTreeMap<(Place, usize), BTreeSet<&Stack>> = BTreeMap::new();
    for way in ways.keys() {
        stacks.entry((way.at, way.alternative)).or_default().insert(&way.stack);
    }
    let mut same: BTreeMap<(Place, BTreeSet<&Stack>), BTreeSet<usize>> = BTreeMap::new();
    for ((at, alternative), stacks) in stacks {
        same.entry((at, stacks)).or_default().insert(alternative);
    }
    same.into_values().collect()
}

impl Pass<'_, '_> {
    fn add(&mut self, way: Way, note: Note) {
        add(&mut self.found, way, note);
    }

    /// What was found; of stacks of one state those that say less stand for those that say more.
    fn settled(self) -> Ways {
        if self.whole {
            return self.found;
        }
        let mut kept = Ways::new();
        for (way, note) in &self.found {
            let covers = |w: &&Way| {
                w.at == way.at && w.alternative == way.alternative && w.stack != way.stack && w.stack.covers(&way.stack)
            };
            let first = Way {
                stack: Stack::Empty,
                ..way.clone()
            };
            let by = self
                .found
                .range(first..)
                .take_while(|(w, _)| w.at == way.at && w.alternative == way.alternative);
            let by = by.map(|(w, _)| w).find(covers);
            add(&mut kept, by.unwrap_or(way).clone(), *note);
        }
        kept
    }

    /// Follows a way as far as it leads without a token; `depth`: rules entered, below nought once the first was left.
    fn follow(&mut self, way: Way, note: Note, depth: i32) {
        if !self.seen.insert((way.clone(), note, depth == 0)) {
            return;
        }
        let network = self.decision.network;
        let state = &network.states[way.at];
        if state.kind == Kind::Stop {
            match &way.stack {
                Stack::Then(to, rest) => {
                    let stack = (**rest).clone();
                    let back = Way {
                        at: *to,
                        alternative: way.alternative,
                        stack,
                    };
                    return self.follow(back, note, depth);
                }
                Stack::Empty if self.whole => {
                    let note = Note { left: true, ..note };
                    return self.add(way, note);
                }
                Stack::Empty => {}
            }
        }
        if state.edges.is_empty() || state.edges.iter().any(|e| matches!(e, Edge::Token(..))) {
            // The end of all is where its rule ends, too.
            let left = note.left || state.kind == Kind::Stop;
            self.add(way.clone(), Note { left, ..note });
        }
        for (i, edge) in state.edges.iter().enumerate() {
            if i == 0 && self.comes_round(&way) {
                continue;
            }
            let mut next = way.clone();
            let (mut note, mut depth) = (note, depth);
            match edge {
                Edge::Token(..) => continue,
                Edge::Free(to) => next.at = *to,
                Edge::Precedence(least, to) => {
                    if self.asked && depth == 0 && *least < self.decision.precedence {
                        continue;
                    }
                    next.at = *to;
                }
                Edge::Rule { first, then, .. } => {
                    next.stack = Stack::Then(*then, Rc::new(way.stack.clone()));
                    next.at = *first;
                    depth += i32::from(depth >= 0);
                }
                Edge::Return(to, outermost) => {
                    next.at = *to;
                    note.left = true;
                    let own = network.states[self.decision.at].rule;
                    note.kept |= self.decision.is_of_suffixes() && *outermost && state.rule == own;
                    depth -= 1;
                }
            }
            self.follow(next, note, depth);
        }
    }

    /// Whether a way is at a left-recursive rule's loop within a round of that loop, which goes on with it in any case.
    fn comes_round(&self, way: &Way) -> bool {
        let Kind::Suffixes(end) = self.decision.network.states[way.at].kind else {
            return false;
        };
        matches!(&way.stack, Stack::Then(to, _) if *to == end)
    }
}
