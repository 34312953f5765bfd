//! Expressions over timers and measurements: `(clusterFailureThreshold + failoverEvictionTimeout) * 1.1`,
//! `total == 2 && p99(roundTrip) <= 100ms`. Times carry their unit; a number without one is a plain number.

use std::fmt;
use std::time::Duration;

use crate::evidence::Series;
use crate::evidence::series::{self, Quantile};
use crate::input::{nearest, parse_duration, show_duration};

/// What an expression comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A plain number (a count, a ratio).
    Number(f64),
    /// Seconds.
    Time(f64),
    /// Yes or no.
    Bool(bool),
    /// Measured values (by name, for messages).
    Series(String, Series),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(n) => write!(f, "{}", (n * 1e6).round() / 1e6),
            Value::Time(s) => match Duration::try_from_secs_f64(*s) {
                Ok(d) => f.write_str(&show_duration(d)),
                Err(_) => write!(f, "{s}s"),
            },
            Value::Bool(b) => b.fmt(f),
            Value::Series(name, s) => write!(f, "{name} ({} samples)", s.points.len()),
        }
    }
}

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExprError {
    /// It does not follow the grammar.
    #[error(
        "`{text}`: {what}; expected an expression such as `(clusterFailureThreshold + failoverEvictionTimeout) * 1.1`"
    )]
    Syntax {
        /// The expression.
        text: String,
        /// What is wrong.
        what: String,
    },
    /// A name that nothing has.
    #[error("`{0}` is neither a timer nor a measurement")]
    Unknown(String),
    /// A function that does not exist, or with the wrong arguments.
    #[error("{0}")]
    Function(String),
    /// Seconds and plain numbers mixed, or the like.
    #[error("{0}")]
    Units(String),
    /// Fewer samples than the claim needs.
    #[error("{0}")]
    Samples(String),
}

/// A parsed expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    text: String,
    root: Ast,
}

