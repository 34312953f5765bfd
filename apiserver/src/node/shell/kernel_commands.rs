//! `ip`, `nnp` and `sysctl`: what scripts ask the kernel and are allowed to, or not.

use super::commands::print;
use super::run::{Io, Shell};

pub(super) fn run(shell: &Shell, program: &str, args: &[&str], io: &Io) -> i32 {
    match program {
        "ip" => ip(shell, args, io),
        "nnp" => nnp(shell, io),
        _ => sysctl(shell, args, io),
    }
}

/// `ip addr` of one interface, and devices that only who may is allowed to make or take away.
fn ip(shell: &Shell, args: &[&str], io: &Io) -> i32 {
    let words: Vec<&str> = args.iter().filter(|a| !a.starts_with('-')).copied().collect();
    let is = |word: &str, whole: &str| !word.is_empty() && whole.starts_with(word);
    match words.as_slice() {
        [link, action, ..] if is(link, "link") && matches!(*action, "add" | "del" | "delete" | "set") => {
            if shell.p.files.user.net_admin {
                return 0;
            }
            shell.complain(io, "ip: RTNETLINK answers: Operation not permitted");
            2
        }
        [object] | [object, "show" | "list"] if is(object, "address") => {
            let own = shell.p.net.as_ref().map_or("", |n| n.host.as_str());
            let text = format!(
                "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 state UNKNOWN\n    inet 127.0.0.1/8 scope host lo\n\
                 2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 state UP\n    inet {own}/24 scope global eth0\n"
            );
            print(shell, io, &text)
        }
        _ => {
            shell.complain(io, &format!("ip: {}: not known here", args.join(" ")));
            255
        }
    }
}

/// Says who it is, as whom a file with the set-user-ID bit runs: its owner, where privileges may be gained.
fn nnp(shell: &Shell, io: &Io) -> i32 {
    let user = &shell.p.files.user;
    match shell.p.files.stat("/usr/local/bin/nnp") {
        Ok(file) => {
            let gains = file.mode & 0o4000 != 0 && !user.no_new_privileges;
            let uid = if gains { file.uid } else { user.uid };
            print(shell, io, &format!("Effective uid: {uid}\n"))
        }
        Err(_) => {
            shell.complain(io, "sh: nnp: not found");
            127
        }
    }
}

/// `sysctl [-n] NAME...`: values are read, never written: `/proc/sys` is read-only in a container.
fn sysctl(shell: &Shell, args: &[&str], io: &Io) -> i32 {
    let (mut code, mut text) = (0, String::new());
    let bare = args.contains(&"-n");
    for a in args.iter().filter(|a| **a != "-n") {
        if a.starts_with('-') {
            shell.complain(
                io,
                &format!("sysctl: unrecognized option: {}", a.trim_start_matches('-')),
            );
            return 1;
        }
        let (name, written) = a.split_once('=').map_or((*a, false), |(name, _)| (name, true));
        let path = crate::node::kernel::sysctl_path(name);
        match shell.p.files.read(&path) {
            Ok(_) if written => {
                shell.complain(
                    io,
                    &format!("sysctl: error setting key '{name}': Read-only file system"),
                );
                code = 1;
            }
            Ok(data) => {
                let value = String::from_utf8_lossy(&data).trim_end().to_owned();
                text += &match bare {
                    true => format!("{value}\n"),
                    false => format!("{} = {value}\n", name.replace('/', ".")),
                };
            }
            Err(_) => {
                shell.complain(io, &format!("sysctl: error: '{name}' is an unknown key"));
                code = 1;
            }
        }
    }
    print(shell, io, &text);
    code
}
