//! From tokens to a tree.

use super::lex::{Token, tokens};
use super::{CelError, Value, function};

/// Deepest nesting; beyond it an expression is refused.
const DEPTH: usize = 64;

#[derive(Debug, Clone)]
pub(super) enum Expr {
    Literal(Value),
    Ident(String),
    Select(Box<Expr>, String),
    /// `has(e.f)`
    Has(Box<Expr>, String),
    Index(Box<Expr>, Box<Expr>),
    /// Function, the target of a method call first.
    Call(String, bool, Vec<Expr>),
    List(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
    /// A macro over a list or the keys of a map: name, list, variable, bodies.
    Fold(Fold, Box<Expr>, String, Vec<Expr>),
    If(Box<[Expr; 3]>),
    And(Box<[Expr; 2]>),
    Or(Box<[Expr; 2]>),
    Not(Box<Expr>),
    Minus(Box<Expr>),
    Binary(&'static str, Box<[Expr; 2]>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fold {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

struct Parser<'a> {
    tokens: Vec<(Token, usize)>,
    next: usize,
    depth: usize,
    variables: Vec<String>,
    known: &'a [&'a str],
}

pub(super) fn parse(text: &str, variables: &[&str]) -> Result<Expr, CelError> {
    let mut p = Parser {
        tokens: tokens(text)?,
        next: 0,
        depth: 0,
        variables: Vec::new(),
        known: variables,
    };
    let e = p.expression()?;
    match p.peek() {
        Token::End => Ok(e),
        _ => Err(p.unexpected()),
    }
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        &self.tokens[self.next.min(self.tokens.len() - 1)].0
    }

    fn at(&self) -> usize {
        self.tokens[self.next.min(self.tokens.len() - 1)].1
    }

    fn error(&self, message: impl Into<String>) -> CelError {
        CelError {
            at: self.at(),
            message: message.into(),
        }
    }

    fn unexpected(&self) -> CelError {
        self.error(match self.peek() {
            Token::End => "unexpected end".to_owned(),
            Token::Sign(s) => format!("unexpected '{s}'"),
            Token::Ident(s) => format!("unexpected '{s}'"),
            _ => "unexpected literal".to_owned(),
        })
    }

    fn take(&mut self, sign: &str) -> bool {
        let is = matches!(self.peek(), Token::Sign(s) if *s == sign);
        self.next += usize::from(is);
        is
    }

    fn expect(&mut self, sign: &str) -> Result<(), CelError> {
        if self.take(sign) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn ident(&mut self) -> Result<String, CelError> {
        let Token::Ident(name) = self.peek().clone() else {
            return Err(self.unexpected());
        };
        self.next += 1;
        Ok(name)
    }

    fn deeper<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T, CelError>) -> Result<T, CelError> {
        if self.depth == DEPTH {
            return Err(self.error("nested too deeply"));
        }
        self.depth += 1;
        let r = f(self);
        self.depth -= 1;
        r
    }

    fn expression(&mut self) -> Result<Expr, CelError> {
        self.deeper(|p| {
            let condition = p.or()?;
            if !p.take("?") {
                return Ok(condition);
            }
            let yes = p.or()?;
            p.expect(":")?;
            let no = p.expression()?;
            Ok(Expr::If(Box::new([condition, yes, no])))
        })
    }

