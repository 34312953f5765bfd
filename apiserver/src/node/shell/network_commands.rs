//! `nc`, `nslookup` and `wget`: the network as scripts try it.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::commands::print;
use super::run::{Io, Shell};
use super::web;
use crate::node::services::Network;

/// How long they try where nothing is said.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most that is read of an answer, in bytes.
const LARGEST: usize = 1024 * 1024;

pub(super) async fn run(shell: &Shell, program: &str, args: &[&str], io: &Io) -> i32 {
    let Some(net) = &shell.p.net else {
        shell.complain(io, &format!("{program}: no network"));
        return 1;
    };
    match program {
        "nc" => nc(shell, net, args, io).await,
        "nslookup" => nslookup(shell, net, args, io).await,
        _ => wget(shell, net, args, io).await,
    }
}

/// What `nc` was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Netcat {
    verbose: bool,
    /// Only whether somebody listens.
    scan: bool,
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
}

/// Sends its input and prints what comes back, until the other ends or is silent for long.
async fn nc(shell: &Shell, net: &Network, args: &[&str], io: &Io) -> i32 {
    let Some(n) = Netcat::of(args) else {
        shell.complain(io, "nc: TCP only: nc [-v] [-z] [-w SECONDS] HOST PORT");
        return 1;
    };
    let wait = n.wait.map_or(PATIENCE, Duration::from_secs);
    let failed = |why: &str| {
        let (host, port) = (&n.host, n.port);
        shell.complain(io, &format!("nc: connect to {host} port {port} (tcp) failed: {why}"));
        1
    };
    let mut stream = match tokio::time::timeout(wait, net.connect(&n.host, n.port)).await {
        Ok(Ok(s)) => s,
        Ok(Err(e)) if e.kind() == io::ErrorKind::NotFound => {
            shell.complain(
                io,
                &format!(
                    "nc: getaddrinfo for host \"{}\" port {}: Name does not resolve",
                    n.host, n.port
                ),
            );
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
    if stream.write_all(&io.take_input()).await.is_err() {
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

async fn nslookup(shell: &Shell, net: &Network, args: &[&str], io: &Io) -> i32 {
    let Some(name) = args.iter().find(|a| !a.starts_with('-')) else {
        shell.complain(io, "Usage: nslookup NAME");
        return 1;
    };
    match net.resolve(name).await {
        Ok(all) if !all.is_empty() => {
            let lines: String = all.iter().map(|a| format!("Name:\t{name}\nAddress: {a}\n")).collect();
            print(shell, io, &lines)
        }
        _ => {
            print(shell, io, &format!("** server can't find {name}: NXDOMAIN\n"));
            1
        }
    }
}

/// `wget -q -O - URL`: to its output only.
async fn wget(shell: &Shell, net: &Network, args: &[&str], io: &Io) -> i32 {
    let (mut url, mut patience, mut rest) = (None, PATIENCE, args.iter());
    let mut to_output = false;
    while let Some(a) = rest.next() {
        match *a {
            "-T" => {
                let seconds = rest.next().and_then(|n| n.parse().ok());
                patience = seconds.map_or(patience, Duration::from_secs);
            }
            "-O" => to_output = rest.next() == Some(&"-"),
            "-O-" | "-qO-" => to_output = true,
            "--tries" | "-t" => drop(rest.next()),
            a if a.starts_with("--timeout=") => {
                let seconds = a.split('=').nth(1).and_then(|n| n.parse().ok());
                patience = seconds.map_or(patience, Duration::from_secs);
            }
            a if a.starts_with('-') => {}
            a => url = Some(a),
        }
    }
    let Some((host, port, path)) = url.and_then(web::address).filter(|_| to_output) else {
        shell.complain(io, "wget: to its output only: wget [-q] -O - URL");
        return 1;
    };
    match tokio::time::timeout(patience, web::get_named(net, (&host, port), &path)).await {
        Ok(Ok(a)) if a.code < 400 => print(shell, io, &String::from_utf8_lossy(&a.body)),
        Ok(Ok(a)) => {
            shell.complain(io, &format!("wget: server returned error: HTTP/1.1 {}", a.code));
            1
        }
        Ok(Err(e)) if e.kind() == io::ErrorKind::NotFound => {
            shell.complain(io, &format!("wget: bad address '{host}'"));
            1
        }
        Ok(Err(_)) => {
            shell.complain(
                io,
                &format!("wget: can't connect to remote host ({host}): Connection refused"),
            );
            1
        }
        Err(_) => {
            shell.complain(io, "wget: download timed out");
            1
        }
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
                wait,
                host,
                port,
            })
        };
        assert_eq!(of("-v -t -w 2 web 80"), web(true, false, Some(2)));
        assert_eq!(of("-vzw5 web 80"), web(true, true, Some(5)));
        assert_eq!(of("web 80"), web(false, false, None));
        assert_eq!(of("-u web 80"), None);
        assert_eq!(of("web"), None);
        assert_eq!(of("web http"), None);
    }
}
