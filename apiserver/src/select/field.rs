//! Field selectors (`k8s.io/apimachinery/pkg/fields`).

use super::SelectError;
use crate::schema::quote;
use serde_json::Value;
use std::fmt;

/// One condition on a field.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    field: String,
    equals: bool,
    value: String,
}

/// A parsed field selector: all of its conditions must be fulfilled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSelector {
    terms: Vec<Term>,
}

impl FieldSelector {
    /// From the text form: `metadata.name=a,status.phase!=Running`. `\`, `,` and `=` in values are escaped by `\`.
    ///
    /// # Errors
    /// If the text is malformed, with Kubernetes' words.
    pub fn parse(text: &str) -> Result<Self, SelectError> {
        let mut terms = Vec::new();
        let mut parts = split(text);
        // As upstream: the first one that is wrong is told.
        parts.sort();
        for term in parts {
            if term.is_empty() {
                continue;
            }
            let invalid = || SelectError::Malformed(format!("invalid selector: '{text}'; can't understand '{term}'"));
            let (field, operator, value) = split_term(&term).ok_or_else(invalid)?;
            let value = unescape(value)?;
            // Nothing that is nothing is no condition (`hasTerm.Transform`).
            if field.is_empty() && value.is_empty() {
                continue;
            }
            terms.push(Term {
                field: field.to_owned(),
                equals: operator != "!=",
                value,
            });
        }
        Ok(Self { terms })
    }

    /// Selects by name.
    #[must_use]
    pub fn name(name: &str) -> Self {
        Self {
            terms: vec![Term {
                field: "metadata.name".to_owned(),
                equals: true,
                value: name.to_owned(),
            }],
        }
    }

    /// Refuses fields that objects of this kind cannot be selected by. `crd_fields` are a CRD's `selectableFields`
    /// without their leading dot; give `None` for built-in kinds.
    ///
    /// # Errors
    /// For the first such field.
    pub fn check(&self, group: &str, kind: &str, crd_fields: Option<&[String]>) -> Result<(), SelectError> {
        for Term { field, .. } in &self.terms {
            let spaced = !matches!(
                (group, kind),
                ("", "Node" | "Namespace") | ("certificates.k8s.io", "CertificateSigningRequest")
            );
            let common = field == "metadata.name" || spaced && field == "metadata.namespace";
            let own = match crd_fields {
                Some(fields) => fields.iter().any(|f| f == field),
                None => selectable(group, kind).contains(&field.as_str()),
            };
            if !common && !own {
                let detail = match (crd_fields, selectable(group, kind).is_empty()) {
                    (None, true) => format!(
                        "{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                        quote(field.as_str())
                    ),
                    // `pkg/apis/batch/v1/conversion.go` has words of its own.
                    _ if (group, kind) == ("batch", "Job") => {
                        format!("field label {} not supported for Job", quote(field.as_str()))
                    }
                    _ if kind == "ResourceSlice" && crd_fields.is_none() => {
                        format!("field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: {field}")
                    }
                    _ => field.clone(),
                };
                return Err(match (crd_fields, selectable(group, kind).is_empty()) {
                    (None, true) => SelectError::Malformed(detail),
                    _ if (group, kind) == ("batch", "Job") || kind == "ResourceSlice" && crd_fields.is_none() => {
                        SelectError::Malformed(detail)
                    }
                    _ => SelectError::NotSupported(detail),
                });
            }
        }
        Ok(())
    }

    /// Whether an object is selected. A field that is not there is the empty string.
    pub fn matches(&self, object: &Value) -> bool {
        self.terms
            .iter()
            .all(|term| (field_text(object, &term.field) == term.value) == term.equals)
    }

    /// The value `field` must equal, where the selector demands one (`metadata.name` for single-object watches).
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|term| term.equals && term.field == field)
            .map(|term| term.value.as_str())
    }

    /// Whether everything is selected.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, term) in self.terms.iter().enumerate() {
            let value = term.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            let operator = if term.equals { "=" } else { "!=" };
            write!(f, "{}{}{operator}{value}", if i == 0 { "" } else { "," }, term.field)?;
        }
        Ok(())
    }
}

/// Fields that a built-in kind is selected by besides its name and namespace (the conversion functions of
/// `pkg/apis/*/*/conversion.go` in Kubernetes).
fn selectable(group: &str, kind: &str) -> &'static [&'static str] {
    match (group, kind) {
        ("", "Pod") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        ("", "Node") => &["spec.unschedulable"],
        ("", "Namespace") => &["status.phase"],
        ("", "Secret") => &["type"],
        ("", "Service") => &["spec.clusterIP", "spec.type"],
        ("", "ReplicationController") => &["status.replicas"],
        ("", "Event") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ("events.k8s.io", "Event") => &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
        ("batch", "Job") => &["status.successful"],
        ("certificates.k8s.io", "CertificateSigningRequest") => &["spec.signerName"],
        ("resource.k8s.io", "ResourceSlice") => &["spec.nodeName", "spec.driver"],
        _ => &[],
    }
}

