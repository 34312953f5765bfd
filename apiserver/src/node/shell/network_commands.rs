//! `nc` and `wget`: the network as scripts try it.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::run::{Io, Shell};
use super::web::{self, Ask, AskError, Url};
use crate::node::files::absolute;
use crate::node::network::Network;

/// How long `nc` tries where nothing is said.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long `wget` waits for each next step, and how often it is sent on (busybox).
const SILENCE: Duration = Duration::from_secs(900);
const REDIRECTS: usize = 15;
/// The most that is read of an answer, in bytes.
const LARGEST: usize = 1024 * 1024;

pub(super) async fn run(shell: &Shell, program: &str, args: &[&str], io: &Io) -> i32 {
    let Some(net) = &shell.p.net else {
        shell.complain(io, &format!("{program}: no network"));
        return 1;
    };
    match program {
        "nc" => nc(shell, net, args, io).await,
        _ => wget(shell, net, args, io).await,
    }
}

/// What `nc` was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Netcat {
    verbose: bool,
    /// Only whether somebody listens.
    scan: bool,
    udp: bool,
    wait: Option<u64>,
    host: String,
    port: u16,
}

impl Netcat {
    /// `None`: it is used otherwise than is known here.
    fn of(args: &[&str]) -> Option<Self> {
        let (mut n, mut named, mut rest) = (Self::default(), Vec::new(), args.iter());
        while let Some(a) = rest.next() {
            let Some(flags) = a.strip_prefix('-') else {
                named.push(*a);
                continue;
            };
            for (i, flag) in flags.char_indices() {
                match flag {
                    'v' => n.verbose = true,
                    'z' => n.scan = true,
                    'u' => n.udp = true,
                    'n' | 't' | '4' => {}
                    'w' => {
                        let attached = &flags[i + 1..];
                        let value = if attached.is_empty() { rest.next()? } else { attached };
                        n.wait = Some(value.parse().ok()?);
                        break;
                    }
                    _ => return None,
                }
            }
        }
        let [host, port] = named.as_slice() else { return None };
        (n.host, n.port) = ((*host).to_owned(), port.parse().ok()?);
        Some(n)
    }

    fn unknown(&self) -> String {
        let (host, port) = (&self.host, self.port);
        format!("nc: getaddrinfo for host \"{host}\" port {port}: Name does not resolve")
    }
}

/// Sends its input and prints what comes back, until the other ends or is silent for long.
async fn nc(shell: &Shell, net: &Network, args: &[&str], io: &Io) -> i32 {
    let Some(n) = Netcat::of(args) else {
        shell.complain(io, "usage: nc [-4ntuvz] [-w SECONDS] HOST PORT");
        return 1;
    };
    if n.udp {
        return nc_udp(shell, net, &n, io).await;
    }
    let wait = n.wait.map_or(PATIENCE, Duration::from_secs);
    let failed = |why: &str| {
        let (host, port) = (&n.host, n.port);
        shell.complain(io, &format!("nc: connect to {host} port {port} (tcp) failed: {why}"));
        1
    };
    let mut stream = match tokio::time::timeout(wait, net.connect(&n.host, n.port)).await {
        Ok(Ok(s)) => s,
        Ok(Err(e)) if e.kind() == io::ErrorKind::NotFound => {
            shell.complain(io, &n.unknown());
            return 1;
        }
        Ok(Err(_)) => return failed("Connection refused"),
        Err(_) => return failed("Operation timed out"),
    };
    if n.verbose {
        shell.complain(
            io,
            &format!("Connection to {} {} port [tcp/*] succeeded!", n.host, n.port),
        );
    }
    if n.scan {
        return 0;
    }
    if stream.write_all(&io.input.all().await).await.is_err() {
        return 1;
    }
    let mut buffer = vec![0; 4096];
    let mut all = 0;
    while all < LARGEST
        && let Ok(Ok(got @ 1..)) = tokio::time::timeout(wait, stream.read(&mut buffer)).await
    {
        all += got;
        if !shell.write(&io.out, &buffer[..got]) {
            break;
        }
    }
    0
}

