//! The part of CEL (Common Expression Language, cel-spec) that selectors use: literals, operators, field access,
//! indexing, the macros `has`, `all`, `exists`, `exists_one`, `filter`, `map`, the functions on strings and lists, and of
//! Kubernetes' and Open Cluster Management's libraries `quantity`, `semver`, `scores`, `parseJSON`.

mod eval;
mod function;
mod lex;
mod parse;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value as Json;

use super::quantity::Amount;

/// Why an expression cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} at character {at}")]
pub struct CelError {
    /// Where, from 1.
    pub at: usize,
    /// What is wrong.
    pub message: String,
}

/// A compiled expression.
#[derive(Debug, Clone)]
pub struct Program {
    root: parse::Expr,
}

impl Program {
    /// Reads an expression over `variables`.
    ///
    /// # Errors
    /// When it does not parse, or speaks of a variable or function that there is not.
    pub fn compile(text: &str, variables: &[&str]) -> Result<Self, CelError> {
        let root = parse::parse(text, variables)?;
        Ok(Self { root })
    }

    /// Its value.
    ///
    /// # Errors
    /// What cel-go reports: no such key, no such overload, division by zero, overflow.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<Value, String> {
        eval::Frame::new(scope).eval(&self.root)
    }

    /// Whether it evaluates, and to true.
    #[must_use]
    pub fn holds(&self, scope: &Scope<'_>) -> bool {
        self.evaluate(scope) == Ok(Value::Bool(true))
    }
}

/// Names and values of an add-on's scores.
pub type Scores = Vec<(String, i64)>;

/// What an expression sees.
pub struct Scope<'a> {
    variables: BTreeMap<&'a str, Value>,
    scores: Box<dyn Fn(&str) -> Scores + 'a>,
}

impl<'a> Scope<'a> {
    /// `managedCluster`, with its add-on scores by resource name.
    pub fn managed_cluster(cluster: &Json, scores: impl Fn(&str) -> Scores + 'a) -> Self {
        Self {
            variables: BTreeMap::from([("managedCluster", Value::from(cluster))]),
            scores: Box::new(scores),
        }
    }
}

/// A value.
#[derive(Debug, Clone)]
pub enum Value {
    /// null
    Null,
    /// bool
    Bool(bool),
    /// int
    Int(i64),
    /// uint
    Uint(u64),
    /// double
    Double(f64),
    /// string
    Str(String),
    /// list
    List(Vec<Value>),
    /// map with string keys
    Map(BTreeMap<String, Value>),
    /// Kubernetes quantity
    Quantity(Amount),
    /// Version: major, minor, patch, pre-release.
    Semver(u64, u64, u64, String),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Str(_) => "string",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Semver(..) => "kubernetes.Semver",
        }
    }
}

