//! Talking to the shaper of a network namespace: one JSON line there, one back, over a socket of the file system.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::ShapeConfig;
use super::shape::{Seen, Shaper};
use crate::lane::LaneError;

/// Where the shaper listens.
pub const SOCKET: &str = "/run/cfn-link.sock";
/// Where it keeps what it was told, for when its container is started again.
pub const STATE: &str = "/run/cfn-link.json";
/// How long a shaper may take to do as it is told.
const DONE: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Request {
    Set(ShapeConfig),
    Show,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Answer {
    Seen(Box<Seen>),
    Error(String),
}

/// What `cfn link shape` is told on its command line.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which interfaces packets arrive at, as iptables names them: `eth+` is all that begin so.
    pub interface: String,
    /// What to do at once; without it what `state` has, else nothing.
    pub config: Option<ShapeConfig>,
    /// Where to listen.
    pub socket: PathBuf,
    /// Where to keep what is told.
    pub state: PathBuf,
}

fn environment(e: &io::Error) -> LaneError {
    LaneError::Environment {
        what: format!("links cannot be shaped: {e}"),
        cure: "it needs iptables and iproute2, CAP_NET_ADMIN, and a kernel with NFQUEUE (CONFIG_NETFILTER_XT_TARGET_NFQUEUE, \
               CONFIG_NETFILTER_NETLINK_QUEUE: modprobe nfnetlink_queue xt_NFQUEUE on the host); see cfn doctor"
            .into(),
    }
}

/// Shapes the network namespace it runs in until SIGTERM or SIGINT. `ready` is called when the first config is in
/// place.
///
/// # Errors
/// [`LaneError::Environment`] when the kernel, a program or a permission is missing; [`LaneError::Failed`] when the
/// config cannot be put in place.
pub async fn shape(options: &Options, ready: impl FnOnce(&Seen)) -> Result<(), LaneError> {
    let failed = |e: io::Error| LaneError::Failed(format!("shaping links: {e}"));
    let mut shaper = Shaper::open(&options.interface).map_err(|e| environment(&e))?;
    let kept = || -> Option<ShapeConfig> { serde_json::from_slice(&std::fs::read(&options.state).ok()?).ok() };
    shaper
        .set(options.config.clone().or_else(kept).unwrap_or_default())
        .map_err(failed)?;
    let _ = std::fs::remove_file(&options.socket);
    let listener = UnixListener::bind(&options.socket).map_err(failed)?;
    ready(&shaper.seen().map_err(failed)?);
    let mut stop = std::pin::pin!(stopped());
    let mut resets_end: Option<tokio::time::Instant> = None;
    loop {
        let end = async {
            match resets_end {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = &mut stop => break,
            () = end => {
                resets_end = None;
                shaper.resets(&[]).map_err(failed)?;
            }
            conn = listener.accept() => {
                let (conn, _) = conn.map_err(failed)?;
                // Whoever asks is on this machine and asks at once.
                match tokio::time::timeout(DONE, answer(&mut shaper, conn, &options.state)).await {
                    Ok(Ok(true)) => resets_end = Some(tokio::time::Instant::now() + shaper.reset_time()),
                    Ok(Ok(false)) => {}
                    Ok(Err(e)) => eprintln!("warning: {e}"),
                    Err(_) => eprintln!("warning: somebody asked nothing for {} s", DONE.as_secs()),
                }
            }
        }
    }
    shaper.close();
    let _ = std::fs::remove_file(&options.socket);
    Ok(())
}

/// Answers one request; whether connections are being reset.
async fn answer(shaper: &mut Shaper, mut conn: UnixStream, state: &Path) -> io::Result<bool> {
    let (read, mut write) = conn.split();
    let mut line = String::new();
    BufReader::new(read).read_line(&mut line).await?;
    let mut resetting = false;
    let mut serve = || -> io::Result<Seen> {
        match serde_json::from_str(&line)? {
            Request::Show => {}
            Request::Set(config) => {
                let text = serde_json::to_vec(&config)?;
                let resets = shaper.set(config)?;
                if !resets.is_empty() {
                    shaper.resets(&resets)?;
                    resetting = true;
                }
                std::fs::write(state, text)?;
            }
        }
        shaper.seen()
    };
    let answer = match serve() {
        Ok(s) => Answer::Seen(Box::new(s)),
        Err(e) => Answer::Error(e.to_string()),
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    write.write_all(&text).await?;
    Ok(resetting)
}

async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let (term, int) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    match (term, int) {
        (Ok(mut t), Ok(mut i)) => {
            tokio::select! {
                _ = t.recv() => {}
                _ = i.recv() => {}
            }
        }
        _ => std::future::pending().await,
    }
}

async fn ask(socket: &Path, request: &Request) -> Result<Seen, LaneError> {
    let trouble = |e: io::Error| LaneError::Environment {
        what: format!("no shaper answers at {}: {e}", socket.display()),
        cure: "this is run where cfn link shape runs: docker exec SIDECAR cfn link ...".into(),
    };
    let exchange = async {
        let mut conn = UnixStream::connect(socket).await?;
        let mut text = serde_json::to_vec(request)?;
        text.push(b'\n');
        conn.write_all(&text).await?;
        let mut line = String::new();
        BufReader::new(conn).read_line(&mut line).await?;
        Ok(serde_json::from_str::<Answer>(&line)?)
    };
    let answer = tokio::time::timeout(DONE, exchange)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    match answer.map_err(trouble)? {
        Answer::Seen(s) => Ok(*s),
        Answer::Error(e) => Err(LaneError::Failed(format!("the shaper could not do so: {e}"))),
    }
}

/// Tells the shaper at `socket` what to do; it is done when this returns.
///
/// # Errors
/// No shaper is there, or it could not do so.
pub async fn set(socket: &Path, config: ShapeConfig) -> Result<Seen, LaneError> {
    ask(socket, &Request::Set(config)).await
}

/// What the shaper at `socket` does.
///
/// # Errors
/// No shaper is there.
pub async fn show(socket: &Path) -> Result<Seen, LaneError> {
    ask(socket, &Request::Show).await
}