/// Sends its input as one datagram and prints what is answered. With `-z` it sends an empty look, as OpenBSD's does, and
/// takes silence for a yes: only who refuses is not there.
async fn nc_udp(shell: &Shell, net: &Network, n: &Netcat, io: &Io) -> i32 {
    let (data, wait) = match n.scan {
        true => (b"X".to_vec(), Duration::from_secs(1)),
        false => (io.input.all().await, n.wait.map_or(PATIENCE, Duration::from_secs)),
    };
    let seen = || {
        if n.verbose {
            let (host, port) = (&n.host, n.port);
            shell.complain(io, &format!("Connection to {host} {port} port [udp/*] succeeded!"));
        }
    };
    match net.exchange(&n.host, n.port, &data, wait).await {
        Ok(answer) => {
            seen();
            i32::from(!n.scan && !shell.write(&io.out, &answer))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            shell.complain(io, &n.unknown());
            1
        }
        // Silence is no error, and for who only looks it is a yes.
        Err(e) if e.kind() == io::ErrorKind::TimedOut => {
            if n.scan {
                seen();
            }
            0
        }
        Err(_) => 1,
    }
}

/// What `wget` was asked for.
#[derive(Debug, Default)]
struct Wget {
    url: Option<String>,
    ask: Ask,
    /// `-` is its output.
    output: Option<String>,
    quiet: bool,
    /// Only whether it is there.
    spider: bool,
}

impl Wget {
    /// An error is what it says of a command line that it does not know.
    fn of(args: &[&str]) -> Result<Self, String> {
        let mut w = Self::default();
        w.ask
            .headers
            .push((header::USER_AGENT, HeaderValue::from_static("Wget")));
        (w.ask.connect, w.ask.silence) = (Some(SILENCE), Some(SILENCE));
        let mut rest = args.iter();
        while let Some(a) = rest.next() {
            let needs = || format!("option requires an argument: {}", a.trim_start_matches('-'));
            if let Some(long) = a.strip_prefix("--") {
                let (name, value) = match long.split_once('=') {
                    Some((n, v)) => (n, Some(v)),
                    None => (long, None),
                };
                match name {
                    "quiet" => w.quiet = true,
                    "spider" => w.spider = true,
                    "no-check-certificate" => {}
                    "timeout" | "tries" | "output-document" | "post-data" | "header" => {
                        let value = match value {
                            Some(v) => v,
                            None => rest.next().ok_or_else(needs)?,
                        };
                        w.set(name, value)?;
                    }
                    _ => return Err(format!("unrecognized option: {name}")),
                }
                continue;
            }
            let Some(letters) = a.strip_prefix('-').filter(|l| !l.is_empty()) else {
                w.url = Some((*a).to_owned());
                continue;
            };
            for (i, letter) in letters.char_indices() {
                let long = match letter {
                    'q' => {
                        w.quiet = true;
                        continue;
                    }
                    'O' => "output-document",
                    'T' => "timeout",
                    't' => "tries",
                    _ => return Err(format!("unrecognized option: {letter}")),
                };
                let attached = &letters[i + 1..];
                let value = if attached.is_empty() {
                    rest.next().ok_or_else(needs)?
                } else {
                    attached
                };
                w.set(long, value)?;
                break;
            }
        }
        Ok(w)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let invalid = || format!("invalid number '{value}'");
        match name {
            "timeout" => {
                let wait = Some(Duration::from_secs(value.parse().map_err(|_| invalid())?));
                (self.ask.connect, self.ask.silence) = (wait, wait);
            }
            "output-document" => self.output = Some(value.to_owned()),
            "post-data" => {
                self.ask.method = Method::POST;
                self.ask.body = Bytes::from(value.to_owned());
                let form = HeaderValue::from_static("application/x-www-form-urlencoded");
                self.ask.headers.push((header::CONTENT_TYPE, form));
            }
            "header" => {
                let header = value.split_once(':').and_then(|(k, v)| {
                    Some((
                        k.trim().parse::<HeaderName>().ok()?,
                        HeaderValue::from_str(v.trim()).ok()?,
                    ))
                });
                let header = header.ok_or_else(|| format!("invalid header '{value}'"))?;
                self.ask.headers.retain(|(k, _)| *k != header.0);
                self.ask.headers.push(header);
            }
            // It is tried once: what does not answer now does not answer a moment later.
            _ => {}
        }
        Ok(())
    }
}

/// `wget [OPTION]... URL`.
async fn wget(shell: &Shell, net: &Network, args: &[&str], io: &Io) -> i32 {
    let done = match Wget::of(args) {
        Ok(w) => download(shell, net, &w, io).await,
        Err(why) => Err(why),
    };
    match done {
        Ok(()) => 0,
        Err(why) => {
            shell.complain(io, &format!("wget: {why}"));
            1
        }
    }
}

