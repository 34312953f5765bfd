//! What rules of a schema see, how often they may be asked, and what all of them cost
//! (`apiextensions-apiserver/pkg/apis/apiextensions/validation/cel_validation.go`).

use serde_json::Value;

use super::structural::most_elements;
use crate::schema::FieldError;

/// Most that the rules of a definition's schema may cost together.
const ALL: u64 = 100_000_000;
/// Most that one expression may cost.
const ONE: u64 = 10_000_000;

/// Where a schema stands.
#[derive(Debug, Clone)]
pub(super) struct Context<'s> {
    pub(super) schema: &'s Value,
    /// It is an object of its own kind.
    pub(super) root: bool,
    /// How often there may be a value of it in one object, if that has a bound.
    pub(super) most: Option<u64>,
}

impl<'s> Context<'s> {
    pub(super) fn root(schema: &'s Value) -> Self {
        Self {
            schema,
            root: true,
            most: Some(1),
        }
    }

    /// Of a part of the schema.
    pub(super) fn of(&self, part: &'s Value) -> Self {
        let most = self.most.zip(most_elements(self.schema));
        Self {
            schema: part,
            root: part["x-kubernetes-embedded-resource"] == true,
            most: most.map(|(a, b)| a.saturating_mul(b)),
        }
    }

    /// What an expression costs in one object, which is at most `each` for one value of `least` bytes.
    pub(super) fn cost(&self, each: u64, least: u64) -> u64 {
        let most = self.most.unwrap_or(cfn_cel::cost::MAX_REQUEST / (least + 1));
        each.saturating_mul(most)
    }
}

/// What the expressions of a schema cost: all of them, and where the dearest are.
#[derive(Debug, Default)]
pub(super) struct Costs {
    total: u64,
    dearest: Vec<(u64, String)>,
}

impl Costs {
    /// Takes notice of an expression's cost; what it is told if that is too much.
    pub(super) fn add(&mut self, path: &str, cost: u64, what: &str) -> Option<FieldError> {
        self.total = self.total.saturating_add(cost);
        if cost >= ALL / 100 {
            self.dearest.push((cost, path.to_owned()));
            self.dearest.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
            self.dearest.truncate(4);
        }
        (cost > ONE).then(|| FieldError::forbidden(path, exceeded(what, cost, ONE)))
    }

    /// What is wrong with all of them together.
    pub(super) fn errors(&self, path: &str) -> Vec<FieldError> {
        if self.total <= ALL {
            return Vec::new();
        }
        let detail = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
        let dearest = self.dearest.iter().map(|(_, at)| FieldError::forbidden(at, detail));
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        dearest
            .chain([FieldError::forbidden(path, exceeded(what, self.total, ALL))])
            .collect()
    }
}

#[allow(clippy::cast_precision_loss, reason = "as upstream tells it")]
fn exceeded(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and \
         maxLength where arrays, maps, and strings are declared)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dear_rules_are_told() {
        let mut costs = Costs::default();
        assert_eq!(costs.add("a", ONE, "estimated rule cost"), None);
        let told = costs.add("b", 11_000_000, "estimated rule cost").map(|e| e.to_string());
        assert!(told.is_some_and(|t| t.starts_with(
            "b: Forbidden: estimated rule cost exceeds budget by factor of 1.100000x (try simplifying the rule, or"
        )));
        assert!(costs.errors("s").is_empty());
        costs.add("c", u64::MAX, "");
        let told: Vec<String> = costs.errors("s").iter().map(|e| e.path.clone()).collect();
        assert_eq!(told, ["c", "b", "a", "s"]);
        assert!(costs.errors("s")[3].message().contains("more than 100x"));
    }
}
