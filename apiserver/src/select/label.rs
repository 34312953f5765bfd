//! Label selectors, in text form (`k8s.io/apimachinery/pkg/labels`) and as objects (`metav1.LabelSelector`).

use super::{SelectError, label_text};
use crate::schema::quote;
use serde_json::Value;
use std::fmt;

/// How a requirement relates a label to its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `a=b`: there with this value.
    Equals,
    /// `a!=b`: not there with this value.
    NotEquals,
    /// `a in (b, c)`: there with one of these values.
    In,
    /// `a notin (b, c)`: not there with one of these values.
    NotIn,
    /// `a`: there.
    Exists,
    /// `!a`: not there.
    DoesNotExist,
    /// `a>1`: there with a greater number.
    GreaterThan,
    /// `a<1`: there with a smaller number.
    LessThan,
}

/// One condition on labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// The relation.
    pub operator: Operator,
    /// The values; sorted.
    pub values: Vec<String>,
}

impl Requirement {
    /// `labels.NewRequirement`, where the number of values is right.
    pub(super) fn new(key: &str, operator: Operator, mut values: Vec<String>) -> Result<Self, SelectError> {
        let mut wrong = Vec::new();
        if let Err(detail) = check_key(key) {
            wrong.push(format!("key: Invalid value: {}: {detail}", quote(key)));
        }
        values.sort();
        if matches!(operator, Operator::GreaterThan | Operator::LessThan) {
            let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
            let none = values.iter().enumerate().filter(|(_, v)| v.parse::<i64>().is_err());
            wrong.extend(none.map(|(i, v)| format!("values[{i}]: Invalid value: {}: {detail}", quote(v))));
        }
        for (i, value) in values.iter().enumerate() {
            if let Err(detail) = check_value(value) {
                wrong.push(format!("values[{i}][{key}]: Invalid value: {}: {detail}", quote(value)));
            }
        }
        match wrong.as_slice() {
            [] => Ok(Self {
                key: key.to_owned(),
                operator,
                values,
            }),
            [one] => Err(malformed(one.clone())),
            all => Err(malformed(format!("[{}]", all.join(", ")))),
        }
    }

    /// Whether labels fulfil it.
    pub fn matches(&self, labels: &Value) -> bool {
        let value = labels.get(&self.key).and_then(Value::as_str);
        let listed = |value: &str| self.values.iter().any(|v| v == value);
        let number = |value: &str| value.parse::<i64>().ok().zip(self.values[0].parse::<i64>().ok());
        match self.operator {
            Operator::Equals | Operator::In => value.is_some_and(listed),
            Operator::NotEquals | Operator::NotIn => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => value.and_then(number).is_some_and(|(a, b)| a > b),
            Operator::LessThan => value.and_then(number).is_some_and(|(a, b)| a < b),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, values) = (&self.key, self.values.join(","));
        match self.operator {
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

/// A parsed label selector: all of its requirements must be fulfilled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSelector {
    /// The requirements, sorted by key; `None` selects nothing.
    requirements: Option<Vec<Requirement>>,
}

impl LabelSelector {
    /// Selects everything.
    pub fn everything() -> Self {
        Self {
            requirements: Some(Vec::new()),
        }
    }

    /// Selects nothing.
    pub fn nothing() -> Self {
        Self { requirements: None }
    }

    fn of(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self {
            requirements: Some(requirements),
        }
    }

    /// From the text form: `a=b,c!=d,e in (x,y),!f,g notin (z),h>1`.
    ///
    /// # Errors
    /// If the text is malformed, with Kubernetes' words.
    pub fn parse(text: &str) -> Result<Self, SelectError> {
        label_text::parse(text).map(Self::of)
    }

    /// From a `metav1.LabelSelector`; null selects nothing, the empty one everything.
    ///
    /// # Errors
    /// If an operator is unknown or has the wrong number of values.
    pub fn from_object(selector: &Value) -> Result<Self, SelectError> {
        if selector.is_null() {
            return Ok(Self::nothing());
        }
        let mut requirements = Vec::new();
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default().to_owned();
            requirements.push(Requirement::new(key, Operator::Equals, vec![value])?);
        }
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let key = expression["key"].as_str().unwrap_or_default();
            let values: Vec<String> = expression["values"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|v| v.as_str().map(str::to_owned))
                .collect();
            let operator = match expression["operator"].as_str().unwrap_or_default() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(malformed(format!(
                        "{} is not a valid label selector operator",
                        quote(other)
                    )));
                }
            };
            match (operator, values.is_empty()) {
                (Operator::In | Operator::NotIn, true) => {
                    let detail = "for 'in', 'notin' operators, values set can't be empty";
                    return Err(malformed(format!("values: Invalid value: []: {detail}")));
                }
                (Operator::Exists | Operator::DoesNotExist, false) => {
                    let values = Value::from(values);
                    let detail = "values set must be empty for exists and does not exist";
                    return Err(malformed(format!("values: Invalid value: {values}: {detail}")));
                }
                _ => requirements.push(Requirement::new(key, operator, values)?),
            }
        }
        Ok(Self::of(requirements))
    }

    /// From a plain map of labels, as a Service or ReplicationController has; null or empty selects nothing.
    pub fn from_map(labels: &Value) -> Self {
        match labels.as_object() {
            Some(labels) if !labels.is_empty() => Self::of(
                labels
                    .iter()
                    .map(|(key, value)| Requirement {
                        key: key.clone(),
                        operator: Operator::Equals,
                        values: vec![value.as_str().unwrap_or_default().to_owned()],
                    })
                    .collect(),
            ),
            _ => Self::nothing(),
        }
    }

    /// Whether an object with these labels (`metadata.labels`, may be null) is selected.
    pub fn matches(&self, labels: &Value) -> bool {
        self.requirements
            .as_ref()
            .is_some_and(|all| all.iter().all(|requirement| requirement.matches(labels)))
    }

    /// Whether everything is selected.
    pub fn is_everything(&self) -> bool {
        self.requirements.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether nothing is selected, whatever its labels.
    pub fn is_nothing(&self) -> bool {
        self.requirements.is_none()
    }

    /// The requirements, sorted by key.
    pub fn requirements(&self) -> &[Requirement] {
        self.requirements.as_deref().unwrap_or_default()
    }
}