impl From<&Json> for Value {
    fn from(v: &Json) -> Self {
        match v {
            Json::Null => Self::Null,
            Json::Bool(b) => Self::Bool(*b),
            Json::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
                (Some(i), _, _) => Self::Int(i),
                (_, Some(u), _) => Self::Uint(u),
                (_, _, f) => Self::Double(f.unwrap_or(f64::NAN)),
            },
            Json::String(s) => Self::Str(s.clone()),
            Json::Array(a) => Self::List(a.iter().map(Self::from).collect()),
            Json::Object(o) => Self::Map(o.iter().map(|(k, v)| (k.clone(), Self::from(v))).collect()),
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        if let Some(order) = eval::numbers(self, other) {
            return order == Some(std::cmp::Ordering::Equal);
        }
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Str(a), Self::Str(b)) => a == b,
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Map(a), Self::Map(b)) => a == b,
            (Self::Quantity(a), Self::Quantity(b)) => a == b,
            (Self::Semver(a, b, c, d), Self::Semver(e, f, g, h)) => (a, b, c, d) == (e, f, g, h),
            _ => false,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(b) => write!(f, "{b}"),
            Self::Int(n) => write!(f, "{n}"),
            Self::Uint(n) => write!(f, "{n}"),
            Self::Double(n) => write!(f, "{n}"),
            Self::Str(s) => f.write_str(s),
            other => f.write_str(other.kind()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn value(text: &str) -> Result<Value, String> {
        let cluster = json!({"metadata": {"name": "c1", "labels": {"env": "prod", "n": "3"}},
            "status": {"version": {"kubernetes": "v1.36.3"}, "allocatable": {"cpu": "1500m"},
                "clusterClaims": [{"name": "cloud", "value": "Amazon"}, {"name": "zone", "value": "z1"}]}});
        let scope = Scope::managed_cluster(&cluster, |r| {
            if r == "a" {
                vec![("x".into(), 90), ("y".into(), 10)]
            } else {
                Vec::new()
            }
        });
        let program = Program::compile(text, &["managedCluster"]).map_err(|e| e.to_string())?;
        program.evaluate(&scope)
    }

    #[test]
    fn expressions_that_hold() {
        for text in [
            "true",
            "1 + 2 * 3 == 7 && -2 - -3 == 1 && 7 % 4 == 3 && 7 / 2 == 3",
            "1.5 < 2 && 2 <= 2.0 && 1u == 1 && 'a' < 'b' && 0x10 == 16 && 1e3 == 1000.0",
            "managedCluster.metadata.labels['env'] == \"prod\"",
            "managedCluster.metadata.labels.env.startsWith('pr') && managedCluster.metadata.name.matches('^c[0-9]+$')",
            "managedCluster.status.clusterClaims.exists(c, c.name == 'cloud' && c.value == 'Amazon')",
            "managedCluster.status.clusterClaims.exists_one(c, c.name == 'zone')",
            "managedCluster.status.clusterClaims.map(c, c.name) == ['cloud', 'zone']",
            "managedCluster.status.clusterClaims.filter(c, c.value in ['z1', 'z2']).size() == 1",
            "managedCluster.scores('a').filter(s, s.name == 'x').all(e, e.value > 80)",
            "managedCluster.scores('none').all(e, e.value > 80) && size(managedCluster.scores('a')) == 2",
            "!has(managedCluster.metadata.labels.gpu) && has(managedCluster.metadata.labels.env)",
            "'env' in managedCluster.metadata.labels && !('x' in managedCluster.metadata.labels)",
            "int(managedCluster.metadata.labels.n) > 2 ? true : false",
            "managedCluster.metadata.labels.gpu == 'x' || true",
            "!(managedCluster.metadata.labels.gpu == 'x' && false)",
            "quantity(managedCluster.status.allocatable.cpu).isGreaterThan(quantity('1'))",
            "quantity('1Gi').compareTo(quantity('1024Mi')) == 0 && isQuantity('1k') && !isQuantity('k')",
            "quantity('1').add(quantity('500m')) == quantity('1500m')",
            "semver(managedCluster.status.version.kubernetes, true).isGreaterThan(semver('1.30.0'))",
            "semver('1.2.3').minor() == 2 && !isSemver('v1') && semver('1.0.0-a').isLessThan(semver('1.0.0'))",
            "managedCluster.parseJSON('{\"a\": [1, 2]}').a[1] == 2",
            "{'k': [1, 2]}.k.size() == 2 && [1, 2] + [3] == [1, 2, 3] && 'a' + 'b' == 'ab'",
            "'a,b'.split(',') == ['a', 'b'] && 'A'.lowerAscii() == 'a' && ' x '.trim() == 'x' && 'abc'.substring(1) == 'bc'",
            "'x'.contains('x') && r'\\d' == '\\\\d' && 'tab\\t'.size() == 4 && \"\"\"a\"b\"\"\" == 'a\"b'",
        ] {
            assert_eq!(value(text), Ok(Value::Bool(true)), "{text}");
        }
    }

    #[test]
    fn expressions_that_fail() {
        for (text, why) in [
            ("invalid.expression", "undeclared reference to 'invalid' at character 1"),
            ("foo(1)", "undeclared reference to 'foo' at character 1"),
            ("1 +", "unexpected end at character 4"),
            ("'a", "unterminated string at character 1"),
            ("1 ! 2", "unexpected '!' at character 3"),
            ("managedCluster.metadata.labels.gpu == 'x'", "no such key: gpu"),
            ("1 + 'a'", "no such overload: int + string"),
            ("1 / 0", "division by zero"),
            ("9223372036854775807 + 1", "integer overflow"),
            ("[1][3]", "index out of bounds: 3"),
            ("quantity('x')", "not a quantity: x"),
        ] {
            assert_eq!(value(text).unwrap_err(), why, "{text}");
        }
        assert!(value(&"(".repeat(5000)).is_err());
        assert!(value(&"!".repeat(5000)).is_err());
    }
}
