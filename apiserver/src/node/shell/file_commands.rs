//! The commands of the shell that read and write files.

use super::commands::print;
use super::run::{Io, Shell};
use crate::node::files::{FileError, Inode, Kind, absolute};

/// Runs one of the commands.
pub(crate) async fn run(shell: &mut Shell, program: &str, args: &[&str], io: &Io) -> i32 {
    let (options, names): (Vec<&str>, Vec<&str>) = args.iter().partition(|a| a.len() > 1 && a.starts_with('-'));
    let has = |c: char| options.iter().any(|o| o.contains(c));
    let files = shell.p.files.clone();
    let at = |name: &str| absolute(&shell.p.directory, name);
    // Does the same with each name, and tells of each that fails.
    let each = |names: &[&str], f: &mut dyn FnMut(&str) -> Result<(), FileError>| {
        let mut code = 0;
        for n in names {
            if let Err(e) = f(&at(n)) {
                shell.complain(io, &format!("{program}: {n}: {e}"));
                code = 1;
            }
        }
        code
    };
    match program {
        "cd" => {
            let to = at(names.first().unwrap_or(&"/"));
            match files.stat(&to) {
                Ok(i) if i.is_directory() => {
                    shell.p.directory = format!("/{}", crate::node::files::split(&to).join("/"));
                    0
                }
                _ => {
                    shell.complain(io, &format!("sh: cd: can't cd to {to}"));
                    2
                }
            }
        }
        "touch" => each(&names, &mut |p| files.write(p, b"", true, 0o644)),
        "mkdir" => each(&names, &mut |p| files.make(p, has('p'))),
        "rm" => each(&names, &mut |p| match files.remove(p, has('r') || has('R')) {
            Err(FileError::NotFound) if has('f') => Ok(()),
            done => done,
        }),
        "rmdir" => each(&names, &mut |p| match files.list(p)?.is_empty() {
            true => files.remove(p, true),
            false => Err(FileError::NotEmpty),
        }),
        "chmod" => match names.split_first() {
            Some((mode, names)) => match u32::from_str_radix(mode, 8) {
                Ok(mode) => each(names, &mut |p| files.set_mode(p, mode)),
                Err(_) => usage(shell, io, "chmod: only octal modes"),
            },
            None => usage(shell, io, "chmod MODE FILE..."),
        },
        "ln" => match names.as_slice() {
            [to, path] if has('s') => each(&[path], &mut |p| files.link(to, p)),
            _ => usage(shell, io, "ln -s TARGET LINK"),
        },
        "cp" | "mv" => match names.as_slice() {
            [from, to] => each(&[from], &mut |p| {
                let i = files.stat(p)?;
                let data = files.read(p)?;
                let mut to = at(to);
                if files.stat(&to).is_ok_and(|i| i.is_directory()) {
                    to = format!("{to}/{}", base(from));
                }
                files.write(&to, &data, false, i.mode)?;
                if program == "mv" {
                    files.remove(p, false)
                } else {
                    Ok(())
                }
            }),
            _ => usage(shell, io, "cp FROM TO"),
        },
        "basename" => print(shell, io, &format!("{}\n", base(names.first().unwrap_or(&"")))),
        "dirname" => {
            let name = names.first().copied().unwrap_or_default();
            let dir = name
                .rsplit_once('/')
                .map_or(".", |(d, _)| if d.is_empty() { "/" } else { d });
            print(shell, io, &format!("{dir}\n"))
        }
        "stat" => stat(shell, args, io),
        "ls" => list(shell, &names, has('l'), has('a'), io),
        "find" => find(shell, args, io),
        "tee" => {
            let data = io.input.all().await;
            shell.write(&io.out, &data);
            each(&names, &mut |p| files.write(p, &data, has('a'), 0o644))
        }
        _ => super::filters::run(shell, program, args, io).await,
    }
}

fn base(name: &str) -> &str {
    name.trim_end_matches('/').rsplit('/').next().unwrap_or(name)
}

pub(super) fn usage(shell: &Shell, io: &Io, text: &str) -> i32 {
    shell.complain(io, &format!("usage: {text}"));
    1
}

/// Permissions as Go's `FileMode` writes them, which puts the bits beside them before them.
pub(crate) fn mode(i: &Inode) -> String {
    let mut s = String::new();
    match i.kind {
        Kind::Directory(_) => s.push('d'),
        Kind::Link(_) => s.push('L'),
        Kind::File(_) => {}
    }
    for (bit, c) in [(0o4000, 'u'), (0o2000, 'g'), (0o1000, 't')] {
        if i.mode & bit != 0 {
            s.push(c);
        }
    }
    if s.is_empty() {
        s.push('-');
    }
    s + &permissions(i.mode)
}

