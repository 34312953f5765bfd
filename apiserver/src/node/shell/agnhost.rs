//! Kubernetes' test image `agnhost`: those of its programs that are written again here.

use std::time::Duration;

use super::discovery::{self, Discovery};
use super::file_commands::{mode, permissions};
use super::run::{Io, Process, Shell};
use super::serve::Server;
use crate::node::dns::ResolvConf;
use crate::node::files::{FileError, Inode};

/// What `mounttest` writes into new files.
const NEW: &str = "mount-tester new file\n";
/// Exit code of a Go program that gets SIGTERM as the first process.
const GO_TERMINATED: i32 = 2;

/// One of its programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sub {
    Pause,
    /// Prints the command line.
    Entrypoint(Vec<String>),
    /// Prints `/etc/hosts`.
    Hosts,
    /// Prints the search list of `/etc/resolv.conf`.
    Suffixes,
    /// Prints the first name server of it.
    NameServers,
    MountTest(Vec<(String, String)>),
    /// Lines, and how long they take.
    Logs(u64, Duration),
    /// Checks a token with what its issuer publishes.
    Discovery(Discovery),
    /// Serves; only as a container's own program.
    Serve(Server),
}

impl Sub {
    /// The program of a command line.
    pub(crate) fn of(argv: &[String]) -> Option<Self> {
        let first = argv.first()?.as_str();
        if first == "/pause" {
            return Some(Self::Pause);
        }
        let program = first.strip_prefix('/').unwrap_or(first);
        if !matches!(program, "agnhost" | "agnhost-2") {
            return None;
        }
        let (sub, args) = argv[1..].split_first()?;
        match sub.as_str() {
            "pause" => Some(Self::Pause),
            "entrypoint-tester" => Some(Self::Entrypoint(argv.to_vec())),
            "etc-hosts" => Some(Self::Hosts),
            "dns-suffix" => Some(Self::Suffixes),
            "dns-server-list" => Some(Self::NameServers),
            "mounttest" => flags(args).map(Self::MountTest),
            "logs-generator" => {
                let flags = flags(args)?;
                let find = |names: [&str; 2]| flags.iter().find(|(k, _)| names.contains(&k.as_str()));
                let lines = find(["log-lines-total", "t"])?.1.parse().ok().filter(|n| *n > 0)?;
                let time = crate::controllers::duration(&find(["run-duration", "d"])?.1)?;
                Some(Self::Logs(lines, time))
            }
            "test-service-account-issuer-discovery" => Discovery::of(&flags(args)?).map(Self::Discovery),
            sub => Server::of(sub, &flags(args)?).map(Self::Serve),
        }
    }
}

/// `--name=value`, `--name value`, `-n value` as Go's flags have them.
fn flags(args: &[String]) -> Option<Vec<(String, String)>> {
    let mut all = Vec::new();
    let mut rest = args.iter();
    while let Some(a) = rest.next() {
        let flag = a.strip_prefix("--").or_else(|| a.strip_prefix('-'))?;
        let (k, v) = match flag.split_once('=') {
            Some((k, v)) => (k.to_owned(), v.to_owned()),
            // Those that are there or not have no value.
            None if matches!(
                flag,
                "tcp" | "udp" | "http" | "close" | "json-response" | "in-cluster-discovery"
            ) =>
            {
                (flag.to_owned(), "true".to_owned())
            }
            None => (flag.to_owned(), rest.next()?.clone()),
        };
        all.push((k, v));
    }
    Some(all)
}

/// Runs one to its end, or until it is told to end.
pub(super) async fn run(sub: &Sub, process: &Process, io: &Io) -> i32 {
    let ended = match sub {
        Sub::Pause => 0,
        _ => GO_TERMINATED,
    };
    tokio::select! {
        biased;
        () = process.term.cancelled() => ended,
        code = to_end(sub, process, io) => code,
    }
}

/// Runs one that is not stopped.
async fn to_end(sub: &Sub, process: &Process, io: &Io) -> i32 {
    let shell = Shell::new(process.clone(), Vec::new(), false);
    let print = |text: String| {
        shell.write(&io.out, text.as_bytes());
    };
    match sub {
        Sub::Pause => {
            print("Paused\n".to_owned());
            std::future::pending().await
        }
        Sub::Serve(_) => {
            print("only served as a container's own program\n".to_owned());
            1
        }
        Sub::Entrypoint(argv) => {
            print(format!("[{}]\n", argv.join(" ")));
            0
        }
        Sub::Hosts => match process.files.read("/etc/hosts") {
            Ok(data) => i32::from(!shell.write(&io.out, &data)),
            Err(e) => {
                print(format!("{}\n", go("open", "/etc/hosts", e)));
                1
            }
        },
        Sub::Suffixes | Sub::NameServers => {
            let text = process.files.read("/etc/resolv.conf").unwrap_or_default();
            let conf = ResolvConf::read(&String::from_utf8_lossy(&text));
            let found = match sub {
                Sub::Suffixes => conf.search,
                // The first line is enough for it.
                _ => conf.nameservers.into_iter().take(1).collect(),
            };
            match found.is_empty() {
                false => print(format!("{}\n", found.join(","))),
                true => {
                    print("panic: Could not find DNS search list!\n".to_owned());
                    return GO_TERMINATED;
                }
            }
            0
        }
        Sub::Discovery(d) => discovery::run(d, process, &shell, io).await,
        Sub::MountTest(flags) => mount_test(process, flags, &print).await,
        Sub::Logs(lines, time) => {
            for id in 0..*lines {
                let now = process.clock.now().strftime("%m%d %H:%M:%S%.6f").to_string();
                let method = ["GET", "POST", "PUT"][usize::try_from(id % 3).unwrap_or(0)];
                let at = ["kube-system", "default", "ns"][usize::try_from(id / 3 % 3).unwrap_or(0)];
                let url = format!("/api/v1/namespaces/{at}/pods/p{:02}", id * 7 % 100);
                let status = 200 + id * 37 % 400;
                print(format!(
                    "I{now}       1 logs_generator.go:76] {id} {method} {url} {status}\n"
                ));
                tokio::time::sleep(*time / u32::try_from(*lines).unwrap_or(u32::MAX)).await;
            }
            0
        }
    }
}

