//! What an expression may cost at most, estimated before it is evaluated (cel-go's `checker/cost.go`, and
//! `k8s.io/apiserver/pkg/cel/library/cost.go` for Kubernetes' functions). Only the upper bounds are kept: nothing asks
//! for the lower ones but what becomes of them in a replacement.

mod calls;

use std::collections::BTreeMap;

use super::check::Checked;
use super::parse::{Expr, What};
use super::room::with_room;
use super::types::Type;
use super::value::Value;

/// Bytes of the largest request.
pub const MAX_REQUEST: u64 = 3 * 1024 * 1024;

/// How large values of a declared type may be.
#[derive(Debug, Clone, Default)]
pub struct Shape {
    /// Most elements, entries or bytes.
    pub most: u64,
    /// Bytes of the smallest value in JSON.
    pub least: u64,
    /// Fields by name.
    pub fields: BTreeMap<String, Shape>,
    /// Elements of lists, values of maps.
    pub element: Option<Box<Shape>>,
    /// Whether it is a map, whose keys are texts.
    pub keyed: bool,
}

/// A size or a cost: from, to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    min: u64,
    max: u64,
}

const UNKNOWN: Range = Range { min: 0, max: u64::MAX };
/// Of going through a text once.
const TEXT: f64 = 0.1;
/// Of matching a pattern, for each of its characters.
const PATTERN: f64 = 0.25;
const LIST: Range = Range::fixed(10);
const MAP: Range = Range::fixed(30);
const STRUCT: Range = Range::fixed(40);
const NOTHING: Range = Range::fixed(0);
const ONE: Range = Range::fixed(1);

impl Range {
    const fn fixed(n: u64) -> Self {
        Self { min: n, max: n }
    }

    fn of(self, f: impl Fn(u64) -> u64) -> Self {
        Self {
            min: f(self.min),
            max: f(self.max),
        }
    }

    fn with(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            min: f(self.min, other.min),
            max: f(self.max, other.max),
        }
    }

    fn plus(self, other: Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    fn times(self, other: Self) -> Self {
        self.with(other, u64::saturating_mul)
    }

    fn by(self, factor: f64) -> Self {
        self.of(|n| scaled(n, factor))
    }

    fn or(self, other: Self) -> Self {
        Self {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }
}

/// A product rounded up.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "as upstream estimates; the cast saturates"
)]
fn scaled(n: u64, factor: f64) -> u64 {
    (n as f64 * factor).ceil() as u64
}

/// Sizes of a container's keys and values.
#[derive(Debug, Clone, Copy)]
struct Entry {
    list: bool,
    key: Range,
    value: Range,
}

impl Entry {
    fn or(self, other: Self) -> Self {
        Self {
            list: self.list,
            key: self.key.or(other.key),
            value: self.value.or(other.value),
        }
    }
}

type Path = Vec<String>;

/// A name that a macro declares.
struct Local {
    name: String,
    path: Path,
    size: Option<Range>,
    entry: Option<Entry>,
}

/// An estimate in the making.
struct Coster<'a> {
    checked: &'a Checked,
    shape: &'a Shape,
    locals: Vec<Local>,
    paths: BTreeMap<usize, Path>,
    sizes: BTreeMap<usize, Range>,
    entries: BTreeMap<usize, Entry>,
}

/// Most that an expression costs whose variables are of this shape.
pub(super) fn most(root: &Expr, checked: &Checked, shape: &Shape) -> u64 {
    let mut coster = Coster {
        checked,
        shape,
        locals: Vec::new(),
        paths: BTreeMap::new(),
        sizes: BTreeMap::new(),
        entries: BTreeMap::new(),
    };
    coster.cost(root).max
}

