//! Types of expressions, how they are written and which fit which (cel-go's `checker/types.go`).

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::sync::Arc;

/// A type.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// Anything.
    Dyn,
    /// Anything, of a device's attributes.
    Any,
    /// What an expression has that is wrong.
    Error,
    /// Of `null`.
    Null,
    /// Truth values.
    Bool,
    /// Signed numbers.
    Int,
    /// Unsigned numbers.
    Uint,
    /// Floating point numbers.
    Double,
    /// Texts.
    Text,
    /// Bytes.
    Bytes,
    /// Moments.
    Time,
    /// Spans of time.
    Span,
    /// Lists.
    List(Box<Type>),
    /// Maps.
    Map(Box<Type>, Box<Type>),
    /// Objects whose fields are known.
    Object(Arc<ObjectType>),
    /// Values of a library, known by name.
    Opaque(Arc<str>, Vec<Type>),
    /// Types themselves.
    Type(Option<Box<Type>>),
    /// What is found out by what stands in its place.
    Parameter(Arc<str>),
}

/// An object's type.
#[derive(Debug, Clone)]
pub struct ObjectType {
    /// Its name, by which it is told from others.
    pub name: String,
    /// Its fields.
    pub fields: BTreeMap<String, Type>,
    /// Whether there may be fields of any other name.
    pub open: bool,
}

impl PartialEq for ObjectType {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Type {
    /// An object's.
    #[must_use]
    pub fn object(name: &str, fields: impl IntoIterator<Item = (String, Type)>) -> Self {
        Self::Object(Arc::new(ObjectType {
            name: name.to_owned(),
            fields: fields.into_iter().collect(),
            open: false,
        }))
    }

    /// A list's.
    #[must_use]
    pub fn list(of: Self) -> Self {
        Self::List(Box::new(of))
    }

    /// A map's.
    #[must_use]
    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Box::new(key), Box::new(value))
    }

    /// A library's.
    #[must_use]
    pub fn opaque(name: &str) -> Self {
        Self::Opaque(name.into(), Vec::new())
    }

    /// Of what may be absent.
    #[must_use]
    pub fn optional(of: Self) -> Self {
        Self::Opaque("optional_type".into(), vec![of])
    }

    /// What an optional is of.
    pub(super) fn unwrapped(&self) -> Option<&Self> {
        match self {
            Self::Opaque(name, of) if &**name == "optional_type" => of.first(),
            _ => None,
        }
    }

    pub(super) fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn | Self::Any)
    }

    pub(super) fn is_dyn_or_error(&self) -> bool {
        self.is_dyn() || *self == Self::Error
    }

    /// The name of types that values have, as it is told of results.
    #[must_use]
    pub fn runtime_name(&self) -> String {
        match self {
            Self::Null => "null_type".to_owned(),
            Self::Time => "google.protobuf.Timestamp".to_owned(),
            Self::Span => "google.protobuf.Duration".to_owned(),
            Self::Any => "google.protobuf.Any".to_owned(),
            Self::List(of) => format!("list({})", of.runtime_name()),
            Self::Map(k, v) => format!("map({}, {})", k.runtime_name(), v.runtime_name()),
            Self::Opaque(name, of) if !of.is_empty() => {
                let of: Vec<String> = of.iter().map(Self::runtime_name).collect();
                format!("{name}({})", of.join(", "))
            }
            Self::Type(Some(of)) => format!("type({})", of.runtime_name()),
            other => other.to_string(),
        }
    }

    /// Reads what [`Display`] writes; names of one capital letter are parameters.
    pub(super) fn parse(text: &str) -> Self {
        let (name, of) = match text.split_once('(') {
            Some((name, rest)) => (name, arguments(rest.strip_suffix(')').unwrap_or(rest))),
            None => (text, Vec::new()),
        };
        let mut of = of.into_iter();
        let mut next = || Box::new(of.next().unwrap_or(Self::Dyn));
        match name {
            "dyn" => Self::Dyn,
            "bool" => Self::Bool,
            "int" => Self::Int,
            "uint" => Self::Uint,
            "double" => Self::Double,
            "string" => Self::Text,
            "bytes" => Self::Bytes,
            "timestamp" => Self::Time,
            "duration" => Self::Span,
            "list" => Self::List(next()),
            "map" => {
                let key = next();
                Self::Map(key, next())
            }
            "type" => Self::Type(Some(next())),
            n if n.len() == 1 => Self::Parameter(n.into()),
            n => Self::Opaque(n.into(), of.collect()),
        }
    }

    /// Its parts, each changed by `f`.
    pub(super) fn each(&self, f: &mut impl FnMut(&Self) -> Self) -> Self {
        match self {
            Self::List(of) => Self::list(f(of)),
            Self::Map(k, v) => Self::map(f(k), f(v)),
            Self::Opaque(name, of) => Self::Opaque(name.clone(), of.iter().map(f).collect()),
            Self::Type(Some(of)) => Self::Type(Some(Box::new(f(of)))),
            other => other.clone(),
        }
    }

    fn parts(&self) -> Vec<&Self> {
        match self {
            Self::List(of) => vec![of],
            Self::Map(k, v) => vec![k, v],
            Self::Opaque(_, of) => of.iter().collect(),
            Self::Type(Some(of)) => vec![of],
            _ => Vec::new(),
        }
    }
}

