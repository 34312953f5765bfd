//! How the parser goes on behind an error (ANTLR's `DefaultErrorStrategy`, cel-go's limits of it).

use super::network::{Kind, NOTHING, Place};
use super::run::{Parser, Stop};
use super::tokens::{Kinds, NAMES};

/// Most recoveries.
const RECOVERIES: usize = 30;
/// Most tokens that one recovery passes over.
const PASSED: usize = 256;

/// Kinds of tokens as they are told of.
fn shown(kinds: Kinds) -> String {
    let all: Vec<&str> = (0..NAMES.len())
        .filter(|i| kinds & (1 << i) != 0)
        .map(|i| NAMES[i])
        .collect();
    match all.as_slice() {
        [one] => (*one).to_owned(),
        all => format!("{{{}}}", all.join(", ")),
    }
}

fn quoted(text: &str) -> String {
    format!(
        "'{}'",
        text.replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
    )
}

impl Parser<'_> {
    fn tell(&mut self, token: usize, message: &str) {
        let at = self.token(token).start;
        self.errors.push((Some(at), format!("Syntax error: {message}")));
    }

    fn display(&self, token: usize) -> String {
        let t = self.token(token);
        quoted(if t.kind == 0 {
            "<EOF>"
        } else {
            &self.text[t.start..t.end]
        })
    }

    /// The text of tokens, without what none could be made of.
    fn between(&self, start: usize, end: usize) -> String {
        let (mut out, mut at) = (String::new(), start);
        for (from, to) in &self.skipped {
            if *from >= at && *to <= end {
                out.push_str(&self.text[at..*from]);
                at = *to;
            }
        }
        out.push_str(self.text.get(at..end).unwrap_or_default());
        out
    }

    /// The tokens that may come at a state, with regard to where the parser is.
    pub(super) fn expected(&self, at: Place) -> Kinds {
        let mut found = self.network.next(at);
        for context in self.contexts.iter().rev() {
            if found & NOTHING == 0 {
                return found;
            }
            let Some(follow) = context.invoked.and_then(|at| self.network.follow(at)) else {
                break;
            };
            found = found & !NOTHING | self.network.next(follow);
        }
        if found & NOTHING == 0 {
            found
        } else {
            found & !NOTHING | 1
        }
    }

    /// The tokens behind any of the rules that the parser is in.
    fn recovery(&self) -> Kinds {
        let calls = self.contexts.iter().filter_map(|c| c.invoked);
        let follows = calls.filter_map(|at| self.network.follow(at));
        follows.fold(0, |found, at| found | self.network.next(at)) & !NOTHING
    }

    pub(super) fn mismatched(&mut self) -> Stop {
        let expected = self.expected(self.at);
        Stop::Wrong(
            self.next,
            format!(
                "mismatched input {} expecting {}",
                self.display(self.next),
                shown(expected)
            ),
        )
    }

    pub(super) fn no_alternative(&self, from: usize, to: usize) -> Stop {
        let (a, b) = (self.token(from), self.token(to));
        let input = if a.kind == 0 {
            "<EOF>".to_owned()
        } else {
            self.between(a.start, b.end)
        };
        let message = match input.as_str() {
            // A word where a name should be.
            ".true" | ".false" | ".null" => {
                format!("mismatched input '{}' expecting IDENTIFIER", &input[1..])
            }
            input => format!("no viable alternative at input {}", quoted(input)),
        };
        Stop::Wrong(to, message)
    }

    /// The end of a rule in which something was wrong.
    pub(super) fn recover(&mut self, token: usize, message: &str) -> Result<(), Stop> {
        if !self.recovering {
            self.recovering = true;
            self.tell(token, message);
        }
        self.attempt()?;
        let mut passed = 0;
        if self.last == Some(self.next) && self.states.contains(&self.at) {
            self.pass(&mut passed)?;
        }
        self.last = Some(self.next);
        self.states.insert(self.at);
        let until = self.recovery();
        self.pass_until(until, &mut passed)
    }

    fn attempt(&mut self) -> Result<(), Stop> {
        if self.recoveries == RECOVERIES {
            self.tell(
                self.next,
                &format!("error recovery attempt limit exceeded: {RECOVERIES}"),
            );
            return Err(Stop::End);
        }
        self.recoveries += 1;
        Ok(())
    }

    fn pass(&mut self, passed: &mut usize) -> Result<(), Stop> {
        if *passed >= PASSED {
            let message = format!("error recovery token lookahead limit exceeded: {PASSED}");
            self.errors.push((None, message));
            return Err(Stop::End);
        }
        *passed += 1;
        self.consume();
        Ok(())
    }

    fn pass_until(&mut self, kinds: Kinds, passed: &mut usize) -> Result<(), Stop> {
        while self.kind(0) != 0 && kinds & (1 << self.kind(0)) == 0 {
            self.pass(passed)?;
        }
        Ok(())
    }

    pub(super) fn matched(&mut self) {
        self.recovering = false;
        self.states.clear();
        self.last = None;
    }

    /// Before a decision: a token too many is passed over.
    pub(super) fn sync(&mut self) -> Result<(), Stop> {
        if self.recovering {
            return Ok(());
        }
        let next = self.network.next(self.at);
        if next & NOTHING != 0 || next & (1 << self.kind(0)) != 0 {
            return Ok(());
        }
        match self.network.states[self.at].kind {
            Kind::Block | Kind::Suffixes(_) => {
                if self.deleted() {
                    return Ok(());
                }
                Err(self.mismatched())
            }
            Kind::Back => {
                self.unwanted();
                let until = self.expected(self.at) | self.recovery();
                while self.kind(0) != 0 && until & (1 << self.kind(0)) == 0 {
                    self.consume();
                }
                Ok(())
            }
            Kind::Plain | Kind::Stop => Ok(()),
        }
    }

    fn unwanted(&mut self) {
        if self.recovering {
            return;
        }
        self.recovering = true;
        let expected = shown(self.expected(self.at));
        let message = format!("extraneous input {} expecting {expected}", self.display(self.next));
        self.tell(self.next, &message);
    }

    /// Whether the token behind the next one fits, and the next one is left out for it.
    fn deleted(&mut self) -> bool {
        let fits = self.expected(self.at) & (1 << self.kind(1)) != 0;
        if fits {
            self.unwanted();
            self.consume();
            self.matched();
        }
        fits
    }

    /// Where a token is not the one that should be there: it is left out, or the other one thought of as there.
    pub(super) fn recover_inline(&mut self) -> Result<(), Stop> {
        self.attempt()?;
        if self.deleted() {
            self.consume();
            return Ok(());
        }
        let behind = match self.network.states[self.at].edges.first() {
            Some(super::network::Edge::Token(_, to)) => self.expected(*to),
            _ => 0,
        };
        if behind & (1 << self.kind(0)) == 0 {
            return Err(self.mismatched());
        }
        if !self.recovering {
            self.recovering = true;
            let missing = shown(self.expected(self.at));
            let message = format!("missing {missing} at {}", self.display(self.next));
            self.tell(self.next, &message);
        }
        Ok(())
    }
}
