//! The commands of the shell that need nothing but variables, streams and time. Those of files are in `file_commands`.

use std::time::Duration;

use super::file_commands;
use super::room::Roomy;
use super::run::{Flow, Io, Shell};
use super::test_command;

/// The names of all commands.
const NAMES: [&str; 63] = [
    ":", "[", "[[", "awk", "basename", "break", "cat", "cd", "chmod", "continue", "cp", "curl", "cut", "date", "dig",
    "dirname", "echo", "env", "exec", "exit", "export", "expr", "false", "find", "getent", "grep", "head", "hexdump",
    "hostname", "id", "ip", "ln", "ls", "mkdir", "mount", "mv", "nc", "nnp", "nslookup", "printenv", "printf", "pwd",
    "read", "rm", "rmdir", "seq", "set", "sh", "sleep", "sort", "stat", "sync", "sysctl", "tail", "tee", "test",
    "touch", "trap", "true", "unset", "wc", "wget", "whoami",
];

/// The program's own name: `/bin/echo` is `echo`.
pub(crate) fn name(program: &str) -> &str {
    for dir in ["/bin/", "/usr/bin/", "/sbin/", "/usr/sbin/", "/usr/local/bin/"] {
        if let Some(name) = program.strip_prefix(dir)
            && !name.contains('/')
        {
            return shell_name(name);
        }
    }
    shell_name(program)
}

fn shell_name(name: &str) -> &str {
    if matches!(name, "bash" | "ash" | "dash") {
        "sh"
    } else {
        name
    }
}

/// Whether there is such a command.
pub(crate) fn is_known(program: &str) -> bool {
    NAMES.contains(&name(program))
}

/// Runs a command.
pub(crate) async fn run(shell: &mut Shell, argv: &[String], io: &Io) -> Flow {
    if !shell.deeper(io) {
        return Flow::Exit(2);
    }
    let flow = run_known(shell, argv, io).await;
    shell.back();
    flow
}

async fn run_known(shell: &mut Shell, argv: &[String], io: &Io) -> Flow {
    let program = name(&argv[0]);
    let args: Vec<&str> = argv[1..].iter().map(String::as_str).collect();
    let number = |default: i32| args.first().and_then(|a| a.parse().ok()).unwrap_or(default);
    let status: i32 = shell.variable("?").and_then(|s| s.parse().ok()).unwrap_or(0);
    let code = match program {
        ":" | "true" | "sync" => 0,
        "false" => 1,
        "exit" => return Flow::Exit(number(status)),
        "break" => return Flow::Break,
        "continue" => return Flow::Continue,
        "echo" => echo(shell, &args, io),
        "printf" => printf(shell, &args, io),
        "sleep" => return sleep(shell, &args, io).await,
        "test" | "[" | "[[" => test_command::run(shell, program, &args, io),
        "env" | "printenv" => return environment(shell, argv, io).await,
        "export" => {
            for a in &args {
                match a.split_once('=') {
                    Some((k, v)) => shell.export(k, Some(v.to_owned())),
                    None => shell.export(a, None),
                }
            }
            0
        }
        "unset" => {
            args.iter().for_each(|a| shell.unset(a));
            0
        }
        // Options of tracing and the like change nothing that can be seen here.
        "set" => 0,
        "trap" => trap(shell, &args, io),
        "exec" => return Roomy::new(run_or_nothing(shell, &argv[1..], io)).await,
        "read" => shell.read(&args, io).await,
        "sh" => return nested(shell, argv, io).await,
        "id" => id(shell, &args, io),
        "whoami" => match shell.p.files.user.uid {
            0 => print(shell, io, "root\n"),
            n => {
                shell.complain(io, &format!("whoami: unknown uid {n}"));
                1
            }
        },
        "hostname" => print(shell, io, &format!("{}\n", shell.p.hostname)),
        "mount" => mounts(shell, &args, io),
        "pwd" => print(shell, io, &format!("{}\n", shell.p.directory)),
        "date" => date(shell, &args, io),
        "curl" => super::curl::run(shell, &args, io).await,
        "dig" | "getent" | "nslookup" => super::dns_commands::run(shell, program, &args, io).await,
        "ip" | "nnp" | "sysctl" => super::kernel_commands::run(shell, program, &args, io),
        "nc" | "wget" => super::network_commands::run(shell, program, &args, io).await,
        "expr" => expr(shell, &args, io),
        "seq" => seq(shell, &args, io),
        "tail" if args.first() == Some(&"-f") => return wait_for_ever().await,
        other if NAMES.contains(&other) => file_commands::run(shell, other, &args, io).await,
        _ => {
            shell.complain(io, &format!("sh: {}: not found", argv[0]));
            127
        }
    };
    Flow::Next(code)
}

