//! Words of a script: quotes, and what a `$` or a backquote begins.

use super::super::tree::{Part, Word};
use super::{ParseError, Parser};

impl Parser<'_> {
    /// A word, or nothing when something else comes next.
    pub(super) fn word(&mut self) -> Result<Option<Word>, ParseError> {
        let mut parts: Word = Vec::new();
        let mut text = String::new();
        let flush = |text: &mut String, parts: &mut Word| {
            if !text.is_empty() {
                parts.push(Part::Text {
                    text: std::mem::take(text),
                    quoted: false,
                });
            }
        };
        while let Some(c) = self.rest.peek().copied() {
            match c {
                ' ' | '\t' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')' => break,
                '\'' => {
                    self.rest.next();
                    flush(&mut text, &mut parts);
                    let mut quoted = String::new();
                    loop {
                        match self.rest.next() {
                            Some('\'') => break,
                            Some(c) => quoted.push(c),
                            None => return Err(ParseError("an open quote".into())),
                        }
                    }
                    parts.push(Part::Text {
                        text: quoted,
                        quoted: true,
                    });
                }
                '"' => {
                    self.rest.next();
                    flush(&mut text, &mut parts);
                    self.quoted(&mut parts)?;
                }
                '\\' => {
                    self.rest.next();
                    flush(&mut text, &mut parts);
                    match self.rest.next() {
                        Some('\n') | None => {}
                        Some(c) => parts.push(Part::Text {
                            text: c.to_string(),
                            quoted: true,
                        }),
                    }
                }
                '$' | '`' => {
                    flush(&mut text, &mut parts);
                    let p = self.dollar(false)?;
                    parts.push(p);
                }
                c => {
                    self.rest.next();
                    text.push(c);
                }
            }
        }
        flush(&mut text, &mut parts);
        // Most words are one text, and a script has many.
        parts.shrink_to_fit();
        Ok(Some(parts).filter(|p| !p.is_empty()))
    }

    /// The inside of double quotes.
    fn quoted(&mut self, parts: &mut Word) -> Result<(), ParseError> {
        let mut text = String::new();
        // `""` is a word too.
        let mut any = false;
        loop {
            match self.rest.peek().copied() {
                None => return Err(ParseError("an open quote".into())),
                Some('"') => {
                    self.rest.next();
                    if !text.is_empty() || !any {
                        parts.push(Part::Text { text, quoted: true });
                    }
                    return Ok(());
                }
                Some('$' | '`') => {
                    if !text.is_empty() {
                        parts.push(Part::Text {
                            text: std::mem::take(&mut text),
                            quoted: true,
                        });
                    }
                    any = true;
                    let p = self.dollar(true)?;
                    parts.push(p);
                }
                Some('\\') => {
                    self.rest.next();
                    match self.rest.next() {
                        Some(c @ ('$' | '`' | '"' | '\\')) => text.push(c),
                        Some('\n') | None => {}
                        Some(c) => text.extend(['\\', c]),
                    }
                }
                Some(c) => {
                    self.rest.next();
                    text.push(c);
                }
            }
        }
    }

    /// What a `$` or a backquote begins.
    fn dollar(&mut self, quoted: bool) -> Result<Part, ParseError> {
        if self.eat('`') {
            let inside: String = std::iter::from_fn(|| self.rest.next_if(|c| *c != '`')).collect();
            if !self.eat('`') {
                return Err(ParseError("an open quote".into()));
            }
            let mut inner = Parser::at(&inside, self.depth)?;
            let of = inner.whole();
            self.too_deep |= inner.too_deep;
            return Ok(Part::Output {
                of: Box::new(of?),
                quoted,
            });
        }
        self.rest.next();
        if self.ahead("((") {
            self.rest.next();
            self.rest.next();
            let (mut inside, mut depth) = (String::new(), 0);
            loop {
                match self.rest.next() {
                    None => return Err(ParseError("$((".into())),
                    Some(')') if depth == 0 => break,
                    Some(c) => {
                        depth += i32::from(c == '(') - i32::from(c == ')');
                        inside.push(c);
                    }
                }
            }
            if !self.eat(')') {
                return Err(ParseError("$((".into()));
            }
            return Ok(Part::Arithmetic(self.inner_word(&inside)?));
        }
        if self.eat('(') {
            let of = Box::new(self.list(&[])?);
            self.close()?;
            return Ok(Part::Output { of, quoted });
        }
        if self.eat('{') {
            let name: String = self.name();
            let mut op = String::new();
            while let Some(c) = self.rest.next_if(|c| ":-?+=".contains(*c) && op.len() < 2) {
                op.push(c);
            }
            let mut word = Vec::new();
            if !op.is_empty() {
                let inside: String = std::iter::from_fn(|| self.rest.next_if(|c| *c != '}')).collect();
                word = self.inner_word(&inside.replace('"', ""))?;
            }
            let known = matches!(op.as_str(), "" | ":-" | "-" | ":?" | "?" | ":+" | "+" | ":=" | "=");
            if !self.eat('}') || name.is_empty() || !known {
                return Err(ParseError(format!("${{{name}{op}")));
            }
            let op = Some((op, word)).filter(|o| !o.0.is_empty());
            return Ok(Part::Variable { name, op, quoted });
        }
        let name = self.name();
        Ok(if name.is_empty() {
            Part::Text {
                text: "$".into(),
                quoted,
            }
        } else {
            Part::Variable { name, op: None, quoted }
        })
    }

    /// A word that stands in another and ends where the text does.
    fn inner_word(&mut self, text: &str) -> Result<Word, ParseError> {
        let text = format!("{text}\"");
        let read = |p: &mut Self| {
            let mut word = Vec::new();
            let mut inner = Parser::at(&text, p.depth)?;
            let read = inner.quoted(&mut word);
            p.too_deep |= inner.too_deep;
            read.map(|()| word)
        };
        self.deeper(read)
    }

    /// The name of a variable or a special parameter.
    fn name(&mut self) -> String {
        if let Some(c) = self.rest.next_if(|c| "?#@*$!".contains(*c) || c.is_ascii_digit()) {
            return c.to_string();
        }
        std::iter::from_fn(|| self.rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '_')).collect()
    }
}
