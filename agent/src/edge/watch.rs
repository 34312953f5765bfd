//! Watches: what the hub says is kept before the node hears it; with the hub gone, the node hears what was kept.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderMap, Method, Response, StatusCode, Uri, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use tower::BoxError;

use super::answer::{self, AnyBody};
use super::link::LinkState;
use super::proxy::Proxy;
use super::request::{Asked, Since};
use super::store::{Store, StoreError};

/// On the bookmark that ends the initial events of a streamed list.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

impl Proxy {
    /// Answers a watch.
    pub(super) async fn watch(
        self: &Arc<Self>,
        asked: &Asked,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Response<AnyBody>, StoreError> {
        let mut state = self.link.follow();
        let key = asked.list_key();
        if self.link.state() != LinkState::Offline && self.tell(&key, false) && asked.since == Since::Revision {
            // What the node saw last came from the disk, with its own writes in it. It shall list anew, after what was
            // held is with the hub.
            let sent = state.wait_for(|s| *s == LinkState::Online);
            let _ = tokio::time::timeout(self.link.patience(), sent).await;
            return Ok(answer::failure(
                StatusCode::GONE,
                "Expired",
                "the hub is back: what was told from this node's disk may differ",
            ));
        }
        if self.link.state() != LinkState::Offline
            && let Some(response) = self.ask(&Method::GET, uri, headers, Bytes::new()).await
        {
            let (parts, body) = response.into_parts();
            if !parts.status.is_success() {
                return Ok(Response::from_parts(parts, body.map_err(BoxError::from).boxed_unsync()));
            }
            let mut keeper = Keeper::new(self.store.clone(), asked);
            // The stream ends when the hub is lost: the kubelet comes again, and is served from the disk.
            let lost = async move {
                let _ = state.wait_for(|s| *s == LinkState::Offline).await;
            };
            let frames = body.into_data_stream().take_until(Box::pin(lost)).map(move |chunk| {
                let chunk = chunk?;
                keeper.keep(&chunk)?;
                Ok(Frame::data(chunk))
            });
            return Ok(Response::from_parts(
                parts,
                BodyExt::boxed_unsync(StreamBody::new(frames)),
            ));
        }
        // Also one that goes on from a revision: by now the node may have been told its own writes.
        self.tell(&key, true);
        let list = self.store.list(&key)?;
        let first = match (asked.since, list) {
            (Since::Revision, _) | (Since::Now, None) => String::new(),
            (since, Some(list)) => kept(&list, since == Since::List),
            (Since::List, None) => return Ok(answer::unavailable(&key)),
        };
        // Nothing changes while the hub is gone; the stream ends when it is back, and the kubelet asks it.
        let seconds = asked.seconds;
        let back = async move {
            let changed = state.wait_for(|s| *s != LinkState::Offline);
            match seconds {
                Some(s) => drop(tokio::time::timeout(Duration::from_secs(s), changed).await),
                None => drop(changed.await),
            }
            Ok::<_, BoxError>(Frame::data(Bytes::new()))
        };
        let first = stream::once(std::future::ready(Ok(Frame::data(Bytes::from(first)))));
        let frames = first.chain(stream::once(Box::pin(back)));
        let mut response = Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)));
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("application/json"),
        );
        headers.insert(answer::FROM_CACHE, header::HeaderValue::from_static("cache"));
        Ok(response)
    }
}