    fn or(&mut self) -> Result<Expr, CelError> {
        let mut left = self.and()?;
        while self.take("||") {
            left = Expr::Or(Box::new([left, self.and()?]));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expr, CelError> {
        let mut left = self.relation()?;
        while self.take("&&") {
            left = Expr::And(Box::new([left, self.relation()?]));
        }
        Ok(left)
    }

    fn one_of(&mut self, signs: &[&'static str]) -> Option<&'static str> {
        signs.iter().find(|s| self.take(s)).copied()
    }

    fn relation(&mut self) -> Result<Expr, CelError> {
        let mut left = self.sum()?;
        loop {
            let op = if matches!(self.peek(), Token::Ident(s) if s == "in") {
                self.next += 1;
                "in"
            } else if let Some(op) = self.one_of(&["==", "!=", "<=", ">=", "<", ">"]) {
                op
            } else {
                return Ok(left);
            };
            left = Expr::Binary(op, Box::new([left, self.sum()?]));
        }
    }

    fn sum(&mut self) -> Result<Expr, CelError> {
        let mut left = self.product()?;
        while let Some(op) = self.one_of(&["+", "-"]) {
            left = Expr::Binary(op, Box::new([left, self.product()?]));
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<Expr, CelError> {
        let mut left = self.unary()?;
        while let Some(op) = self.one_of(&["*", "/", "%"]) {
            left = Expr::Binary(op, Box::new([left, self.unary()?]));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr, CelError> {
        self.deeper(|p| {
            if p.take("!") {
                return Ok(Expr::Not(Box::new(p.unary()?)));
            }
            if p.take("-") {
                return Ok(Expr::Minus(Box::new(p.unary()?)));
            }
            p.member()
        })
    }

    fn member(&mut self) -> Result<Expr, CelError> {
        let mut e = self.primary()?;
        loop {
            if self.take(".") {
                let at = self.at();
                let name = self.ident()?;
                e = if self.take("(") {
                    self.method(e, &name, at)?
                } else {
                    Expr::Select(Box::new(e), name)
                };
            } else if self.take("[") {
                let i = self.expression()?;
                self.expect("]")?;
                e = Expr::Index(Box::new(e), Box::new(i));
            } else {
                return Ok(e);
            }
        }
    }

    fn method(&mut self, target: Expr, name: &str, at: usize) -> Result<Expr, CelError> {
        let fold = match name {
            "all" => Some(Fold::All),
            "exists" => Some(Fold::Exists),
            "exists_one" | "existsOne" => Some(Fold::ExistsOne),
            "filter" => Some(Fold::Filter),
            "map" => Some(Fold::Map),
            _ => None,
        };
        if let Some(fold) = fold {
            let variable = self.ident()?;
            self.variables.push(variable.clone());
            let mut bodies = Vec::new();
            while self.take(",") {
                bodies.push(self.expression()?);
            }
            self.variables.pop();
            self.expect(")")?;
            if bodies.len() != 1 && !(fold == Fold::Map && bodies.len() == 2) {
                return Err(CelError {
                    at,
                    message: format!("{name} takes a variable and an expression"),
                });
            }
            return Ok(Expr::Fold(fold, Box::new(target), variable, bodies));
        }
        let mut arguments = vec![target];
        arguments.extend(self.list(")")?);
        self.call(name, true, arguments, at)
    }

    fn call(&self, name: &str, method: bool, arguments: Vec<Expr>, at: usize) -> Result<Expr, CelError> {
        if !function::known(name) {
            return Err(CelError {
                at,
                message: format!("undeclared reference to '{name}'"),
            });
        }
        Ok(Expr::Call(name.to_owned(), method, arguments))
    }

    fn list(&mut self, close: &str) -> Result<Vec<Expr>, CelError> {
        let mut items = Vec::new();
        while !self.take(close) {
            items.push(self.expression()?);
            if !self.take(",") {
                self.expect(close)?;
                break;
            }
        }
        Ok(items)
    }

    fn primary(&mut self) -> Result<Expr, CelError> {
        let (token, at) = self.tokens[self.next.min(self.tokens.len() - 1)].clone();
        self.next += 1;
        match token {
            Token::Int(n) => Ok(Expr::Literal(Value::Int(n))),
            Token::Uint(n) => Ok(Expr::Literal(Value::Uint(n))),
            Token::Double(n) => Ok(Expr::Literal(Value::Double(n))),
            Token::Str(s) => Ok(Expr::Literal(Value::Str(s))),
            Token::Sign("(") => {
                let e = self.expression()?;
                self.expect(")")?;
                Ok(e)
            }
            Token::Sign("[") => Ok(Expr::List(self.list("]")?)),
            Token::Sign("{") => {
                let mut pairs = Vec::new();
                while !self.take("}") {
                    let key = self.expression()?;
                    self.expect(":")?;
                    pairs.push((key, self.expression()?));
                    if !self.take(",") {
                        self.expect("}")?;
                        break;
                    }
                }
                Ok(Expr::Map(pairs))
            }
            Token::Ident(name) => match name.as_str() {
                "true" | "false" => Ok(Expr::Literal(Value::Bool(name == "true"))),
                "null" => Ok(Expr::Literal(Value::Null)),
                "has" if self.take("(") => {
                    let e = self.expression()?;
                    self.expect(")")?;
                    match e {
                        Expr::Select(target, field) => Ok(Expr::Has(target, field)),
                        _ => Err(CelError {
                            at,
                            message: "has takes a field".into(),
                        }),
                    }
                }
                _ if self.take("(") => {
                    let arguments = self.list(")")?;
                    self.call(&name, false, arguments, at)
                }
                _ if self.known.contains(&name.as_str()) || self.variables.contains(&name) => Ok(Expr::Ident(name)),
                _ => Err(CelError {
                    at,
                    message: format!("undeclared reference to '{name}'"),
                }),
            },
            Token::End | Token::Sign(_) => {
                self.next -= 1;
                Err(self.unexpected())
            }
        }
    }
}