/// `rwxr-xr-x`.
pub(crate) fn permissions(mode: u32) -> String {
    let bits = (0..9).rev().zip("rwxrwxrwx".chars());
    bits.map(|(bit, c)| if mode >> bit & 1 == 1 { c } else { '-' })
        .collect()
}

fn stat(shell: &Shell, args: &[&str], io: &Io) -> i32 {
    let mut format = None;
    let mut names = Vec::new();
    let mut rest = args.iter();
    while let Some(a) = rest.next() {
        match a.strip_prefix("-c") {
            Some("") => format = rest.next().copied(),
            Some(f) => format = Some(f),
            None if a.starts_with('-') => {}
            None => names.push(*a),
        }
    }
    let mut code = 0;
    for n in names {
        match shell.p.files.stat(&absolute(&shell.p.directory, n)) {
            Ok(i) => {
                let format = format.unwrap_or("  File: %n\n  Size: %s\nAccess: (%a/%A)  Uid: %u   Gid: %g");
                let kind = match i.kind {
                    Kind::Directory(_) => ("d", "directory"),
                    Kind::Link(_) => ("l", "symbolic link"),
                    Kind::File(_) => ("-", "regular file"),
                };
                let text = format
                    .replace("%n", n)
                    .replace("%a", &format!("{:o}", i.mode))
                    .replace("%A", &format!("{}{}", kind.0, permissions(i.mode)))
                    .replace("%u", &i.uid.to_string())
                    .replace("%g", &i.gid.to_string())
                    .replace("%s", &i.size().to_string())
                    .replace("%F", kind.1);
                print(shell, io, &format!("{text}\n"));
            }
            Err(e) => {
                shell.complain(io, &format!("stat: can't stat '{n}': {e}"));
                code = 1;
            }
        }
    }
    code
}

fn list(shell: &Shell, names: &[&str], long: bool, all: bool, io: &Io) -> i32 {
    let names = if names.is_empty() { &["."][..] } else { names };
    let mut code = 0;
    for n in names {
        let path = absolute(&shell.p.directory, n);
        let found = shell.p.files.stat(&path).and_then(|i| match i.is_directory() {
            true => shell
                .p
                .files
                .list(&path)
                .map(|l| l.into_iter().map(|e| (format!("{path}/{e}"), e)).collect()),
            false => Ok(vec![(path.clone(), (*n).to_owned())]),
        });
        match found {
            Ok(entries) => {
                for (path, e) in entries.into_iter().filter(|(_, e)| all || !e.starts_with('.')) {
                    let line = match shell.p.files.stat(&path) {
                        Ok(i) if long => {
                            let kind = if i.is_directory() { 'd' } else { '-' };
                            format!(
                                "{kind}{}    1 {} {} {} {e}",
                                permissions(i.mode),
                                i.uid,
                                i.gid,
                                i.size()
                            )
                        }
                        _ => e,
                    };
                    print(shell, io, &format!("{line}\n"));
                }
            }
            Err(e) => {
                shell.complain(io, &format!("ls: {n}: {e}"));
                code = 1;
            }
        }
    }
    code
}

/// `find PATH... [-type f|d] [-name NAME]`.
fn find(shell: &Shell, args: &[&str], io: &Io) -> i32 {
    let option = |name: &str| {
        args.iter()
            .position(|a| *a == name)
            .and_then(|i| args.get(i + 1))
            .copied()
    };
    let (kind, name) = (option("-type"), option("-name"));
    let paths = args.iter().take_while(|a| !a.starts_with('-'));
    let mut todo: Vec<String> = paths.map(|a| (*a).to_owned()).collect();
    todo.reverse();
    let mut code = 0;
    while let Some(path) = todo.pop() {
        let at = absolute(&shell.p.directory, &path);
        let i = match shell.p.files.stat(&at) {
            Ok(i) => i,
            Err(e) => {
                shell.complain(io, &format!("find: {path}: {e}"));
                code = 1;
                continue;
            }
        };
        let is = match kind {
            Some("f") => matches!(i.kind, Kind::File(_)),
            Some("d") => i.is_directory(),
            _ => true,
        };
        if is && name.is_none_or(|n| n == base(&path)) {
            print(shell, io, &format!("{path}\n"));
        }
        if i.is_directory() {
            let below = shell.p.files.list(&at).unwrap_or_default();
            todo.extend(
                below
                    .iter()
                    .rev()
                    .map(|n| format!("{}/{n}", path.trim_end_matches('/'))),
            );
        }
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_as_go_writes_them() {
        for (i, expected) in [
            (Inode::file(0o644, Vec::new()), "-rw-r--r--"),
            (Inode::file(0o400, Vec::new()), "-r--------"),
            (Inode::directory(0o777), "drwxrwxrwx"),
            (Inode::directory(0o1777), "dtrwxrwxrwx"),
            (Inode::directory(0o2775), "dgrwxrwxr-x"),
        ] {
            assert_eq!(mode(&i), expected);
        }
    }
}
