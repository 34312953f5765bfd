//! Authentication of tokens and authorisation by another API server (`DelegatingAuthenticatorConfig`,
//! `DelegatingAuthorizerConfig` of `k8s.io/apiserver`): what an extension server asks the main one.

use http::Request;
use serde_json::{Value, json};

use super::Attributes;
use super::rbac::refused;
use crate::registry::User;
use crate::status::Status;

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
    let list = |v: &Value| -> Vec<String> {
        let all = v.as_array().into_iter().flatten();
        all.filter_map(|t| t.as_str().map(str::to_owned)).collect()
    };
    let mut found = User::new(user["username"].as_str()?, list(&user["groups"]));
    user["uid"].as_str().unwrap_or_default().clone_into(&mut found.uid);
    let extra = user["extra"].as_object().into_iter().flatten();
    found.extra = extra.map(|(k, v)| (k.clone(), list(v))).collect();
    (status["authenticated"] == true).then_some(found)
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

#[cfg(test)]
mod tests {
    use super::*;

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
