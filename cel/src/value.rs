//! Values.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use std::net::IpAddr;

use jiff::SignedDuration;

use super::list::List;
use super::moment::Moment;
use super::quantity::Quantity;
use super::semver::Version;
use super::url::Url;

/// A value of an expression.
#[derive(Debug, Clone)]
pub enum Value {
    /// `null`.
    Null,
    /// A truth value.
    Bool(bool),
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    Uint(u64),
    /// A floating point number.
    Double(f64),
    /// Text.
    Text(Arc<str>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A list.
    List(Arc<List>),
    /// A map, or an object.
    Map(Arc<BTreeMap<Key, Value>>),
    /// A moment.
    Time(Moment),
    /// A span of time.
    Span(SignedDuration),
    /// A Kubernetes quantity.
    Quantity(Quantity),
    /// A semantic version.
    Semver(Arc<Version>),
    /// A type.
    Type(&'static str),
    /// A named format.
    Format(&'static str),
    /// An address.
    Ip(IpAddr),
    /// A network, and the bits that its addresses have in common.
    Cidr(IpAddr, u8),
    /// An URL.
    Url(Arc<Url>),
    /// What has no value: why whoever asks for it is refused.
    Wrong(Arc<str>),
    /// Something that may be absent.
    Optional(Option<Box<Value>>),
}

/// A key of a map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A truth value.
    Bool(bool),
    /// A number, signed or not.
    Int(i128),
    /// Text.
    Text(Arc<str>),
    /// A number that is not whole: its bits.
    Double(u64),
    /// A moment.
    Time(Moment),
    /// A span of time.
    Span(SignedDuration),
}

impl Value {
    /// Text.
    #[must_use]
    pub fn text(s: &str) -> Self {
        Self::Text(s.into())
    }

    /// A list.
    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::List(Arc::new(items.into()))
    }

    /// From JSON: whole numbers are integers.
    #[must_use]
    pub fn from_json(v: &serde_json::Value) -> Self {
        use serde_json::Value as J;
        match v {
            J::Null => Self::Null,
            J::Bool(b) => Self::Bool(*b),
            J::Number(n) => match (n.as_i64(), n.as_u64()) {
                (Some(i), _) => Self::Int(i),
                (_, Some(u)) => Self::Uint(u),
                _ => Self::Double(n.as_f64().unwrap_or_default()),
            },
            J::String(s) => Self::text(s),
            J::Array(a) => Self::list(a.iter().map(Self::from_json).collect()),
            J::Object(o) => {
                let entries = o
                    .iter()
                    .map(|(k, v)| (Key::Text(k.as_str().into()), Self::from_json(v)));
                Self::Map(Arc::new(entries.collect()))
            }
        }
    }

    /// As JSON; `None`: it has no form there (a type, an optional that is empty).
    #[must_use]
    pub fn to_json(&self) -> Option<serde_json::Value> {
        use base64::Engine;
        use serde_json::{Value as J, json};
        Some(match self {
            Self::Null => J::Null,
            Self::Bool(b) => json!(b),
            Self::Int(n) => json!(n),
            Self::Uint(n) => json!(n),
            Self::Double(n) => json!(n),
            Self::Text(s) => json!(&**s),
            Self::Bytes(b) => json!(base64::engine::general_purpose::STANDARD.encode(b)),
            Self::List(l) => J::Array(l.iter().map(Self::to_json).collect::<Option<_>>()?),
            Self::Map(m) => {
                let mut o = serde_json::Map::new();
                for (k, v) in &**m {
                    o.insert(k.to_text(), v.to_json()?);
                }
                J::Object(o)
            }
            Self::Time(t) => json!(t.to_string()),
            Self::Span(d) => json!(super::numbers::span_text(*d)),
            Self::Quantity(q) => json!(q.to_string()),
            Self::Optional(Some(v)) => v.to_json()?,
            Self::Semver(v) => json!(v.to_string()),
            Self::Ip(a) => json!(super::address::text(*a)),
            Self::Cidr(a, bits) => json!(format!("{}/{bits}", super::address::text(*a))),
            Self::Url(u) => json!(u.text),
            Self::Wrong(_) | Self::Type(_) | Self::Format(_) | Self::Optional(None) => return None,
        })
    }

    /// The name of its type.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Time(_) => "google.protobuf.Timestamp",
            Self::Span(_) => "google.protobuf.Duration",
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Type(_) => "type",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Ip(_) => "net.IP",
            Self::Cidr(..) => "net.CIDR",
            Self::Url(_) => "kubernetes.URL",
            Self::Wrong(_) => "error",
            Self::Optional(_) => "optional_type",
        }
    }

    /// As a key of a map.
    pub(super) fn key(&self) -> Option<Key> {
        Some(match self {
            Self::Bool(b) => Key::Bool(*b),
            Self::Int(n) => Key::Int(i128::from(*n)),
            Self::Uint(n) => Key::Int(i128::from(*n)),
            Self::Double(n) if n.fract() == 0.0 && n.abs() < 9e18 => Key::Int(*n as i128),
            Self::Double(n) => Key::Double(n.to_bits()),
            Self::Text(s) => Key::Text(s.clone()),
            Self::Time(t) => Key::Time(*t),
            Self::Span(d) => Key::Span(*d),
            _ => return None,
        })
    }

    /// Order, where there is one: numbers compare across their types.
    pub(super) fn order(&self, other: &Self) -> Option<Ordering> {
        if let (Some(a), Some(b)) = (self.whole(), other.whole()) {
            return Some(a.cmp(&b));
        }
        if let (Some(a), Some(b)) = (self.number(), other.number()) {
            return a.partial_cmp(&b);
        }
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Time(a), Self::Time(b)) => Some(a.cmp(b)),
            (Self::Span(a), Self::Span(b)) => Some(a.cmp(b)),
            (Self::Quantity(a), Self::Quantity(b)) => Some(a.cmp(b)),
            (Self::Semver(a), Self::Semver(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }

    fn whole(&self) -> Option<i128> {
        match self {
            Self::Int(n) => Some(i128::from(*n)),
            Self::Uint(n) => Some(i128::from(*n)),
            _ => None,
        }
    }

    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Int(n) => Some(*n as f64),
            Self::Uint(n) => Some(*n as f64),
            Self::Double(n) => Some(*n),
            _ => None,
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Map(a), Self::Map(b)) => a == b,
            (Self::Type(a), Self::Type(b)) | (Self::Format(a), Self::Format(b)) => a == b,
            (Self::Optional(a), Self::Optional(b)) => a == b,
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a, bits), Self::Cidr(b, more)) => a == b && bits == more,
            (Self::Url(a), Self::Url(b)) => a.text == b.text,
            (a, b) => a.order(b) == Some(Ordering::Equal),
        }
    }
}

impl Key {
    pub(super) fn value(&self) -> Value {
        match self {
            Self::Bool(b) => Value::Bool(*b),
            Self::Int(n) => {
                i64::try_from(*n).map_or_else(|_| Value::Uint(u64::try_from(*n).unwrap_or_default()), Value::Int)
            }
            Self::Text(s) => Value::Text(s.clone()),
            Self::Double(bits) => Value::Double(f64::from_bits(*bits)),
            Self::Time(t) => Value::Time(*t),
            Self::Span(d) => Value::Span(*d),
        }
    }

    pub(super) fn to_text(&self) -> String {
        match self {
            Self::Bool(b) => b.to_string(),
            Self::Int(n) => n.to_string(),
            Self::Text(s) => s.to_string(),
            Self::Double(bits) => super::numbers::double_text(f64::from_bits(*bits)),
            Self::Time(t) => t.to_string(),
            Self::Span(d) => super::numbers::span_text(*d),
        }
    }
}