/// The error of a Go file operation.
fn go(op: &str, path: &str, e: FileError) -> String {
    let text = e.to_string();
    let (first, rest) = text.split_at(1);
    format!("{op} {path}: {}{rest}", first.to_lowercase())
}

/// `mounttest`: its tests in its order, whatever the order of its flags.
async fn mount_test(p: &Process, flags: &[(String, String)], print: &(dyn Fn(String) + Sync)) -> i32 {
    let flag = |name: &str| {
        flags
            .iter()
            .rev()
            .find(|(k, _)| k == name)
            .map(|(_, v)| v.as_str())
            .filter(|v| !v.is_empty())
    };
    let mut failed = false;
    if let Some(path) = flag("fs_type") {
        match p.files.kind(path) {
            Ok(kind) => print(format!("mount type of \"{path}\": {kind}\n")),
            Err(e) => {
                failed = true;
                print(format!("error from statfs({path:?}): {}\n", go("", path, e)));
            }
        }
    }
    for (name, bits) in [
        ("new_file_0644", 0o644),
        ("new_file_0666", 0o666),
        ("new_file_0660", 0o660),
        ("new_file_0777", 0o777),
    ] {
        let Some(path) = flag(name) else { continue };
        match p.files.write(path, NEW.as_bytes(), false, bits) {
            Ok(()) => failed |= !content(p, path, print),
            Err(e) => {
                failed = true;
                print(format!("error writing new file {path:?}: {}\n", go("open", path, e)));
            }
        }
    }
    let mut look = |name: &str, say: &dyn Fn(&str, &Inode) -> String| {
        let Some(path) = flag(name) else { return };
        match p.files.stat(path) {
            Ok(i) => print(say(path, &i)),
            Err(e) => {
                failed = true;
                print(format!("error from Stat({path:?}): {}\n", go("stat", path, e)));
            }
        }
    };
    look("file_mode", &|path, i| format!("mode of file {path:?}: {}\n", mode(i)));
    look("file_perm", &|path, i| {
        format!("perms of file {path:?}: -{}\n", permissions(i.mode))
    });
    look("file_owner", &|path, i| {
        format!("owner UID of {path:?}: {}\nowner GID of {path:?}: {}\n", i.uid, i.gid)
    });
    if let Some(path) = flag("file_content") {
        failed |= !content(p, path, print);
    }
    if let Some(path) = flag("file_content_in_loop") {
        let seconds = flag("retry_time").and_then(|t| t.parse().ok()).unwrap_or(180);
        let stops = flag("break_on_expected_content") != Some("false");
        failed |= !repeated(p, path, Duration::from_secs(seconds), stops, print).await;
    }
    i32::from(failed)
}

fn content(p: &Process, path: &str, print: &(dyn Fn(String) + Sync)) -> bool {
    match p.files.read(path) {
        Ok(data) => {
            print(format!(
                "content of file {path:?}: {}\n",
                String::from_utf8_lossy(&data)
            ));
            true
        }
        Err(e) => {
            print(format!(
                "error reading file content for {path:?}: {}\n",
                go("open", path, e)
            ));
            false
        }
    }
}

async fn repeated(p: &Process, path: &str, time: Duration, stops: bool, print: &(dyn Fn(String) + Sync)) -> bool {
    let end = tokio::time::Instant::now() + time;
    let mut read = true;
    while tokio::time::Instant::now() < end {
        match p.files.read(path) {
            Err(e) => {
                read = false;
                print(format!(
                    "Error reading file {path}: {}, retrying\n",
                    go("open", path, e)
                ));
            }
            Ok(data) => {
                read = true;
                let text = String::from_utf8_lossy(&data).into_owned();
                print(format!("content of file {path:?}: {text}\n"));
                if stops && text == NEW {
                    return true;
                }
                if stops {
                    print(format!("Unexpected content. Expected: {NEW}. Retrying\n"));
                }
            }
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    read
}