impl fmt::Display for LabelSelector {
    /// The text form; nothing for the selector of nothing, as upstream.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requirements: Vec<String> = self.requirements().iter().map(Requirement::to_string).collect();
        f.write_str(&requirements.join(","))
    }
}

pub(super) fn malformed(text: String) -> SelectError {
    SelectError::Malformed(text)
}

/// What is wrong with a label's name, all of it.
pub(super) fn check_key(key: &str) -> Result<(), String> {
    all_of(&crate::defaults::names::qualified_name(key))
}

fn check_value(value: &str) -> Result<(), String> {
    all_of(&crate::defaults::names::label_value(value))
}

fn all_of(wrong: &[String]) -> Result<(), String> {
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_select() {
        let labels = json!({"a": "b", "e": "x", "n": "5", "app.kubernetes.io/name": "web", "empty": ""});
        let cases = [
            ("", true),
            ("a=b", true),
            ("a==b", true),
            ("a=c", false),
            ("a!=c", true),
            ("z!=c", true),
            ("a!=b", false),
            ("a", true),
            ("!a", false),
            ("!z", true),
            ("z", false),
            ("e in (x,y)", true),
            ("e in (y)", false),
            ("e notin (x)", false),
            ("z notin (x)", true),
            ("n>4", true),
            ("n<4", false),
            ("a=b,e in (x, y),!f", true),
            ("app.kubernetes.io/name=web", true),
            (" a = b , e ", true),
            ("empty=", true),
            ("empty=,a", true),
            ("a in (),a=b", false),
        ];
        for (text, selected) in cases {
            assert_eq!(LabelSelector::parse(text).unwrap().matches(&labels), selected, "{text}");
        }
        assert!(LabelSelector::parse("a!=b").unwrap().matches(&Value::Null));
    }

    #[test]
    fn texts_print_back() {
        for text in ["a=b,c!=d", "e in (x,y)", "!f", "g notin (z)", "h", "i>1", ""] {
            assert_eq!(LabelSelector::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(LabelSelector::parse("z,a==b").unwrap().to_string(), "a=b,z");
    }

    #[test]
    fn malformed_texts_are_refused() {
        let cases = [
            ("a=b,", "found '', expected: identifier after ','"),
            ("=b", "found '=', expected: !, identifier, or 'end of string'"),
            (
                "a b",
                "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
            ),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ];
        for (text, expected) in cases {
            assert_eq!(LabelSelector::parse(text).unwrap_err().to_string(), expected, "{text}");
        }
        assert!(LabelSelector::parse("a=b c").is_err());
        assert!(LabelSelector::parse("a/b/c=d").is_err());
        assert!(LabelSelector::parse("a=-").is_err());
        assert!(LabelSelector::parse("a>b").is_err());
        assert!(LabelSelector::parse("a in (b").is_err());
    }

    #[test]
    fn objects_select() {
        let selects = |selector: Value, labels: Value| LabelSelector::from_object(&selector).unwrap().matches(&labels);
        assert!(!selects(Value::Null, json!({"a": "b"})));
        assert!(selects(json!({}), json!({})));
        assert!(selects(json!({"matchLabels": {"a": "b"}}), json!({"a": "b", "c": "d"})));
        let expressions = json!({"matchExpressions": [
            {"key": "a", "operator": "In", "values": ["b"]}, {"key": "x", "operator": "DoesNotExist"},
            {"key": "c", "operator": "NotIn", "values": ["e"]}, {"key": "c", "operator": "Exists"}
        ]});
        assert!(selects(expressions.clone(), json!({"a": "b", "c": "d"})));
        assert!(!selects(expressions, json!({"a": "b", "c": "e"})));
        assert_eq!(
            LabelSelector::from_object(&json!({"matchExpressions": [{"key": "a", "operator": "Near"}]}))
                .unwrap_err()
                .to_string(),
            r#""Near" is not a valid label selector operator"#
        );
        assert!(!LabelSelector::from_map(&json!({})).matches(&json!({})));
        assert!(LabelSelector::from_map(&json!({"a": "b"})).matches(&json!({"a": "b"})));
    }
}