#[derive(Debug, Clone, PartialEq)]
enum Ast {
    Literal(Value),
    Name(String),
    Call(String, Vec<Ast>),
    Not(Box<Ast>),
    Negate(Box<Ast>),
    Binary(&'static str, Box<Ast>, Box<Ast>),
}

/// Functions and what they want, for messages.
pub const FUNCTIONS: &[(&str, &str)] = &[
    ("p50", "p50(series)"),
    ("p90", "p90(series)"),
    ("p99", "p99(series)"),
    ("max", "max(series) or max(a, b)"),
    ("min", "min(series) or min(a, b)"),
    ("mean", "mean(series)"),
    ("count", "count(series)"),
    ("last", "last(series)"),
    ("median", "median(series), whatever the sample count"),
    ("share", "share(series, limit): how much of it is at most the limit"),
    (
        "within",
        "within(series, limit, 99%): at least that share is at most the limit, and the samples carry the claim",
    ),
];

const LEVELS: &[&[&str]] = &[
    &["||"],
    &["&&"],
    &["==", "!=", "<=", ">=", "<", ">"],
    &["+", "-"],
    &["*", "/"],
];

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Value(Value),
    Name(String),
    Op(&'static str),
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    const OPS: &[&str] = &[
        "||", "&&", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "(", ")", ",", "!",
    ];
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while let Some(c) = rest.chars().next() {
        if c.is_ascii_digit() {
            let end = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '%'))
                .unwrap_or(rest.len());
            let word = &rest[..end];
            let value = if let Ok(n) = word.parse::<f64>() {
                Value::Number(n)
            } else if let Some(n) = word.strip_suffix('%').and_then(|n| n.parse::<f64>().ok()) {
                Value::Number(n / 100.0)
            } else {
                let d =
                    parse_duration(word).map_err(|e| e.split("; expected").next().unwrap_or_default().to_owned())?;
                Value::Time(d.as_secs_f64())
            };
            out.push(Token::Value(value));
            rest = &rest[end..];
        } else if c.is_alphabetic() || c == '_' {
            let end = rest
                .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'))
                .unwrap_or(rest.len());
            out.push(match &rest[..end] {
                "true" => Token::Value(Value::Bool(true)),
                "false" => Token::Value(Value::Bool(false)),
                name => Token::Name(name.to_owned()),
            });
            rest = &rest[end..];
        } else if let Some(op) = OPS.iter().find(|o| rest.starts_with(**o)) {
            out.push(Token::Op(op));
            rest = &rest[op.len()..];
        } else {
            return Err(format!("`{c}` does not belong here"));
        }
        rest = rest.trim_start();
    }
    Ok(out)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self, op: &str) -> bool {
        let hit = matches!(self.peek(), Some(Token::Op(o)) if *o == op);
        self.at += usize::from(hit);
        hit
    }

    fn binary(&mut self, level: usize) -> Result<Ast, String> {
        let Some(ops) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.binary(level + 1)?;
        while let Some(Token::Op(o)) = self.peek() {
            let Some(op) = ops.iter().find(|x| *x == o) else { break };
            self.at += 1;
            left = Ast::Binary(op, Box::new(left), Box::new(self.binary(level + 1)?));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Ast, String> {
        if self.take("!") {
            return Ok(Ast::Not(Box::new(self.unary()?)));
        }
        if self.take("-") {
            return Ok(Ast::Negate(Box::new(self.unary()?)));
        }
        if self.take("(") {
            let inner = self.binary(0)?;
            return if self.take(")") {
                Ok(inner)
            } else {
                Err("a `)` is missing".into())
            };
        }
        let token = self.peek().cloned();
        self.at += 1;
        match token {
            Some(Token::Value(v)) => Ok(Ast::Literal(v)),
            Some(Token::Name(n)) => {
                if !self.take("(") {
                    return Ok(Ast::Name(n));
                }
                let mut args = Vec::new();
                while !self.take(")") {
                    if !args.is_empty() && !self.take(",") {
                        return Err(format!("a `)` or `,` is missing in {n}(...)"));
                    }
                    args.push(self.binary(0)?);
                }
                Ok(Ast::Call(n, args))
            }
            Some(Token::Op(o)) => Err(format!("`{o}` does not belong here")),
            None => Err("it ends too early".into()),
        }
    }
}

impl Expr {
    /// Parses an expression.
    ///
    /// # Errors
    /// When it does not follow the grammar or calls a function that does not exist.
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        let syntax = |what| ExprError::Syntax {
            text: text.to_owned(),
            what,
        };
        let mut p = Parser {
            tokens: tokens(text).map_err(syntax)?,
            at: 0,
        };
        let root = p.binary(0).map_err(syntax)?;
        if p.at < p.tokens.len() {
            return Err(syntax("something follows after its end".into()));
        }
        let e = Self {
            text: text.to_owned(),
            root,
        };
        e.walk(&mut |a| match a {
            Ast::Call(f, _) if !FUNCTIONS.iter().any(|(n, _)| n == f) => {
                let names = FUNCTIONS.iter().map(|(n, _)| *n);
                let hint = nearest(f, names.clone())
                    .map(|n| format!("; did you mean `{n}`?"))
                    .unwrap_or_default();
                Err(ExprError::Function(format!(
                    "unknown function `{f}`; expected one of {}{hint}",
                    names.collect::<Vec<_>>().join(", ")
                )))
            }
            _ => Ok(()),
        })?;
        Ok(e)
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    fn walk(&self, f: &mut impl FnMut(&Ast) -> Result<(), ExprError>) -> Result<(), ExprError> {
        fn go(a: &Ast, f: &mut impl FnMut(&Ast) -> Result<(), ExprError>) -> Result<(), ExprError> {
            f(a)?;
            match a {
                Ast::Literal(_) | Ast::Name(_) => Ok(()),
                Ast::Call(_, args) => args.iter().try_for_each(|a| go(a, f)),
                Ast::Not(a) | Ast::Negate(a) => go(a, f),
                Ast::Binary(_, a, b) => go(a, f).and_then(|()| go(b, f)),
            }
        }
        go(&self.root, f)
    }

    /// The names it uses, in order of appearance.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        fn go<'a>(a: &'a Ast, out: &mut Vec<&'a str>) {
            match a {
                Ast::Name(n) => out.push(n),
                Ast::Literal(_) => {}
                Ast::Call(_, args) => args.iter().for_each(|a| go(a, out)),
                Ast::Not(a) | Ast::Negate(a) => go(a, out),
                Ast::Binary(_, a, b) => {
                    go(a, out);
                    go(b, out);
                }
            }
        }
        let mut out = Vec::new();
        go(&self.root, &mut out);
        out
    }

    /// Its value, names looked up by `get`.
    ///
    /// # Errors
    /// Unknown names, mixed units, too few samples.
    pub fn eval(&self, get: &dyn Fn(&str) -> Option<Value>) -> Result<Value, ExprError> {
        eval(&self.root, get)
    }

    /// Its value as a duration.
    ///
    /// # Errors
    /// As [`Expr::eval`]; when it is not a time, or a negative one.
    pub fn duration(&self, get: &dyn Fn(&str) -> Option<Value>) -> Result<Duration, ExprError> {
        match self.eval(get)? {
            Value::Time(s) => Duration::try_from_secs_f64(s)
                .map_err(|_| ExprError::Units(format!("`{}` is negative: {s} s", self.text))),
            v => Err(ExprError::Units(format!(
                "`{}` is {v}, not a time; expected a time such as `2 * clusterMonitorPeriod + 1s`",
                self.text
            ))),
        }
    }

    /// Its value as yes or no.
    ///
    /// # Errors
    /// As [`Expr::eval`]; when it is neither.
    pub fn truth(&self, get: &dyn Fn(&str) -> Option<Value>) -> Result<bool, ExprError> {
        match self.eval(get)? {
            Value::Bool(b) => Ok(b),
            v => Err(ExprError::Units(format!(
                "`{}` is {v}, not true or false; expected a comparison",
                self.text
            ))),
        }
    }

    /// The last comparison's right side, if it is one of something with a bound: (text of the operator, bound's
    /// value). For the report's column of bounds.
    #[must_use]
    pub fn bound(&self, get: &dyn Fn(&str) -> Option<Value>) -> Option<Value> {
        match &self.root {
            Ast::Binary("<=" | "<" | ">=" | ">" | "==", _, b) => eval(b, get).ok(),
            Ast::Call(f, args) if f == "within" => args.get(1).and_then(|a| eval(a, get).ok()),
            _ => None,
        }
    }
}

