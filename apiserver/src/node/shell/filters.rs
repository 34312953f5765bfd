//! The commands of the shell that turn input into output.

use super::commands::print;
use super::file_commands::usage;
use super::run::{Io, Shell};
use crate::node::files::absolute;

/// What comes goes on at once.
async fn copy(shell: &Shell, io: &Io) -> i32 {
    while let Some(data) = io.input.next().await {
        if !shell.write(&io.out, &data) {
            return 1;
        }
    }
    0
}

/// Runs one of the commands over the files it names, or its input.
pub(super) async fn run(shell: &Shell, program: &str, args: &[&str], io: &Io) -> i32 {
    let mut numbers = None;
    let (mut options, mut names, mut takes) = (Vec::new(), Vec::new(), None);
    for a in args {
        match takes.take() {
            Some('n') => numbers = a.parse::<usize>().ok(),
            Some(_) => options.push(*a),
            None if *a == "-n" && matches!(program, "head" | "tail" | "hexdump") => takes = Some('n'),
            None if matches!(*a, "-d" | "-f" | "-e" | "-m") && program != "sort" => {
                options.push(*a);
                takes = Some('o');
            }
            None if a.len() > 1 && a.starts_with('-') => match a[1..].trim_start_matches('n').parse::<usize>() {
                Ok(n) if matches!(program, "head" | "tail") => numbers = Some(n),
                _ => options.push(*a),
            },
            None => names.push(*a),
        }
    }
    let pattern = (program == "grep" && !names.is_empty()).then(|| names.remove(0));
    // awk's programs that pick a field, the only ones that are here.
    let field = (program == "awk" && !names.is_empty())
        .then(|| names.remove(0))
        .and_then(field);
    let of_file = names.first().map(|n| format!(" {n}")).unwrap_or_default();
    let mut code = 0;
    let mut data = Vec::new();
    if names.is_empty() {
        if program == "cat" {
            return copy(shell, io).await;
        }
        data = io.input.all().await;
    }
    for n in names {
        match shell.p.files.read(&absolute(&shell.p.directory, n)) {
            Ok(d) if n != "-" => data.extend(d),
            Ok(_) => data.extend(io.input.all().await),
            Err(e) => {
                let text = match program {
                    "cat" => format!("cat: can't open '{n}': {e}"),
                    _ => format!("{program}: {n}: {e}"),
                };
                shell.complain(io, &text);
                code = 1;
            }
        }
    }
    let text = String::from_utf8_lossy(&data);
    let has = |c: char| options.iter().any(|o| o.starts_with('-') && o.contains(c));
    let after = |name: &str| {
        options
            .iter()
            .position(|o| *o == name)
            .and_then(|i| options.get(i + 1))
            .copied()
    };
    let lines: Vec<&str> = text.lines().collect();
    let joined = |lines: &[&str]| lines.iter().map(|l| format!("{l}\n")).collect::<String>();
    let n = numbers.unwrap_or(10);
    let done = match program {
        "cat" => i32::from(!shell.write(&io.out, &data)),
        "head" => print(shell, io, &joined(&lines[..n.min(lines.len())])),
        "tail" => print(shell, io, &joined(&lines[lines.len().saturating_sub(n)..])),
        "sort" => {
            let mut lines = lines;
            lines.sort_unstable();
            print(shell, io, &joined(&lines))
        }
        "wc" if has('l') => print(
            shell,
            io,
            &format!("{}{of_file}\n", data.iter().filter(|b| **b == b'\n').count()),
        ),
        "wc" if has('c') => print(shell, io, &format!("{}{of_file}\n", data.len())),
        "wc" if has('w') => print(shell, io, &format!("{}{of_file}\n", text.split_whitespace().count())),
        "hexdump" if has('C') => print(shell, io, &hexdump(&data)),
        "awk" => match field {
            Some(f) => {
                let pick = |l: &&str| {
                    if f == 0 {
                        (*l).to_owned()
                    } else {
                        l.split_whitespace().nth(f - 1).unwrap_or("").to_owned()
                    }
                };
                let picked: Vec<String> = lines.iter().map(pick).collect();
                print(shell, io, &picked.iter().map(|l| format!("{l}\n")).collect::<String>())
            }
            None => usage(shell, io, "awk '{print $N}' [FILE]..."),
        },
        "cut" => {
            let by = after("-d").and_then(|d| d.chars().next()).unwrap_or('\t');
            let joined_option = options
                .iter()
                .find_map(|o| o.strip_prefix("-f").filter(|f| !f.is_empty()));
            match after("-f")
                .or(joined_option)
                .and_then(|f| f.parse::<usize>().ok())
                .filter(|f| *f > 0)
            {
                Some(f) => {
                    let fields: Vec<&str> = lines.iter().map(|l| l.split(by).nth(f - 1).unwrap_or("")).collect();
                    print(shell, io, &joined(&fields))
                }
                None => usage(shell, io, "cut -d CHAR -f FIELD [FILE]..."),
            }
        }
        "grep" => match pattern.or_else(|| after("-e")).map(regex::Regex::new) {
            Some(Ok(p)) => {
                let found: Vec<&str> = lines.into_iter().filter(|l| p.is_match(l) != has('v')).collect();
                if has('c') {
                    print(shell, io, &format!("{}\n", found.len()));
                } else if !has('q') {
                    print(shell, io, &joined(&found));
                }
                i32::from(found.is_empty())
            }
            _ => usage(shell, io, "grep PATTERN [FILE]..."),
        },
        _ => usage(
            shell,
            io,
            &format!("{program} with other options than these is not here"),
        ),
    };
    code.max(done)
}

/// N of `{print $N}`.
fn field(program: &str) -> Option<usize> {
    let inside = program.trim().strip_prefix('{')?.strip_suffix('}')?;
    inside
        .trim()
        .strip_prefix("print")?
        .trim()
        .strip_prefix('$')?
        .parse()
        .ok()
}

/// `hexdump -C`.
fn hexdump(data: &[u8]) -> String {
    let mut out = String::new();
    for (i, chunk) in data.chunks(16).enumerate() {
        let half = |part: &[u8]| part.iter().map(|b| format!(" {b:02x}")).collect::<String>();
        let (a, b) = chunk.split_at(chunk.len().min(8));
        let text: String = chunk
            .iter()
            .map(|b| {
                if b.is_ascii_graphic() || *b == b' ' {
                    char::from(*b)
                } else {
                    '.'
                }
            })
            .collect();
        out += &format!("{:08x} {:<24} {:<25} |{text}|\n", i * 16, half(a), half(b));
    }
    out + &format!("{:08x}\n", data.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        for (program, expected) in [
            ("{print $2}", Some(2)),
            ("{ print $1 }", Some(1)),
            ("{print}", None),
            ("NR", None),
        ] {
            assert_eq!(field(program), expected, "{program}");
        }
    }

    #[test]
    fn hexadecimal() {
        let dump = hexdump(&[0xde, 0xca, 0xfe, 0xba, 0xd0, 0xfe, 0xff]);
        assert!(dump.starts_with("00000000  de ca fe ba d0 fe ff"), "{dump}");
        assert!(dump.ends_with("|.......|\n00000007\n"), "{dump}");
    }
}
