//! Logs and commands over WebSockets, in Kubernetes' sub-protocols
//! (`apiserver/pkg/util/wsstream`, `kubelet/pkg/cri/streaming/remotecommand`): a frame begins with its channel.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use http::{HeaderValue, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::{Answer, Incoming, ResponseBody};
use crate::local::{Attached, Ending, Input, NodeHook, Output, Standard, Stdio};
use crate::status::Status;

/// Bytes of the largest message that a client may send.
const LARGEST: usize = 1024 * 1024;
/// Channels of a command.
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
/// In `v5`: the channel named after it is closed.
const CLOSE: u8 = 255;

/// How long a client has to close its side.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How a stream ends that ends well.
const NORMAL: CloseFrame = CloseFrame {
    code: CloseCode::Normal,
    reason: Utf8Bytes::from_static(""),
};

/// Whether a WebSocket is asked for.
pub(super) fn is_asked(r: &Incoming) -> bool {
    let upgrade = r.headers.get(header::UPGRADE).and_then(|v| v.to_str().ok());
    upgrade.is_some_and(|u| u.eq_ignore_ascii_case("websocket"))
}

/// A connection that becomes a WebSocket when it is answered.
pub(super) struct Offer {
    upgrade: OnUpgrade,
    key: String,
    protocol: String,
}

impl Offer {
    /// The first protocol of the client that is served.
    pub(super) fn of(r: &Incoming, served: &[&str]) -> Result<Self, Status> {
        let text = |name| r.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let asked = text(header::SEC_WEBSOCKET_PROTOCOL);
        let mut all = asked.split(',').map(str::trim);
        let protocol = if asked.is_empty() {
            Some("")
        } else {
            all.find(|p| served.contains(p))
        };
        let protocol = protocol.ok_or_else(|| Status::bad_request(format!("no protocol of {asked:?} is served")))?;
        let key = text(header::SEC_WEBSOCKET_KEY);
        let upgrade = r
            .upgrade
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        match upgrade {
            Some(upgrade) if !key.is_empty() => Ok(Self {
                upgrade,
                key: key.to_owned(),
                protocol: protocol.to_owned(),
            }),
            _ => Err(Status::bad_request(
                "unable to upgrade: not a WebSocket's handshake".to_owned(),
            )),
        }
    }

    /// Answers, and runs the socket behind the answer.
    pub(super) fn accept<F>(self, run: impl FnOnce(Socket) -> F + Send + 'static) -> Answer
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut answer = Response::new(ResponseBody::full(Bytes::new()));
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let accept = derive_accept_key(self.key.as_bytes());
        for (name, value) in [
            (header::UPGRADE, "websocket"),
            (header::CONNECTION, "Upgrade"),
            (header::SEC_WEBSOCKET_ACCEPT, &accept),
            (header::SEC_WEBSOCKET_PROTOCOL, &self.protocol),
        ] {
            if let (Ok(v), false) = (HeaderValue::from_str(value), value.is_empty()) {
                answer.headers_mut().insert(name, v);
            }
        }
        let upgrade = self.upgrade;
        tokio::spawn(async move {
            match upgrade.await {
                Ok(io) => {
                    let limits = WebSocketConfig::default()
                        .max_message_size(Some(LARGEST))
                        .max_frame_size(Some(LARGEST));
                    run(WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Server, Some(limits)).await).await;
                }
                Err(e) => tracing::debug!(%e, "a connection did not become a WebSocket"),
            }
        });
        answer
    }
}

/// A log over a WebSocket.
pub(super) fn log(r: &Incoming, log: Vec<u8>) -> Result<Answer, Status> {
    let offer = Offer::of(r, &["binary.k8s.io", "base64.binary.k8s.io"])?;
    let encoded = offer.protocol.starts_with("base64");
    Ok(offer.accept(move |mut socket| async move {
        let data = match encoded {
            true => Message::text(base64::engine::general_purpose::STANDARD.encode(&log)),
            false => Message::binary(log),
        };
        let _ = socket.send(data).await;
        let _ = socket.close(Some(NORMAL)).await;
    }))
}

/// What a container says, until it ends or the client goes, and what it is told meanwhile (`remotecommand.ServeAttach`).
pub(super) fn attach(r: &Incoming, attached: Attached) -> Result<Answer, Status> {
    let offer = Offer::of(r, &["v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"])?;
    let states = offer.protocol.starts_with('v');
    Ok(offer.accept(move |socket| async move {
        let (mut sink, mut frames) = socket.split();
        let Attached { mut output, input } = attached;
        let ending = tokio::select! {
            biased;
            ending = say(&mut output, &mut sink) => ending,
            goes = hear(&mut frames, input) => match goes {
                true => return,
                // Whose input is done, and the container goes on, was attached as long as was wanted.
                false => Some(Ending::Exited),
            },
        };
        let status = match ending {
            Some(Ending::Exited) => json!({"metadata": {}, "status": "Success"}),
            Some(Ending::Behind) => {
                let why = "error attaching to container: what it says was not read for too long";
                let causes = json!({"causes": [{"message": why}]});
                let mut s = failure("InternalError", format!("Internal error occurred: {why}"), causes, 0);
                s["code"] = json!(500);
                s
            }
            // With the host its connections are gone: nobody says how it ended.
            Some(Ending::Lost) | None => return,
        };
        finish(sink, frames, states, &status).await;
    }))
}

