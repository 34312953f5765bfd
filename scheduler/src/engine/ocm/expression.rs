//! Expressions of a Placement's selectors: CEL over `managedCluster`, which has two methods of Open Cluster Management's
//! own: `scores(RESOURCE)`, the add-on scores of that name, and `parseJSON(TEXT)`.

use cfn_cel::{CelError, Program, Scope, Value};
use serde_json::{Value as Json, json};

/// What an expression speaks of.
const SUBJECT: &str = "managedCluster";
/// The methods it has here.
const METHODS: [&str; 2] = ["scores", "parseJSON"];

/// Names and values of an add-on's scores.
pub(super) type Scores = Vec<(String, i64)>;

/// An expression that was read.
#[derive(Debug)]
pub(super) struct Expression(Program);

impl Expression {
    /// Reads one.
    pub(super) fn compile(text: &str) -> Result<Self, CelError> {
        Program::compile_with(text, &[SUBJECT], &METHODS).map(Self)
    }

    fn evaluate(&self, cluster: &Json, scores: &dyn Fn(&str) -> Scores) -> Result<Value, CelError> {
        let scope = Scope::from([(SUBJECT.to_owned(), Value::from_json(cluster))]);
        self.0
            .evaluate_with(&scope, &|name, on, arguments| match (name, on, arguments) {
                ("scores", Value::Map(_), [Value::Text(resource)]) => {
                    let all = scores(resource);
                    let all = all
                        .iter()
                        .map(|(name, value)| json!({"name": name, "value": value}))
                        .collect();
                    Some(Ok(Value::from_json(&Json::Array(all))))
                }
                ("parseJSON", Value::Map(_), [Value::Text(text)]) => Some(
                    serde_json::from_str(text)
                        .map(|v| Value::from_json(&v))
                        .map_err(|e| CelError::evaluation(format!("not JSON: {e}"))),
                ),
                _ => None,
            })
    }

    /// Whether it is true of a cluster; what does not evaluate is not.
    pub(super) fn holds(&self, cluster: &Json, scores: &dyn Fn(&str) -> Scores) -> bool {
        matches!(self.evaluate(cluster, scores), Ok(Value::Bool(true)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<Value, String> {
        let cluster = json!({"metadata": {"name": "c1", "labels": {"env": "prod", "n": "3"}},
            "status": {"version": {"kubernetes": "v1.36.3"}, "allocatable": {"cpu": "1500m"},
                "clusterClaims": [{"name": "cloud", "value": "Amazon"}, {"name": "zone", "value": "z1"}]}});
        let scores = |r: &str| {
            if r == "a" {
                vec![("x".into(), 90), ("y".into(), 10)]
            } else {
                Vec::new()
            }
        };
        let e = Expression::compile(text).map_err(|e| e.to_string())?;
        e.evaluate(&cluster, &scores).map_err(|e| e.to_string())
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
            ("invalid.expression", "undeclared reference to 'invalid'"),
            ("foo(1)", "undeclared reference to 'foo'"),
            ("managedCluster.status.rank()", "undeclared reference to 'rank'"),
            ("1 +", "1:4: Syntax error"),
            ("'a", "1:1: Syntax error"),
            ("1 ! 2", "1:3: Syntax error"),
            ("managedCluster.metadata.labels.gpu == 'x'", "no such key: gpu"),
            ("1 + 'a'", "no such overload"),
            ("1 / 0", "division by zero"),
            ("9223372036854775807 + 1", "integer overflow"),
            ("[1][3]", "index out of bounds: 3"),
            ("quantity('x')", "quantities must match"),
            ("managedCluster.parseJSON('{')", "not JSON"),
        ] {
            let said = value(text).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
        assert!(value(&"(".repeat(5000)).is_err());
        assert!(value(&"!".repeat(5000)).is_err());
    }
}
