//! Authorisation by another API server (`apiserver/pkg/authorization/authorizerfactory/delegating.go`): what an extension
//! server asks the main one.

use http::Request;
use serde_json::{Value, json};

use super::Attributes;
use super::rbac::refused;
use crate::registry::User;
use crate::status::Status;

/// What everybody may ask for (`WithAlwaysAllowPaths` of `options.DelegatingAuthorizationOptions`).
const FOR_ALL: [&str; 3] = ["/healthz", "/readyz", "/livez"];

/// Who says what users may do.
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

impl Delegate {
    /// The server that `client` asks.
    #[must_use]
    pub fn new(client: kube::Client) -> Self {
        Self { client }
    }

    /// 403 unless the other server allows it.
    pub(crate) async fn authorize(&self, user: &User, a: &Attributes<'_>) -> Result<(), Status> {
        let master = user.groups.iter().any(|g| g == "system:masters");
        if master || a.resource.is_empty() && FOR_ALL.contains(&a.path) {
            return Ok(());
        }
        let request = Request::post("/apis/authorization.k8s.io/v1/subjectaccessreviews")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(review(user, a).to_string().into_bytes())
            .map_err(Status::internal)?;
        let said: Value = self.client.request(request).await.map_err(Status::internal)?;
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