/// A field's value as text. Some names are not paths but those of upstream's field sets.
fn field_text(object: &Value, field: &str) -> String {
    let path: Vec<&str> = match field {
        "status.successful" => vec!["status", "succeeded"],
        // pkg/registry/core/event: ToSelectableFields.
        "source" => match object["source"]["component"].as_str() {
            None | Some("") => vec!["reportingComponent"],
            Some(_) => vec!["source", "component"],
        },
        "status.podIPs" => vec!["status", "podIP"],
        _ => field.split('.').collect(),
    };
    let value = path.iter().try_fold(object, |value, name| value.get(name));
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
        _ => match field {
            // Not there means its zero value, which is not the empty text for these.
            "spec.unschedulable" | "spec.hostNetwork" => "false".to_owned(),
            "status.replicas" | "status.successful" => "0".to_owned(),
            _ => String::new(),
        },
    }
}

/// Splits at commas that are not escaped.
fn split(text: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        if c == ',' && !escaped {
            terms.push(String::new());
        } else if let Some(term) = terms.last_mut() {
            term.push(c);
        }
        escaped = c == '\\' && !escaped;
    }
    terms
}

/// Splits a term at its operator, the first one in it.
fn split_term(term: &str) -> Option<(&str, &str, &str)> {
    (0..term.len()).filter(|i| term.is_char_boundary(*i)).find_map(|i| {
        let operator = ["!=", "==", "="]
            .into_iter()
            .find(|operator| term[i..].starts_with(operator))?;
        Some((&term[..i], operator, &term[i + operator.len()..]))
    })
}

fn unescape(text: &str) -> Result<String, SelectError> {
    let mut result = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => result.push(c),
                Some(c) => {
                    return Err(SelectError::Malformed(format!(
                        "invalid field selector: invalid escape sequence: \\{c}"
                    )));
                }
                None => {
                    return Err(SelectError::Malformed(
                        "invalid field selector: invalid escape sequence: \\".to_owned(),
                    ));
                }
            },
            ',' | '=' => {
                // Upstream prints the character as a number.
                return Err(SelectError::Malformed(format!(
                    "invalid field selector: unescaped character in value: {}",
                    u32::from(c)
                )));
            }
            c => result.push(c),
        }
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_select() {
        let pod = json!({"metadata": {"name": "a,b"}, "spec": {"nodeName": "n"}, "status": {"phase": "Running"}});
        let cases = [
            ("", true),
            ("spec.nodeName=n", true),
            ("spec.nodeName==n", true),
            ("spec.nodeName!=n", false),
            ("status.phase!=Failed,spec.nodeName=n", true),
            (r"metadata.name=a\,b", true),
            ("spec.hostNetwork=false", true),
            ("spec.schedulerName=", true),
            ("status.phase=Failed", false),
        ];
        for (text, selected) in cases {
            assert_eq!(FieldSelector::parse(text).unwrap().matches(&pod), selected, "{text}");
        }
        let selector = FieldSelector::parse("metadata.name=x,status.phase!=y").unwrap();
        assert_eq!(
            (selector.exact("metadata.name"), selector.exact("status.phase")),
            (Some("x"), None)
        );
        assert_eq!(selector.to_string(), "metadata.name=x,status.phase!=y");
    }

    #[test]
    fn the_source_of_an_event_may_be_its_controller() {
        let selects = |e: Value| FieldSelector::parse("source=c").unwrap().matches(&e);
        assert!(selects(
            json!({"source": {"component": "c"}, "reportingComponent": "d"})
        ));
        assert!(selects(json!({"source": {}, "reportingComponent": "c"})));
        assert!(!selects(
            json!({"source": {"component": "d"}, "reportingComponent": "c"})
        ));
    }

    #[test]
    fn malformed_texts_are_refused() {
        assert_eq!(
            FieldSelector::parse("a").unwrap_err().to_string(),
            "invalid selector: 'a'; can't understand 'a'"
        );
        assert!(FieldSelector::parse(r"a=b\x").is_err());
        assert!(FieldSelector::parse("a=b=c").is_err());
    }

    #[test]
    fn unknown_fields_are_refused() {
        let selector = FieldSelector::parse("spec.foo=1").unwrap();
        assert_eq!(
            selector.check("", "Pod", None).unwrap_err().to_string(),
            "field label not supported: spec.foo"
        );
        assert!(selector.check("", "ConfigMap", None).is_err());
        assert!(selector.check("x", "X", Some(&["spec.foo".to_owned()])).is_ok());
        assert!(
            FieldSelector::parse("spec.nodeName=1,metadata.namespace=x")
                .unwrap()
                .check("", "Pod", None)
                .is_ok()
        );
    }
}
