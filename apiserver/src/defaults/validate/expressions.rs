//! What expressions of policies, webhooks, selectors of devices may name (`apiserver/pkg/admission/plugin/cel/compile.go`,
//! `dynamic-resource-allocation/cel/compile.go`).

use crate::schema::FieldError;
use cfn_cel::{Environment, Expression, Type};

fn object(name: &str, fields: &[(&str, Type)]) -> Type {
    Type::object(name, fields.iter().map(|(n, t)| ((*n).to_owned(), t.clone())))
}

fn texts(names: &[&'static str]) -> Vec<(&'static str, Type)> {
    names.iter().map(|n| (*n, Type::Text)).collect()
}

fn request() -> Type {
    let kind = object("kubernetes.GroupVersionKind", &texts(&["group", "version", "kind"]));
    let resource = object(
        "kubernetes.GroupVersionResource",
        &texts(&["group", "version", "resource"]),
    );
    let mut user = texts(&["username", "uid"]);
    user.push(("groups", Type::list(Type::Text)));
    user.push(("extra", Type::map(Type::Text, Type::list(Type::Text))));
    let mut fields = texts(&["subResource", "requestSubResource", "name", "namespace", "operation"]);
    fields.extend([
        ("kind", kind.clone()),
        ("requestKind", kind),
        ("resource", resource.clone()),
        ("requestResource", resource),
        ("userInfo", object("kubernetes.UserInfo", &user)),
        ("dryRun", Type::Bool),
        ("options", Type::Dyn),
    ]);
    object("kubernetes.AdmissionRequest", &fields)
}

fn namespace() -> Type {
    let mut condition = texts(&["status", "type", "message", "reason"]);
    condition.push(("lastTransitionTime", Type::Time));
    let condition = object("kubernetes.NamespaceCondition", &condition);
    let status = [("conditions", Type::list(condition)), ("phase", Type::Text)];
    let mut metadata = texts(&["name", "generateName", "namespace", "UID", "resourceVersion"]);
    metadata.extend([
        ("labels", Type::map(Type::Text, Type::Text)),
        ("annotations", Type::map(Type::Text, Type::Text)),
        ("creationTimestamp", Type::Time),
        ("deletionTimestamp", Type::Time),
        ("deletionGracePeriodSeconds", Type::Int),
        ("generation", Type::Int),
        ("finalizers", Type::list(Type::Text)),
    ]);
    let spec = [("finalizers", Type::list(Type::Text))];
    object(
        "kubernetes.Namespace",
        &[
            ("metadata", object("kubernetes.NamespaceMetadata", &metadata)),
            ("spec", object("kubernetes.NamespaceSpec", &spec)),
            ("status", object("kubernetes.NamespaceStatus", &status)),
        ],
    )
}

/// What every expression about a request may name.
pub(super) fn admission(params: bool, authorizer: bool, patches: bool) -> Environment {
    let mut names = vec![
        ("object", Type::Dyn),
        ("oldObject", Type::Dyn),
        ("namespaceObject", namespace()),
        ("request", request()),
    ];
    if params {
        names.push(("params", Type::Dyn));
    }
    if authorizer {
        let of = |name: &str| Type::opaque(&format!("kubernetes.authorization.{name}"));
        names.push(("authorizer", of("Authorizer")));
        names.push(("authorizer.requestResource", of("ResourceCheck")));
    }
    Environment {
        variables: names.into_iter().map(|(n, t)| (n.to_owned(), t)).collect(),
        patches,
        ..Environment::default()
    }
}

/// What a selector of devices may name.
pub(super) fn device() -> Environment {
    let quantities = Type::map(Type::Text, Type::opaque("kubernetes.Quantity"));
    let device = object(
        "kubernetes.DRADevice",
        &[
            ("driver", Type::Text),
            ("allowMultipleAllocations", Type::Bool),
            ("attributes", Type::map(Type::Text, Type::map(Type::Text, Type::Any))),
            ("capacity", Type::map(Type::Text, quantities)),
        ],
    );
    Environment {
        variables: [("device".to_owned(), device)].into(),
        bindings: true,
        ..Environment::default()
    }
}

/// The type that a policy's variable has for those that name it.
pub(super) fn of_variable(t: &Type) -> Type {
    match t {
        Type::List(of) => Type::list(of_variable(of)),
        Type::Map(k, v) => Type::map(of_variable(k), of_variable(v)),
        Type::Object(_) | Type::Opaque(..) | Type::Type(_) | Type::Parameter(_) | Type::Error => Type::Dyn,
        other => other.clone(),
    }
}

/// Checks an expression whose value must be of one of these types.
pub(super) fn expression(
    text: &str,
    environment: &Environment,
    wanted: &[Type],
    path: String,
    errors: &mut Vec<FieldError>,
) {
    let why = match Expression::compile(text, environment) {
        Err(error) => error.to_string(),
        Ok(e) if wanted.contains(e.value_type()) => match e.instantiate() {
            Ok(()) => return,
            // Upstream takes it for a fault of its own.
            Err(error) => return errors.push(FieldError::internal(path, error.to_string())),
        },
        Ok(e) => {
            let t = e.value_type();
            let names: Vec<String> = wanted.iter().map(Type::runtime_name).collect();
            let names = match names.as_slice() {
                [one] => one.clone(),
                all => format!("one of [{}]", all.join(" ")),
            };
            format!("must evaluate to {names} but got {}", t.runtime_name())
        }
    };
    errors.push(FieldError::invalid(path, text, why));
}
