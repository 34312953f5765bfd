//! `test`, `[` and `[[`.

use super::run::{Io, Shell};
use crate::node::files::{Inode, Kind, absolute};

/// Runs a test: 0 true, 1 false, 2 not understood.
pub(crate) fn run(shell: &Shell, program: &str, args: &[&str], io: &Io) -> i32 {
    let args = match (program, args.split_last()) {
        ("[", Some((&"]", rest))) | ("[[", Some((&"]]", rest))) => rest,
        ("test", _) => args,
        _ => {
            shell.complain(io, &format!("sh: missing {}", if program == "[" { "]" } else { "]]" }));
            return 2;
        }
    };
    match either(shell, args) {
        Some(true) => 0,
        Some(false) => 1,
        None => {
            shell.complain(io, &format!("sh: {}: unknown operand", args.join(" ")));
            2
        }
    }
}

/// The words before an operator and those after it: some on either side, or it is a word like others.
fn split<'a, 'b>(args: &'a [&'b str], operator: &str) -> Option<(&'a [&'b str], &'a [&'b str])> {
    let i = args.iter().position(|a| *a == operator)?;
    if i == 0 || i + 1 == args.len() {
        return None;
    }
    Some((&args[..i], &args[i + 1..]))
}

fn either(shell: &Shell, mut args: &[&str]) -> Option<bool> {
    while let Some((first, rest)) = split(args, "-o") {
        if both(shell, first)? {
            return Some(true);
        }
        args = rest;
    }
    both(shell, args)
}

fn both(shell: &Shell, mut args: &[&str]) -> Option<bool> {
    while let Some((first, rest)) = split(args, "-a") {
        if !one(shell, first)? {
            return Some(false);
        }
        args = rest;
    }
    one(shell, args)
}

fn one(shell: &Shell, mut args: &[&str]) -> Option<bool> {
    let mut negated = false;
    while let ["!", rest @ ..] = args
        && !rest.is_empty()
    {
        (negated, args) = (!negated, rest);
    }
    primary(shell, args).map(|b| b != negated)
}

fn primary(shell: &Shell, args: &[&str]) -> Option<bool> {
    match args {
        [] => Some(false),
        [word] => Some(!word.is_empty()),
        [op, word] => unary(shell, op, word),
        [a, op, b] => binary(a, op, b),
        _ => None,
    }
}

fn unary(shell: &Shell, op: &str, word: &str) -> Option<bool> {
    let stat = || shell.p.files.stat(&absolute(&shell.p.directory, word)).ok();
    let is = |f: &dyn Fn(&Inode) -> bool| Some(stat().is_some_and(|i| f(&i)));
    match op {
        "-z" => Some(word.is_empty()),
        "-n" => Some(!word.is_empty()),
        "-e" => is(&|_| true),
        "-d" => is(&Inode::is_directory),
        "-f" => is(&|i| matches!(i.kind, Kind::File(_))),
        "-s" => is(&|i| i.size() > 0),
        "-r" => is(&|i| shell.p.files.user.may(i, 4)),
        "-w" => is(&|i| shell.p.files.user.may(i, 2)),
        "-x" => is(&|i| i.mode & 0o111 != 0 && shell.p.files.user.may(i, 1)),
        _ => None,
    }
}

fn binary(a: &str, op: &str, b: &str) -> Option<bool> {
    let numbers = || Some((a.trim().parse::<i64>().ok()?, b.trim().parse::<i64>().ok()?));
    match op {
        "=" | "==" => Some(a == b),
        "!=" => Some(a != b),
        "-eq" => numbers().map(|(a, b)| a == b),
        "-ne" => numbers().map(|(a, b)| a != b),
        "-lt" => numbers().map(|(a, b)| a < b),
        "-le" => numbers().map(|(a, b)| a <= b),
        "-gt" => numbers().map(|(a, b)| a > b),
        "-ge" => numbers().map(|(a, b)| a >= b),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons() {
        for (a, op, b, expected) in [
            ("x", "=", "x", Some(true)),
            ("x", "!=", "x", Some(false)),
            ("2", "-lt", "10", Some(true)),
            ("2", "-ge", "x", None),
            ("2", "-xx", "2", None),
        ] {
            assert_eq!(binary(a, op, b), expected);
        }
    }
}
