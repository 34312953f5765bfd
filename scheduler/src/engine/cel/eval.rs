//! From a tree to a value.

use std::cmp::Ordering;

use super::parse::{Expr, Fold};
use super::{Scope, Value, function};

pub(super) struct Frame<'s> {
    pub(super) scope: &'s Scope<'s>,
    locals: Vec<(String, Value)>,
}

type Outcome = Result<Value, String>;

impl<'s> Frame<'s> {
    pub(super) fn new(scope: &'s Scope<'s>) -> Self {
        Self {
            scope,
            locals: Vec::new(),
        }
    }

    pub(super) fn eval(&mut self, e: &Expr) -> Outcome {
        match e {
            Expr::Literal(v) => Ok(v.clone()),
            Expr::Ident(name) => {
                let local = self.locals.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v);
                let value = local.or_else(|| self.scope.variables.get(name.as_str()));
                value.cloned().ok_or_else(|| format!("no such attribute: {name}"))
            }
            Expr::Select(target, field) => select(&self.eval(target)?, field),
            Expr::Has(target, field) => match self.eval(target)? {
                Value::Map(m) => Ok(Value::Bool(m.contains_key(field))),
                other => Err(format!("no such overload: has on {}", other.kind())),
            },
            Expr::Index(target, index) => index_of(&self.eval(target)?, &self.eval(index)?),
            Expr::Call(name, method, arguments) => {
                let values = arguments.iter().map(|a| self.eval(a)).collect::<Result<Vec<_>, _>>()?;
                function::call(self.scope, name, *method, &values)
            }
            Expr::List(items) => Ok(Value::List(
                items.iter().map(|i| self.eval(i)).collect::<Result<_, _>>()?,
            )),
            Expr::Map(pairs) => {
                let mut map = std::collections::BTreeMap::new();
                for (k, v) in pairs {
                    let Value::Str(key) = self.eval(k)? else {
                        return Err("unsupported key type".into());
                    };
                    map.insert(key, self.eval(v)?);
                }
                Ok(Value::Map(map))
            }
            Expr::Fold(fold, list, variable, bodies) => self.fold(*fold, list, variable, bodies),
            Expr::If(parts) => match self.eval(&parts[0])? {
                Value::Bool(true) => self.eval(&parts[1]),
                Value::Bool(false) => self.eval(&parts[2]),
                other => Err(format!("no such overload: {} ? :", other.kind())),
            },
            Expr::And(sides) => self.logic(sides, false),
            Expr::Or(sides) => self.logic(sides, true),
            Expr::Not(e) => match self.eval(e)? {
                Value::Bool(b) => Ok(Value::Bool(!b)),
                other => Err(format!("no such overload: !{}", other.kind())),
            },
            Expr::Minus(e) => match self.eval(e)? {
                Value::Int(n) => n.checked_neg().map(Value::Int).ok_or_else(overflow),
                Value::Double(n) => Ok(Value::Double(-n)),
                other => Err(format!("no such overload: -{}", other.kind())),
            },
            Expr::Binary(op, sides) => {
                let (left, right) = (self.eval(&sides[0])?, self.eval(&sides[1])?);
                binary(op, &left, &right)
            }
        }
    }

    /// `&&` (decided by false) and `||` (decided by true): a side that decides wins over one that fails.
    fn logic(&mut self, sides: &[Expr; 2], decides: bool) -> Outcome {
        let left = self.eval(&sides[0]).and_then(boolean);
        if left == Ok(decides) {
            return Ok(Value::Bool(decides));
        }
        let right = self.eval(&sides[1]).and_then(boolean);
        if right == Ok(decides) {
            return Ok(Value::Bool(decides));
        }
        left.and(right).map(Value::Bool)
    }

    fn fold(&mut self, fold: Fold, list: &Expr, variable: &str, bodies: &[Expr]) -> Outcome {
        let items = match self.eval(list)? {
            Value::List(items) => items,
            Value::Map(m) => m.into_keys().map(Value::Str).collect(),
            other => return Err(format!("no such overload: macro over {}", other.kind())),
        };
        let (mut kept, mut count, mut failed) = (Vec::new(), 0_usize, None);
        for item in items {
            self.locals.push((variable.to_owned(), item.clone()));
            let value = self.body(fold, bodies, item);
            self.locals.pop();
            match (fold, value) {
                (Fold::All, Ok(Some(Value::Bool(false)))) => return Ok(Value::Bool(false)),
                (Fold::Exists, Ok(Some(Value::Bool(true)))) => return Ok(Value::Bool(true)),
                (Fold::ExistsOne, Ok(Some(Value::Bool(true)))) => count += 1,
                (Fold::Map | Fold::Filter, Ok(v)) => kept.extend(v),
                (Fold::All | Fold::Exists, Err(e)) => failed = Some(e),
                (_, Err(e)) => return Err(e),
                _ => {}
            }
        }
        match (fold, failed) {
            (_, Some(e)) => Err(e),
            (Fold::All, _) => Ok(Value::Bool(true)),
            (Fold::Exists, _) => Ok(Value::Bool(false)),
            (Fold::ExistsOne, _) => Ok(Value::Bool(count == 1)),
            (Fold::Filter | Fold::Map, _) => Ok(Value::List(kept)),
        }
    }

    /// What one item gives; nothing when a filter leaves it out.
    fn body(&mut self, fold: Fold, bodies: &[Expr], item: Value) -> Result<Option<Value>, String> {
        let first = self.eval(&bodies[0])?;
        match (fold, bodies.get(1)) {
            (Fold::Map, None) => Ok(Some(first)),
            (Fold::Map, Some(value)) => {
                if boolean(first)? {
                    self.eval(value).map(Some)
                } else {
                    Ok(None)
                }
            }
            (Fold::Filter, _) => Ok(boolean(first)?.then_some(item)),
            _ => boolean(first).map(|b| Some(Value::Bool(b))),
        }
    }
}

