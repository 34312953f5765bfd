//! Watches: what the hub says is kept before the node hears it; with the hub gone, the node hears what was kept.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{HeaderMap, Method, Response, Uri, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::BoxError;

use super::answer::{self, AnyBody};
use super::link::LinkState;
use super::proxy::{LIST_WAIT, Proxy};
use super::request::{Asked, Since, Verb};
use super::store::{Store, StoreError};

/// On the bookmark that ends the initial events of a streamed list.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

impl Proxy {
    /// Answers a watch. A streamed list that is not on the disk waits for the hub, as a list does.
    pub(super) async fn watch(
        self: &Arc<Self>,
        asked: &Asked,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Response<AnyBody>, StoreError> {
        let until = Instant::now() + LIST_WAIT;
        loop {
            if let Some(response) = self.try_watch(asked, uri, headers).await? {
                return Ok(response);
            }
            if !self.link.back(until).await {
                return Ok(answer::unavailable(&asked.list_key()));
            }
        }
    }

    /// Answers a watch; `None` when neither hub nor disk can.
    async fn try_watch(
        self: &Arc<Self>,
        asked: &Asked,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Option<Response<AnyBody>>, StoreError> {
        let mut state = self.link.follow();
        let key = asked.list_key();
        if self.link.state() != LinkState::Offline && self.tell(&key, false) && asked.since == Since::Revision {
            // What the node saw last came from the disk, with its own writes in it. It is told what there is now within
            // the watch, after what was held is with the hub: a kubelet that has to list anew waits first, up to half a
            // minute (client-go's reflector).
            let sent = state.wait_for(|s| *s == LinkState::Online);
            let _ = tokio::time::timeout(self.link.patience(), sent).await;
            let told = self.store.list(&key)?;
            let list = Asked {
                verb: Verb::List,
                ..asked.clone()
            };
            if let Some((parts, body)) = self.of_hub(&list, &list_uri(asked), headers).await?
                && parts.status.is_success()
                && let Ok(now) = serde_json::from_slice::<Value>(&body)
            {
                let first = since_told(told.as_ref(), &now, asked.bookmarks);
                let from = now["metadata"]["resourceVersion"].as_str().unwrap_or_default();
                let uri = from_revision(uri, from);
                let going_on = self.stream(asked, &uri, headers, first.clone()).await;
                // Gone again: it has heard this much, and comes again.
                return Ok(Some(going_on.unwrap_or_else(|| {
                    events(Full::new(first.into()).map_err(|e| match e {}).boxed_unsync())
                })));
            }
            self.tell(&key, true);
        } else if self.link.state() != LinkState::Offline
            && let Some(response) = self.stream(asked, uri, headers, String::new()).await
        {
            return Ok(Some(response));
        }
        // Also one that goes on from a revision: by now the node may have been told its own writes.
        self.tell(&key, true);
        let list = self.store.list(&key)?;
        let first = match (asked.since, list) {
            (Since::Revision, _) | (Since::Now, None) => String::new(),
            (since, Some(list)) => kept(&list, since == Since::List),
            (Since::List, None) => return Ok(None),
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
        let frames = at_once(first).chain(stream::once(Box::pin(back)));
        let mut response = events(BodyExt::boxed_unsync(StreamBody::new(frames)));
        let headers = response.headers_mut();
        headers.insert(answer::FROM_CACHE, header::HeaderValue::from_static("cache"));
        Ok(Some(response))
    }

    /// The hub's own watch after some first events; `None` when the hub does not answer.
    async fn stream(
        self: &Arc<Self>,
        asked: &Asked,
        uri: &Uri,
        headers: &HeaderMap,
        first: String,
    ) -> Option<Response<AnyBody>> {
        let mut state = self.link.follow();
        let response = self.ask(&Method::GET, uri, headers, Bytes::new()).await?;
        let (parts, body) = response.into_parts();
        if !parts.status.is_success() {
            return Some(Response::from_parts(parts, body.map_err(BoxError::from).boxed_unsync()));
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
        let frames = at_once(first).chain(frames);
        Some(Response::from_parts(
            parts,
            BodyExt::boxed_unsync(StreamBody::new(frames)),
        ))
    }
}

/// Events that are there already.
fn at_once(events: String) -> impl Stream<Item = Result<Frame<Bytes>, BoxError>> + Send {
    stream::once(std::future::ready(Ok(Frame::data(Bytes::from(events)))))
}

/// A watch's answer that is not the hub's.
fn events(body: AnyBody) -> Response<AnyBody> {
    let mut response = Response::new(body);
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// The list that a watch is about.
fn list_uri(asked: &Asked) -> Uri {
    asked.list_key().trim_end_matches('?').parse().unwrap_or_default()
}

/// A watch's address, from another revision on.
fn from_revision(uri: &Uri, revision: &str) -> Uri {
    let others = uri.query().unwrap_or_default().split('&');
    let mut query: Vec<&str> = others.filter(|p| !p.starts_with("resourceVersion")).collect();
    let from = format!("resourceVersion={revision}");
    query.push(&from);
    let text = format!("{}?{}", uri.path(), query.join("&"));
    text.parse().unwrap_or_else(|_| uri.clone())
}

/// A kept list as a watch says it: additions, then, for a streamed list, the bookmark.
fn kept(list: &Value, bookmark: bool) -> String {
    let mut text = String::new();
    for item in items(list) {
        line(&mut text, "ADDED", list, item);
    }
    if bookmark {
        let annotations = json!({INITIAL_EVENTS_END: "true"});
        mark(&mut text, list, Some(annotations));
    }
    text
}

/// A list as a watch says it to who was told another: what is gone, what there is (changed or not: what was told may have
/// been one's own words), and where that was, for those who want bookmarks.
fn since_told(told: Option<&Value>, now: &Value, bookmark: bool) -> String {
    fn key(v: &Value) -> (Option<&str>, Option<&str>) {
        (v["metadata"]["namespace"].as_str(), v["metadata"]["name"].as_str())
    }
    let told = told.map(items).unwrap_or_default();
    let (known, here): (BTreeSet<_>, BTreeSet<_>) =
        (told.iter().map(key).collect(), items(now).iter().map(key).collect());
    let mut text = String::new();
    for gone in told.iter().filter(|v| !here.contains(&key(v))) {
        line(&mut text, "DELETED", now, gone);
    }
    for item in items(now) {
        let event = if known.contains(&key(item)) {
            "MODIFIED"
        } else {
            "ADDED"
        };
        line(&mut text, event, now, item);
    }
    if bookmark {
        mark(&mut text, now, None);
    }
    text
}

fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn kind_of(list: &Value) -> &str {
    list["kind"].as_str().unwrap_or_default().trim_end_matches("List")
}

fn line(text: &mut String, event: &str, list: &Value, item: &Value) {
    let mut object = item.clone();
    // Items of a list do not say what they are; objects of a watch do.
    if object["kind"].is_null() {
        object["apiVersion"] = list["apiVersion"].clone();
        object["kind"] = kind_of(list).into();
    }
    text.push_str(&json!({"type": event, "object": object}).to_string());
    text.push('\n');
}

fn mark(text: &mut String, list: &Value, annotations: Option<Value>) {
    let mut metadata = json!({"resourceVersion": list["metadata"]["resourceVersion"]});
    if let Some(a) = annotations {
        metadata["annotations"] = a;
    }
    let object = json!({"apiVersion": list["apiVersion"], "kind": kind_of(list), "metadata": metadata});
    text.push_str(&json!({"type": "BOOKMARK", "object": object}).to_string());
    text.push('\n');
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
    fn who_was_told_another_list_hears_what_is_so_now() {
        let list = |rv: &str, names: &[(&str, &str)]| {
            let items: Vec<Value> = names
                .iter()
                .map(|(n, rv)| json!({"metadata": {"namespace": "d", "name": n, "resourceVersion": rv}}))
                .collect();
            json!({"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": rv}, "items": items})
        };
        let (told, now) = (
            list("7", &[("a", "5"), ("b", "6")]),
            list("9", &[("b", "6"), ("c", "8")]),
        );
        insta::assert_snapshot!(since_told(Some(&told), &now, true), @r#"
        {"object":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"d","resourceVersion":"5"}},"type":"DELETED"}
        {"object":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"b","namespace":"d","resourceVersion":"6"}},"type":"MODIFIED"}
        {"object":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"c","namespace":"d","resourceVersion":"8"}},"type":"ADDED"}
        {"object":{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"9"}},"type":"BOOKMARK"}
        "#);
        assert!(since_told(None, &now, false).lines().all(|l| l.contains("ADDED")));
        let uri = "/api/v1/pods?watch=1&resourceVersion=7&resourceVersionMatch=Exact&x=y"
            .parse()
            .unwrap();
        assert_eq!(from_revision(&uri, "9"), "/api/v1/pods?watch=1&x=y&resourceVersion=9");
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
