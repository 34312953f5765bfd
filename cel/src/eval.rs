//! From a tree to its value.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::parse::{Expr, MACROS, What};
use super::room::with_room;
use super::tree::bound_names;
use super::value::{Key, Value};
use super::{CelError, Methods, Scope, functions, methods, numbers, work};

type Result<T = Value> = std::result::Result<T, CelError>;

fn fail<T>(text: impl Into<String>) -> Result<T> {
    Err(CelError::evaluation(text))
}

pub(super) fn no_overload<T>() -> Result<T> {
    fail("no such overload")
}

/// One evaluation: names, and the steps left.
pub(super) struct Evaluation<'a> {
    scope: &'a Scope,
    methods: &'a Methods<'a>,
    /// Names bound by macros, innermost last.
    bound: Vec<(String, Value)>,
    steps: u64,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(scope: &'a Scope, methods: &'a Methods<'a>, budget: u64) -> Self {
        Self {
            scope,
            methods,
            bound: Vec::new(),
            steps: budget,
        }
    }

    fn spend(&mut self, n: u64) -> Result<()> {
        match self.steps.checked_sub(n) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => fail("operation cancelled: actual cost limit exceeded"),
        }
    }

    pub(super) fn value(&mut self, e: &Expr) -> Result {
        with_room(|| self.value_of(e))
    }

    fn value_of(&mut self, e: &Expr) -> Result {
        self.spend(1)?;
        match &e.what {
            What::Literal(v) => Ok(v.clone()),
            What::Name(n) => self.name(n),
            What::Select(of, field, optional) => {
                let of = self.value(of)?;
                select(&of, field, *optional)
            }
            What::Index(of, index, optional) => {
                let (of, index) = (self.value(of)?, self.value(index)?);
                index_of(&of, &index, *optional)
            }
            What::Unary(sign, e) => match (sign, self.value(e)?) {
                ('!', Value::Bool(b)) => Ok(Value::Bool(!b)),
                ('-', Value::Int(n)) => n
                    .checked_neg()
                    .map_or_else(|| fail("integer overflow"), |n| Ok(Value::Int(n))),
                ('-', Value::Double(n)) => Ok(Value::Double(-n)),
                ('-', Value::Span(d)) => numbers::negated(d).map(Value::Span),
                _ => no_overload(),
            },
            What::Binary("&&", a, b) => self.logic(a, b, false),
            What::Binary("||", a, b) => self.logic(a, b, true),
            What::Binary(o, a, b) => {
                let (a, b) = (self.value(a)?, self.value(b)?);
                self.spend(weight(&a) / 16 + weight(&b) / 16)?;
                if let (Value::List(_), Value::List(_)) = (&a, &b) {
                    self.spend(work::beyond(o, &[a.clone(), b.clone()]))?;
                }
                binary(o, &a, &b)
            }
            What::Condition(c, a, b) => match self.value(c)? {
                Value::Bool(true) => self.value(a),
                Value::Bool(false) => self.value(b),
                _ => no_overload(),
            },
            What::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (e, optional) in items {
                    match (self.value(e)?, optional) {
                        (Value::Optional(v), true) => list.extend(v.map(|v| *v)),
                        (v, _) => list.push(v),
                    }
                }
                Ok(Value::list(list))
            }
            What::Map(entries) => {
                let (mut map, mut binary) = (BTreeMap::new(), false);
                for (k, v, optional) in entries {
                    let key = self.value(k)?;
                    binary |= matches!(key, Value::Bytes(_));
                    let v = match (self.value(v)?, optional) {
                        (Value::Optional(None), true) => continue,
                        (Value::Optional(Some(v)), true) => *v,
                        (v, _) => v,
                    };
                    if binary {
                        continue;
                    }
                    let Some(key) = key.key() else {
                        return fail("unsupported key type");
                    };
                    if map.insert(key.clone(), v).is_some() {
                        return fail(format!("Failed with repeated key: {}", key.to_text()));
                    }
                }
                if binary {
                    // As Go's fault is told.
                    return fail("internal error: runtime error: hash of unhashable type types.Bytes");
                }
                Ok(Value::Map(Arc::new(map)))
            }
            // Objects of admission policies: nothing but their fields matters, the type is known from where they go.
            What::Struct(_, fields) => {
                let mut map = BTreeMap::new();
                for (name, e, optional, _) in fields {
                    let v = match (self.value(e)?, optional) {
                        (Value::Optional(None), true) => continue,
                        (Value::Optional(Some(v)), true) => *v,
                        (v, _) => v,
                    };
                    map.insert(Key::Text(name.as_str().into()), v);
                }
                Ok(Value::Map(Arc::new(map)))
            }
            What::Call(target, name, args) => self.call(target.as_deref(), name, args),
        }
    }

    fn name(&self, n: &str) -> Result {
        let n = n.strip_prefix('.').unwrap_or(n);
        if let Some((_, v)) = self.bound.iter().rev().find(|(k, _)| k == n) {
            return there(v.clone());
        }
        if let Some(v) = self.scope.get(n) {
            return there(v.clone());
        }
        match functions::type_named(n) {
            Some(t) => Ok(Value::Type(t)),
            None => fail(format!("no such attribute(s): {n}")),
        }
    }

    /// `&&` and `||`: an error on one side does not matter when the other side decides.
    fn logic(&mut self, a: &Expr, b: &Expr, decides: bool) -> Result {
        let left = self.value(a);
        if let Ok(Value::Bool(x)) = left
            && x == decides
        {
            return Ok(Value::Bool(decides));
        }
        match (left, self.value(b)) {
            (_, Ok(Value::Bool(y))) if y == decides => Ok(Value::Bool(decides)),
            (Ok(Value::Bool(_)), Ok(Value::Bool(y))) => Ok(Value::Bool(y)),
            // Of two errors the first is told.
            (Err(e), _) | (_, Err(e)) => Err(e),
            _ => no_overload(),
        }
    }

    fn call(&mut self, target: Option<&Expr>, name: &str, args: &[Expr]) -> Result {
        match (target, name) {
            (None, "has") => {
                let [
                    Expr {
                        what: What::Select(of, field, _),
                        ..
                    },
                ] = args
                else {
                    return fail("invalid argument to has() macro");
                };
                let of = self.value(of)?;
                return match select(&of, field, true)? {
                    Value::Optional(v) => Ok(Value::Bool(v.is_some())),
                    _ => Ok(Value::Bool(true)),
                };
            }
            (Some(home), "bind") if home.name() == Some("cel") => {
                let Some((n, init, body)) = binding(args) else {
                    return fail("cel.bind() takes a name, a value and an expression");
                };
                let v = self.value(init)?;
                self.bound.push((n.to_owned(), v));
                let r = self.value(body);
                self.bound.pop();
                return r;
            }
            (Some(home), "of") if home.name() == Some("optional") => {
                let [e] = args else { return no_overload() };
                let v = self.value(e)?;
                return Ok(Value::Optional(Some(Box::new(v))));
            }
            (Some(home), "none") if home.name() == Some("optional") => return Ok(Value::Optional(None)),
            (Some(home), "ofNonZeroValue") if home.name() == Some("optional") => {
                let [e] = args else { return no_overload() };
                let v = self.value(e)?;
                return Ok(Value::Optional((!functions::is_zero(&v)).then(|| Box::new(v))));
            }
            (Some(t), "or" | "orValue") if args.len() == 1 => {
                let left = self.value(t)?;
                return match (left, name) {
                    (Value::Optional(None), _) => self.value(&args[0]),
                    (Value::Optional(Some(v)), "orValue") => Ok(*v),
                    (v @ Value::Optional(_), _) => Ok(v),
                    _ => no_overload(),
                };
            }
            (Some(t), "optMap" | "optFlatMap") => {
                let [name_of, body] = args else {
                    return no_overload();
                };
                let Some(n) = name_of.name() else {
                    return no_overload();
                };
                let Value::Optional(v) = self.value(t)? else {
                    return no_overload();
                };
                let Some(v) = v else { return Ok(Value::Optional(None)) };
                self.bound.push((n.to_owned(), *v));
                let r = self.value(body);
                self.bound.pop();
                let r = r?;
                return Ok(if name == "optMap" {
                    Value::Optional(Some(Box::new(r)))
                } else {
                    r
                });
            }
            // Upstream's functions of these names are called with errors, too, and fall over.
            (Some(t), "distinct" | "sort") if args.is_empty() => {
                let missing =
                    "internal error: interface conversion: *types.Err is not traits.Lister: missing method Add";
                let of = match self.value(t) {
                    Err(_) if self.steps > 0 => return fail(missing),
                    of => of?,
                };
                self.spend(weight(&of) / 16)?;
                return methods::method(name, &of, &[]);
            }
            (Some(t), m) if MACROS.contains(&m) => return self.comprehension(t, m, args),
            _ => {}
        }
        // Functions that live in a home (`math.greatest`), then those of values.
        if let Some(home) = target.and_then(Expr::name)
            && functions::HOMES.contains(&home)
            && !self.scope.contains_key(home)
        {
            let args = self.values(args)?;
            self.spend(args.iter().map(weight).sum::<u64>() / 16 + work::beyond(name, &args))?;
            return functions::in_home(home, name, &args);
        }
        let mut all = Vec::with_capacity(args.len() + 1);
        if let Some(t) = target {
            all.push(self.value(t)?);
        }
        all.extend(self.values(args)?);
        self.spend(all.iter().map(weight).sum::<u64>() / 16 + work::beyond(name, &all))?;
        if target.is_some() {
            if let Some(value) = (self.methods)(name, &all[0], &all[1..]) {
                return value;
            }
            methods::method(name, &all[0], &all[1..])
        } else {
            functions::global(name.strip_prefix('.').unwrap_or(name), &all)
        }
    }

    fn values(&mut self, args: &[Expr]) -> Result<Vec<Value>> {
        args.iter().map(|a| self.value(a)).collect()
    }

    fn comprehension(&mut self, over: &Expr, name: &str, args: &[Expr]) -> Result {
        let over = self.value(over)?;
        let names = bound_names(name, args);
        let rest = args.get(names.len()..).unwrap_or_default();
        if names.is_empty() || rest.is_empty() {
            return no_overload();
        }
        // One after the other: who has found what it looks for pays for no more.
        let items: Box<dyn Iterator<Item = (Value, Value)> + '_> = match &over {
            Value::List(l) => Box::new((0_i64..).zip(l.iter()).map(|(i, v)| (Value::Int(i), v.clone()))),
            Value::Map(m) => Box::new(m.iter().map(|(k, v)| (k.value(), v.clone()))),
            _ => return no_overload(),
        };
        let is_map = matches!(over, Value::Map(_));
        let mut out = Vec::new();
        let mut keyed: Vec<(Value, Value)> = Vec::new();
        let mut mapped = BTreeMap::new();
        let mut found = 0_usize;
        let mut error = None;
        for (k, v) in items {
            let depth = self.bound.len();
            if names.len() == 2 {
                self.bound.push((names[0].clone(), k.clone()));
                self.bound.push((names[1].clone(), v.clone()));
            } else {
                self.bound
                    .push((names[0].clone(), if is_map { k.clone() } else { v.clone() }));
            }
            let item = if is_map { k.clone() } else { v.clone() };
            let first = self.value(&rest[0]);
            let second = match (rest.get(1), &first) {
                (Some(e), Ok(Value::Bool(true))) => Some(self.value(e)),
                _ => None,
            };
            self.bound.truncate(depth);
            match (name, first) {
                // An element that fails does not matter when another decides.
                ("all", Ok(Value::Bool(false))) => return Ok(Value::Bool(false)),
                ("exists", Ok(Value::Bool(true))) => return Ok(Value::Bool(true)),
                ("all" | "exists", Ok(Value::Bool(_))) => {}
                ("all" | "exists", Err(e)) => error = error.or(Some(e)),
                ("exists_one" | "existsOne", Ok(Value::Bool(b))) => found += usize::from(b),
                ("filter", Ok(Value::Bool(b))) => {
                    if b {
                        out.push(item);
                    }
                }
                ("map" | "transformList", first) if rest.len() == 1 => out.push(first?),
                ("map" | "transformList", Ok(Value::Bool(b))) => {
                    if let (true, Some(v)) = (b, second) {
                        out.push(v?);
                    }
                }
                ("transformMap" | "transformMapEntry", first) => {
                    let v = match (rest.len(), first?) {
                        (1, v) => v,
                        (_, Value::Bool(true)) => match second {
                            Some(v) => v?,
                            None => continue,
                        },
                        _ => continue,
                    };
                    if name == "transformMap" {
                        mapped.extend(k.key().map(|k| (k, v)));
                        continue;
                    }
                    let Value::Map(entries) = v else { return no_overload() };
                    for (key, v) in entries.iter() {
                        if mapped.insert(key.clone(), v.clone()).is_some() {
                            return fail(format!("insert failed: key {} already exists", key.to_text()));
                        }
                    }
                }
                ("sortBy", first) => keyed.push((first?, item)),
                (_, Err(e)) => return Err(e),
                _ => return no_overload(),
            }
        }
        if let Some(e) = error {
            return Err(e);
        }
        Ok(match name {
            "all" => Value::Bool(true),
            "exists" => Value::Bool(false),
            "exists_one" | "existsOne" => Value::Bool(found == 1),
            "transformMap" | "transformMapEntry" => Value::Map(Arc::new(mapped)),
            "sortBy" => Value::list(methods::sorted(keyed)),
            _ => Value::list(out),
        })
    }
}

