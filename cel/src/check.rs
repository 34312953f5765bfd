//! Whether the types of an expression fit, told as cel-go tells it (`checker/checker.go`). What is not known here is of
//! type `dyn`, so that nothing that fits is refused.

mod expression;
pub(super) mod macros;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use super::parse::{self, Expr, What, parse};
use super::room::with_room;
use super::types::{Bound, ObjectType, Type, arguments, most_general};
use super::value::Value;
use super::{CelError, numbers, source};

pub use expression::Expression;

/// What an expression may name.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// Variables.
    pub variables: BTreeMap<String, Type>,
    /// Whether there is `cel.bind`.
    pub bindings: bool,
    /// Whether there are `Object{}`, `JSONPatch{}` and the functions of patches.
    pub patches: bool,
}

/// The type of an expression's value.
///
/// # Errors
/// [`CelError::Syntax`], and [`CelError::Types`] with all that does not fit.
pub fn check(text: &str, environment: &Environment) -> Result<Type, CelError> {
    Ok(checked(text, environment)?.1.of)
}

/// What was found out about an expression.
pub(super) struct Checked {
    of: Type,
    bound: Bound,
    notes: BTreeMap<usize, Note>,
}

/// What was found out about a part of it.
#[derive(Default)]
struct Note {
    of: Option<Type>,
    /// The forms of the function that fit.
    overloads: Vec<&'static Overload>,
    /// It stands for a loop.
    looped: bool,
    /// Its function is one without a target.
    global: bool,
}

impl Checked {
    pub(super) fn type_of(&self, e: &Expr) -> Type {
        let own = self.notes.get(&e.id()).and_then(|n| n.of.as_ref());
        own.map_or(Type::Dyn, |t| self.bound.replaced(t, true))
    }

    pub(super) fn overloads_of(&self, e: &Expr) -> &[&'static Overload] {
        self.notes.get(&e.id()).map_or(&[], |n| &n.overloads)
    }

    pub(super) fn is_loop(&self, e: &Expr) -> bool {
        self.notes.get(&e.id()).is_some_and(|n| n.looped)
    }

    pub(super) fn is_global(&self, e: &Expr) -> bool {
        self.notes.get(&e.id()).is_some_and(|n| n.global)
    }
}

fn checked(text: &str, environment: &Environment) -> Result<(Box<Expr>, Checked), CelError> {
    // Parts are told apart by where they are.
    let root = Box::new(parse(text)?);
    if let Some(wrong) = parse::told(text, &macros::malformed(&root, environment)) {
        return Err(wrong);
    }
    let mut checker = Checker {
        notes: BTreeMap::new(),
        fitting: Vec::new(),
        environment,
        scopes: Vec::new(),
        bound: Bound::default(),
        fresh: 0,
        formats: 0,
        literals: Vec::new(),
        errors: Vec::new(),
    };
    let of = checker.of(&root);
    let of = checker.bound.replaced(&of, true);
    if checker.errors.is_empty() {
        checker.literals(&root);
        checker.mixed();
    }
    if checker.errors.is_empty() {
        let Checker { notes, bound, .. } = checker;
        return Ok((root, Checked { of, bound, notes }));
    }
    checker.errors.sort_by_key(|(at, _)| *at);
    let told: Vec<String> = checker
        .errors
        .iter()
        .map(|(at, message)| source::told(text, *at, message))
        .collect();
    Err(CelError::Types(told.join("\n")))
}

/// One form of a function.
pub(super) struct Overload {
    method: bool,
    pub(super) takes: Vec<Type>,
    gives: Type,
}

/// Functions by name, as Kubernetes 1.36 declares them (`k8s.io/apiserver/pkg/cel/environment` and cel-go's standard
/// library): a line of `overloads.txt` is a name (after a dot: of a method, whose first argument is
/// what it is called on), what it takes and what it gives.
static FUNCTIONS: LazyLock<BTreeMap<&str, Vec<Overload>>> = LazyLock::new(|| {
    let mut all: BTreeMap<&str, Vec<Overload>> = BTreeMap::new();
    for line in include_str!("overloads.txt").lines() {
        let Some((name, rest)) = line.split_once('(') else {
            continue;
        };
        let Some((takes, gives)) = split(rest) else { continue };
        all.entry(name.strip_prefix('.').unwrap_or(name))
            .or_default()
            .push(Overload {
                method: name.starts_with('.'),
                takes: arguments(takes),
                gives: Type::parse(gives),
            });
    }
    all
});

