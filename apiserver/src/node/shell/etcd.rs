//! The image `etcd` beside an API server that keeps its state itself: it runs until it is told to end, and nobody but
//! its own pod could ask it anything, so nothing is listened to.

use super::run::{Io, Process, Shell};

/// Whether a command line is that of an etcd for its own pod alone.
pub(super) fn is_own(argv: &[String]) -> bool {
    let Some((program, args)) = argv.split_first() else {
        return false;
    };
    let local = |urls: &str| {
        urls.split(',')
            .all(|u| u.starts_with("http://127.0.0.1:") || u.starts_with("http://[::1]:"))
    };
    let mut rest = args.iter();
    while let Some(flag) = rest.next() {
        let value = match flag.split_once('=') {
            Some((_, v)) => v,
            None => match rest.next() {
                Some(v) => v,
                None => return false,
            },
        };
        let name = flag.split('=').next().unwrap_or_default().trim_start_matches('-');
        if !matches!(name, "listen-client-urls" | "advertise-client-urls") || !local(value) {
            return false;
        }
    }
    matches!(program.as_str(), "etcd" | "/usr/local/bin/etcd")
}

/// Runs until it is told to end: etcd then ends by the signal's own number, as Go programs that catch it do.
pub(super) async fn run(process: &Process, io: &Io) -> i32 {
    let shell = Shell::new(process.clone(), Vec::new(), false);
    shell.complain(io, "serving client traffic insecurely; this is strongly discouraged!");
    process.term.cancelled().await;
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_for_its_own_pod_is_run() {
        for (line, is) in [
            ("etcd", true),
            (
                "/usr/local/bin/etcd --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379",
                true,
            ),
            ("etcd --listen-client-urls=http://[::1]:2379", true),
            ("etcd --listen-client-urls http://0.0.0.0:2379", false),
            ("etcd --data-dir /x", false),
            ("etcdctl get x", false),
        ] {
            let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(is_own(&argv), is, "{line}");
        }
    }
}
