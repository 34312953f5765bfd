//! Ports that somebody else may hold.

use super::facts::Port;
use super::finding::{Finding, Lane};

/// What follows.
#[must_use]
pub fn judge(ports: &[Port]) -> Vec<Finding> {
    ports
        .iter()
        .map(|p| match &p.holder {
            None => Finding::ok("port", &[Lane::Local], format!("{} is free", p.port)),
            Some(h) => Finding::fail(
                "port",
                &[Lane::Local],
                format!("{} is held by {h}", p.port),
                "end that program, or choose another port with --listen",
            ),
        })
        .collect()
}

/// The listening sockets of `/proc/net/tcp` or `/proc/net/tcp6`: port and inode (`Documentation/networking/proc_net_tcp`:
/// state 0A is LISTEN, the tenth field the inode).
#[must_use]
pub fn listening(table: &str) -> Vec<(u16, u64)> {
    table
        .lines()
        .skip(1)
        .filter_map(|l| {
            let f: Vec<&str> = l.split_whitespace().collect();
            let port = f.get(1)?.rsplit_once(':')?.1;
            if *f.get(3)? != "0A" {
                return None;
            }
            Some((u16::from_str_radix(port, 16).ok()?, f.get(9)?.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn listening_sockets_are_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 41234 1 0 100 0 0 10 0\n   \
            1: 0100007F:0016 0100007F:8000 01 00000000:00000000 00:00000000 00000000     0        0 7 1 0 20 4 30 10 -1\n   \
            2: rubbish\n";
        assert_eq!(listening(table), [(6443, 41234)]);
        assert!(listening("").is_empty());
    }

    #[test]
    fn a_held_port_is_named_with_its_holder() {
        let port = |holder: Option<&str>| Port {
            port: 6443,
            holder: holder.map(str::to_owned),
        };
        let found = judge(&[port(None), port(Some("k3s (process 9)"))]);
        assert_eq!((found[0].state, found[1].state), (State::Ok, State::Fail));
        assert_eq!(found[1].seen, "6443 is held by k3s (process 9)");
    }
}