/// An error is what it says before it ends.
async fn download(shell: &Shell, net: &Network, w: &Wget, io: &Io) -> Result<(), String> {
    let tell = |text: &str| {
        if !w.quiet {
            shell.complain(io, text);
        }
    };
    let parse = |text: &str| Url::of(text).ok_or_else(|| format!("not an http or ftp url: {text}"));
    let mut url = parse(w.url.as_ref().ok_or("missing URL")?)?;
    // Without a name it is the last part of the path.
    let named = url.path.split('?').next().unwrap_or_default().rsplit('/').next();
    let named = named.filter(|n| !n.is_empty()).unwrap_or("index.html").to_owned();
    let (mut address, mut followed) = (first_address(net, &url).await?, 0);
    tell(&format!("Connecting to {} ({address}:{})", url.host, url.port));
    let answer = loop {
        let answer = web::ask_at(net, &address, &url, &w.ask).await;
        let answer = answer.map_err(|e| failure(&e, &address))?;
        if !matches!(answer.code, 200..=204 | 300..=303 | 307 | 308) {
            return Err(format!("server returned error: {}", answer.status_line()));
        }
        let Some(to) = answer.location().filter(|_| answer.code >= 300) else {
            break answer;
        };
        if followed >= REDIRECTS {
            return Err("too many redirections".to_owned());
        }
        followed += 1;
        if to.starts_with('/') {
            url.path = to.to_owned();
            continue;
        }
        // Anything else is taken for a whole URL.
        url = parse(to)?;
        address = first_address(net, &url).await?;
        tell(&format!("Connecting to {} ({address}:{})", url.host, url.port));
    };
    if w.spider {
        tell("remote file exists");
        return Ok(());
    }
    let to = w.output.as_deref().unwrap_or(&named);
    if to == "-" {
        tell("writing to stdout");
        if !shell.write(&io.out, &answer.body) {
            return Err("write error".to_owned());
        }
        tell("written to stdout");
        return Ok(());
    }
    let path = absolute(&shell.p.directory, to);
    if w.output.is_none() && shell.p.files.stat(&path).is_ok() {
        return Err(format!("can't open '{to}': File exists"));
    }
    tell(&format!("saving to '{to}'"));
    let written = shell.p.files.write(&path, &answer.body, false, 0o644);
    written.map_err(|e| format!("can't open '{to}': {e}"))?;
    tell(&format!("'{to}' saved"));
    Ok(())
}

/// The address of whoever an URL is about: only the first is tried.
async fn first_address(net: &Network, url: &Url) -> Result<String, String> {
    let found = net.resolve(&url.host).await.unwrap_or_default();
    let first = found.into_iter().next();
    first.ok_or_else(|| format!("bad address '{}'", url.host))
}

/// What it says of a question without an answer.
fn failure(e: &AskError, address: &str) -> String {
    let unconnected = |why: &str| format!("can't connect to remote host ({address}): {why}");
    match e {
        AskError::ConnectTimeout | AskError::Silent => "download timed out".to_owned(),
        AskError::Connect(e) if e.kind() == io::ErrorKind::HostUnreachable => unconnected("Host is unreachable"),
        AskError::Connect(_) | AskError::Unknown => unconnected("Connection refused"),
        AskError::Empty => "error getting response".to_owned(),
        AskError::Tls(e) | AskError::Broken(e) => format!("error getting response: {e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn netcat_and_its_flags() {
        let of = |text: &str| Netcat::of(&text.split(' ').collect::<Vec<_>>());
        let web = |verbose, scan, wait| {
            let (host, port) = ("web".to_owned(), 80);
            Some(Netcat {
                verbose,
                scan,
                udp: false,
                wait,
                host,
                port,
            })
        };
        assert_eq!(of("-v -t -w 2 web 80"), web(true, false, Some(2)));
        assert_eq!(of("-vzw5 web 80"), web(true, true, Some(5)));
        assert_eq!(of("web 80"), web(false, false, None));
        assert!(of("-u web 80").is_some_and(|n| n.udp));
        assert_eq!(of("-l web 80"), None);
        assert_eq!(of("web"), None);
        assert_eq!(of("web http"), None);
    }

    #[test]
    fn wget_and_its_flags() {
        let of = |text: &str| Wget::of(&text.split(' ').collect::<Vec<_>>());
        for (text, output, wait) in [
            ("-q -O - http://a", Some("-"), None),
            ("-qO- http://a", Some("-"), None),
            ("-O- --post-data={} http://a", Some("-"), None),
            ("-T 5 http://a", None, Some(5)),
            ("--timeout=5 --tries 1 http://a", None, Some(5)),
        ] {
            let w = of(text).unwrap();
            assert_eq!(
                (w.output.as_deref(), w.ask.silence),
                (output, Some(wait.map_or(SILENCE, Duration::from_secs))),
                "{text}"
            );
            assert_eq!(w.url.as_deref(), Some("http://a"), "{text}");
        }
        for wrong in ["--nope http://a", "-x http://a", "-T x http://a", "-O"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