/// Conversions that are worked out beforehand where they are of constants.
const CONVERSIONS: [&str; 9] = [
    "bool",
    "bytes",
    "double",
    "duration",
    "int",
    "string",
    "timestamp",
    "type",
    "uint",
];

/// The value of an expression that is a constant, once the conversions within it are worked out.
pub(super) fn constants(e: &Expr) -> Result<Option<Value>> {
    let mut inner = Vec::new();
    for child in e.children() {
        inner.push(constants(child)?);
    }
    match (&e.what, inner.as_slice()) {
        (What::Literal(v), _) => Ok(Some(v.clone())),
        // The checker knows them, and nobody else.
        (What::Name(n), _) if matches!(n.as_str(), "duration" | "timestamp") => {
            fail(format!("reference to undefined type: {n}"))
        }
        (What::Index(..), [_, Some(index)]) => qualifier(index).map(|()| None),
        (What::Call(None, name, _), [Some(of)]) if CONVERSIONS.contains(&name.as_str()) => {
            functions::global(name, std::slice::from_ref(of)).map(Some)
        }
        _ => Ok(None),
    }
}

/// The name, the value and the expression of `cel.bind`.
fn binding(args: &[Expr]) -> Option<(&str, &Expr, &Expr)> {
    let [name, init, body] = args else { return None };
    Some((name.name()?, init, body))
}