async fn run_or_nothing(shell: &mut Shell, argv: &[String], io: &Io) -> Flow {
    if argv.is_empty() {
        return Flow::Next(0);
    }
    match run(shell, argv, io).await {
        Flow::Next(code) => Flow::Exit(code),
        other => other,
    }
}

/// A file that does not grow is followed for ever.
async fn wait_for_ever() -> Flow {
    std::future::pending().await
}

/// What is mounted, of one type where one is asked for.
fn mounts(shell: &Shell, args: &[&str], io: &Io) -> i32 {
    let wanted = args.iter().position(|a| *a == "-t").and_then(|i| args.get(i + 1));
    let lines = crate::node::kernel::MOUNTS
        .iter()
        .filter(|(.., kind)| wanted.is_none_or(|w| w == kind));
    let text: String = lines
        .map(|(what, at, kind)| format!("{what} on {at} type {kind} (ro,nosuid,nodev,noexec,relatime)\n"))
        .collect();
    print(shell, io, &text)
}

/// Writes to the command's output.
pub(crate) fn print(shell: &Shell, io: &Io, text: &str) -> i32 {
    i32::from(!shell.write(&io.out, text.as_bytes()))
}

/// `\n`, `\t`, `\\`, octal and hexadecimal numbers.
fn unescape(s: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = s.bytes().peekable();
    while let Some(b) = rest.next() {
        if b != b'\\' {
            out.push(b);
            continue;
        }
        match rest.next() {
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b'r') => out.push(b'\r'),
            Some(b'\\') => out.push(b'\\'),
            Some(b'x') => {
                let mut text = String::new();
                while text.len() < 2
                    && let Some(d) = rest.next_if(u8::is_ascii_hexdigit)
                {
                    text.push(char::from(d));
                }
                out.push(u8::from_str_radix(&text, 16).unwrap_or(0));
            }
            Some(d @ b'0'..=b'7') => {
                let mut text = char::from(d).to_string();
                while text.len() < 4
                    && let Some(d) = rest.next_if(|b| (b'0'..=b'7').contains(b))
                {
                    text.push(char::from(d));
                }
                out.push(u8::from_str_radix(&text, 8).unwrap_or(0));
            }
            Some(other) => out.extend([b'\\', other]),
            None => out.push(b'\\'),
        }
    }
    out
}

fn echo(shell: &Shell, args: &[&str], io: &Io) -> i32 {
    let is_option = |a: &&&str| a.len() > 1 && a.starts_with('-') && a[1..].chars().all(|c| "neE".contains(c));
    let options: Vec<&&str> = args.iter().take_while(is_option).collect();
    let has = |c: char| options.iter().any(|o| o.contains(c));
    let text = args[options.len()..].join(" ");
    let mut data = if has('e') { unescape(&text) } else { text.into_bytes() };
    if !has('n') {
        data.push(b'\n');
    }
    i32::from(!shell.write(&io.out, &data))
}

fn printf(shell: &Shell, args: &[&str], io: &Io) -> i32 {
    let Some((format, mut rest)) = args.split_first() else {
        shell.complain(io, "usage: printf FORMAT [ARG]...");
        return 1;
    };
    let mut out = Vec::new();
    loop {
        let mut taken = 0;
        let mut chars = format.chars();
        let mut text = String::new();
        while let Some(c) = chars.next() {
            if c != '%' {
                text.push(c);
                continue;
            }
            out.extend(unescape(&std::mem::take(&mut text)));
            let spec = chars.by_ref().find(char::is_ascii_alphabetic);
            match spec {
                Some(_) => {
                    out.extend(rest.get(taken).unwrap_or(&"").bytes());
                    taken += 1;
                }
                None => out.push(b'%'),
            }
        }
        out.extend(unescape(&text));
        rest = rest.get(taken..).unwrap_or_default();
        if taken == 0 || rest.is_empty() {
            break;
        }
    }
    i32::from(!shell.write(&io.out, &out))
}

/// `1`, `0.5`, `2m`, `infinity`.
fn duration(text: &str) -> Option<Duration> {
    if matches!(text, "inf" | "infinity") {
        return Some(Duration::from_secs(u64::from(u32::MAX)));
    }
    let (number, unit) = match text.char_indices().last()? {
        (i, 's') => (&text[..i], 1.0),
        (i, 'm') => (&text[..i], 60.0),
        (i, 'h') => (&text[..i], 3600.0),
        (i, 'd') => (&text[..i], 86400.0),
        _ => (text, 1.0),
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit).ok()
}

async fn sleep(shell: &Shell, args: &[&str], io: &Io) -> Flow {
    let Some(total) = args
        .iter()
        .map(|a| duration(a))
        .sum::<Option<Duration>>()
        .filter(|_| !args.is_empty())
    else {
        shell.complain(io, &format!("sleep: invalid number '{}'", args.join(" ")));
        return Flow::Next(1);
    };
    tokio::time::sleep(total).await;
    Flow::Next(0)
}

