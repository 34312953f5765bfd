//! The grammar of the shell that interpreted containers have: what scripts in pods use of POSIX `sh`.

mod word;

use std::iter::Peekable;
use std::str::Chars;

use super::tree::{Command, Part, Redirect, Word, plain};

/// Why a script is not understood. A container with such a script is simulated as one whose code is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not understood")]
pub(crate) struct ParseError(pub(crate) String);

/// How deep commands and words stand in one another at most: whoever reads or runs them goes as deep with its stack.
pub(super) const DEEPEST: usize = 64;
/// Bytes of the longest script: `ARG_MAX` leaves none more, and the API server no object with one.
pub(super) const LONGEST: usize = 1 << 20;

/// Parses a script.
pub(crate) fn parse(script: &str) -> Result<Command, ParseError> {
    Parser::at(script, 0)?.whole()
}

/// As [`parse`]; `None` where the text ends too early.
pub(crate) fn parse_whole(text: &str) -> Result<Option<Command>, ParseError> {
    let mut p = Parser::at(text, 0)?;
    match p.list(&[]) {
        Ok(list) if p.rest.peek().is_none() => Ok(Some(list)),
        Ok(_) => Err(ParseError(format!("{:?}", p.rest.collect::<String>()))),
        Err(_) if p.rest.peek().is_none() && !p.too_deep => Ok(None),
        Err(e) => Err(e),
    }
}

struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
    /// How many commands and words are open.
    depth: usize,
    /// Whether more of them were than may be: what follows does not mend that.
    too_deep: bool,
}