/// What handling a value costs, beside the step itself.
fn weight(v: &Value) -> u64 {
    let n = match v {
        Value::Text(s) => s.len(),
        Value::Bytes(b) => b.len(),
        Value::List(l) => l.len(),
        Value::Map(m) => m.len(),
        _ => 0,
    };
    n as u64
}

fn select(of: &Value, field: &str, optional: bool) -> Result {
    match of {
        Value::Map(m) => match (m.get(&Key::Text(field.into())), optional) {
            (Some(v), false) => there(v.clone()),
            (Some(v), true) => Ok(Value::Optional(Some(Box::new(there(v.clone())?)))),
            (None, true) => Ok(Value::Optional(None)),
            (None, false) => fail(format!("no such key: {field}")),
        },
        Value::Optional(None) => Ok(Value::Optional(None)),
        Value::Optional(Some(v)) => select(v, field, true),
        _ => no_overload(),
    }
}

/// Whether a value can tell a part of another (`cel-go/interpreter/attributes.go`).
fn qualifier(index: &Value) -> Result<()> {
    match index {
        Value::Time(_) => fail("invalid qualifier type: types.Timestamp"),
        Value::Span(_) => fail("invalid qualifier type: types.Duration"),
        Value::Bytes(_) => fail("invalid qualifier type: types.Bytes"),
        _ => Ok(()),
    }
}

