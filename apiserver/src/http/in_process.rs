//! A client of a cluster in the same process: requests go straight to the handler, as a given user.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use kube::client::Body;

use super::{ResponseBody, handle};
use crate::registry::{Server, User};

/// The tower service behind [`crate::cluster::Cluster::client`].
#[derive(Clone)]
pub struct InProcess {
    server: Arc<Server>,
    user: Arc<User>,
}

impl InProcess {
    /// Requests as `user`.
    #[must_use]
    pub fn new(server: Arc<Server>, user: User) -> Self {
        Self {
            server,
            user: Arc::new(user),
        }
    }
}

impl tower::Service<Request<Body>> for InProcess {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let server = self.server.clone();
        request.extensions_mut().insert(self.user.clone());
        Box::pin(async move { Ok(handle(server, request).await) })
    }
}
