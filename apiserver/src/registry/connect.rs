//! Connections to what an object stands for (`CONNECT`: `exec`, `attach`, `portforward`): who may refuse them.

use serde_json::Value;

use super::policy::Review;
use super::{Call, Resource, Server};
use crate::status::Status;

impl Server {
    /// Asks policies and webhooks about a connection; `options` are those of the subresource, in its own kind.
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
    ) -> Result<(), Status> {
        // Whom it is about is no part of the options: it is taken out before a webhook is told them.
        options["metadata"] = serde_json::json!({"name": name});
        let who = call.circumstances();
        let review = Review {
            call: &who,
            resource: r,
            namespace,
            subresource,
            operation: "CONNECT",
            old: None,
        };
        self.mutate_by_webhooks(call, &review, Some(&mut options))?;
        self.check_policies(&review, Some(&options), &mut call.warnings)?;
        self.validate_by_webhooks(call, &review, Some(&options))
    }
}