/// What stands before the bracket that closes, and behind it.
fn split(text: &str) -> Option<(&str, &str)> {
    let mut depth = 1;
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((&text[..i], text[i + 1..].trim()));
        }
    }
    None
}

/// Types of libraries that expressions may name.
const NAMED: [&str; 11] = [
    "kubernetes.URL",
    "kubernetes.Quantity",
    "kubernetes.Semver",
    "kubernetes.NamedFormat",
    "net.IP",
    "net.CIDR",
    "kubernetes.authorization.Authorizer",
    "kubernetes.authorization.PathCheck",
    "kubernetes.authorization.GroupCheck",
    "kubernetes.authorization.ResourceCheck",
    "kubernetes.authorization.Decision",
];

struct Checker<'a> {
    environment: &'a Environment,
    /// What was found out, by the parts' ids.
    notes: BTreeMap<usize, Note>,
    /// The forms that fit the function that was called last.
    fitting: Vec<&'static Overload>,
    /// Names that macros declare, innermost last.
    scopes: Vec<(String, Type)>,
    bound: Bound,
    fresh: usize,
    /// Calls of `format` that are being checked: the lists they take may be of anything.
    formats: usize,
    /// Literals' elements, which must be of one type: places and types.
    literals: Vec<Vec<(usize, Type)>>,
    /// Places, and what is wrong there.
    errors: Vec<(usize, String)>,
}

