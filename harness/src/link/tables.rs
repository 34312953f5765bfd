//! The packet filter's part: which packets are handed to this process, which are dropped, which connections are
//! reset. The text is a pure function; a table changes as a whole (`iptables-restore`), never half.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Cidr, Rule};

/// Our chain in table mangle, before routing and address translation, and that in table filter.
const CHAIN: &str = "CFN-LINK";
const RESET_CHAIN: &str = "CFN-RESET";
/// Programs that change tables: the machine's choice first.
const PROGRAMS: [&str; 3] = ["iptables", "iptables-legacy", "iptables-nft"];

/// From where, and to which of this host's addresses (none: any).
pub(crate) type Way = (Cidr, Option<Cidr>);

/// A rule and the queue that serves it.
pub(crate) type Queued<'a> = (&'a Rule, Option<u16>);

/// Table mangle as `iptables-restore --noflush` reads it: what is cut is dropped, what is shaped goes to its queue.
/// `--queue-bypass`: while nobody serves a queue, packets pass.
pub(crate) fn mangle(rules: &[Queued<'_>]) -> String {
    let mut out = format!("*mangle\n:{CHAIN} - [0:0]\n");
    for (r, queue) in rules {
        let target = match queue {
            _ if r.cut => "DROP".to_owned(),
            Some(q) => format!("NFQUEUE --queue-num {q} --queue-bypass"),
            None => continue,
        };
        for way in r.ways() {
            let _ = writeln!(out, "-A {CHAIN} {} -j {target}", matching(way));
        }
    }
    out.push_str("COMMIT\n");
    out
}

/// What goes from there to here.
fn matching((from, to): Way) -> String {
    match to {
        None => format!("-s {from}"),
        Some(to) => format!("-s {from} -d {to}"),
    }
}

/// Table filter: segments of connections (no SYN) are answered with a reset; where what is there can be forgotten
/// (`conntrack --delete`) only those that nobody remembers (new to connection tracking), so that connections that begin
/// meanwhile are spared.
pub(crate) fn filter(resets: &[Way], forgets: bool) -> String {
    let unknown = if forgets { " -m conntrack --ctstate NEW" } else { "" };
    let mut out = format!("*filter\n:{RESET_CHAIN} - [0:0]\n");
    for way in resets {
        let _ = writeln!(
            out,
            "-A {RESET_CHAIN} {} -p tcp --tcp-flags SYN NONE{unknown} -j REJECT --reject-with tcp-reset",
            matching(*way)
        );
    }
    out.push_str("COMMIT\n");
    out
}

/// The tables of one network namespace, by the program that works there.
pub(crate) struct Tables {
    program: &'static str,
    interface: String,
    /// Whether there is the program `conntrack`.
    forgets: bool,
}

impl Tables {
    /// Finds the program and puts our chains in place, empty.
    pub(crate) fn open(interface: &str) -> io::Result<Self> {
        let mut first = None;
        let forgets = Command::new("conntrack")
            .arg("--version")
            .output()
            .is_ok_and(|o| o.status.success());
        for program in PROGRAMS {
            let tables = Self {
                program,
                interface: interface.to_owned(),
                forgets,
            };
            match tables.set_up() {
                Ok(()) => return Ok(tables),
                Err(e) => {
                    first.get_or_insert(e);
                }
            }
        }
        Err(first.unwrap_or_else(|| io::Error::other("no iptables")))
    }

    /// How long segments are answered with a reset: so that both ends of a connection that is used come to send
    /// something; short where what begins meanwhile is not spared.
    pub(crate) fn reset_time(&self) -> Duration {
        Duration::from_millis(if self.forgets { 2000 } else { 500 })
    }

    /// What works here, for whoever looks.
    pub(crate) fn program(&self) -> &'static str {
        self.program
    }

    fn jumps(&self) -> [[&str; 7]; 3] {
        let i = self.interface.as_str();
        [
            ["mangle", "PREROUTING", "-i", i, "-j", CHAIN, ""],
            ["filter", "INPUT", "-i", i, "-j", RESET_CHAIN, ""],
            ["filter", "FORWARD", "-i", i, "-j", RESET_CHAIN, ""],
        ]
    }

    fn set_up(&self) -> io::Result<()> {
        // The rule with a queue is tried, too: a kernel may have the tables and not that target.
        let probe = Rule {
            from: vec![Cidr::new([192, 0, 2, 0].into(), 24)],
            ..Rule::default()
        };
        self.restore(&mangle(&[(&probe, Some(0))]))?;
        self.restore(&mangle(&[]))?;
        self.restore(&filter(&[], self.forgets))?;
        for [table, chain, rest @ ..] in self.jumps() {
            let rest = &rest[..4];
            if self.run(table, "-C", chain, rest).is_err() {
                self.run(table, "-I", chain, rest)?;
            }
        }
        Ok(())
    }

    /// Sets what is queued and dropped.
    pub(crate) fn set(&self, rules: &[Queued<'_>]) -> io::Result<()> {
        self.restore(&mangle(rules))
    }

    /// Sets whose connections are reset, and forgets those that are there.
    pub(crate) fn set_resets(&self, ways: &[Way]) -> io::Result<()> {
        self.restore(&filter(ways, self.forgets))?;
        if self.forgets {
            forget(ways);
        }
        Ok(())
    }

    /// Takes everything of ours away.
    pub(crate) fn remove(&self) {
        for [table, chain, rest @ ..] in self.jumps() {
            let _ = self.run(table, "-D", chain, &rest[..4]);
        }
        for (table, chain) in [("mangle", CHAIN), ("filter", RESET_CHAIN)] {
            let _ = self.run(table, "-F", chain, &[]);
            let _ = self.run(table, "-X", chain, &[]);
        }
    }

    fn run(&self, table: &str, verb: &str, chain: &str, rest: &[&str]) -> io::Result<()> {
        let mut command = Command::new(self.program);
        command.args(["-w", "5", "-t", table, verb, chain]).args(rest);
        succeed(command.stdin(Stdio::null()).output()?, &format!("{command:?}"))
    }

    fn restore(&self, text: &str) -> io::Result<()> {
        let name = format!("{}-restore", self.program);
        let mut child = Command::new(&name)
            .args(["-w", "5", "--noflush"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| io::Error::new(e.kind(), format!("{name}: {e}")))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(text.as_bytes())?;
        }
        succeed(child.wait_with_output()?, &name)
    }
}

/// Makes connection tracking forget connections with these addresses, whoever began them; a pod's sockets are in a network
/// namespace of its own, so that this is what resets its connections.
fn forget(ways: &[Way]) {
    for (from, to) in ways {
        for (theirs, ours) in [("--orig-src", "--orig-dst"), ("--orig-dst", "--orig-src")] {
            let mut command = Command::new("conntrack");
            command.args(["--delete", "--proto", "tcp", theirs, &from.to_string()]);
            if let Some(to) = to {
                command.args([ours, &to.to_string()]);
            }
            // It fails where there is none.
            let _ = command.stdin(Stdio::null()).output();
        }
    }
}

/// Resets the sockets of this network namespace that are connected to these addresses (`ss --kill`): both ends learn
/// it at once. Where the kernel cannot (CONFIG_INET_DIAG_DESTROY), the next segment does it.
pub(crate) fn reset_sockets(ways: &[Way]) {
    for (from, to) in ways {
        let mut command = Command::new("ss");
        command.args(["--no-header", "--tcp", "--kill", "dst", &from.to_string()]);
        if let Some(to) = to {
            command.args(["src", &to.to_string()]);
        }
        let _ = command.stdin(Stdio::null()).output();
    }
}

fn succeed(output: std::process::Output, what: &str) -> io::Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{what}: {}", said.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_name_what_is_queued_dropped_and_reset() {
        let rule = |from: &[&str], cut| Rule {
            from: from.iter().map(|c| c.parse().unwrap()).collect(),
            cut,
            ..Rule::default()
        };
        let mut here = rule(&["10.9.4.0/24"], false);
        here.to = vec!["10.9.0.7/32".parse().unwrap()];
        let (east, west, near) = (
            rule(&["10.9.1.0/24", "10.9.129.0/24"], false),
            rule(&["10.9.2.0/24"], true),
            rule(&["10.9.3.0/24"], false),
        );
        insta::assert_snapshot!(mangle(&[(&east, Some(101)), (&west, Some(102)), (&near, None), (&here, Some(103))]), @r"
        *mangle
        :CFN-LINK - [0:0]
        -A CFN-LINK -s 10.9.1.0/24 -j NFQUEUE --queue-num 101 --queue-bypass
        -A CFN-LINK -s 10.9.129.0/24 -j NFQUEUE --queue-num 101 --queue-bypass
        -A CFN-LINK -s 10.9.2.0/24 -j DROP
        -A CFN-LINK -s 10.9.4.0/24 -d 10.9.0.7/32 -j NFQUEUE --queue-num 103 --queue-bypass
        COMMIT
        ");
        insta::assert_snapshot!(filter(&west.ways().collect::<Vec<_>>(), true), @r"
        *filter
        :CFN-RESET - [0:0]
        -A CFN-RESET -s 10.9.2.0/24 -p tcp --tcp-flags SYN NONE -m conntrack --ctstate NEW -j REJECT --reject-with tcp-reset
        COMMIT
        ");
        let all = filter(&west.ways().collect::<Vec<_>>(), false);
        assert!(all.contains("--tcp-flags SYN NONE -j REJECT"), "{all}");
    }
}
