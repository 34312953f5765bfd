//! From tokens to a tree.

use super::CelError;
use super::lex::{Kind, Token, tokens};
use super::value::Value;

/// An expression.
#[derive(Debug, Clone)]
pub(super) enum Expr {
    Literal(Value),
    Name(String),
    /// `operand.field`, and whether an absent one is fine (`.?`).
    Select(Box<Expr>, String, bool),
    /// `operand[index]`, and whether an absent one is fine (`[?`).
    Index(Box<Expr>, Box<Expr>, bool),
    /// `target.name(args)` or `name(args)`.
    Call(Option<Box<Expr>>, String, Vec<Expr>),
    /// Elements, each with whether an empty optional leaves it out.
    List(Vec<(Expr, bool)>),
    /// Entries, as in lists.
    Map(Vec<(Expr, Expr, bool)>),
    /// `Type{field: value}`; the type is known from where the object goes.
    Struct(Vec<(String, Expr, bool)>),
    Unary(char, Box<Expr>),
    Binary(&'static str, Box<Expr>, Box<Expr>),
    Condition(Box<Expr>, Box<Expr>, Box<Expr>),
}

/// Nesting allowed: brackets and signs (cel-go counts differently, to 250).
const DEPTH: usize = 160;
/// Operators and how tightly they bind.
const OPERATORS: [(&str, usize); 14] = [
    ("||", 0),
    ("&&", 1),
    ("==", 2),
    ("!=", 2),
    ("<=", 2),
    (">=", 2),
    ("<", 2),
    (">", 2),
    ("in", 2),
    ("+", 3),
    ("-", 3),
    ("*", 4),
    ("/", 4),
    ("%", 4),
];
/// Longest expression in bytes.
const LENGTH: usize = 128 * 1024;

/// Macros over a list or map: the first arguments are names.
pub(super) const MACROS: [&str; 9] = [
    "all",
    "exists",
    "exists_one",
    "existsOne",
    "map",
    "filter",
    "sortBy",
    "transformList",
    "transformMap",
];

pub(super) fn parse(text: &str) -> Result<Expr, CelError> {
    if text.len() > LENGTH {
        return Err(CelError::Syntax {
            at: 0,
            detail: "expression code point size exceeds limit".into(),
            source_text: text.chars().take(80).collect(),
        });
    }
    let mut p = Parser {
        text,
        tokens: tokens(text)?,
        next: 0,
        depth: 0,
    };
    let e = p.expression()?;
    match p.peek() {
        Kind::End => Ok(e),
        _ => Err(p.unexpected("<EOF>")),
    }
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
}

type Parsed = Result<Expr, CelError>;

impl Parser<'_> {
    fn peek(&self) -> &Kind {
        &self.tokens[self.next].what
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek(), Kind::Sign(s) if *s == sign)
    }

    fn take(&mut self, sign: &str) -> bool {
        let yes = self.is(sign);
        if yes {
            self.next += 1;
        }
        yes
    }

    fn expect(&mut self, sign: &str) -> Result<(), CelError> {
        if self.take(sign) {
            Ok(())
        } else {
            Err(self.unexpected(sign))
        }
    }

    fn unexpected(&self, wanted: &str) -> CelError {
        let t = &self.tokens[self.next];
        let seen = match &t.what {
            Kind::End => "<EOF>".to_owned(),
            Kind::Sign(s) => (*s).to_owned(),
            Kind::Name(n) => n.clone(),
            Kind::Text(s) => format!("{s:?}"),
            other => format!("{other:?}"),
        };
        CelError::Syntax {
            at: t.at,
            detail: format!("Syntax error: mismatched input '{seen}' expecting '{wanted}'"),
            source_text: self.text.to_owned(),
        }
    }

    fn deeper<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T, CelError>) -> Result<T, CelError> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(CelError::Syntax {
                at: self.tokens[self.next].at,
                detail: format!("expression recursion limit exceeded: {DEPTH}"),
                source_text: self.text.chars().take(80).collect(),
            });
        }
        let r = f(self);
        self.depth -= 1;
        r
    }

    fn expression(&mut self) -> Parsed {
        self.deeper(|p| {
            let condition = p.binary(0)?;
            if !p.take("?") {
                return Ok(condition);
            }
            let yes = p.binary(0)?;
            p.expect(":")?;
            let no = p.expression()?;
            Ok(Expr::Condition(Box::new(condition), Box::new(yes), Box::new(no)))
        })
    }

    /// Operators that bind at least as tightly as `least`, all of them from the left (precedence climbing).
    fn binary(&mut self, least: usize) -> Parsed {
        let mut left = self.unary()?;
        loop {
            let found = OPERATORS.iter().find(|(o, _)| match self.peek() {
                Kind::Sign(s) => s == o,
                Kind::Name(n) => n == o,
                _ => false,
            });
            let Some((o, level)) = found.filter(|(_, l)| *l >= least) else {
                return Ok(left);
            };
            self.next += 1;
            let right = self.binary(level + 1)?;
            left = Expr::Binary(o, Box::new(left), Box::new(right));
        }
    }

    fn unary(&mut self) -> Parsed {
        self.deeper(|p| {
            if p.take("!") {
                return Ok(Expr::Unary('!', Box::new(p.unary()?)));
            }
            if p.take("-") {
                return Ok(match p.unary()? {
                    Expr::Literal(Value::Int(n)) => Expr::Literal(Value::Int(n.wrapping_neg())),
                    Expr::Literal(Value::Double(n)) => Expr::Literal(Value::Double(-n)),
                    e => Expr::Unary('-', Box::new(e)),
                });
            }
            p.member()
        })
    }

    fn member(&mut self) -> Parsed {
        let mut e = self.primary()?;
        loop {
            if self.take(".") {
                let name = self.name()?;
                e = if self.take("(") {
                    let args = self.arguments()?;
                    Expr::Call(Some(Box::new(e)), name, args)
                } else {
                    Expr::Select(Box::new(e), name, false)
                };
            } else if self.take(".?") {
                let name = self.name()?;
                e = Expr::Select(Box::new(e), name, true);
            } else if self.is("[") || self.is("[?") {
                let optional = self.is("[?");
                self.next += 1;
                let index = self.expression()?;
                self.expect("]")?;
                e = Expr::Index(Box::new(e), Box::new(index), optional);
            } else if self.is("{") {
                if !is_path(&e) {
                    return Ok(e);
                }
                self.next += 1;
                e = Expr::Struct(self.fields()?);
            } else {
                return Ok(e);
            }
        }
    }

    fn name(&mut self) -> Result<String, CelError> {
        match self.peek() {
            Kind::Name(n) => {
                let n = n.clone();
                self.next += 1;
                Ok(n)
            }
            _ => Err(self.unexpected("IDENTIFIER")),
        }
    }

    /// Up to and with `)`.
    fn arguments(&mut self) -> Result<Vec<Expr>, CelError> {
        let mut list = Vec::new();
        while !self.take(")") {
            list.push(self.expression()?);
            if !self.take(",") && !self.is(")") {
                return Err(self.unexpected(")"));
            }
        }
        Ok(list)
    }

    fn fields(&mut self) -> Result<Vec<(String, Expr, bool)>, CelError> {
        let mut list = Vec::new();
        while !self.take("}") {
            let optional = self.take("?");
            let name = self.name()?;
            self.expect(":")?;
            list.push((name, self.expression()?, optional));
            if !self.take(",") && !self.is("}") {
                return Err(self.unexpected("}"));
            }
        }
        Ok(list)
    }

    fn primary(&mut self) -> Parsed {
        // A leading dot says that the name is an absolute one.
        if self.is(".") && matches!(self.tokens[self.next + 1].what, Kind::Name(_)) {
            self.next += 1;
        }
        let token = self.tokens[self.next].what.clone();
        let start = self.next;
        self.next += 1;
        Ok(match token {
            Kind::Int(n) => Expr::Literal(Value::Int(n)),
            Kind::Uint(n) => Expr::Literal(Value::Uint(n)),
            Kind::Double(n) => Expr::Literal(Value::Double(n)),
            Kind::Text(s) => Expr::Literal(Value::text(&s)),
            Kind::Bytes(b) => Expr::Literal(Value::Bytes(b.into())),
            Kind::Name(n) => match n.as_str() {
                "true" => Expr::Literal(Value::Bool(true)),
                "false" => Expr::Literal(Value::Bool(false)),
                "null" => Expr::Literal(Value::Null),
                "in" => {
                    self.next = start;
                    return Err(self.unexpected("expression"));
                }
                _ if self.take("(") => Expr::Call(None, n, self.arguments()?),
                _ => Expr::Name(n),
            },
            Kind::Sign("(") => {
                let e = self.expression()?;
                self.expect(")")?;
                e
            }
            Kind::Sign(open @ ("[" | "[?")) => {
                let mut list = Vec::new();
                let mut optional = open == "[?";
                while !self.take("]") {
                    optional |= self.take("?");
                    list.push((self.expression()?, optional));
                    optional = false;
                    if !self.take(",") && !self.is("]") {
                        return Err(self.unexpected("]"));
                    }
                }
                Expr::List(list)
            }
            Kind::Sign("{") => {
                let mut list = Vec::new();
                while !self.take("}") {
                    let optional = self.take("?");
                    let key = self.expression()?;
                    self.expect(":")?;
                    list.push((key, self.expression()?, optional));
                    if !self.take(",") && !self.is("}") {
                        return Err(self.unexpected("}"));
                    }
                }
                Expr::Map(list)
            }
            _ => {
                self.next = start;
                return Err(self.unexpected("expression"));
            }
        })
    }
}

