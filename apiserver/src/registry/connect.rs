//! Connections to what an object stands for (`CONNECT`: `exec`, `attach`, `portforward`, `proxy`): who may refuse them, and make
//! their options others.

use serde_json::Value;

use super::policy::Review;
use super::{Call, Resource, Server};
use crate::status::Status;

impl Server {
    /// Asks policies and webhooks about a connection; `options` are those of the subresource, in its own kind. What they are
    /// then.
    ///
    /// # Errors
    /// A refusal, 500 for a webhook that could not be asked, and that one has to be asked first.
    pub(crate) fn admit_connect(
        &self,
        call: &mut Call,
        r: &Resource,
        (namespace, name): (&str, &str),
        subresource: &str,
        mut options: Value,
    ) -> Result<Value, Status> {
        let who = call.circumstances();
        let review = Review {
            call: &who,
            resource: r,
            namespace,
            name: Some(name),
            subresource,
            operation: "CONNECT",
            old: None,
        };
        self.mutate_by_webhooks(call, &review, Some(&mut options))?;
        self.check_policies(&review, Some(&options), &mut call.warnings)?;
        self.validate_by_webhooks(call, &review, Some(&options))?;
        Ok(options)
    }
}
