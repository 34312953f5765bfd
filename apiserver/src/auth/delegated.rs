//! Authentication of tokens and authorisation by another API server (`DelegatingAuthenticatorConfig`,
//! `DelegatingAuthorizerConfig` of `k8s.io/apiserver`), and which namespaces there are: what an extension server asks the
//! main one.

use http::Request;
use serde_json::{Value, json};

use super::Attributes;
use super::rbac::{refused, strings};
use crate::local::Gvr;
use crate::registry::{Server, User};
use crate::status::Status;
use crate::store::{Expect, Key, StoreError};

const NAMESPACES: Gvr = Gvr::new("", "v1", "namespaces");

/// What everybody may ask for (`WithAlwaysAllowPaths` of `options.DelegatingAuthorizationOptions`).
const FOR_ALL: [&str; 3] = ["/healthz", "/readyz", "/livez"];

/// Who says whose tokens are, and what users may do.
#[derive(Clone)]
pub struct Delegate {
    client: kube::Client,
}

/// The question (`webhook.WebhookAuthorizer.Authorize`).
fn review(user: &User, a: &Attributes<'_>) -> Value {
    let mut spec = json!({"user": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        spec["uid"] = json!(user.uid);
    }
    if !user.extra.is_empty() {
        spec["extra"] = json!(user.extra);
    }
    match a.resource.is_empty() && !a.path.is_empty() {
        true => spec["nonResourceAttributes"] = json!({"path": a.path, "verb": a.verb}),
        false => {
            spec["resourceAttributes"] = json!({"namespace": a.namespace, "verb": a.verb, "group": a.group,
                "resource": a.resource, "subresource": a.subresource, "name": a.name});
        }
    }
    json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec})
}

/// The user that a `TokenReview` names; `None`: the token counts for nothing.
fn user_of(review: &Value) -> Option<User> {
    let status = &review["status"];
    let user = &status["user"];
    let mut found = User::new(user["username"].as_str()?, strings(&user["groups"]));
    user["uid"].as_str().unwrap_or_default().clone_into(&mut found.uid);
    let extra = user["extra"].as_object().into_iter().flatten();
    found.extra = extra.map(|(k, v)| (k.clone(), strings(v))).collect();
    (status["authenticated"] == true).then_some(found)
}

/// The namespace that a request may write into: one that is none is not asked for.
fn written<'a>(a: &Attributes<'a>) -> Option<&'a str> {
    let writes = matches!(a.verb, "create" | "update" | "patch") && !a.resource.is_empty() && !a.group.is_empty();
    Some(a.namespace).filter(|ns| writes && cfn_cel::names::dns1123_label(ns).is_empty())
}

/// Of a namespace what says whether something may be made in it: that it is there, which one, and whether it goes.
fn outline(namespace: &Value) -> Value {
    let metadata = &namespace["metadata"];
    let mut v = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": metadata["name"], "uid": metadata["uid"]}, "status": {"phase": namespace["status"]["phase"]}});
    if !metadata["deletionTimestamp"].is_null() {
        v["metadata"]["deletionTimestamp"] = metadata["deletionTimestamp"].clone();
    }
    v
}

impl Delegate {
    /// The server that `client` asks.
    #[must_use]
    pub fn new(client: kube::Client) -> Self {
        Self { client }
    }