/// What is asked for, if it has a value.
fn there(v: Value) -> Result {
    match v {
        Value::Wrong(why) => fail(&*why),
        v => Ok(v),
    }
}

fn index_of(of: &Value, index: &Value, optional: bool) -> Result {
    qualifier(index)?;
    let found = match of {
        Value::List(l) => {
            let i = match index {
                Value::Int(i) => usize::try_from(*i).ok(),
                Value::Uint(i) => usize::try_from(*i).ok(),
                Value::Double(d) if d.fract() == 0.0 && *d >= 0.0 => Some(*d as usize),
                _ => return no_overload(),
            };
            i.and_then(|i| l.get(i)).cloned()
        }
        Value::Map(m) => index.key().and_then(|k| m.get(&k)).cloned(),
        Value::Optional(None) => return Ok(Value::Optional(None)),
        Value::Optional(Some(v)) => return index_of(v, index, true),
        _ => return no_overload(),
    };
    let found = found.map(there).transpose()?;
    match (found, optional) {
        (v, true) => Ok(Value::Optional(v.map(Box::new))),
        (Some(v), false) => Ok(v),
        (None, false) => match (of, index) {
            (Value::List(_), Value::Int(i)) => fail(format!("index out of bounds: {i}")),
            (_, k) => fail(format!(
                "no such key: {}",
                k.key().map_or_else(String::new, |k| k.to_text())
            )),
        },
    }
}

fn binary(o: &str, a: &Value, b: &Value) -> Result {
    let compare = |f: fn(Ordering) -> bool| match a.order(b) {
        Some(o) => Ok(Value::Bool(f(o))),
        None if matches!((a, b), (Value::Double(_), _) | (_, Value::Double(_)))
            && a.number().is_some()
            && b.number().is_some() =>
        {
            Ok(Value::Bool(false))
        }
        None => no_overload(),
    };
    match o {
        "==" => Ok(Value::Bool(a == b)),
        "!=" => Ok(Value::Bool(a != b)),
        "<" => compare(Ordering::is_lt),
        "<=" => compare(Ordering::is_le),
        ">" => compare(Ordering::is_gt),
        ">=" => compare(Ordering::is_ge),
        "in" => match b {
            Value::List(l) => Ok(Value::Bool(l.contains(a))),
            Value::Map(m) => Ok(Value::Bool(a.key().is_some_and(|k| m.contains_key(&k)))),
            _ => no_overload(),
        },
        _ => numbers::arithmetic(o, a, b),
    }
}