fn is_name(s: &str) -> bool {
    s.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && s.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl<'a> Parser<'a> {
    /// A reader of a text that stands in `depth` others.
    fn at(text: &'a str, depth: usize) -> Result<Self, ParseError> {
        if text.len() > LONGEST {
            return Err(ParseError(format!("a script of more than {LONGEST} bytes")));
        }
        Ok(Self {
            rest: text.chars().peekable(),
            depth,
            too_deep: false,
        })
    }

    /// All of the text as commands.
    fn whole(&mut self) -> Result<Command, ParseError> {
        let list = self.list(&[])?;
        match self.rest.peek() {
            None => Ok(list),
            Some(c) => Err(ParseError(format!("{c:?}"))),
        }
    }

    /// Reads what stands in what is being read.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, ParseError>) -> Result<T, ParseError> {
        if self.depth == DEEPEST {
            self.too_deep = true;
            return Err(ParseError(format!("a script more than {DEEPEST} levels deep")));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn eat(&mut self, c: char) -> bool {
        self.rest.next_if_eq(&c).is_some()
    }

    /// Whether the rest starts so.
    fn ahead(&self, text: &str) -> bool {
        let mut it = self.rest.clone();
        text.chars().all(|c| it.next() == Some(c))
    }

    fn blanks(&mut self, lines: bool) {
        loop {
            match self.rest.peek().copied() {
                Some(' ' | '\t') => {}
                Some('\n') if lines => {}
                Some('\\') if self.ahead("\\\n") => {
                    self.rest.next();
                }
                Some('#') => {
                    while self.rest.next_if(|c| *c != '\n').is_some() {}
                    continue;
                }
                _ => return,
            }
            self.rest.next();
        }
    }

    /// Whether a reserved word comes next; it is taken.
    fn keyword(&mut self, word: &str) -> bool {
        self.blanks(true);
        let mut it = self.rest.clone();
        if !word.chars().all(|c| it.next() == Some(c)) {
            return false;
        }
        if it.peek().is_none_or(|c| c.is_whitespace() || ";&|)(".contains(*c)) || matches!(word, "{" | "}") {
            self.rest = it;
            return true;
        }
        false
    }

    fn expect(&mut self, word: &str) -> Result<(), ParseError> {
        if self.keyword(word) {
            Ok(())
        } else {
            Err(ParseError(format!("a script without {word:?}")))
        }
    }

    /// A closing parenthesis.
    fn close(&mut self) -> Result<(), ParseError> {
        self.blanks(true);
        if self.eat(')') {
            Ok(())
        } else {
            Err(ParseError("an open parenthesis".into()))
        }
    }

    /// Commands until one of the reserved words, a `)` or the end.
    fn list(&mut self, ends: &[&str]) -> Result<Command, ParseError> {
        self.deeper(|p| p.commands(ends))
    }

    fn commands(&mut self, ends: &[&str]) -> Result<Command, ParseError> {
        let mut all = Vec::new();
        loop {
            self.blanks(true);
            let before = self.rest.clone();
            let ended = ends.iter().any(|e| self.keyword(e));
            self.rest = before;
            if ended || self.rest.peek().is_none_or(|c| *c == ')') {
                break;
            }
            all.push(self.chain()?);
            self.blanks(false);
            if self.ahead("&") || self.ahead(";;") {
                return Err(ParseError("a command in the background".into()));
            }
            self.eat(';');
        }
        Ok(match all.len() {
            1 => all.remove(0),
            _ => Command::Sequence(all),
        })
    }

    fn chain(&mut self) -> Result<Command, ParseError> {
        let first = self.pipeline()?;
        let mut rest = Vec::new();
        loop {
            self.blanks(false);
            let and = self.ahead("&&");
            if !and && !self.ahead("||") {
                break;
            }
            self.rest.next();
            self.rest.next();
            self.blanks(true);
            rest.push((and, self.pipeline()?));
        }
        Ok(if rest.is_empty() {
            first
        } else {
            Command::Chain(Box::new(first), rest)
        })
    }

    fn pipeline(&mut self) -> Result<Command, ParseError> {
        if self.keyword("!") {
            return Ok(Command::Not(Box::new(self.deeper(Self::pipeline)?)));
        }
        let mut all = vec![self.command()?];
        loop {
            self.blanks(false);
            if !self.ahead("|") || self.ahead("||") {
                break;
            }
            self.rest.next();
            self.blanks(true);
            all.push(self.command()?);
        }
        Ok(match all.len() {
            1 => all.remove(0),
            _ => Command::Pipeline(all),
        })
    }

    fn command(&mut self) -> Result<Command, ParseError> {
        let grouped = |body, apart, redirects| Command::Group {
            body: Box::new(body),
            apart,
            redirects,
        };
        self.blanks(true);
        let body = if self.eat('(') {
            let body = self.list(&[])?;
            self.close()?;
            return Ok(grouped(body, true, self.redirects()?));
        } else if self.keyword("{") {
            let body = self.list(&["}"])?;
            self.expect("}")?;
            body
        } else if self.keyword("if") {
            self.branches()?
        } else if self.keyword("while") {
            self.repeat(false)?
        } else if self.keyword("until") {
            self.repeat(true)?
        } else if self.keyword("for") {
            self.each()?
        } else if ["case", "function"].iter().any(|k| self.keyword(k)) {
            return Err(ParseError("case or function".into()));
        } else {
            return self.simple();
        };
        Ok(match self.redirects()? {
            r if r.is_empty() => body,
            r => grouped(body, false, r),
        })
    }

    fn branches(&mut self) -> Result<Command, ParseError> {
        let mut arms = Vec::new();
        let mut otherwise = None;
        loop {
            let condition = self.list(&["then"])?;
            self.expect("then")?;
            arms.push((condition, self.list(&["elif", "else", "fi"])?));
            if self.keyword("elif") {
                continue;
            }
            if self.keyword("else") {
                otherwise = Some(Box::new(self.list(&["fi"])?));
            }
            self.expect("fi")?;
            return Ok(Command::If { arms, otherwise });
        }
    }

    fn repeat(&mut self, until: bool) -> Result<Command, ParseError> {
        let condition = Box::new(self.list(&["do"])?);
        let body = Box::new(self.block()?);
        Ok(Command::Loop { until, condition, body })
    }

    fn block(&mut self) -> Result<Command, ParseError> {
        self.expect("do")?;
        let body = self.list(&["done"])?;
        self.expect("done")?;
        Ok(body)
    }

    fn each(&mut self) -> Result<Command, ParseError> {
        self.blanks(false);
        let name = self.word()?.and_then(|w| plain(&w).map(str::to_owned));
        let name = name.filter(|n| is_name(n)).ok_or_else(|| ParseError("for".into()))?;
        let mut words = Vec::new();
        self.expect("in")?;
        self.blanks(false);
        while let Some(w) = self.word()? {
            words.push(w);
            self.blanks(false);
        }
        self.eat(';');
        let body = Box::new(self.block()?);
        Ok(Command::For { name, words, body })
    }

    fn redirects(&mut self) -> Result<Vec<Redirect>, ParseError> {
        let mut all = Vec::new();
        self.blanks(false);
        while let Some(mut r) = self.redirect()? {
            all.append(&mut r);
            self.blanks(false);
        }
        Ok(all)
    }

    /// One redirection, if one comes next (`&>` is two).
    fn redirect(&mut self) -> Result<Option<Vec<Redirect>>, ParseError> {
        let mut it = self.rest.clone();
        let digit = it.next_if(char::is_ascii_digit);
        let both = digit.is_none() && self.ahead("&>");
        if both {
            it.next();
        }
        let fd = digit.and_then(|d| d.to_digit(10)).map(|d| d as u8);
        match it.next() {
            Some('<') if it.peek() != Some(&'<') => {
                self.rest = it;
                return Ok(Some(vec![Redirect::Input(self.target()?)]));
            }
            Some('<') => return Err(ParseError("a here-document".into())),
            Some('>') => {}
            _ => return Ok(None),
        }
        self.rest = it;
        let append = self.eat('>');
        let fd = fd.unwrap_or(1);
        if self.eat('&') {
            let from = self.rest.next().and_then(|c| c.to_digit(10));
            let from = from.ok_or_else(|| ParseError(">&".into()))? as u8;
            return Ok(Some(vec![Redirect::Duplicate { fd, from }]));
        }
        let to = self.target()?;
        let mut all = vec![Redirect::Output { fd, to, append }];
        if both {
            all.push(Redirect::Duplicate { fd: 2, from: 1 });
        }
        Ok(Some(all))
    }

    fn target(&mut self) -> Result<Word, ParseError> {
        self.blanks(false);
        self.word()?
            .ok_or_else(|| ParseError("a redirection to nothing".into()))
    }

    fn simple(&mut self) -> Result<Command, ParseError> {
        let (mut assigns, mut words, mut redirects) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            self.blanks(false);
            if let Some(mut r) = self.redirect()? {
                redirects.append(&mut r);
                continue;
            }
            let Some(mut w) = self.word()? else { break };
            if let (true, Some(Part::Text { text, quoted: false })) = (words.is_empty(), w.first())
                && let Some((name, value)) = text.split_once('=')
                && is_name(name)
            {
                let name = name.to_owned();
                w[0] = Part::Text {
                    text: value.to_owned(),
                    quoted: false,
                };
                assigns.push((name, w));
                continue;
            }
            words.push(w);
        }
        if words.is_empty() && assigns.is_empty() && redirects.is_empty() {
            let next: String = self.rest.clone().take(8).collect();
            return Err(ParseError(format!("{next:?}")));
        }
        if !words.is_empty() && self.rest.peek() == Some(&'(') {
            return Err(ParseError("a function".into()));
        }
        words.shrink_to_fit();
        Ok(Command::Simple {
            assigns,
            words,
            redirects,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_and_their_programs() {
        for (script, expected) in [
            ("env", &["env"][..]),
            ("echo a; sleep 240", &["echo", "sleep"]),
            (
                "[[ \"${A:?}\" == b ]] && echo 'OK' || echo \"no '$A'\"",
                &["[[", "echo", "echo"],
            ),
            (
                "while true; do echo $(cat /f); sleep 1; done",
                &["true", "echo", "cat", "sleep"],
            ),
            ("if test -d /x\nthen echo y; else echo n; fi", &["test", "echo", "echo"]),
            (
                "trap exit TERM; for i in 1 2; do echo $i > /dev/null 2>&1; done",
                &["trap", "echo"],
            ),
            ("A=$((A+1)) cat < /f | grep x", &["cat", "grep"]),
            ("(exit 3) || { false; }", &["exit", "false"]),
        ] {
            assert_eq!(parse(script).unwrap().programs().unwrap(), expected, "{script}");
        }
    }

    #[test]
    fn what_is_not_understood() {
        for script in [
            "sleep 1 &",
            "case x in x) ;; esac",
            "f() { echo; }",
            "cat <<E",
            "echo 'a",
            "if true; then",
        ] {
            assert!(parse(script).is_err(), "{script}");
        }
        assert_eq!(parse("$CMD x").unwrap().programs(), None);
    }

    #[test]
    fn scripts_are_as_deep_and_long_as_they_may_be() {
        for (open, inner, close, levels) in [
            ("(", "true", ")", 63),
            ("{ ", "true;", " }", 63),
            ("echo $(", "true", ")", 63),
            ("echo \"$(", "true", ")\"", 63),
            ("if ", "true", "; then true; fi", 63),
            ("while ", "true", "; do true; done", 63),
            ("! ", "true", "", 63),
        ] {
            let script = |n: usize| [open.repeat(n), inner.into(), close.repeat(n)].concat();
            assert!(parse(&script(levels)).is_ok(), "{open}");
            for n in [levels + 1, 40_000] {
                let why = parse(&script(n)).unwrap_err().0;
                assert!(why.contains("levels deep"), "{open}: {why}");
                assert!(parse_whole(&script(n)).is_err(), "{open}");
            }
            assert!(parse(&open.repeat(100_000)).is_err(), "{open}");
        }
        for open in ["$((", "${a:-", "$((${a:-", "${a:-$(", "${a:-`", "a=$((", "`${a:-"] {
            let script = open.repeat(100_000);
            assert!(parse(&script).is_err(), "{open}");
            assert!(!matches!(parse_whole(&script), Ok(Some(_))), "{open}");
        }
        let sums = ["echo ", &"$((".repeat(100), "1", &"))".repeat(100)].concat();
        assert!(parse_whole(&sums).is_err(), "no more text makes it less deep");
        for filled in ["true;", "a b ", "$a", "${a:-b}", "`a` ", "\"", "a=b ", "true|"] {
            let mut script = filled.repeat(LONGEST / filled.len());
            if filled.ends_with('|') {
                script.truncate(script.len() - 1);
            }
            assert!(parse(&script).is_ok(), "{filled}");
            assert!(parse(&format!("{script}{script}")).is_err(), "{filled}");
        }
    }
}
