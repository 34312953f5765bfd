//! `curl`, with those of its options that scripts use; another one is refused as it refuses what it does not know.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};

use super::commands::print;
use super::run::{Io, Shell};
use super::web::{self, Answer, Ask, AskError, Url};
use crate::node::files::absolute;
use crate::node::network::Network;

/// How long connecting may take where nothing is said (`--connect-timeout`).
const CONNECT: Duration = Duration::from_secs(300);
/// `--max-redirs` where nothing is said.
const REDIRECTS: usize = 50;
/// What it says that it is.
const AGENT: HeaderValue = HeaderValue::from_static("curl/8.14.1");

/// What is asked for.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "flags of a command line")]
struct Curl {
    url: Option<String>,
    ask: Ask,
    /// `--max-time`, of all that is done.
    most: Option<Duration>,
    /// `--max-redirs`; none: without end.
    redirects: Option<usize>,
    /// `--request`: also where an answer leads elsewhere.
    forced: bool,
    output: Option<String>,
    write_out: String,
    fail: bool,
    follow: bool,
    insecure: bool,
    include: bool,
    silent: bool,
    show_error: bool,
}

/// Options with a value, by their letter.
const VALUES: [(char, &str); 10] = [
    ('m', "max-time"),
    ('o', "output"),
    ('w', "write-out"),
    ('H', "header"),
    ('X', "request"),
    ('d', "data"),
    ('A', "user-agent"),
    ('\0', "connect-timeout"),
    ('\0', "max-redirs"),
    ('\0', "interface"),
];
/// Options without.
const FLAGS: [(char, &str); 13] = [
    ('s', "silent"),
    ('S', "show-error"),
    ('g', "globoff"),
    ('q', "disable"),
    ('L', "location"),
    ('k', "insecure"),
    ('f', "fail"),
    ('I', "head"),
    ('i', "include"),
    ('4', "ipv4"),
    ('\0', "http1.1"),
    ('N', "no-buffer"),
    ('\0', "no-progress-meter"),
];

impl Curl {
    /// An error is what it says of a command line that it does not know.
    fn of(args: &[&str]) -> Result<Self, String> {
        let mut c = Self {
            redirects: Some(REDIRECTS),
            ask: Ask {
                headers: vec![(header::USER_AGENT, AGENT)],
                connect: Some(CONNECT),
                ..Ask::default()
            },
            ..Self::default()
        };
        let mut rest = args.iter();
        let unknown = |a: &str| format!("option {a}: is unknown");
        while let Some(a) = rest.next() {
            let needs = || format!("option {a}: requires parameter");
            if let Some(long) = a.strip_prefix("--") {
                if VALUES.iter().any(|(_, l)| *l == long) {
                    c.set(long, rest.next().ok_or_else(needs)?)?;
                } else if FLAGS.iter().any(|(_, l)| *l == long) {
                    c.flag(long);
                } else {
                    return Err(unknown(a));
                }
                continue;
            }
            let Some(letters) = a.strip_prefix('-').filter(|l| !l.is_empty()) else {
                if c.url.replace((*a).to_owned()).is_some() {
                    return Err("one URL only".to_owned());
                }
                continue;
            };
            for (i, letter) in letters.char_indices() {
                if let Some((_, long)) = VALUES.iter().find(|(l, _)| *l == letter) {
                    let attached = &letters[i + letter.len_utf8()..];
                    let value = if attached.is_empty() {
                        rest.next().ok_or_else(needs)?
                    } else {
                        attached
                    };
                    c.set(long, value)?;
                    break;
                }
                let (_, long) = FLAGS.iter().find(|(l, _)| *l == letter).ok_or_else(|| unknown(a))?;
                c.flag(long);
            }
        }
        Ok(c)
    }

    fn flag(&mut self, long: &str) {
        match long {
            "silent" => self.silent = true,
            "show-error" => self.show_error = true,
            "location" => self.follow = true,
            "insecure" => self.insecure = true,
            "fail" => self.fail = true,
            "include" => self.include = true,
            "head" => (self.ask.method, self.include) = (Method::HEAD, true),
            // They change nothing here: there is neither globbing nor a progress meter, and no other family.
            _ => {}
        }
    }

