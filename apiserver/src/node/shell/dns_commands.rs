//! `dig`, `getent` and `nslookup`: names as scripts look them up.

use std::io;
use std::net::IpAddr;

use super::commands::print;
use super::run::{Io, Shell};
use crate::node::dns::{self, Record, Reply, TTL, Type};
use crate::node::network::Network;

pub(super) async fn run(shell: &Shell, program: &str, args: &[&str], io: &Io) -> i32 {
    let Some(net) = &shell.p.net else {
        shell.complain(io, &format!("{program}: no network"));
        return 1;
    };
    match program {
        "dig" => dig(shell, net, args, io).await,
        "getent" => getent(shell, net, args, io).await,
        _ => nslookup(shell, net, args, io).await,
    }
}

/// What `dig` was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "flags of a command line")]
struct Dig {
    server: Option<String>,
    name: String,
    kind: Type,
    search: bool,
    short: bool,
    /// Which sections are shown.
    comments: bool,
    question: bool,
    answer: bool,
    stats: bool,
    /// What it was called with, where that is shown.
    cmd: Option<String>,
    tcp: bool,
}

impl Dig {
    /// An error is what it says of a command line that it does not know.
    fn of(args: &[&str]) -> Result<Self, String> {
        let mut d = Self {
            server: None,
            name: ".".into(),
            kind: Type::A,
            search: false,
            short: false,
            comments: true,
            question: true,
            answer: true,
            stats: true,
            cmd: Some(args.join(" ")),
            tcp: false,
        };
        let unknown = |a: &str| format!("Invalid option: {a}");
        let mut rest = args.iter();
        while let Some(a) = rest.next() {
            if let Some(server) = a.strip_prefix('@') {
                d.server = Some(server.to_owned());
            } else if let Some(flag) = a.strip_prefix('+') {
                let (is, flag) = flag.strip_prefix("no").map_or((true, flag), |f| (false, f));
                match flag {
                    "search" => d.search = is,
                    "short" => d.short = is,
                    "answer" => d.answer = is,
                    "question" => d.question = is,
                    "comments" => d.comments = is,
                    "stats" => d.stats = is,
                    "cmd" => d.cmd = d.cmd.filter(|_| is),
                    "all" => (d.comments, d.question, d.answer, d.stats) = (is, is, is, is),
                    // Both are asked the same here: an answer has the room that it needs. (`+notcp` is `+no` and `tcp`.)
                    "tcp" | "vc" => d.tcp = is,
                    "recurse" | "edns" => {}
                    f if ["time=", "tries=", "retry=", "timeout="]
                        .iter()
                        .any(|k| f.starts_with(k)) => {}
                    _ => return Err(unknown(a)),
                }
            } else if let Some(flag) = a.strip_prefix('-') {
                let value = rest.next().ok_or_else(|| unknown(a))?;
                match flag {
                    "t" => d.kind = Type::of(value).ok_or_else(|| unknown(value))?,
                    "q" => d.name = (*value).to_owned(),
                    "x" => {
                        let ip = value
                            .parse::<IpAddr>()
                            .map_err(|_| format!("Invalid IP address {value}"))?;
                        (d.name, d.kind) = (dns::reverse(ip), Type::Ptr);
                    }
                    _ => return Err(unknown(a)),
                }
            } else if let Some(kind) = Type::of(a) {
                d.kind = kind;
            } else if !a.eq_ignore_ascii_case("IN") {
                d.name = (*a).to_owned();
            }
        }
        Ok(d)
    }
}

/// A record as `dig` prints it: the name up to the third tab stop, or beyond.
fn line((name, data): &Record) -> String {
    let name = format!("{name}.");
    let tabs = "\t".repeat(3_usize.saturating_sub(name.len() / 8).max(1));
    format!("{name}{tabs}{TTL}\tIN\t{}\t{data}\n", data.kind().name())
}