impl Coster<'_> {
    fn cost(&mut self, e: &Expr) -> Range {
        with_room(|| self.cost_of(e))
    }

    fn cost_of(&mut self, e: &Expr) -> Range {
        match &e.what {
            What::Literal(_) => NOTHING,
            What::Name(name) => {
                let local = self.local(name).map(|l| l.path.clone());
                self.paths.insert(e.id(), local.unwrap_or_else(|| vec![name.clone()]));
                ONE
            }
            What::Select(of, field, false) => {
                let cost = self.cost(of);
                let mut path = self.path(of);
                path.push(field.clone());
                self.paths.insert(e.id(), path);
                match self.checked.type_of(of) {
                    Type::Map(..) | Type::Object(_) | Type::Parameter(_) => cost.plus(ONE),
                    _ => cost,
                }
            }
            What::Select(of, ..) => {
                let cost = self.cost(of).plus(ONE);
                self.sized(e);
                cost
            }
            What::Binary("&&" | "||", a, b) => {
                let (a, b) = (self.cost(a), self.cost(b));
                self.sized(e);
                Range {
                    min: a.min,
                    max: a.plus(b).max,
                }
            }
            What::Condition(c, a, b) => {
                let costs = [self.cost(c), self.cost(a), self.cost(b)];
                let size = self.size_or_unknown(a).or(self.size_or_unknown(b));
                if let (Some(x), Some(y)) = (self.entry(a), self.entry(b)) {
                    self.entries.insert(e.id(), x.or(y));
                }
                self.sizes.insert(e.id(), size);
                costs[0].plus(costs[1].or(costs[2]))
            }
            What::Unary(sign, of) => self.call(e, if *sign == '!' { "!_" } else { "-_" }, None, &[of]),
            What::Index(of, index, optional) => {
                let name = if *optional { "_[?_]" } else { "_[_]" };
                self.call(e, name, None, &[of, index])
            }
            What::Binary(operator, a, b) => {
                let name = match *operator {
                    "in" => "@in".to_owned(),
                    o => format!("_{o}_"),
                };
                self.call(e, &name, None, &[a, b])
            }
            What::List(items) => {
                let all: Vec<&Expr> = items.iter().map(|(item, _)| item).collect();
                let (cost, value) = self.elements(&all);
                let entry = Entry {
                    list: true,
                    key: ONE,
                    value,
                };
                self.entries.insert(e.id(), entry);
                cost.plus(LIST)
            }
            What::Map(entries) => {
                let keys: Vec<&Expr> = entries.iter().map(|(key, ..)| key).collect();
                let values: Vec<&Expr> = entries.iter().map(|(_, value, _)| value).collect();
                let ((of_keys, key), (of_values, value)) = (self.elements(&keys), self.elements(&values));
                let entry = Entry {
                    list: false,
                    key,
                    value,
                };
                self.entries.insert(e.id(), entry);
                of_keys.plus(of_values).plus(MAP)
            }
            What::Struct(_, fields) => fields
                .iter()
                .fold(STRUCT, |cost, (_, value, ..)| cost.plus(self.cost(value))),
            What::Call(target, name, args) => self.called(e, target.as_deref(), name, args),
        }
    }

    /// What elements cost together, and the sizes of one.
    fn elements(&mut self, all: &[&Expr]) -> (Range, Range) {
        let (mut cost, mut size) = (NOTHING, None::<Range>);
        for e in all {
            cost = cost.plus(self.cost(e));
            let own = self.size_or_unknown(e);
            size = Some(size.map_or(own, |s| s.or(own)));
        }
        (cost, size.unwrap_or(NOTHING))
    }

    fn called(&mut self, e: &Expr, target: Option<&Expr>, name: &str, args: &[Expr]) -> Range {
        let all: Vec<&Expr> = args.iter().collect();
        match (target, name, args) {
            (None, "dyn", [of]) => {
                let cost = self.cost(of).plus(ONE);
                self.copy(e, of);
                cost
            }
            // Asking whether a field is there costs nothing beyond what it is asked of.
            (None, "has", [of]) => match &of.what {
                What::Select(of, ..) => self.cost(of),
                _ => NOTHING,
            },
            (Some(home), "bind", [variable, value, body]) if home.name() == Some("cel") => {
                let cost = LIST.plus(self.cost(value));
                let local = self.bound(variable.name().unwrap_or_default(), value);
                self.locals.push(local);
                let cost = cost.plus(self.cost(body));
                self.copy(e, body);
                self.locals.pop();
                cost
            }
            (Some(of), "optMap" | "optFlatMap", [variable, body]) => {
                let of_target = self.cost(of).plus(ONE);
                self.locals.push(Local {
                    name: variable.name().unwrap_or_default().to_owned(),
                    path: Path::new(),
                    size: None,
                    entry: None,
                });
                let wrap = if name == "optMap" { ONE } else { NOTHING };
                let body = self.cost(body).plus(LIST).plus(of_target).plus(wrap);
                self.locals.pop();
                of_target.plus(body.or(ONE))
            }
            (Some(of), "sortBy", [variable, key]) => {
                // It binds the list, maps it and sorts by what comes of that.
                let variable = [variable.name().unwrap_or_default().to_owned()];
                let (mapped, times) = self.looped(e, of, &variable, "map", &[key]);
                let is_text = matches!(self.checked.type_of(key), Type::Text | Type::Bytes);
                let (sorted, size) = calls::sorted(times, is_text);
                self.sizes.insert(e.id(), size);
                LIST.plus(mapped).plus(Range::fixed(2)).plus(sorted)
            }
            (Some(of), _, _) if self.checked.is_loop(e) => {
                let names = super::tree::bound_names(name, args);
                let (cost, _) = self.looped(e, of, &names, name, &all[names.len()..]);
                cost
            }
            // Functions in a home have no target.
            (Some(home), _, _) => match home.path().map(|path| format!("{path}.{name}")) {
                Some(path) if self.checked.is_global(e) => self.call(e, &path, None, &all),
                _ => self.call(e, name, Some(home), &all),
            },
            (None, ..) => self.call(e, name, None, &all),
        }
    }

    /// What a macro's loop costs, and how often it runs.
    fn looped(&mut self, e: &Expr, over: &Expr, names: &[String], name: &str, rest: &[&Expr]) -> (Range, Range) {
        let range = self.cost(over);
        let entry = self.entry(over);
        let list = entry.map_or_else(|| matches!(self.checked.type_of(over), Type::List(_)), |s| s.list);
        let path = self.path(over);
        let local = |name: &String, step: &str, size: Option<Range>| Local {
            name: name.clone(),
            path: path.iter().cloned().chain([step.to_owned()]).collect(),
            size,
            entry: None,
        };
        let (key, value) = (entry.map(|s| s.key), entry.map(|s| s.value));
        let before = self.locals.len();
        match (names, list) {
            ([k, v], _) => {
                let (at_key, at_value) = if list {
                    ("@indices", "@items")
                } else {
                    ("@keys", "@values")
                };
                self.locals.push(local(k, at_key, key));
                self.locals.push(local(v, at_value, value));
            }
            ([one], true) => self.locals.push(local(one, "@items", value)),
            ([one], false) => self.locals.push(local(one, "@keys", key)),
            _ => {}
        }
        let costs: Vec<Range> = rest.iter().map(|r| self.cost(r)).collect();
        let last = rest.last().map_or(UNKNOWN, |r| self.size_or_unknown(r));
        let item = names
            .first()
            .and_then(|n| self.local(n))
            .map(|l| (l.path.clone(), l.size));
        self.locals.truncate(before);
        let (first, second) = (costs.first().copied().unwrap_or(NOTHING), costs.get(1).copied());
        // What is gathered is named once before it is added to, or kept as it is.
        let kept = |made: Range| match second {
            Some(_) => first.plus(made.or(ONE)),
            None => made,
        };
        let made = second.unwrap_or(first);
        let (start, step, end) = match name {
            "all" => (NOTHING, ONE.plus(first).plus(Range::fixed(2)), ONE),
            "exists" => (NOTHING, ONE.plus(first).plus(Range::fixed(3)), ONE),
            "exists_one" | "existsOne" => (NOTHING, first.plus(Range { min: 1, max: 2 }), Range::fixed(2)),
            "filter" => (LIST, first.plus(Range { min: 1, max: 13 }), ONE),
            "transformMap" => (MAP, kept(made.plus(Range::fixed(3))), ONE),
            "transformMapEntry" => (MAP, kept(made.plus(Range::fixed(2))), ONE),
            _ => (LIST, kept(made.plus(Range::fixed(12))), ONE),
        };
        let times = self.size_or_unknown(over);
        if start == NOTHING {
            self.sizes.insert(e.id(), ONE);
        } else {
            self.sizes.insert(e.id(), times);
            let value = if name == "filter" {
                item.and_then(|(path, size)| self.at(&path).or(size)).unwrap_or(UNKNOWN)
            } else {
                last
            };
            if start == LIST {
                let entry = Entry {
                    list: true,
                    key: ONE,
                    value: value.or(NOTHING),
                };
                self.entries.insert(e.id(), entry);
            }
        }
        (range.plus(start).plus(end).plus(times.times(step)), times)
    }

    fn bound(&mut self, name: &str, value: &Expr) -> Local {
        Local {
            name: name.to_owned(),
            path: self.path(value),
            size: self.size(value),
            entry: self.entry(value),
        }
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|l| l.name == name)
    }

    fn path(&self, e: &Expr) -> Path {
        let local = e.name().and_then(|n| self.local(n)).map(|l| l.path.clone());
        local.or_else(|| self.paths.get(&e.id()).cloned()).unwrap_or_default()
    }

    /// The size of what a path leads to; its first step is a variable, whichever.
    fn at(&self, path: &[String]) -> Option<Range> {
        let mut shape = self.shape;
        let text = Shape::default();
        for step in path.split_first()?.1 {
            shape = match step.as_str() {
                "@items" | "@values" => shape.element.as_deref()?,
                "@keys" if shape.keyed => &text,
                name => shape.fields.get(name)?,
            };
        }
        Some(Range {
            min: 0,
            max: shape.most,
        })
    }

    fn size(&mut self, e: &Expr) -> Option<Range> {
        if let Some(size) = self.sizes.get(&e.id()) {
            return Some(*size);
        }
        let known = match &e.what {
            What::Literal(Value::Text(s)) => Some(s.chars().count()),
            What::Literal(Value::Bytes(b)) => Some(b.len()),
            What::Literal(_) => Some(1),
            What::List(items) => Some(items.len()),
            What::Map(entries) => Some(entries.len()),
            _ => None,
        };
        if let Some(known) = known {
            return Some(Range::fixed(known as u64));
        }
        if let Some(size) = self.at(&self.path(e)) {
            self.sizes.insert(e.id(), size);
            return Some(size);
        }
        if is_scalar(&self.checked.type_of(e)) {
            return Some(ONE);
        }
        e.name().and_then(|n| self.local(n)).and_then(|l| l.size)
    }

    fn size_or_unknown(&mut self, e: &Expr) -> Range {
        self.size(e).unwrap_or(UNKNOWN)
    }

    /// Keeps the size of a call's result where nothing else is known of it.
    fn sized(&mut self, e: &Expr) {
        if let Some(size) = self.size(e) {
            self.sizes.insert(e.id(), size);
        }
    }

    fn entry(&self, e: &Expr) -> Option<Entry> {
        let own = self.entries.get(&e.id()).copied();
        own.or_else(|| e.name().and_then(|n| self.local(n)).and_then(|l| l.entry))
    }

    fn copy(&mut self, to: &Expr, from: &Expr) {
        if let Some(size) = self.size(from) {
            self.sizes.insert(to.id(), size);
        }
        if let Some(entry) = self.entry(from) {
            self.entries.insert(to.id(), entry);
        }
    }
}

/// Whether values of a type are all of one size.
fn is_scalar(t: &Type) -> bool {
    match t {
        Type::Bool | Type::Double | Type::Span | Type::Int | Type::Time | Type::Uint => true,
        other => other.unwrapped().is_some_and(is_scalar),
    }
}