/// Whether it is nothing but names and dots.
fn is_path(e: &Expr) -> bool {
    match e {
        Expr::Name(_) => true,
        Expr::Select(of, _, false) => is_path(of),
        _ => false,
    }
}

/// Names that are functions' homes or types.
const KNOWN: [&str; 20] = [
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
    "timestamp",
    "duration",
    "math",
    "sets",
    "strings",
    "optional",
    "cel",
    "jsonpatch",
    "format",
    "semver",
];

impl Expr {
    /// The first name that is not in `bound` and stands for nothing, or the first method that no value has, with `methods`.
    pub(super) fn undeclared(&self, bound: &mut Vec<String>, methods: &[&str]) -> Option<String> {
        match self {
            Self::Literal(_) => None,
            Self::Name(n) => (!bound.contains(n) && !KNOWN.contains(&n.as_str())).then(|| n.clone()),
            Self::Select(e, ..) | Self::Unary(_, e) => e.undeclared(bound, methods),
            Self::Index(a, b, _) | Self::Binary(_, a, b) => {
                a.undeclared(bound, methods).or_else(|| b.undeclared(bound, methods))
            }
            Self::Condition(a, b, c) => a
                .undeclared(bound, methods)
                .or_else(|| b.undeclared(bound, methods))
                .or_else(|| c.undeclared(bound, methods)),
            Self::List(l) => l.iter().find_map(|(e, _)| e.undeclared(bound, methods)),
            Self::Map(l) => l
                .iter()
                .find_map(|(k, v, _)| k.undeclared(bound, methods).or_else(|| v.undeclared(bound, methods))),
            Self::Struct(l) => l.iter().find_map(|(_, e, _)| e.undeclared(bound, methods)),
            Self::Call(target, name, args) => {
                if let Some(found) = target.as_ref().and_then(|t| t.undeclared(bound, methods)) {
                    return Some(found);
                }
                let names: Vec<String> = match (target, name.as_str()) {
                    (Some(_), m) if MACROS.contains(&m) => bound_names(m, args),
                    (Some(t), "bind") if matches!(&**t, Self::Name(n) if n == "cel") => bound_names("filter", args),
                    (Some(_), "optMap" | "optFlatMap") => bound_names("filter", args),
                    (Some(_), m) if !super::methods::is_method(m) && !methods.contains(&m) => {
                        return Some(m.to_owned());
                    }
                    (None, f) if !super::functions::GLOBAL.contains(&f) => return Some(f.to_owned()),
                    _ => Vec::new(),
                };
                let before = bound.len();
                let skip = names.len();
                bound.extend(names);
                let found = args.iter().skip(skip).find_map(|a| a.undeclared(bound, methods));
                bound.truncate(before);
                found
            }
        }
    }
}

/// The names that a macro binds: one, or two where it has one argument more.
pub(super) fn bound_names(name: &str, args: &[Expr]) -> Vec<String> {
    let two = match name {
        "all" | "exists" | "exists_one" | "existsOne" => args.len() == 3,
        "transformList" | "transformMap" => true,
        _ => false,
    };
    args.iter()
        .take(if two { 2 } else { 1 })
        .filter_map(|a| match a {
            Expr::Name(n) => Some(n.clone()),
            _ => None,
        })
        .collect()
}