async fn dig(shell: &Shell, net: &Network, args: &[&str], io: &Io) -> i32 {
    let d = match Dig::of(args) {
        Ok(d) => d,
        Err(why) => {
            shell.complain(
                io,
                &format!("{why}\nUsage:  dig [@global-server] [domain] [q-type] {{q-opt}}"),
            );
            return 1;
        }
    };
    let begun = tokio::time::Instant::now();
    let mut server = net.resolv_conf().nameservers.first().cloned().unwrap_or_default();
    let asked = match &d.server {
        Some(named) => match net.resolve(named).await {
            Ok(all) => {
                server = all.into_iter().next().unwrap_or_default();
                net.ask(&server, &d.name, d.kind).await
            }
            Err(_) => {
                shell.complain(io, &format!("dig: couldn't get address for '{named}': not found"));
                return 10;
            }
        },
        None => net.look_up(&d.name, d.kind, d.search).await,
    };
    let Ok(reply) = asked else {
        print(
            shell,
            io,
            ";; communications error: timed out\n;; no servers could be reached\n",
        );
        return 9;
    };
    let mut text = shown(&d, &reply);
    if d.stats && !d.short {
        let when = shell.p.clock.now().strftime("%a %b %d %H:%M:%S UTC %Y");
        let (took, by) = (begun.elapsed().as_millis(), if d.tcp { "TCP" } else { "UDP" });
        text += &format!("\n;; Query time: {took} msec\n;; SERVER: {server}#53({server}) ({by})\n;; WHEN: {when}\n\n");
    }
    print(shell, io, &text)
}

/// An answer as it is shown.
fn shown(d: &Dig, reply: &Reply) -> String {
    if d.short {
        return reply.records.iter().map(|(_, data)| format!("{data}\n")).collect();
    }
    let mut text = String::new();
    if let Some(cmd) = d.cmd.as_ref().filter(|_| d.comments) {
        text += &format!("\n; <<>> DiG 9.20 <<>> {cmd}\n;; global options: +cmd\n");
    }
    if d.comments {
        let (status, n) = (reply.code.name(), reply.records.len());
        text += &format!(
            ";; Got answer:\n;; ->>HEADER<<- opcode: QUERY, status: {status}, id: 0\n\
             ;; flags: qr aa rd; QUERY: 1, ANSWER: {n}, AUTHORITY: 0, ADDITIONAL: 0\n"
        );
    }
    let heading = |section: &str| match d.comments {
        true => format!("\n;; {section} SECTION:\n"),
        false => String::new(),
    };
    if d.question {
        text += &heading("QUESTION");
        let name = format!(";{}.", d.name.trim_end_matches('.'));
        let tabs = "\t".repeat(4_usize.saturating_sub(name.len() / 8).max(1));
        text += &format!("{name}{tabs}IN\t{}\n", d.kind.name());
    }
    if d.answer && !reply.records.is_empty() {
        text += &heading("ANSWER");
        text.extend(reply.records.iter().map(line));
    }
    text
}

/// `getent hosts|ahosts|ahostsv4 KEY...`, as glibc has it: 2 when one is not there.
async fn getent(shell: &Shell, net: &Network, args: &[&str], io: &Io) -> i32 {
    let Some((database @ ("hosts" | "ahosts" | "ahostsv4"), keys)) = args.split_first().map(|(d, k)| (*d, k)) else {
        let what = args.first().copied().unwrap_or_default();
        shell.complain(io, &format!("getent: Unknown database: {what}"));
        return 1;
    };
    let mut text = String::new();
    let mut code = 0;
    let hosts = net.hosts();
    for key in keys {
        let named = |(address, names): &(&str, Vec<&str>)| address == key || names.contains(key);
        let streams = database != "hosts";
        // With sockets, an address is there once for each type of them, and its name once.
        let mut named_yet = false;
        let mut line = |address: &str, names: &str| {
            if !streams {
                return format!("{address:<15} {names}\n");
            }
            let name = match std::mem::replace(&mut named_yet, true) {
                true => "",
                false => names.split(' ').next().unwrap_or_default(),
            };
            format!("{address:<15} STREAM {name}\n{address:<15} DGRAM  \n{address:<15} RAW    \n")
        };
        let lines: Vec<String> = match dns::hosts(&hosts).find(named) {
            Some((address, names)) => vec![line(address, &names.join(" "))],
            None => match key.parse::<IpAddr>() {
                // Who is an address needs no name.
                Ok(_) if streams => vec![line(key, key)],
                Ok(ip) => match net.look_up(&dns::reverse(ip), Type::Ptr, false).await {
                    Ok(reply) => reply
                        .records
                        .iter()
                        .map(|(_, name)| line(key, name.to_string().trim_end_matches('.')))
                        .collect(),
                    Err(_) => Vec::new(),
                },
                Err(_) => {
                    let found = net.look_up(key, Type::A, true).await;
                    let records = found.map(|r| r.records).unwrap_or_default();
                    // The name that has the addresses, behind its aliases.
                    let last = records.last().map(|(name, _)| name.clone()).unwrap_or_default();
                    let addresses = Reply {
                        code: dns::Code::NoError,
                        records,
                    };
                    addresses.addresses().iter().map(|a| line(a, &last)).collect()
                }
            },
        };
        if lines.is_empty() {
            code = 2;
        }
        text.extend(lines);
    }
    print(shell, io, &text);
    code
}

