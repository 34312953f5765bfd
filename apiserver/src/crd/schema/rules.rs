//! Rules in CEL: how they are written, whether their types fit and what they cost
//! (`apiextensions-apiserver/pkg/apiserver/schema/cel/compilation.go`).

use cfn_cel::{self as cel, Environment, Expression, Type};
use serde_json::Value;

use super::context::{Context, Costs};
use super::{list, paths, structural};
use crate::crd::types;
use crate::registry::text;
use crate::schema::{FieldError, Printed};

/// Reasons that a rule may give.
const REASONS: [&str; 4] = [
    "FieldValueDuplicate",
    "FieldValueForbidden",
    "FieldValueInvalid",
    "FieldValueRequired",
];

fn rules(schema: &Value) -> &[Value] {
    list(&schema["x-kubernetes-validations"])
}

/// A rule as Go's internal type has it.
fn as_go(rule: &Value) -> String {
    Printed::internal("apiextensions.ValidationRule", rule).compact()
}

/// What is wrong with how a schema's own rules are written.
pub(super) fn written(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let breaks = |text: &str| text.contains(['\n', '\r']);
    for (i, r) in rules(schema).iter().enumerate() {
        let at = |field: &str| format!("{path}.x-kubernetes-validations[{i}].{field}");
        let (message, rule) = (text(r, "/message"), text(r, "/rule").trim());
        if rule.is_empty() {
            errors.push(FieldError::required(at("rule"), "rule is not specified"));
        } else if !message.is_empty() && message.trim().is_empty() {
            errors.push(FieldError::invalid(
                at("message"),
                message,
                "must be non-empty if specified",
            ));
        } else if breaks(message.trim()) {
            errors.push(FieldError::invalid(
                at("message"),
                message,
                "must not contain line breaks",
            ));
        } else if breaks(rule) && message.trim().is_empty() {
            let detail = "message must be specified if rule contains line breaks";
            errors.push(FieldError::required(at("message"), detail));
        }
        let e = text(r, "/messageExpression");
        if !e.is_empty() && e.trim().is_empty() {
            let detail = "messageExpression must be non-empty if specified";
            errors.push(FieldError::required(at("messageExpression"), detail));
        }
        if let Some(reason) = r["reason"].as_str().filter(|r| !REASONS.contains(r)) {
            errors.push(FieldError::not_supported(at("reason"), reason, &REASONS));
        }
        let field = text(r, "/fieldPath");
        if field.is_empty() {
            continue;
        }
        let found = || structural::unreadable(schema).is_some() || paths::found(field, schema, true).is_ok();
        for (wrong, detail) in [
            (field.trim().is_empty(), "must be non-empty if specified"),
            (breaks(field), "must not contain line breaks"),
            (!found(), "must be a valid path"),
        ] {
            if wrong {
                errors.push(FieldError::invalid(at("fieldPath"), field, detail));
            }
        }
    }
}

/// What is wrong with a schema's own rules; `uncorrelatable`: the part of the schema within which there is no old value.
pub(super) fn errors(
    context: &Context<'_>,
    path: &str,
    uncorrelatable: Option<&str>,
    limited: bool,
    costs: &mut Costs,
    errors: &mut Vec<FieldError>,
) {
    let schema = context.schema;
    if rules(schema).is_empty() {
        return;
    }
    let own = types::declared(schema, "selfType", context.root).unwrap_or(Type::Dyn);
    let shape = types::shape(schema, context.root).unwrap_or_default();
    for (i, r) in rules(schema).iter().enumerate() {
        let at = |field: &str| format!("{path}.x-kubernetes-validations[{i}].{field}");
        let environment = types::environment(&own, r["optionalOldSelf"] == true);
        let compiled = Compiled::of(r, &environment, &shape);
        let cost = context.cost(compiled.cost, shape.least);
        errors.extend(costs.add(&at("rule"), cost, "estimated rule cost").filter(|_| limited));
        if let Some(why) = compiled.wrong {
            errors.push(FieldError::invalid_shown(at("rule"), &as_go(r), &why));
        }
        match compiled.message {
            Some(Err(why)) => errors.push(FieldError::invalid_shown(at("messageExpression"), &as_go(r), &why)),
            Some(Ok(cost)) => {
                let told = costs.add(&at("messageExpression"), cost, "estimated messageExpression cost");
                errors.extend(told.filter(|_| limited));
            }
            None => {}
        }
        if compiled.uses_old {
            if let Some(within) = uncorrelatable {
                let detail =
                    format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {within}");
                errors.push(FieldError::invalid(at("rule"), text(r, "/rule"), detail));
            }
        } else if !r["optionalOldSelf"].is_null() {
            let detail = "may not be set if oldSelf is not used in rule";
            errors.push(FieldError::invalid(
                at("optionalOldSelf"),
                r["optionalOldSelf"].clone(),
                detail,
            ));
        }
    }
}

/// Why a schema's own rules cannot be asked.
pub(super) fn unasked(schema: &Value, root: bool) -> Vec<String> {
    let own = types::declared(schema, "selfType", root).unwrap_or(Type::Dyn);
    let shape = types::shape(schema, root).unwrap_or_default();
    let of = |r: &Value| Compiled::of(r, &types::environment(&own, r["optionalOldSelf"] == true), &shape).wrong;
    // Of none nothing is told here.
    let said = |r: &&Value| !text(r, "/rule").trim().is_empty();
    rules(schema).iter().filter(said).filter_map(of).collect()
}

/// What is known of a rule.
#[derive(Default)]
struct Compiled {
    wrong: Option<String>,
    uses_old: bool,
    cost: u64,
    /// What its expression of a message costs, or why there is none.
    message: Option<Result<u64, String>>,
}

impl Compiled {
    fn of(r: &Value, environment: &Environment, shape: &cel::cost::Shape) -> Self {
        let (rule, e) = (text(r, "/rule"), text(r, "/messageExpression"));
        let mut this = Self::default();
        let compiled = match Expression::compile(rule, environment) {
            Err(why) => {
                this.wrong = Some(why.to_string());
                return this;
            }
            Ok(e) if *e.value_type() != Type::Bool => {
                this.wrong = Some("cel expression must evaluate to a bool".to_owned());
                return this;
            }
            Ok(e) => e,
        };
        this.uses_old = compiled.mentions("oldSelf");
        if let Err(why) = compiled.instantiate() {
            this.wrong = Some(why.to_string());
            return this;
        }
        this.cost = compiled.cost(shape);
        if !e.is_empty() {
            this.message = Some(match Expression::compile(e, environment) {
                Err(why) => Err(format!("messageExpression {why}")),
                Ok(e) if *e.value_type() != Type::Text => Err("messageExpression must evaluate to a string".to_owned()),
                Ok(e) => match e.instantiate() {
                    Ok(()) => Ok(e.cost(shape)),
                    Err(cel::CelError::Constant(why)) => Err(format!("messageExpression instantiation failed: {why}")),
                    Err(why) => Err(why.to_string()),
                },
            });
        }
        this
    }
}