fn eval(a: &Ast, get: &dyn Fn(&str) -> Option<Value>) -> Result<Value, ExprError> {
    use Value::{Bool, Number, Time};
    Ok(match a {
        Ast::Literal(v) => v.clone(),
        Ast::Name(n) => get(n).ok_or_else(|| ExprError::Unknown(n.clone()))?,
        Ast::Not(a) => match eval(a, get)? {
            Bool(b) => Bool(!b),
            v => return Err(ExprError::Units(format!("`!` wants true or false, not {v}"))),
        },
        Ast::Negate(a) => match eval(a, get)? {
            Number(n) => Number(-n),
            Time(n) => Time(-n),
            v => return Err(ExprError::Units(format!("`-` wants a number or a time, not {v}"))),
        },
        Ast::Call(f, args) => {
            let args = args.iter().map(|a| eval(a, get)).collect::<Result<Vec<_>, _>>()?;
            call(f, &args)?
        }
        Ast::Binary(op @ ("&&" | "||"), l, r) => {
            let Bool(l) = eval(l, get)? else {
                return Err(ExprError::Units(format!("`{op}` wants true or false on both sides")));
            };
            if l == (*op == "||") {
                return Ok(Bool(l));
            }
            match eval(r, get)? {
                Bool(r) => Bool(r),
                v => {
                    return Err(ExprError::Units(format!(
                        "`{op}` wants true or false on both sides, not {v}"
                    )));
                }
            }
        }
        Ast::Binary(op, l, r) => binary(op, eval(l, get)?, eval(r, get)?)?,
    })
}