/// A kept list as a watch says it: additions, then, for a streamed list, the bookmark.
fn kept(list: &Value, bookmark: bool) -> String {
    let kind = list["kind"].as_str().unwrap_or_default().trim_end_matches("List");
    let mut text = String::new();
    for item in list["items"].as_array().into_iter().flatten() {
        let mut object = item.clone();
        // Items of a list do not say what they are; objects of a watch do.
        if object["kind"].is_null() {
            object["apiVersion"] = list["apiVersion"].clone();
            object["kind"] = kind.into();
        }
        text.push_str(&json!({"type": "ADDED", "object": object}).to_string());
        text.push('\n');
    }
    if bookmark {
        let object = json!({
            "apiVersion": list["apiVersion"], "kind": kind,
            "metadata": {
                "resourceVersion": list["metadata"]["resourceVersion"],
                "annotations": {INITIAL_EVENTS_END: "true"},
            },
        });
        text.push_str(&json!({"type": "BOOKMARK", "object": object}).to_string());
        text.push('\n');
    }
    text
}

/// Keeps what a watch says.
struct Keeper {
    store: Arc<Store>,
    key: String,
    /// A line that has not ended yet.
    pending: Vec<u8>,
    /// The initial events of a streamed list, until it is whole: only then it takes the place of what was kept.
    initial: Option<Vec<Value>>,
}

impl Keeper {
    fn new(store: Arc<Store>, asked: &Asked) -> Self {
        Self {
            store,
            key: asked.list_key(),
            pending: Vec::new(),
            initial: (asked.since == Since::List).then(Vec::new),
        }
    }

    fn keep(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        self.pending.extend_from_slice(chunk);
        while let Some(end) = self.pending.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            let Ok(mut event) = serde_json::from_slice::<Value>(&line) else {
                continue;
            };
            let ended = event["object"]["metadata"]["annotations"][INITIAL_EVENTS_END] == "true";
            match &mut self.initial {
                None => self.store.keep_event(&self.key, &event)?,
                Some(items) if ended => {
                    let object = &event["object"];
                    let list = json!({
                        "apiVersion": object["apiVersion"],
                        "kind": format!("{}List", object["kind"].as_str().unwrap_or_default()),
                        "metadata": {"resourceVersion": object["metadata"]["resourceVersion"]},
                        "items": std::mem::take(items),
                    });
                    self.store.keep_list(&self.key, &list)?;
                    self.initial = None;
                }
                Some(items) => items.push(event["object"].take()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_list_is_streamed() {
        let list = json!({"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "7"},
            "items": [{"metadata": {"name": "a"}}]});
        insta::assert_snapshot!(kept(&list, true), @r#"
        {"object":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}},"type":"ADDED"}
        {"object":{"apiVersion":"v1","kind":"Pod","metadata":{"annotations":{"k8s.io/initial-events-end":"true"},"resourceVersion":"7"}},"type":"BOOKMARK"}
        "#);
        assert_eq!(kept(&list, false).lines().count(), 1);
    }

    #[test]
    fn a_streamed_list_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path()).unwrap());
        let asked = Asked::parse(&Method::GET, "/api/v1/pods", Some("watch=1&sendInitialEvents=true"));
        let old = json!({"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "1"},
            "items": [{"metadata": {"name": "gone", "resourceVersion": "1"}}]});
        store.keep_list(&asked.list_key(), &old).unwrap();
        let new = json!({"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "9"},
            "items": [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "resourceVersion": "8"}}]});
        let text = kept(&new, true);
        let mut keeper = Keeper::new(store.clone(), &asked);
        // Cut anywhere; until it is whole, what was kept stays.
        let (one, two) = text.as_bytes().split_at(text.len() / 2);
        keeper.keep(one).unwrap();
        assert_eq!(store.list(&asked.list_key()).unwrap(), Some(old));
        keeper.keep(two).unwrap();
        assert_eq!(store.list(&asked.list_key()).unwrap(), Some(new));
        keeper
            .keep(b"{\"type\":\"DELETED\",\"object\":{\"metadata\":{\"name\":\"a\",\"resourceVersion\":\"12\"}}}\n")
            .unwrap();
        let now = store.list(&asked.list_key()).unwrap().unwrap();
        assert_eq!(
            (&now["items"], &now["metadata"]["resourceVersion"]),
            (&json!([]), &json!("12"))
        );
    }
}
