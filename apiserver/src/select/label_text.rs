//! The text form of label selectors, read as `labels.Parse` of `k8s.io/apimachinery` does.

use std::collections::BTreeSet;

use super::SelectError;
use super::label::{Operator, Requirement, check_key, malformed};
use crate::schema::quote;

/// What may stand between a key and its values, as upstream lists it.
const BINARY: &str = "in, notin, =, ==, !=, gt, lt";
/// The symbols, longer ones before those that they start with.
const SYMBOLS: [&str; 9] = ["!=", "==", "=", "!", ",", "(", ")", ">", "<"];

/// A word or a symbol; nothing: the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'t> {
    End,
    Word(&'t str),
    Symbol(&'t str),
}

impl<'t> Token<'t> {
    fn text(self) -> &'t str {
        match self {
            Token::End => "",
            Token::Word(t) | Token::Symbol(t) => t,
        }
    }

    fn starts(self) -> bool {
        matches!(self, Token::Word(_) | Token::Symbol("!"))
    }

    fn ends(self) -> bool {
        matches!(self, Token::End | Token::Symbol(","))
    }
}

/// Splits a selector.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let space = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches(space);
    while !rest.is_empty() {
        let (token, length) = match SYMBOLS.iter().find(|s| rest.starts_with(**s)) {
            Some(s) => (Token::Symbol(&rest[..s.len()]), s.len()),
            None => {
                let end = |c: char| space(c) || "=!,()><".contains(c);
                let length = rest.find(end).unwrap_or(rest.len());
                (Token::Word(&rest[..length]), length)
            }
        };
        tokens.push(token);
        rest = rest[length..].trim_start_matches(space);
    }
    tokens
}

/// The requirements of a selector, in its order.
pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, SelectError> {
    let mut p = Parser {
        tokens: tokens(text),
        position: 0,
    };
    let mut requirements = Vec::new();
    loop {
        let token = p.peek();
        if token == Token::End {
            return Ok(requirements);
        }
        if !token.starts() {
            let text = token.text();
            return Err(malformed(format!(
                "found '{text}', expected: !, identifier, or 'end of string'"
            )));
        }
        let requirement = p.requirement();
        requirements.push(requirement.map_err(|e| malformed(format!("unable to parse requirement: {e}")))?);
        match p.next() {
            Token::End => return Ok(requirements),
            Token::Symbol(",") if p.peek().starts() => {}
            Token::Symbol(",") => {
                let text = p.peek().text();
                return Err(malformed(format!("found '{text}', expected: identifier after ','")));
            }
            other => {
                let text = other.text();
                return Err(malformed(format!("found '{text}', expected: ',' or 'end of string'")));
            }
        }
    }
}

struct Parser<'t> {
    tokens: Vec<Token<'t>>,
    position: usize,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Token<'t> {
        self.tokens.get(self.position).copied().unwrap_or(Token::End)
    }

    fn next(&mut self) -> Token<'t> {
        let token = self.peek();
        self.position += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, SelectError> {
        let negated = self.peek() == Token::Symbol("!");
        if negated {
            self.next();
        }
        let key = match self.next() {
            Token::Word(key) => key,
            other => return Err(expected(other, "identifier")),
        };
        check_key(key).map_err(|detail| malformed(format!("<nil>: Invalid value: {}: {detail}", quote(key))))?;
        if negated {
            return Requirement::new(key, Operator::DoesNotExist, Vec::new());
        }
        if self.peek().ends() {
            return Requirement::new(key, Operator::Exists, Vec::new());
        }
        let token = self.next();
        let operator = match token.text() {
            "=" | "==" => Operator::Equals,
            "!=" => Operator::NotEquals,
            "in" => Operator::In,
            "notin" => Operator::NotIn,
            ">" => Operator::GreaterThan,
            "<" => Operator::LessThan,
            _ => return Err(expected(token, BINARY)),
        };
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.exact_value()?],
        };
        Requirement::new(key, operator, values)
    }

    /// The value after `=`; nothing there is the empty value.
    fn exact_value(&mut self) -> Result<String, SelectError> {
        if self.peek().ends() {
            return Ok(String::new());
        }
        match self.next() {
            Token::Word(value) => Ok(value.to_owned()),
            other => Err(expected(other, "identifier")),
        }
    }

    /// `(a, b)`; missing words are empty values.
    fn values(&mut self) -> Result<Vec<String>, SelectError> {
        match self.next() {
            Token::Symbol("(") => {}
            other => return Err(malformed(format!("found '{}' expected: '('", other.text()))),
        }
        match self.peek() {
            Token::Symbol(")") => {
                self.next();
                return Ok(vec![String::new()]);
            }
            Token::Word(_) | Token::Symbol(",") => {}
            other => return Err(expected(other, "',', ')' or identifier")),
        }
        let mut values = BTreeSet::new();
        loop {
            match self.next() {
                Token::Word(value) => {
                    values.insert(value.to_owned());
                    match self.peek() {
                        Token::Symbol(",") => {}
                        Token::Symbol(")") => break,
                        other => return Err(expected(other, "',' or ')'")),
                    }
                }
                Token::Symbol(",") => {
                    if values.is_empty() {
                        values.insert(String::new());
                    }
                    match self.peek() {
                        Token::Symbol(")") => {
                            values.insert(String::new());
                            break;
                        }
                        Token::Symbol(",") => {
                            values.insert(String::new());
                        }
                        _ => {}
                    }
                }
                other => return Err(expected(other, "',', or identifier")),
            }
        }
        self.next();
        Ok(values.into_iter().collect())
    }
}

fn expected(found: Token<'_>, what: &str) -> SelectError {
    malformed(format!("found '{}', expected: {what}", found.text()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_refusals() {
        let wrong = "unable to parse requirement: found";
        let cases = [
            ("a in (b c)", format!("{wrong} 'c', expected: ',' or ')'")),
            ("a in (b", format!("{wrong} '', expected: ',' or ')'")),
            ("a in (=)", format!("{wrong} '=', expected: ',', ')' or identifier")),
            ("a in (,=)", format!("{wrong} '=', expected: ',', or identifier")),
            ("a=>b", format!("{wrong} '>', expected: identifier")),
            ("!!a", format!("{wrong} '!', expected: identifier")),
            ("!a=b", "found '=', expected: ',' or 'end of string'".to_owned()),
            ("a,,b", "found ',', expected: identifier after ','".to_owned()),
        ];
        for (text, told) in cases {
            assert_eq!(parse(text).unwrap_err().to_string(), told, "{text}");
        }
    }

    #[test]
    fn values_may_be_missing() {
        for (text, values) in [
            ("a in (,b)", vec!["", "b"]),
            ("a in (b,,c)", vec!["", "b", "c"]),
            ("a in (b,)", vec!["", "b"]),
        ] {
            assert_eq!(parse(text).unwrap()[0].values, values, "{text}");
        }
    }
}