/// Types between commas that stand in no bracket.
pub(super) fn arguments(text: &str) -> Vec<Type> {
    let (mut depth, mut start, mut list) = (0_i32, 0, Vec::new());
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                list.push(Type::parse(text[start..i].trim()));
                start = i + 1;
            }
            _ => {}
        }
    }
    if !text.trim().is_empty() {
        list.push(Type::parse(text[start..].trim()));
    }
    list
}

impl Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => f.write_str("dyn"),
            Self::Any => f.write_str("any"),
            Self::Error => f.write_str("!error!"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::Text => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Time => f.write_str("timestamp"),
            Self::Span => f.write_str("duration"),
            Self::List(of) => write!(f, "list({of})"),
            Self::Map(k, v) => write!(f, "map({k}, {v})"),
            Self::Object(o) => f.write_str(&o.name),
            Self::Opaque(name, of) if of.is_empty() => f.write_str(name),
            Self::Opaque(name, of) => {
                let of: Vec<String> = of.iter().map(Self::to_string).collect();
                write!(f, "{name}({})", of.join(", "))
            }
            Self::Type(None) => f.write_str("type"),
            Self::Type(Some(of)) => write!(f, "type({of})"),
            Self::Parameter(name) => f.write_str(name),
        }
    }
}

/// What parameters were found to stand for.
#[derive(Debug, Clone, Default)]
pub(super) struct Bound(BTreeMap<Arc<str>, Type>);

impl Bound {
    pub(super) fn add(&mut self, name: Arc<str>, of: Type) {
        self.0.insert(name, of);
    }

    /// The type with its parameters replaced by what they stand for; those that stand for nothing yet become `dyn` at
    /// the end.
    pub(super) fn replaced(&self, t: &Type, end: bool) -> Type {
        match t {
            Type::Parameter(name) => match self.0.get(name) {
                Some(of) => self.replaced(of, end),
                None if end => Type::Dyn,
                None => t.clone(),
            },
            other => other.each(&mut |part| self.replaced(part, end)),
        }
    }

    /// Whether values of `these` may stand where `those` are wanted; what is learnt is kept if so.
    pub(super) fn fits_all(&mut self, these: &[Type], those: &[Type]) -> bool {
        let before = self.0.clone();
        let fit = these.len() == those.len() && these.iter().zip(those).all(|(a, b)| self.fit(a, b));
        if !fit {
            self.0 = before;
        }
        fit
    }

    pub(super) fn fits(&mut self, a: &Type, b: &Type) -> bool {
        self.fits_all(std::slice::from_ref(a), std::slice::from_ref(b))
    }

    fn fit(&mut self, a: &Type, b: &Type) -> bool {
        if let Type::Parameter(name) = b {
            let (valid, known) = self.stands_for(a, name);
            if valid || known {
                return valid;
            }
        }
        if let Type::Parameter(name) = a {
            return self.stands_for(b, name).0;
        }
        if a.is_dyn_or_error() || b.is_dyn_or_error() {
            return true;
        }
        let nullable = |t: &Type| {
            matches!(
                t,
                Type::Null | Type::Opaque(..) | Type::Object(_) | Type::Time | Type::Span
            )
        };
        match (a, b) {
            (Type::Null, other) | (other, Type::Null) => nullable(other),
            (Type::Type(_), Type::Type(_)) => true,
            (Type::List(a), Type::List(b)) => self.fit(a, b),
            (Type::Map(k, v), Type::Map(l, w)) => self.fit(k, l) && self.fit(v, w),
            (Type::Opaque(n, of), Type::Opaque(m, to)) => {
                n == m && of.len() == to.len() && of.iter().zip(to).all(|(a, b)| self.fit(a, b))
            }
            (a, b) => a == b,
        }
    }

    /// Whether a type may stand for a parameter, and whether something stands for that already.
    fn stands_for(&mut self, t: &Type, name: &Arc<str>) -> (bool, bool) {
        let own = Type::Parameter(name.clone());
        if *t == own {
            return (true, true);
        }
        if let Some(now) = self.0.get(name).cloned() {
            if *t == now {
                return (true, true);
            }
            if self.fit(t, &now) {
                let wider = most_general(t, &now);
                if self.is_free_of(name, &wider) {
                    self.0.insert(name.clone(), wider);
                }
                return (true, true);
            }
            return (false, true);
        }
        let free = self.is_free_of(name, t);
        if free {
            self.0.insert(name.clone(), t.clone());
        }
        (free, false)
    }

    /// Whether a parameter does not occur in a type.
    fn is_free_of(&self, name: &Arc<str>, t: &Type) -> bool {
        match t {
            Type::Parameter(n) => n != name && self.0.get(n).is_none_or(|of| self.is_free_of(name, of)),
            other => other.parts().into_iter().all(|part| self.is_free_of(name, part)),
        }
    }
}

/// The type that says less.
pub(super) fn most_general(a: &Type, b: &Type) -> Type {
    if says_no_more(a, b) { a.clone() } else { b.clone() }
}

fn says_no_more(a: &Type, b: &Type) -> bool {
    let free = |t: &Type| t.is_dyn() || matches!(t, Type::Parameter(_));
    if free(a) || free(b) {
        return free(a);
    }
    match (a, b) {
        (Type::List(a), Type::List(b)) => says_no_more(a, b),
        (Type::Map(k, v), Type::Map(l, w)) => says_no_more(k, l) && says_no_more(v, w),
        (Type::Type(_), Type::Type(_)) => true,
        (Type::Opaque(n, of), Type::Opaque(m, to)) => {
            n == m && of.len() == to.len() && of.iter().zip(to).all(|(a, b)| says_no_more(a, b))
        }
        (a, b) => a == b,
    }
}