/// `nslookup [-type=TYPE] NAME [SERVER]`.
async fn nslookup(shell: &Shell, net: &Network, args: &[&str], io: &Io) -> i32 {
    let mut kind = Type::A;
    let mut named = Vec::new();
    for a in args {
        let flag = a.strip_prefix('-').map(|f| f.split_once('=').unwrap_or((f, "")));
        match flag {
            None => named.push(*a),
            Some(("type" | "query" | "querytype" | "q", t)) if Type::of(t).is_some() => {
                kind = Type::of(t).unwrap_or(kind);
            }
            Some(("debug" | "timeout" | "retry", _)) => {}
            Some(_) => {
                shell.complain(io, &format!("*** Invalid option: {}", a.trim_start_matches('-')));
                return 1;
            }
        }
    }
    let (Some(name), server) = (named.first(), named.get(1)) else {
        shell.complain(io, "Usage: nslookup [-type=TYPE] NAME [SERVER]");
        return 1;
    };
    let address = name.parse::<IpAddr>().ok();
    let (asked, kind) = match address {
        Some(ip) => (dns::reverse(ip), Type::Ptr),
        None => ((*name).to_owned(), kind),
    };
    let conf = net.resolv_conf();
    let told = conf.nameservers.first().map(String::as_str);
    let at = server.copied().or(told).unwrap_or("127.0.0.1");
    let reply: io::Result<Reply> = match server {
        Some(s) => match conf.names(&asked).first() {
            Some(full) => net.ask(s, full, kind).await,
            None => return 1,
        },
        None => net.look_up(&asked, kind, address.is_none()).await,
    };
    let Ok(reply) = reply else {
        print(shell, io, ";; connection timed out; no servers could be reached\n\n");
        return 1;
    };
    let mut text = format!("Server:\t\t{at}\nAddress:\t{at}#53\n\n");
    if reply.records.is_empty() {
        text += &match reply.code {
            dns::Code::NoError => format!("*** Can't find {name}: No answer\n\n"),
            code => format!("** server can't find {name}: {}\n\n", code.name()),
        };
        print(shell, io, &text);
        return 1;
    }
    for (owner, data) in &reply.records {
        text += &match data {
            dns::Data::Address(ip) => format!("Name:\t{owner}\nAddress: {ip}\n"),
            dns::Data::Alias(to) => format!("{owner}\tcanonical name = {to}.\n"),
            dns::Data::Pointer(to) => format!("{owner}\tname = {to}.\n"),
            dns::Data::Server { .. } => format!("{owner}\tservice = {data}\n"),
            dns::Data::Text(t) => format!("{owner}\ttext = {t:?}\n"),
        };
    }
    print(shell, io, &(text + "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dig_and_its_flags() {
        let of = |text: &str| Dig::of(&text.split(' ').collect::<Vec<_>>());
        let d = of("+notcp +noall +answer +search web.a SRV").unwrap();
        assert_eq!((d.name.as_str(), d.kind, d.search), ("web.a", Type::Srv, true));
        assert_eq!((d.comments, d.question, d.answer), (false, false, true));
        let d = of("@10.96.0.10 +short -x 10.1.2.3").unwrap();
        assert_eq!(
            (d.name.as_str(), d.kind, d.short),
            ("3.2.1.10.in-addr.arpa", Type::Ptr, true)
        );
        assert_eq!(d.server.as_deref(), Some("10.96.0.10"));
        for wrong in ["+nope x", "-z x", "-x host", "-t"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn answers_as_they_are_shown() {
        let reply = Reply {
            code: dns::Code::NoError,
            records: vec![("web.a".into(), dns::Data::Address(IpAddr::from([10, 96, 0, 9])))],
        };
        for (flags, expected) in [
            ("+short web.a", "10.96.0.9\n"),
            ("+noall +answer web.a", "web.a.\t\t\t30\tIN\tA\t10.96.0.9\n"),
            ("+noall web.a", ""),
            (
                "+nocmd +nostats web.a",
                ";; Got answer:\n;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 0\n\
                 ;; flags: qr aa rd; QUERY: 1, ANSWER: 1, AUTHORITY: 0, ADDITIONAL: 0\n\
                 \n;; QUESTION SECTION:\n;web.a.\t\t\t\tIN\tA\n\
                 \n;; ANSWER SECTION:\nweb.a.\t\t\t30\tIN\tA\t10.96.0.9\n",
            ),
        ] {
            let d = Dig::of(&flags.split(' ').collect::<Vec<_>>()).unwrap();
            assert_eq!(shown(&d, &reply), expected, "{flags}");
        }
    }
}