fn binary(op: &str, l: Value, r: Value) -> Result<Value, ExprError> {
    use Value::{Bool, Number, Time};
    let mixed = || {
        ExprError::Units(format!(
            "`{op}` between {l} and {r}: one is a time, the other is not; write units on both"
        ))
    };
    Ok(match (op, &l, &r) {
        ("+", Number(a), Number(b)) => Number(a + b),
        ("+", Time(a), Time(b)) => Time(a + b),
        ("-", Number(a), Number(b)) => Number(a - b),
        ("-", Time(a), Time(b)) => Time(a - b),
        ("*", Number(a), Number(b)) => Number(a * b),
        ("*", Time(a), Number(b)) | ("*", Number(a), Time(b)) => Time(a * b),
        ("/", Number(a), Number(b)) | ("/", Time(a), Time(b)) => Number(a / b),
        ("/", Time(a), Number(b)) => Time(a / b),
        ("==", Bool(a), Bool(b)) => Bool(a == b),
        ("!=", Bool(a), Bool(b)) => Bool(a != b),
        (_, Number(a), Number(b)) | (_, Time(a), Time(b)) => Bool(match op {
            "==" => (a - b).abs() < 1e-9,
            "!=" => (a - b).abs() >= 1e-9,
            "<=" => a <= b,
            ">=" => a >= b,
            "<" => a < b,
            ">" => a > b,
            _ => return Err(mixed()),
        }),
        _ => return Err(mixed()),
    })
}

/// A series' value in the unit that expressions use.
fn of_unit(s: &Series, v: f64) -> Value {
    match s.unit.as_str() {
        "ms" => Value::Time(v / 1e3),
        "s" => Value::Time(v),
        _ => Value::Number(v),
    }
}

fn limit_in(s: &Series, v: &Value) -> Result<f64, ExprError> {
    match (s.unit.as_str(), v) {
        ("ms", Value::Time(t)) => Ok(t * 1e3),
        ("s", Value::Time(t)) => Ok(*t),
        ("ms" | "s", v) => Err(ExprError::Units(format!("{v} is not a time"))),
        (_, Value::Number(n)) => Ok(*n),
        (u, v) => Err(ExprError::Units(format!("{v} against values in {u}"))),
    }
}