/// Says how it ended, and waits for the client to close its side: data on its way must not be cut off. Only versions that
/// have a number (`states`) say a `Status`, and that all went well; the first speaks of failures, in words.
async fn finish(mut sink: SplitSink<Socket, Message>, mut frames: SplitStream<Socket>, states: bool, status: &Value) {
    let text = match states {
        true => status.to_string(),
        false => status["message"].as_str().unwrap_or_default().to_owned(),
    };
    send(&mut sink, ERROR, text.as_bytes()).await;
    let _ = sink.send(Message::Close(Some(NORMAL))).await;
    let gone = async { while frames.next().await.is_some_and(|m| m.is_ok_and(|m| !m.is_close())) {} };
    let _ = tokio::time::timeout(LAST_WORDS, gone).await;
}

/// Sends bytes on a channel; false: the client takes no more.
async fn send(sink: &mut SplitSink<Socket, Message>, channel: u8, bytes: &[u8]) -> bool {
    for part in bytes.chunks(32 * 1024) {
        if sink.send(Message::binary([&[channel], part].concat())).await.is_err() {
            return false;
        }
    }
    true
}

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// Hands on what a container says; why there is no more, or `None` when the client takes no more.
async fn say(output: &mut Output, sink: &mut SplitSink<Socket, Message>) -> Option<Ending> {
    while let Some(said) = output.recv().await {
        if !send(sink, STDOUT, &said).await {
            return None;
        }
    }
    Some(output.ending())
}

/// Hands on what a client says; whether it has gone, or has just no more to say to a container that goes on to listen.
async fn hear(frames: &mut SplitStream<Socket>, mut input: Option<Input>) -> bool {
    while let Some(Ok(m)) = frames.next().await {
        match m {
            Message::Binary(b) if b.first() == Some(&STDIN) && b.len() > 1 => {
                if let Some(i) = &input
                    && !i.send(b[1..].to_vec()).await
                {
                    input = None;
                }
            }
            // Its end, as `v5` says it.
            Message::Binary(b) if *b == [CLOSE, STDIN] && input.take().is_some_and(|i| !i.once) => return false,
            Message::Close(_) => return true,
            _ => {}
        }
    }
    true
}

/// A command in a container.
pub(super) struct Exec {
    pub(super) hook: Arc<dyn NodeHook>,
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) container: String,
    pub(super) command: Vec<String>,
    pub(super) stdin: bool,
    pub(super) tty: bool,
}

/// Runs a command over a WebSocket: it hears what the client says, and the client what it says, as it is said
/// (`remotecommand.ServeExec`).
pub(super) fn exec(r: &Incoming, e: Exec) -> Result<Answer, Status> {
    let offer = Offer::of(r, &["v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"])?;
    let states = offer.protocol.starts_with('v');
    Ok(offer.accept(move |socket| async move {
        let (mut sink, mut frames) = socket.split();
        let (input, stdin) = Input::new(true);
        // While the client takes nothing the command does not go on, so no more waits here than it says in one go.
        let (tell, mut said) = mpsc::unbounded_channel();
        let stdio = Stdio {
            stdin: e.stdin.then_some(stdin),
            output: Arc::new(move |from, bytes: &[u8]| {
                let channel = match from {
                    Standard::Output => STDOUT,
                    Standard::Error => STDERR,
                };
                // Nobody hears it when the client is gone.
                let _ = tell.send((channel, bytes.to_vec()));
            }),
            tty: e.tty,
        };
        let status = match e.hook.exec(&e.namespace, &e.pod, &e.container, &e.command, stdio) {
            Some(mut running) => {
                let mut hearing = pin!(hear(&mut frames, e.stdin.then_some(input)));
                let code = loop {
                    let (channel, bytes) = tokio::select! {
                        biased;
                        Some(piece) = said.recv() => piece,
                        code = &mut running => break code,
                        // Who goes takes the command with them.
                        _ = &mut hearing => return,
                    };
                    if !send(&mut sink, channel, &bytes).await {
                        return;
                    }
                };
                while let Ok((channel, bytes)) = said.try_recv() {
                    if !send(&mut sink, channel, &bytes).await {
                        return;
                    }
                }
                status(code, &e.command)
            }
            None => {
                let text = format!(
                    "command {:?} is not interpreted in container {}",
                    e.command, e.container
                );
                failure("InternalError", text, Value::Null, 500)
            }
        };
        finish(sink, frames, states, &status).await;
    }))
}

fn failure(reason: &str, message: String, details: Value, code: u16) -> Value {
    let mut s = json!({"metadata": {}, "status": "Failure", "message": message, "reason": reason});
    match details {
        Value::Null => s["code"] = json!(code),
        d => s["details"] = d,
    }
    s
}

/// How a command ended, as a `Status`.
fn status(code: i32, command: &[String]) -> Value {
    if code == 0 {
        return json!({"metadata": {}, "status": "Success"});
    }
    let text =
        format!("command terminated with non-zero exit code: error executing command {command:?}, exit code {code}");
    let causes = json!({"causes": [{"reason": "ExitCode", "message": code.to_string()}]});
    failure("NonZeroExitCode", text, causes, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        assert_eq!(status(0, &[])["status"], "Success");
        let s = status(3, &["x".to_owned()]);
        assert_eq!(s["reason"], "NonZeroExitCode");
        assert_eq!(s["details"]["causes"][0]["message"], "3");
    }
}