async fn environment(shell: &mut Shell, argv: &[String], io: &Io) -> Flow {
    let mut rest = &argv[1..];
    if name(&argv[0]) == "printenv" && !rest.is_empty() {
        let Some(v) = shell.p.env.get(&rest[0]) else {
            return Flow::Next(1);
        };
        return Flow::Next(print(shell, io, &format!("{v}\n")));
    }
    let mut inner = shell.clone();
    while let Some((k, v)) = rest.first().and_then(|a| a.split_once('=')) {
        inner.export(k, Some(v.to_owned()));
        rest = &rest[1..];
    }
    if !rest.is_empty() {
        return Roomy::new(run(&mut inner, rest, io)).await;
    }
    let text: String = inner.p.env.iter().map(|(k, v)| format!("{k}={v}\n")).collect();
    Flow::Next(print(shell, io, &text))
}

fn trap(shell: &mut Shell, args: &[&str], io: &Io) -> i32 {
    let Some((script, signals)) = args.split_first() else {
        return 0;
    };
    if !signals.iter().any(|s| matches!(*s, "TERM" | "SIGTERM" | "15")) {
        return 0;
    }
    match shell.set_trap(script) {
        Ok(()) => 0,
        Err(e) => {
            shell.complain(io, &format!("sh: {e}"));
            2
        }
    }
}

/// A shell in the shell.
async fn nested(shell: &Shell, argv: &[String], io: &Io) -> Flow {
    let mut inner = shell.clone();
    match super::Script::of(argv) {
        Some(Ok(s)) => {
            inner.args = s.args;
            Flow::Next(Box::pin(inner.script(&s.body, io.clone())).await)
        }
        Some(Err(e)) => {
            shell.complain(io, &format!("sh: {e}"));
            Flow::Next(2)
        }
        None => Flow::Next(Box::pin(inner.interact(io)).await),
    }
}

fn id(shell: &Shell, args: &[&str], io: &Io) -> i32 {
    let u = &shell.p.files.user;
    let mut groups = vec![u.gid];
    groups.extend(u.groups.iter().filter(|g| **g != u.gid));
    let list = |sep: &str| groups.iter().map(u32::to_string).collect::<Vec<_>>().join(sep);
    let text = match args.first().copied() {
        Some("-u") => u.uid.to_string(),
        Some("-g") => u.gid.to_string(),
        Some("-G") => list(" "),
        _ => format!("uid={} gid={} groups={}", u.uid, u.gid, list(",")),
    };
    print(shell, io, &format!("{text}\n"))
}

fn date(shell: &Shell, args: &[&str], io: &Io) -> i32 {
    let now = shell.p.clock.now();
    let format = args.iter().find_map(|a| a.strip_prefix('+'));
    let format = format.unwrap_or("%a %b %e %H:%M:%S UTC %Y");
    match jiff::fmt::strtime::format(format, &now.to_zoned(jiff::tz::TimeZone::UTC)) {
        Ok(text) => print(shell, io, &format!("{text}\n")),
        Err(_) => {
            shell.complain(io, &format!("date: invalid format '{format}'"));
            1
        }
    }
}

/// `expr` of numbers, and of words that are equal or not.
fn expr(shell: &Shell, args: &[&str], io: &Io) -> i32 {
    let number = super::arithmetic::evaluate(&args.join(" ").replace(" = ", " == "), &|_| None);
    let value = match (args, number) {
        ([a, "=", b], _) => i64::from(a == b).to_string(),
        ([a, "!=", b], _) => i64::from(a != b).to_string(),
        (_, Some(n)) => n.to_string(),
        _ => {
            shell.complain(io, "expr: syntax error");
            return 2;
        }
    };
    print(shell, io, &format!("{value}\n"));
    i32::from(matches!(value.as_str(), "0" | ""))
}

fn seq(shell: &Shell, args: &[&str], io: &Io) -> i32 {
    let numbers: Option<Vec<i64>> = args.iter().map(|a| a.parse().ok()).collect();
    let (first, step, last) = match numbers.as_deref() {
        Some([last]) => (1, 1, *last),
        Some([first, last]) => (*first, 1, *last),
        Some([first, step, last]) if *step > 0 => (*first, *step, *last),
        _ => {
            shell.complain(io, "usage: seq [FIRST [INC]] LAST");
            return 1;
        }
    };
    let steps = usize::try_from(step).unwrap_or(1);
    let text: String = (first..=last).step_by(steps).map(|n| format!("{n}\n")).collect();
    print(shell, io, &text)
}