fn call(f: &str, args: &[Value]) -> Result<Value, ExprError> {
    use Value::{Bool, Number, Time};
    let usage = || {
        let u = FUNCTIONS.iter().find(|(n, _)| *n == f).map_or(f, |(_, u)| u);
        ExprError::Function(format!("{f} wants other arguments: {u}"))
    };
    let claim = |name: &str, s: &Series, q: Quantile| {
        s.claim(q).map(|v| of_unit(s, v)).map_err(|needs| {
            ExprError::Samples(format!(
                "{} of {name} needs {needs} samples, there are {}",
                q.label(),
                s.points.len()
            ))
        })
    };
    let none = |name: &str| ExprError::Samples(format!("{name} has no samples"));
    match (f, args) {
        ("max", [Number(a), Number(b)]) => Ok(Number(a.max(*b))),
        ("max", [Time(a), Time(b)]) => Ok(Time(a.max(*b))),
        ("min", [Number(a), Number(b)]) => Ok(Number(a.min(*b))),
        ("min", [Time(a), Time(b)]) => Ok(Time(a.min(*b))),
        ("p50", [Value::Series(n, s)]) => claim(n, s, Quantile::P50),
        ("p90", [Value::Series(n, s)]) => claim(n, s, Quantile::P90),
        ("p99", [Value::Series(n, s)]) => claim(n, s, Quantile::P99),
        ("median", [Value::Series(n, s)]) => s.quantile(Quantile::P50).map(|v| of_unit(s, v)).ok_or_else(|| none(n)),
        ("max", [Value::Series(n, s)]) => s.sorted().last().map(|v| of_unit(s, *v)).ok_or_else(|| none(n)),
        ("min", [Value::Series(n, s)]) => s.sorted().first().map(|v| of_unit(s, *v)).ok_or_else(|| none(n)),
        ("last", [Value::Series(n, s)]) => s.points.last().map(|v| of_unit(s, v.1)).ok_or_else(|| none(n)),
        ("mean", [Value::Series(n, s)]) => {
            let c = s.points.len();
            if c == 0 {
                Err(none(n))
            } else {
                Ok(of_unit(s, s.points.iter().map(|p| p.1).sum::<f64>() / c as f64))
            }
        }
        ("count", [Value::Series(_, s)]) => Ok(Number(s.points.len() as f64)),
        ("share", [Value::Series(n, s), limit]) => {
            let (good, all) = s.within(limit_in(s, limit)?);
            if all == 0 {
                Err(none(n))
            } else {
                Ok(Number(good as f64 / all as f64))
            }
        }
        ("within", [Value::Series(n, s), limit, Number(share)]) => {
            let (good, all) = s.within(limit_in(s, limit)?);
            let q = Quantile::percent(share * 100.0).ok_or_else(usage)?;
            if all < q.needs() {
                return Err(ExprError::Samples(format!(
                    "a claim about {} % of {n} needs {} samples, there are {all}",
                    q.as_percent(),
                    q.needs()
                )));
            }
            debug_assert!(series::strongest_claim(all).is_some(), "enough samples for a claim");
            Ok(Bool(good as f64 >= share * all as f64))
        }
        _ => Err(usage()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(name: &str) -> Option<Value> {
        let mut s = Series::new("ms");
        for i in 1..=300 {
            s.push(Duration::from_millis(i), i as f64 / 10.0);
        }
        Some(match name {
            "clusterFailureThreshold" => Value::Time(30.0),
            "failoverEvictionTimeout" | "defaultNotReadyToleration" => Value::Time(300.0),
            "total" => Value::Number(2.0),
            "roundTrip" => Value::Series(name.into(), s),
            _ => return None,
        })
    }

    #[test]
    fn values() {
        for (text, want) in [
            (
                "(clusterFailureThreshold + failoverEvictionTimeout + defaultNotReadyToleration) * 110%",
                "693s",
            ),
            ("1 + 2 * 3 - 4 / 2", "5"),
            ("max(1s, 500ms)", "1s"),
            ("failoverEvictionTimeout / clusterFailureThreshold", "10"),
            ("total == 2 && !(total > 2)", "true"),
            ("total == 3 || total == 2", "true"),
            ("p99(roundTrip)", "29.7ms"),
            ("p99(roundTrip) <= 30ms", "true"),
            ("share(roundTrip, 15ms)", "0.5"),
            ("within(roundTrip, 29.9ms, 99%)", "true"),
            ("count(roundTrip) - 300", "0"),
            ("-total + 2", "0"),
        ] {
            assert_eq!(
                Expr::parse(text).unwrap().eval(&get).unwrap().to_string(),
                want,
                "{text}"
            );
        }
    }

    #[test]
    fn errors() {
        for (text, want) in [
            ("1 +", "it ends too early"),
            ("(1", "a `)` is missing"),
            ("1 2", "something follows"),
            ("5 parsecs", "something follows"),
            ("5x", "is not a unit"),
            ("total $ 2", "`$` does not belong here"),
            ("p98(roundTrip)", "did you mean `p90`"),
            ("clusterFailureThreshold + 1", "write units on both"),
            ("nothing", "neither a timer nor a measurement"),
            ("within(roundTrip, 100ms, 99.9%)", "needs 3000 samples, there are 300"),
        ] {
            let e = Expr::parse(text).and_then(|e| e.eval(&get)).unwrap_err().to_string();
            assert!(e.contains(want), "{text}: {e}");
        }
        assert!(Expr::parse("1").unwrap().duration(&get).is_err());
    }
}