    fn set(&mut self, long: &str, value: &str) -> Result<(), String> {
        let bad = || format!("option --{long}: expected a proper value");
        match long {
            "max-time" | "connect-timeout" => {
                let time = value.parse().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
                let time = time.ok_or_else(bad)?;
                // None is the one that is there when nothing is said.
                match (long, time.is_zero()) {
                    ("max-time", none) => self.most = (!none).then_some(time),
                    (_, none) => self.ask.connect = Some(if none { CONNECT } else { time }),
                }
            }
            "max-redirs" => {
                let n: i64 = value.parse().map_err(|_| bad())?;
                self.redirects = usize::try_from(n).ok();
            }
            "output" => self.output = Some(value.to_owned()),
            "write-out" => value.clone_into(&mut self.write_out),
            "header" => {
                let (k, v) = value.split_once(':').ok_or_else(bad)?;
                self.header(k.trim(), v.trim()).ok_or_else(bad)?;
            }
            "user-agent" => self.header("user-agent", value).ok_or_else(bad)?,
            "request" => {
                self.ask.method = value.parse().map_err(|_| bad())?;
                self.forced = true;
            }
            "data" => {
                if self.ask.method == Method::GET {
                    self.ask.method = Method::POST;
                }
                let before = std::mem::take(&mut self.ask.body);
                let and = if before.is_empty() { "" } else { "&" };
                self.ask.body = Bytes::from([&before, and.as_bytes(), value.as_bytes()].concat());
                let form = "application/x-www-form-urlencoded";
                if !self.ask.headers.iter().any(|(k, _)| *k == header::CONTENT_TYPE) {
                    self.header("content-type", form).ok_or_else(bad)?;
                }
            }
            // A host has one interface here.
            _ => {}
        }
        Ok(())
    }

    fn header(&mut self, k: &str, v: &str) -> Option<()> {
        let name: HeaderName = k.parse().ok()?;
        self.ask.headers.retain(|(k, _)| *k != name);
        self.ask.headers.push((name, HeaderValue::from_str(v).ok()?));
        Some(())
    }
}

/// The text of `--write-out`.
fn written_out(format: &str, code: u16, size: usize) -> String {
    let text = format.replace("\\n", "\n").replace("\\t", "\t");
    let code = format!("{code:03}");
    let all = [
        ("http_code", code.as_str()),
        ("response_code", &code),
        ("size_download", &size.to_string()),
    ];
    all.iter()
        .fold(text, |text, (k, v)| text.replace(&format!("%{{{k}}}"), v))
}

/// Why it ends otherwise than with an answer: its exit code and what it says.
type Failed = (i32, String);

/// An answer's status and headers, as they came.
fn head(a: &Answer) -> Vec<u8> {
    let mut all = format!("{}\r\n", a.status_line()).into_bytes();
    for (k, v) in &a.headers {
        all.extend([k.as_str().as_bytes(), b": ", v.as_bytes(), b"\r\n"].concat());
    }
    all.extend(b"\r\n");
    all
}

/// Changes what is asked for another server or page (`Curl_http_follow`): a POST that is sent on by the older codes becomes a
/// GET, unless the method is asked for; and nobody else is told who asks.
fn sent_on(c: &Curl, ask: &mut Ask, code: u16, same: bool) {
    let becomes_get = match code {
        301 | 302 => ask.method == Method::POST,
        303 => !matches!(ask.method, Method::GET | Method::HEAD),
        _ => false,
    };
    if becomes_get && !c.forced {
        ask.method = Method::GET;
        ask.body = Bytes::new();
        ask.headers.retain(|(k, _)| *k != header::CONTENT_TYPE);
    }
    if !same {
        ask.headers
            .retain(|(k, _)| !matches!(*k, header::AUTHORIZATION | header::COOKIE));
    }
}

/// The answer, wherever it was sent on to, and the heads of all that came.
async fn asked(net: &Network, mut url: Url, c: &Curl) -> Result<(Answer, Vec<u8>), Failed> {
    let (mut ask, mut heads) = (c.ask.clone(), Vec::new());
    let begun = tokio::time::Instant::now();
    for followed in 0_usize.. {
        if url.tls && !c.insecure {
            let why = "SSL certificate problem: certificates are not looked at here (--insecure)";
            return Err((60, why.to_owned()));
        }
        // What is left for all counts, too.
        let left = c.most.map(|m| m.saturating_sub(begun.elapsed()));
        ask.connect = c.ask.connect.into_iter().chain(left).min();
        let answer = web::ask(net, &url, &ask)
            .await
            .map_err(|e| failure(&e, &url, begun.elapsed()))?;
        heads.extend(head(&answer));
        let next = match answer.location() {
            Some(to) if c.follow && (300..400).contains(&answer.code) => to,
            _ => return Ok((answer, heads)),
        };
        if let Some(most) = c.redirects.filter(|n| followed >= *n) {
            return Err((47, format!("Maximum ({most}) redirects followed")));
        }
        let next = url.join(next).ok_or((3, "URL rejected".to_owned()))?;
        sent_on(c, &mut ask, answer.code, next.is_of(&url));
        url = next;
    }
    Err((47, "Maximum redirects followed".to_owned()))
}

/// What it says of a question without an answer.
fn failure(e: &AskError, url: &Url, after: Duration) -> Failed {
    let (host, port, after) = (&url.host, url.port, after.as_millis());
    match e {
        AskError::Unknown => (6, format!("Could not resolve host: {host}")),
        AskError::Connect(_) => (
            7,
            format!("Failed to connect to {host} port {port} after {after} ms: Could not connect to server"),
        ),
        AskError::ConnectTimeout => (28, format!("Connection timed out after {after} milliseconds")),
        AskError::Tls(e) => (35, format!("TLS connect error: {e}")),
        AskError::Empty => (52, "Empty reply from server".to_owned()),
        AskError::Silent => (28, format!("Operation timed out after {after} milliseconds")),
        AskError::Broken(e) => (56, format!("Recv failure: {e}")),
    }
}