impl Checker<'_> {
    fn tell(&mut self, at: usize, message: String) -> Type {
        self.errors.push((at, message));
        Type::Error
    }

    fn fresh(&mut self) -> Type {
        self.fresh += 1;
        Type::Parameter(format!("_var{}", self.fresh - 1).into())
    }

    fn undeclared(&mut self, at: usize, name: &str) -> Type {
        self.tell(at, format!("undeclared reference to '{name}' (in container '')"))
    }

    fn of(&mut self, e: &Expr) -> Type {
        self.fitting.clear();
        let of = with_room(|| self.of_what(e));
        let note = self.notes.entry(e.id()).or_default();
        note.of = Some(of.clone());
        note.overloads = std::mem::take(&mut self.fitting);
        of
    }

    fn of_what(&mut self, e: &Expr) -> Type {
        match &e.what {
            What::Literal(v) => match v {
                Value::Bool(_) => Type::Bool,
                Value::Int(_) => Type::Int,
                Value::Uint(_) => Type::Uint,
                Value::Double(_) => Type::Double,
                Value::Text(_) => Type::Text,
                Value::Bytes(_) => Type::Bytes,
                Value::Null => Type::Null,
                _ => Type::Dyn,
            },
            What::Name(name) => self.named(name).unwrap_or_else(|| self.undeclared(e.at, name)),
            What::Select(of, field, optional) => {
                if let Some(known) = e.path().and_then(|path| self.named(&path)) {
                    return known;
                }
                let of = self.of(of);
                self.field(e.at, &of, field, *optional)
            }
            What::Index(of, index, optional) => {
                let all = vec![self.of(of), self.of(index)];
                self.call(e.at, if *optional { "_[?_]" } else { "_[_]" }, false, all)
            }
            What::Unary(sign, of) => {
                let all = vec![self.of(of)];
                self.call(e.at, if *sign == '!' { "!_" } else { "-_" }, false, all)
            }
            What::Binary("&&" | "||", a, b) => {
                let (x, y) = (self.of(a), self.of(b));
                let fit = [self.truth(a, &x), self.truth(b, &y)];
                if fit == [true, true] { Type::Bool } else { Type::Error }
            }
            What::Binary(operator, a, b) => {
                let all = vec![self.of(a), self.of(b)];
                let name = match *operator {
                    "in" => "@in".to_owned(),
                    o => format!("_{o}_"),
                };
                self.call(e.at, &name, false, all)
            }
            What::Condition(c, a, b) => {
                let all = vec![self.of(c), self.of(a), self.of(b)];
                self.call(e.at, "_?_:_", false, all)
            }
            What::List(items) => {
                let all = items.iter().map(|(item, optional)| (item, *optional));
                Type::list(self.elements(all))
            }
            What::Map(entries) => {
                let keys = self.elements(entries.iter().map(|(key, ..)| (key, false)));
                let values = entries.iter().map(|(_, value, optional)| (value, *optional));
                Type::map(keys, self.elements(values))
            }
            What::Struct(name, fields) => self.made(e.at, name, fields),
            What::Call(target, name, args) => self.called(e, target.as_deref(), name, args),
        }
    }

    /// What a name stands for.
    fn named(&self, name: &str) -> Option<Type> {
        let name = name.strip_prefix('.').unwrap_or(name);
        if let Some((_, t)) = self.scopes.iter().rev().find(|(n, _)| n == name) {
            return Some(t.clone());
        }
        if let Some(t) = self.environment.variables.get(name) {
            return Some(t.clone());
        }
        let of = match name {
            "bool" | "int" | "uint" | "double" | "string" | "bytes" => Type::parse(name),
            // Types of fields are known by these names, too.
            "google.protobuf.Timestamp" | "timestamp" => Type::Time,
            "google.protobuf.Duration" | "duration" => Type::Span,
            "null_type" => Type::Null,
            "list" => Type::list(Type::Dyn),
            "map" => Type::map(Type::Dyn, Type::Dyn),
            "type" => Type::Type(None),
            "optional_type" => Type::optional(Type::Dyn),
            _ if NAMED.contains(&name) => Type::opaque(name),
            _ if name.starts_with("google.protobuf.") => return Some(Type::Dyn),
            _ => return None,
        };
        Some(Type::Type(Some(Box::new(of))))
    }

    /// A field of a value.
    fn field(&mut self, at: usize, of: &Type, field: &str, optional: bool) -> Type {
        let of = self.bound.replaced(of, false);
        let (inner, wrapped) = match of.unwrapped() {
            Some(inner) => (inner.clone(), true),
            None => (of, false),
        };
        let found = match &inner {
            Type::Map(_, value) => (**value).clone(),
            Type::Object(o) => match o.fields.get(field) {
                Some(t) => t.clone(),
                None if o.open => Type::Dyn,
                None => self.tell(at, format!("undefined field '{field}'")),
            },
            Type::Parameter(_) => {
                self.bound.fits(&Type::Dyn, &inner);
                Type::Dyn
            }
            // Those of the libraries have no fields, but are of a kind that has.
            Type::Opaque(name, _) if name.starts_with("kubernetes.") => {
                self.tell(at, format!("unexpected failed resolution of '{name}'"));
                Type::Dyn
            }
            other => {
                if !other.is_dyn_or_error() {
                    self.tell(at, format!("type '{other}' does not support field selection"));
                }
                Type::Dyn
            }
        };
        if wrapped || optional {
            Type::optional(found)
        } else {
            found
        }
    }

    /// Whether an operand of `&&` and `||` is a truth value.
    fn truth(&mut self, e: &Expr, t: &Type) -> bool {
        let fits = self.bound.fits(t, &Type::Bool);
        if !fits {
            self.tell(e.at, format!("expected type 'bool' but found '{t}'"));
        }
        fits
    }

    /// The type of an element that may be left out.
    fn given(&mut self, e: &Expr, t: Type, optional: bool) -> Type {
        if !optional {
            return t;
        }
        match t.unwrapped() {
            Some(of) => of.clone(),
            None => {
                if !t.is_dyn() {
                    let wanted = Type::optional(t.clone());
                    self.tell(e.at, format!("expected type '{wanted}' but found '{t}'"));
                }
                t
            }
        }
    }

    /// What the elements of a literal are: anything, if they are of several types.
    fn elements<'e>(&mut self, all: impl Iterator<Item = (&'e Expr, bool)>) -> Type {
        let mut met: Vec<(usize, Type)> = Vec::new();
        let mut of: Option<Type> = None;
        for (e, optional) in all {
            let t = self.of(e);
            let t = self.given(e, t, optional);
            met.push((e.at, t.clone()));
            of = Some(match of {
                None => t,
                Some(before) if self.bound.fits(&before, &t) => most_general(&before, &t),
                Some(_) => Type::Dyn,
            });
        }
        if self.formats == 0 {
            self.literals.push(met);
        }
        of.unwrap_or_else(|| self.fresh())
    }

    /// Tells of literals whose elements are of several types, once everything else fits.
    fn mixed(&mut self) {
        for met in std::mem::take(&mut self.literals) {
            let all = met.iter().map(|(at, t)| (*at, self.bound.replaced(t, true)));
            let all: Vec<(usize, Type)> = all.collect();
            let Some((_, first)) = all.first() else { continue };
            if let Some((at, t)) = all.iter().find(|(_, t)| t != first) {
                self.tell(*at, format!("expected type '{first}' but found '{t}'"));
            }
        }
    }

    /// An object of a type that has a name.
    fn made(&mut self, at: usize, name: &str, fields: &[(String, Expr, bool, usize)]) -> Type {
        let own = match name {
            "JSONPatch" if self.environment.patches => {
                let texts = ["op", "path", "from"].map(|f| (f.to_owned(), Type::Text));
                Type::object(name, texts.into_iter().chain([("value".to_owned(), Type::Dyn)]))
            }
            _ if self.environment.patches && (name == "Object" || name.starts_with("Object.")) => {
                Type::Object(Arc::new(ObjectType {
                    name: name.to_owned(),
                    fields: BTreeMap::new(),
                    open: true,
                }))
            }
            _ if name.starts_with("google.protobuf.") => return Type::Dyn,
            _ => return self.undeclared(at, name),
        };
        for (field, value, optional, colon) in fields {
            let t = self.of(value);
            // Upstream says nothing of the field of a patch that is none but that it has no type.
            if name == "JSONPatch" && !["op", "path", "from", "value"].contains(&field.as_str()) {
                self.tell(
                    *colon,
                    format!("expected type of field '{field}' is '' but provided type is '{t}'"),
                );
                continue;
            }
            let wanted = self.field(*colon, &own, field, false);
            let t = self.given(value, t, *optional);
            if !self.bound.fits(&wanted, &t) {
                let message = format!("expected type of field '{field}' is '{wanted}' but provided type is '{t}'");
                self.tell(*colon, message);
            }
        }
        own
    }

    fn called(&mut self, e: &Expr, target: Option<&Expr>, name: &str, args: &[Expr]) -> Type {
        let at = e.at;
        if let Some(t) = self.expanded(at, target, name, args) {
            self.notes.entry(e.id()).or_default().looped = true;
            return t;
        }
        self.formats += usize::from(name == "format");
        let mut all: Vec<Type> = args.iter().map(|a| self.of(a)).collect();
        self.formats -= usize::from(name == "format");
        let Some(target) = target else {
            let own = name.strip_prefix('.').unwrap_or(name);
            if !FUNCTIONS.contains_key(own) || own.starts_with(['@', '_', '!', '-']) {
                return self.undeclared(at, name);
            }
            return self.call(at, own, false, all);
        };
        if let Some(path) = target.path().map(|path| format!("{path}.{name}"))
            && FUNCTIONS.contains_key(path.as_str())
            && (path != "jsonpatch.escapeKey" || self.environment.patches)
        {
            self.notes.entry(e.id()).or_default().global = true;
            return self.call(at, &path, false, all);
        }
        let of = self.of(target);
        if !FUNCTIONS.contains_key(name) {
            return self.undeclared(at, name);
        }
        all.insert(0, of);
        self.call(at, name, true, all)
    }

    /// What a function gives for arguments of these types.
    fn call(&mut self, at: usize, name: &str, method: bool, all: Vec<Type>) -> Type {
        let mut result: Option<Type> = None;
        self.fitting.clear();
        for overload in FUNCTIONS.get(name).into_iter().flatten().filter(|o| o.method == method) {
            // Parameters of each use are their own.
            let mut own = Bound::default();
            for letter in ["A", "B", "K", "T", "V"] {
                let used = overload.takes.iter().chain([&overload.gives]);
                if used.clone().any(|t| mentions(t, letter)) {
                    own.add(letter.into(), self.fresh());
                }
            }
            let takes: Vec<Type> = overload.takes.iter().map(|t| own.replaced(t, false)).collect();
            if !self.bound.fits_all(&all, &takes) {
                continue;
            }
            self.fitting.push(overload);
            let gives = self.bound.replaced(&own.replaced(&overload.gives, false), false);
            result = Some(match result {
                Some(before) if !before.is_dyn() && before != gives => Type::Dyn,
                Some(before) => before,
                None => gives,
            });
        }
        result.unwrap_or_else(|| {
            let shown: Vec<String> = all.iter().map(|t| self.bound.replaced(t, true).to_string()).collect();
            let shown = match shown.split_first() {
                Some((of, rest)) if method => format!("{of}.({})", rest.join(", ")),
                _ => format!("({})", shown.join(", ")),
            };
            self.tell(
                at,
                format!("found no matching overload for '{name}' applied to '{shown}'"),
            )
        })
    }

    fn type_found(&self, e: &Expr) -> Type {
        let own = self.notes.get(&e.id()).and_then(|n| n.of.as_ref());
        own.map_or(Type::Dyn, |t| self.bound.replaced(t, true))
    }

    /// A format that is known, and the types of its arguments.
    fn format(&mut self, at: usize, format: &str, items: &[(Expr, bool)]) {
        let types: Vec<Type> = items.iter().map(|(item, _)| self.type_found(item)).collect();
        let deep = |i: usize| self.no_text(&items[i].0).map(|e| (e.at, self.type_found(e)));
        let Some((place, why)) = super::format::check(format, &types, deep) else {
            return;
        };
        let at = match place {
            Some(super::format::Place::Argument(i)) => items[i].0.at,
            Some(super::format::Place::At(at)) => at,
            None => at,
        };
        self.tell(at, why);
    }

    /// A part of a list or a map that cannot be shown as a text.
    fn no_text<'e>(&self, e: &'e Expr) -> Option<&'e Expr> {
        let parts: Vec<&Expr> = match &e.what {
            What::List(items) => items.iter().map(|(item, _)| item).collect(),
            What::Map(entries) => entries.iter().flat_map(|(k, v, _)| [k, v]).collect(),
            _ => return None,
        };
        let part = parts
            .iter()
            .copied()
            .find(|e| !super::format::is_text(&self.type_found(e)));
        part.or_else(|| parts.into_iter().find_map(|p| self.no_text(p)))
    }

    /// Literals that are read when they are evaluated, which may be known to fail (`cel/validator.go`).
    fn literals(&mut self, e: &Expr) {
        if let What::Call(target, name, args) = &e.what {
            if let (Some(on), "format", [list]) = (target.as_deref(), name.as_str(), args.as_slice())
                && let (What::Literal(Value::Text(format)), What::List(items)) = (&on.what, &list.what)
            {
                self.format(e.at, format, items);
            }
            let last = args.last().map(|a| (a.at, &a.what));
            if let (Some((at, What::Literal(Value::Int(_)))), "duration", None) = (last, name.as_str(), target) {
                self.tell(at, "invalid duration argument".to_owned());
            }
            if let Some((at, What::Literal(Value::Text(s)))) = last {
                let wrong = match (name.as_str(), target.is_some(), args.len()) {
                    ("duration", false, 1) => numbers::parse_span(s).is_none(),
                    ("timestamp", false, 1) => super::moment::Moment::parse(s).is_err(),
                    ("matches", true, 1) | ("matches", false, 2) => super::pattern::compile(s).is_err(),
                    _ => false,
                };
                if wrong {
                    self.tell(at, format!("invalid {name} argument"));
                }
            }
        }
        for child in e.children() {
            self.literals(child);
        }
    }
}

fn mentions(t: &Type, letter: &str) -> bool {
    match t {
        Type::Parameter(n) => &**n == letter,
        Type::List(of) => mentions(of, letter),
        Type::Map(k, v) => mentions(k, letter) || mentions(v, letter),
        Type::Opaque(_, of) => of.iter().any(|t| mentions(t, letter)),
        Type::Type(Some(of)) => mentions(of, letter),
        _ => false,
    }
}
