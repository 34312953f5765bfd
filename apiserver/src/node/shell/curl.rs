//! `curl`, with those of its options that scripts use; another one is refused as it refuses what it does not know.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};

use super::commands::print;
use super::run::{Io, Shell};
use super::web::{self, Answer, Ask, Url};
use crate::node::files::absolute;
use crate::node::network::Network;

/// How long it tries where nothing is said.
const PATIENCE: Duration = Duration::from_secs(60);
/// `--max-redirs` where nothing is said.
const REDIRECTS: usize = 50;

/// What is asked for.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "flags of a command line")]
struct Curl {
    url: Option<String>,
    ask: Ask,
    /// `--connect-timeout` and `--max-time`: either bounds one question and its answer.
    patience: Option<Duration>,
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
const VALUES: [(char, &str); 9] = [
    ('m', "max-time"),
    ('o', "output"),
    ('w', "write-out"),
    ('H', "header"),
    ('X', "request"),
    ('d', "data"),
    ('A', "user-agent"),
    ('\0', "connect-timeout"),
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
        let mut c = Self::default();
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
                self.patience = Some(self.patience.map_or(time, |p| p.min(time)));
            }
            "output" => self.output = Some(value.to_owned()),
            "write-out" => value.clone_into(&mut self.write_out),
            "header" => {
                let (k, v) = value.split_once(':').ok_or_else(bad)?;
                self.header(k.trim(), v.trim()).ok_or_else(bad)?;
            }
            "user-agent" => self.header("user-agent", value).ok_or_else(bad)?,
            "request" => self.ask.method = value.parse().map_err(|_| bad())?,
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

/// The answer, wherever it was sent on to.
async fn asked(net: &Network, mut url: Url, c: &Curl) -> io::Result<Answer> {
    for _ in 0..REDIRECTS {
        let answer = web::ask(net, &url, &c.ask).await?;
        let to = answer.headers.get(header::LOCATION).and_then(|l| l.to_str().ok());
        match to.and_then(|to| url.join(to)) {
            Some(next) if c.follow && (300..400).contains(&answer.code) => url = next,
            _ => return Ok(answer),
        }
    }
    Err(io::Error::other("Maximum redirects followed"))
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
    if url.tls && !c.insecure {
        return failed(
            60,
            "SSL certificate problem: certificates are not looked at here (--insecure)",
        );
    }
    let Some(net) = &shell.p.net else {
        return failed(7, "no network");
    };
    let patience = c.patience.unwrap_or(PATIENCE);
    let (host, port) = (url.host.clone(), url.port);
    match tokio::time::timeout(patience, asked(net, url, &c)).await {
        Ok(Ok(a)) if c.fail && a.code >= 400 => {
            print(shell, io, &written_out(&c.write_out, a.code, 0));
            failed(22, &format!("The requested URL returned error: {}", a.code))
        }
        Ok(Ok(a)) => {
            let mut all = Vec::new();
            if c.include {
                all.extend(format!("HTTP/1.1 {}\r\n", a.code).into_bytes());
                for (k, v) in &a.headers {
                    all.extend([k.as_str().as_bytes(), b": ", v.as_bytes(), b"\r\n"].concat());
                }
                all.extend(b"\r\n");
            }
            all.extend(&a.body);
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
            print(shell, io, &written_out(&c.write_out, a.code, a.body.len()))
        }
        Ok(Err(e)) if e.kind() == io::ErrorKind::NotFound => failed(6, &format!("Could not resolve host: {host}")),
        Ok(Err(e)) => {
            print(shell, io, &written_out(&c.write_out, 0, 0));
            match e.kind() {
                io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable => failed(
                    7,
                    &format!("Failed to connect to {host} port {port}: Could not connect to server"),
                ),
                _ => failed(56, &format!("Recv failure: {e}")),
            }
        }
        Err(_) => {
            print(shell, io, &written_out(&c.write_out, 0, 0));
            failed(
                28,
                &format!("Operation timed out after {} milliseconds", patience.as_millis()),
            )
        }
    }
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
        assert_eq!(c.patience, Some(Duration::from_millis(1500)));
        assert_eq!(
            (c.output.as_deref(), c.write_out.as_str()),
            (Some("/dev/null"), "%{http_code}")
        );
        assert_eq!(c.ask.headers[0].0, "x-y");
        let c = of("-fsLk -XPUT -d a=b -d c=d https://a").unwrap();
        assert!(c.fail && c.silent && c.follow && c.insecure);
        assert_eq!((c.ask.method.as_str(), &c.ask.body[..]), ("PUT", &b"a=b&c=d"[..]));
        for wrong in ["--nope x", "-z x", "-m", "-m x y", "a b"] {
            assert!(of(wrong).is_err(), "{wrong}");
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