/// `curl [OPTION]... URL`.
pub(super) async fn run(shell: &Shell, args: &[&str], io: &Io) -> i32 {
    let c = match Curl::of(args) {
        Ok(c) => c,
        Err(why) => {
            shell.complain(
                io,
                &format!("curl: {why}\ncurl: try 'curl --help' for more information"),
            );
            return 2;
        }
    };
    let failed = |code: i32, why: &str| {
        if !c.silent || c.show_error {
            shell.complain(io, &format!("curl: ({code}) {why}"));
        }
        code
    };
    let Some(text) = &c.url else {
        return failed(2, "no URL specified");
    };
    let Some(url) = Url::of(text) else {
        return failed(3, "URL rejected");
    };
    let Some(net) = &shell.p.net else {
        return failed(7, "no network");
    };
    let asking = asked(net, url, &c);
    let done = match c.most {
        Some(most) => tokio::time::timeout(most, asking).await.unwrap_or_else(|_| {
            let (after, came) = (most.as_millis(), c.ask.received.load(Ordering::Relaxed));
            let why = format!("Operation timed out after {after} milliseconds with {came} bytes received");
            Err((28, why))
        }),
        None => asking.await,
    };
    let (answer, heads) = match done {
        Ok(done) => done,
        Err((code, why)) => {
            print(shell, io, &written_out(&c.write_out, 0, 0));
            return failed(code, &why);
        }
    };
    if c.fail && answer.code >= 400 {
        print(shell, io, &written_out(&c.write_out, answer.code, 0));
        return failed(22, &format!("The requested URL returned error: {}", answer.code));
    }
    let mut all = if c.include { heads } else { Vec::new() };
    all.extend(&answer.body);
    let written = match c.output.as_deref() {
        None | Some("-") => shell.write(&io.out, &all),
        Some("/dev/null") => true,
        Some(path) => {
            let path = absolute(&shell.p.directory, path);
            shell.p.files.write(&path, &all, false, 0o644).is_ok()
        }
    };
    if !written {
        return failed(23, "Failure writing output to destination");
    }
    print(shell, io, &written_out(&c.write_out, answer.code, answer.body.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        let of = |text: &str| Curl::of(&text.split(' ').collect::<Vec<_>>());
        let c = of("-g -q -sS --max-time 15 --connect-timeout 1.5 -H X-Y:z -o /dev/null -w %{http_code} http://a/b")
            .unwrap();
        assert_eq!(c.url.as_deref(), Some("http://a/b"));
        assert_eq!(c.ask.connect, Some(Duration::from_millis(1500)));
        assert_eq!(c.most, Some(Duration::from_secs(15)));
        assert_eq!(
            (c.output.as_deref(), c.write_out.as_str()),
            (Some("/dev/null"), "%{http_code}")
        );
        assert_eq!(c.ask.headers[1].0, "x-y");
        assert_eq!(of("-m 0 --connect-timeout 0 a").unwrap().most, None);
        assert_eq!(of("--max-redirs -1 a").unwrap().redirects, None);
        let c = of("-fsLk -XPUT -d a=b -d c=d https://a").unwrap();
        assert!(c.fail && c.silent && c.follow && c.insecure);
        assert_eq!((c.ask.method.as_str(), &c.ask.body[..]), ("PUT", &b"a=b&c=d"[..]));
        for wrong in ["--nope x", "-z x", "-m", "-m x y", "a b"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_asked_when_an_answer_leads_elsewhere() {
        for (args, code, same, method, told) in [
            ("-d x -H Authorization:y a", 302, true, "GET", true),
            ("-d x -H Authorization:y a", 302, false, "GET", false),
            ("-d x a", 307, true, "POST", false),
            ("-X PUT -d x a", 303, true, "PUT", false),
            ("-I a", 303, true, "HEAD", false),
        ] {
            let c = Curl::of(&args.split(' ').collect::<Vec<_>>()).unwrap();
            let mut ask = c.ask.clone();
            sent_on(&c, &mut ask, code, same);
            assert_eq!(ask.method, method, "{args} {code}");
            assert_eq!(ask.body.is_empty(), method == "GET" || args == "-I a", "{args} {code}");
            let tells = ask.headers.iter().any(|(k, _)| *k == header::AUTHORIZATION);
            assert_eq!(tells, told, "{args} {code} {same}");
        }
    }

    #[test]
    fn what_is_written_out() {
        for (format, expected) in [("%{http_code}\\n", "200\n"), ("", ""), ("%{size_download}b", "3b")] {
            assert_eq!(written_out(format, 200, 3), expected);
        }
        assert_eq!(written_out("%{response_code}", 0, 0), "000");
    }
}