fn boolean(v: Value) -> Result<bool, String> {
    match v {
        Value::Bool(b) => Ok(b),
        other => Err(format!("no such overload: {} as bool", other.kind())),
    }
}

fn overflow() -> String {
    "integer overflow".to_owned()
}

fn select(target: &Value, field: &str) -> Outcome {
    match target {
        Value::Map(m) => m.get(field).cloned().ok_or_else(|| format!("no such key: {field}")),
        other => Err(format!("no such overload: {}.{field}", other.kind())),
    }
}

fn index_of(target: &Value, index: &Value) -> Outcome {
    match (target, index) {
        (Value::Map(_), Value::Str(key)) => select(target, key),
        (Value::List(items), Value::Int(i)) => {
            let item = usize::try_from(*i).ok().and_then(|i| items.get(i));
            item.cloned().ok_or_else(|| format!("index out of bounds: {i}"))
        }
        _ => Err(format!("no such overload: {}[{}]", target.kind(), index.kind())),
    }
}

/// Compares two numbers of any kind; the outer `None`: they are not both numbers.
#[allow(clippy::cast_precision_loss, reason = "doubles compare with integers as doubles")]
pub(super) fn numbers(a: &Value, b: &Value) -> Option<Option<Ordering>> {
    let integer = |v: &Value| match v {
        Value::Int(n) => Some(i128::from(*n)),
        Value::Uint(n) => Some(i128::from(*n)),
        _ => None,
    };
    let double = |v: &Value| match v {
        Value::Double(n) => Some(*n),
        other => integer(other).map(|n| n as f64),
    };
    match (integer(a), integer(b)) {
        (Some(a), Some(b)) => Some(Some(a.cmp(&b))),
        _ => Some(double(a)?.partial_cmp(&double(b)?)),
    }
}

pub(super) fn compare(a: &Value, b: &Value) -> Result<Option<Ordering>, String> {
    if let Some(order) = numbers(a, b) {
        return Ok(order);
    }
    match (a, b) {
        (Value::Str(a), Value::Str(b)) => Ok(Some(a.cmp(b))),
        (Value::Bool(a), Value::Bool(b)) => Ok(Some(a.cmp(b))),
        _ => Err(format!("no such overload: {} < {}", a.kind(), b.kind())),
    }
}

/// An operator on two integers of one type.
macro_rules! integers {
    ($op:expr, $a:expr, $b:expr) => {
        match $op {
            "/" if *$b == 0 => Err("division by zero".to_owned()),
            "%" if *$b == 0 => Err("modulus by zero".to_owned()),
            "+" => $a.checked_add(*$b).ok_or_else(overflow),
            "-" => $a.checked_sub(*$b).ok_or_else(overflow),
            "*" => $a.checked_mul(*$b).ok_or_else(overflow),
            "/" => $a.checked_div(*$b).ok_or_else(overflow),
            _ => $a.checked_rem(*$b).ok_or_else(overflow),
        }
    };
}

fn binary(op: &str, left: &Value, right: &Value) -> Outcome {
    let truth = |b: bool| Ok(Value::Bool(b));
    match op {
        "==" => return truth(left == right),
        "!=" => return truth(left != right),
        "<" => return truth(compare(left, right)? == Some(Ordering::Less)),
        ">" => return truth(compare(left, right)? == Some(Ordering::Greater)),
        "<=" => return truth(matches!(compare(left, right)?, Some(Ordering::Less | Ordering::Equal))),
        ">=" => {
            return truth(matches!(
                compare(left, right)?,
                Some(Ordering::Greater | Ordering::Equal)
            ));
        }
        "in" => {
            return match right {
                Value::List(items) => truth(items.contains(left)),
                Value::Map(m) => truth(matches!(left, Value::Str(k) if m.contains_key(k))),
                other => Err(format!("no such overload: in {}", other.kind())),
            };
        }
        _ => {}
    }
    let wrong = || format!("no such overload: {} {op} {}", left.kind(), right.kind());
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => integers!(op, a, b).map(Value::Int),
        (Value::Uint(a), Value::Uint(b)) => integers!(op, a, b).map(Value::Uint),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(match op {
            "+" => a + b,
            "-" => a - b,
            "*" => a * b,
            "/" => a / b,
            _ => return Err(wrong()),
        })),
        (Value::Str(a), Value::Str(b)) if op == "+" => Ok(Value::Str(format!("{a}{b}"))),
        (Value::List(a), Value::List(b)) if op == "+" => Ok(Value::List([a.as_slice(), b].concat())),
        _ => Err(wrong()),
    }
}
