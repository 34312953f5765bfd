//! This machine: what every lane needs.

use super::facts::Machine;
use super::finding::{Finding, Lane};

const ALL: [Lane; 3] = Lane::ALL;
const REAL: [Lane; 2] = [Lane::Local, Lane::Docker];

/// Least available memory for the embedded lanes, MiB: three testbeds of the default topology at once.
const MEMORY: u64 = 512;
/// Least room for reports and agents' disks, MiB.
const ROOM: u64 = 200;
/// Least open files: a scenario of the local lane holds some hundreds.
const OPEN_FILES: u64 = 1024;

/// What follows.
#[must_use]
pub fn judge(m: &Machine) -> Vec<Finding> {
    let mut out = Vec::new();
    match &m.loopback {
        Some(Ok(())) => out.push(Finding::ok("loopback", &REAL, "127.0.0.1 can be listened on")),
        Some(Err(e)) => out.push(Finding::fail(
            "loopback",
            &REAL,
            format!("cannot listen on 127.0.0.1: {e}"),
            "bring the loopback interface up: ip link set lo up",
        )),
        None => {}
    }
    let dir = &m.temporary;
    match (&m.writable, m.room) {
        (Some(Err(e)), _) => out.push(Finding::fail(
            "temporary directory",
            &ALL,
            format!("{dir} cannot be written: {e}"),
            "set TMPDIR to a directory with room",
        )),
        (Some(Ok(())), Some(room)) if room < ROOM => out.push(Finding::fail(
            "temporary directory",
            &ALL,
            format!("{dir} has room for {room} MiB"),
            format!("make room for {ROOM} MiB, or set TMPDIR to a directory with room"),
        )),
        (Some(Ok(())), room) => {
            let room = room.map_or(String::new(), |r| format!(", room for {r} MiB"));
            out.push(Finding::ok(
                "temporary directory",
                &ALL,
                format!("{dir} can be written{room}"),
            ));
        }
        (None, _) => {}
    }
    if let Some(n) = m.open_files {
        out.push(if n < OPEN_FILES {
            Finding::fail("open files", &REAL, format!("limit {n}"), "ulimit -n 4096")
        } else if n == u64::MAX {
            Finding::ok("open files", &REAL, "unlimited")
        } else {
            Finding::ok("open files", &REAL, format!("limit {n}"))
        });
    }
    if let Some(n) = m.memory {
        out.push(if n < MEMORY {
            Finding::fail(
                "memory",
                &ALL,
                format!("{n} MiB available"),
                format!("end other programs: {MEMORY} MiB are needed; or run fewer --jobs"),
            )
        } else {
            Finding::ok("memory", &ALL, format!("{n} MiB available"))
        });
    }
    match m.cores {
        Some(1) => out.push(Finding::warn(
            "cores",
            &REAL,
            "1 core",
            "with one core real-time bounds are tight: use --jobs 1, or --lane sim",
        )),
        Some(n) => out.push(Finding::ok("cores", &REAL, format!("{n} cores"))),
        None => {}
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn each_lack_is_told_with_its_cure() {
        let well = Machine {
            cores: Some(2),
            memory: Some(8000),
            open_files: Some(4096),
            loopback: Some(Ok(())),
            temporary: "/tmp".into(),
            writable: Some(Ok(())),
            room: Some(5000),
        };
        assert!(judge(&well).iter().all(|f| f.state == State::Ok));
        assert!(
            judge(&Machine::default()).is_empty(),
            "nothing is said of what was not looked at"
        );
        type Change = fn(&mut Machine);
        let cases: [(Change, &str, State, &str); 6] = [
            (|m| m.cores = Some(1), "cores", State::Warn, "--jobs 1"),
            (|m| m.memory = Some(100), "memory", State::Fail, "512 MiB"),
            (|m| m.open_files = Some(256), "open files", State::Fail, "ulimit"),
            (
                |m| m.loopback = Some(Err("down".into())),
                "loopback",
                State::Fail,
                "lo up",
            ),
            (
                |m| m.writable = Some(Err("read-only".into())),
                "temporary directory",
                State::Fail,
                "TMPDIR",
            ),
            (|m| m.room = Some(3), "temporary directory", State::Fail, "200 MiB"),
        ];
        for (change, check, state, cure) in cases {
            let mut m = well.clone();
            change(&mut m);
            let found = judge(&m);
            let wrong: Vec<_> = found.iter().filter(|f| f.state != State::Ok).collect();
            assert_eq!(wrong.len(), 1, "{check}");
            assert_eq!((wrong[0].check.as_str(), wrong[0].state), (check, state));
            assert!(
                wrong[0].cure.as_ref().is_some_and(|c| c.contains(cure)),
                "{:?}",
                wrong[0]
            );
        }
    }
}
