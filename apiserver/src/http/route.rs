//! Which handler a path leads to: the routes of the built-in groups, as `endpoints/installer.go` of `k8s.io/apiserver`
//! registers them with go-restful, and what `apiextensions-apiserver` serves of definitions. What a request may do is
//! decided before, by [`super::info`]; the two read some paths differently.

use std::sync::Arc;

use http::{Method, header};

use super::Incoming;
use super::info::{RequestInfo, Segments};
use super::resource::unknown_patch;
use crate::registry::{Catalog, PatchKind, Resource};
use crate::status::Status;

/// Where a request for a resource leads to.
pub(super) struct Route {
    pub(super) resource: Arc<Resource>,
    pub(super) subresource: String,
    pub(super) verb: &'static str,
}

/// The route of a request.
///
/// # Errors
/// 404 where no route is, 405 where it is not for this method, 415 where a built-in kind takes no such patch.
pub(super) fn route(catalog: &Catalog, r: &Incoming, info: &RequestInfo) -> Result<Route, Status> {
    if info.group.is_empty() || Catalog::is_builtin_group(&info.group) {
        if catalog.hides_builtin() {
            return Err(Status::page_not_found());
        }
        // The roots of services are compared with the path as it is.
        let rest = match info.group.as_str() {
            "" => r.path.strip_prefix("/api/"),
            g => r
                .path
                .strip_prefix("/apis/")
                .and_then(|p| p.strip_prefix(g)?.strip_prefix('/')),
        };
        let rest = rest.ok_or_else(Status::page_not_found)?;
        return builtin(catalog, r, info, rest);
    }
    custom(catalog, r, info)
}

fn builtin(catalog: &Catalog, r: &Incoming, info: &RequestInfo, rest: &str) -> Result<Route, Status> {
    let tokens = Segments::of(rest.trim_end_matches('/').split('/').skip(1));
    let mut tokens = &*tokens;
    let watched = tokens.first() == Some(&"watch");
    if watched {
        tokens = &tokens[1..];
    }
    let find = |plural: &str| catalog.find(&info.group, &info.version, plural);
    let namespaced = match tokens {
        ["namespaces", _, plural, ..] => find(plural).filter(|r| r.namespaced),
        _ => None,
    };
    let (resource, at) = match (namespaced, tokens) {
        (Some(r), _) => (Some(r), 3),
        (None, [plural, ..]) => (find(plural), 1),
        (None, []) => (None, 0),
    };
    let resource = resource.ok_or_else(Status::no_such_path)?;
    let rest = &tokens[at..];
    let everywhere = resource.namespaced && at == 1;
    let verb = served(&resource, rest, everywhere, watched, &r.method)?;
    // Any body is handed on (`Consumes("*/*")` of routes that connect).
    if verb == "patch" && rest.get(1) != Some(&"proxy") && !is_patch(r) {
        return Err(unknown_patch());
    }
    Ok(Route {
        verb: match verb {
            "list" | "get" if watched => "watch",
            "list" if r.query.is("watch") => "watch",
            verb => verb,
        },
        subresource: rest.get(1).copied().unwrap_or_default().to_owned(),
        resource,
    })
}

const GET: (Method, &str) = (Method::GET, "get");
const UPDATE: (Method, &str) = (Method::PUT, "update");
const PATCH: (Method, &str) = (Method::PATCH, "patch");
const DELETE: (Method, &str) = (Method::DELETE, "delete");
const LIST: (Method, &str) = (Method::GET, "list");
const CREATE: (Method, &str) = (Method::POST, "create");
const DELETE_ALL: (Method, &str) = (Method::DELETE, "deletecollection");

/// The verb of a method on a path of a resource.
///
/// # Errors
/// 404 where no method leads anywhere, 405 where another does.
fn served(
    r: &Resource,
    rest: &[&str],
    everywhere: bool,
    watched: bool,
    method: &Method,
) -> Result<&'static str, Status> {
    let of = |verbs: &[String], all: &[(Method, &'static str)]| {
        let has = |v: &str| verbs.iter().any(|have| have == v);
        let mut any = false;
        for (m, verb) in all.iter().filter(|(_, v)| has(v)) {
            any = true;
            if m == method {
                return Ok(*verb);
            }
        }
        Err(match any {
            true => Status::method_not_allowed(),
            false => Status::no_such_path(),
        })
    };
    match rest {
        [] | [_] if watched => {
            let there = !everywhere || rest.is_empty();
            let shown = if rest.is_empty() { "list" } else { "get" };
            match of(&r.verbs, &[(Method::GET, "watch")]) {
                Ok(_) if there => Ok(shown),
                Err(s) if there => Err(s),
                _ => Err(Status::no_such_path()),
            }
        }
        _ if watched => Err(Status::no_such_path()),
        [] if everywhere => of(&r.verbs, &[LIST]),
        _ if everywhere => Err(Status::no_such_path()),
        [] => of(&r.verbs, &[LIST, CREATE, DELETE_ALL]),
        [_] => of(&r.verbs, &[GET, UPDATE, PATCH, DELETE]),
        [_, sub, more @ ..] if more.is_empty() || *sub == "proxy" => {
            let s = r.subresource(sub).ok_or_else(Status::no_such_path)?;
            if *sub == "proxy" && (method == Method::HEAD || method == Method::OPTIONS) {
                return Ok("get");
            }
            of(&s.verbs, &[GET, UPDATE, PATCH, DELETE, CREATE])
        }
        _ => Err(Status::no_such_path()),
    }
}

/// Whether go-restful finds the type of a body among those of patches.
fn is_patch(r: &Incoming) -> bool {
    let said = r.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    said.unwrap_or_default().split(',').any(|t| {
        let t = t.split(';').next().unwrap_or_default().trim();
        t == "*/*" || PatchKind::of(t).is_some()
    })
}

/// `crdHandler.ServeHTTP`.
fn custom(catalog: &Catalog, r: &Incoming, info: &RequestInfo) -> Result<Route, Status> {
    let resource = catalog
        .find(&info.group, &info.version, &info.resource)
        .ok_or_else(Status::page_not_found)?;
    let spaced = !info.namespace.is_empty();
    let everywhere = matches!(info.verb, "list" | "watch");
    if spaced && !resource.namespaced || resource.namespaced && !spaced && !everywhere {
        return Err(Status::page_not_found());
    }
    let served: &[&str] = match info.subresource.as_str() {
        "" => &[
            "get",
            "list",
            "watch",
            "create",
            "update",
            "patch",
            "delete",
            "deletecollection",
        ],
        sub if resource.subresource(sub).is_some() => &["get", "update", "patch"],
        _ => return Err(Status::not_found(&resource.group, &resource.plural, &info.name)),
    };
    if !served.contains(&info.verb) {
        let of = crate::status::qualified(&resource.group, &resource.plural);
        let why = format!("{} is not supported on resources of kind {of:?}", info.verb);
        let refused = Status::new(405, "MethodNotAllowed", why);
        return Err(refused.about(&resource.group, &resource.plural, ""));
    }
    if info.verb == "patch" {
        let said = r.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let said = said.unwrap_or_default().split(';').next().unwrap_or_default();
        if !matches!(PatchKind::of(said), Some(kind) if kind != PatchKind::Strategic) {
            return Err(Status::unsupported_media_type(&PatchKind::of_custom_resources()));
        }
    }
    Ok(Route {
        subresource: info.subresource.clone(),
        verb: info.verb,
        resource,
    })
}