    /// What the other server makes of a review.
    async fn ask(&self, path: &str, review: &Value) -> Result<Value, Status> {
        let request = Request::post(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(review.to_string().into_bytes())
            .map_err(Status::internal)?;
        self.client.request(request).await.map_err(Status::internal)
    }

    /// Whom a bearer token names; 401 where it names nobody.
    pub(crate) async fn authenticate(&self, token: &str) -> Result<User, Status> {
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
        let said = self.ask("/apis/authentication.k8s.io/v1/tokenreviews", &review).await?;
        user_of(&said).ok_or_else(Status::unauthorized)
    }

    /// Before a request that is allowed writes into a namespace: has that in `server` as, and only if, the other server has
    /// it (`NamespaceLifecycle`'s look-up).
    pub(crate) async fn follow(&self, server: &Server, a: &Attributes<'_>) -> Result<(), Status> {
        let Some(ns) = written(a) else { return Ok(()) };
        let there = Request::get(format!("/api/v1/namespaces/{ns}")).body(Vec::new());
        let there = match self.client.request::<Value>(there.map_err(Status::internal)?).await {
            Ok(namespace) => Some(outline(&namespace)),
            Err(kube::Error::Api(e)) if e.code == 404 => None,
            Err(e) => return Err(Status::internal(e)),
        };
        match mirror(server, ns, there) {
            // Another request found the same meanwhile, or something newer.
            Ok(()) | Err(StoreError::Exists | StoreError::Absent | StoreError::Changed) => Ok(()),
            Err(e) => Err(Status::internal(e)),
        }
    }

    /// 403 unless the other server allows it.
    pub(crate) async fn authorize(&self, user: &User, a: &Attributes<'_>) -> Result<(), Status> {
        let master = user.groups.iter().any(|g| g == "system:masters");
        if master || a.resource.is_empty() && FOR_ALL.contains(&a.path) {
            return Ok(());
        }
        let said = self
            .ask("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review(user, a))
            .await?;
        match said["status"]["allowed"] == true {
            true => Ok(()),
            false => Err(refused(user, a, said["status"]["reason"].as_str().unwrap_or_default())),
        }
    }
}

/// Puts a namespace where the other server's is looked for. It is written past the registry: whether it may be deleted,
/// and when it is gone, the other server says alone.
fn mirror(server: &Server, ns: &str, there: Option<Value>) -> Result<(), StoreError> {
    let Some(r) = server.catalog.of_kind("v1", "Namespace") else {
        return Ok(());
    };
    let key = Key::new("", ns);
    match (there, server.store.get(&NAMESPACES, &key)) {
        (Some(there), Some(here)) if outline(&here.peek()) == there => Ok(()),
        (Some(there), Some(here)) => {
            let expect = Expect::Revision(here.revision);
            server.store.put(&r.storage, key, expect, there).map(drop)
        }
        (Some(there), None) => server.store.put(&r.storage, key, Expect::Absent, there).map(drop),
        (None, Some(here)) => {
            let last = (*here.value()).clone();
            server.store.remove(&r.storage, &key, here.revision, last).map(drop)
        }
        (None, None) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_that_are_asked_for() {
        let of = |verb, group, resource, ns| {
            let a = Attributes::resource(verb, group, resource, "").named(ns, "x");
            written(&a)
        };
        for (verb, group, resource, ns, asked) in [
            ("create", "g", "things", "a", Some("a")),
            ("patch", "g", "things", "a", Some("a")),
            ("get", "g", "things", "a", None),
            ("delete", "g", "things", "a", None),
            ("create", "g", "things", "", None),
            ("create", "g", "things", "a/../b", None),
            ("create", "g", "things", "A", None),
            ("create", "", "pods", "a", None),
        ] {
            assert_eq!(of(verb, group, resource, ns), asked, "{verb} {group} {resource} {ns}");
        }
        assert_eq!(written(&Attributes::path("create", "/apis")), None);
    }

    #[test]
    fn only_a_token_that_counts_names_a_user() {
        let mut review = json!({"status": {"authenticated": true, "user": {"username": "jane", "uid": "7",
            "groups": ["dev"], "extra": {"scope": ["a"]}}}});
        let user = user_of(&review).unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("jane", "7"));
        assert_eq!(
            (user.groups.as_slice(), &user.extra["scope"]),
            (&["dev".to_owned()][..], &vec!["a".to_owned()])
        );
        review["status"]["authenticated"] = json!(false);
        assert!(user_of(&review).is_none());
        assert!(user_of(&json!({"status": {"error": "no"}})).is_none());
    }

    #[test]
    fn questions() {
        let mut user = User::new("jane", ["dev".to_owned()]);
        let of = Attributes::resource("get", "g", "things", "status").named("ns", "a");
        assert_eq!(
            review(&user, &of)["spec"],
            json!({"user": "jane", "groups": ["dev"], "resourceAttributes": {"namespace": "ns", "verb": "get", "group": "g",
                "resource": "things", "subresource": "status", "name": "a"}})
        );
        user.uid = "7".to_owned();
        assert_eq!(
            review(&user, &Attributes::path("get", "/apis"))["spec"],
            json!({"user": "jane", "uid": "7", "groups": ["dev"], "nonResourceAttributes": {"path": "/apis", "verb": "get"}})
        );
    }
}
