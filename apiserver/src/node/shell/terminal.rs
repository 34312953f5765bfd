//! A terminal between a command and whoever types: lines are put together and shown as they are typed, and what is
//! written ends its lines as a terminal wants it. As Linux' `n_tty` does with the settings that a terminal has at first
//! (ICRNL, ICANON, ISIG, ECHO, ECHOE, ECHOK, ECHOCTL, ONLCR).

use std::sync::Arc;

use tokio::sync::Notify;

use super::input::Input;
use super::run::Sink;
use crate::local;
use crate::node::workload::Write;

/// Bytes of a line; more are not taken (`N_TTY_BUF_SIZE`).
const LONGEST: usize = 4095;

/// Ctrl-C, Ctrl-D, Ctrl-U, and the two keys that erase.
const INTERRUPT: u8 = 3;
const END: u8 = 4;
const KILL: u8 = 0x15;
const ERASE: [u8; 2] = [8, 0x7f];

/// What typing comes to.
#[derive(Debug, PartialEq, Eq)]
enum Typed {
    /// Bytes for who reads: a line, or what there was of one when its end was typed; none: the end of the input.
    Bytes(Vec<u8>),
    Interrupt,
}

/// The line that is being typed.
#[derive(Debug, Default)]
struct Line(Vec<u8>);

impl Line {
    /// Takes what is typed: what is shown of it, and what it comes to.
    fn take(&mut self, bytes: &[u8]) -> (Vec<u8>, Vec<Typed>) {
        let (mut shown, mut typed) = (Vec::new(), Vec::new());
        for &b in bytes {
            match b {
                b'\r' | b'\n' => {
                    self.0.push(b'\n');
                    shown.extend(b"\r\n");
                    typed.push(Typed::Bytes(std::mem::take(&mut self.0)));
                }
                INTERRUPT => {
                    self.0.clear();
                    shown.extend(b"^C");
                    typed.push(Typed::Interrupt);
                }
                END => typed.push(Typed::Bytes(std::mem::take(&mut self.0))),
                KILL => while self.erase(&mut shown) {},
                b if ERASE.contains(&b) => {
                    self.erase(&mut shown);
                }
                _ if self.0.len() >= LONGEST => shown.push(7),
                b => {
                    self.0.push(b);
                    match b {
                        b'\t' | b' '.. => shown.push(b),
                        b => shown.extend([b'^', b + b'@']),
                    }
                }
            }
        }
        (shown, typed)
    }

    /// Takes the last character back; false: there is none.
    fn erase(&mut self, shown: &mut Vec<u8>) -> bool {
        // A character of UTF-8 begins with what is no continuation.
        while let Some(b) = self.0.pop() {
            if b & 0xc0 != 0x80 {
                let columns = if b < b' ' && b != b'\t' { 2 } else { 1 };
                shown.extend(b"\x08 \x08".repeat(columns));
                return true;
            }
        }
        false
    }
}

/// What is written, with a carriage return before each line's end.
fn written(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 8);
    for &b in bytes {
        if b == b'\n' {
            out.push(b'\r');
        }
        out.push(b);
    }
    out
}

/// The side of the command, and the future that works the keyboard as long as somebody types.
pub(super) struct Terminal<K> {
    pub(super) input: Input,
    pub(super) output: Sink,
    /// Told by Ctrl-C.
    pub(super) interrupts: Arc<Notify>,
    pub(super) keyboard: K,
}

/// Opens a terminal to whoever types on `keyboard` and sees `screen`.
pub(super) fn open(keyboard: Input, screen: Write) -> Terminal<impl Future<Output = ()>> {
    let (tell, told) = local::Input::new(false);
    let interrupts = Arc::new(Notify::new());
    let (interrupt, echo) = (interrupts.clone(), screen.clone());
    let keyboard = async move {
        let mut line = Line::default();
        while let Some(bytes) = keyboard.next().await {
            let (shown, typed) = line.take(&bytes);
            if !shown.is_empty() {
                echo(&shown);
            }
            for t in typed {
                match t {
                    // Whoever waits last is in the foreground.
                    Typed::Interrupt => interrupt.notify_last(),
                    Typed::Bytes(b) => {
                        if !tell.send(b).await {
                            return;
                        }
                    }
                }
            }
        }
    };
    Terminal {
        input: Input::typed(told),
        output: Sink::Call(Arc::new(move |b: &[u8]| screen(&written(b)))),
        interrupts,
        keyboard,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_edited_and_shown() {
        let bytes = |b: &str| Typed::Bytes(b.into());
        for (keys, shown, typed) in [
            ("ls\r", "ls\r\n", vec![bytes("ls\n")]),
            ("a\nb\n", "a\r\nb\r\n", vec![bytes("a\n"), bytes("b\n")]),
            ("lx\x7fs\r", "lx\x08 \x08s\r\n", vec![bytes("ls\n")]),
            ("\x7f\x08\r", "\r\n", vec![bytes("\n")]),
            ("é\x7fe\r", "é\x08 \x08e\r\n", vec![bytes("e\n")]),
            ("\x01\x7f", "^A\x08 \x08\x08 \x08", vec![]),
            ("ab\x15c\r", "ab\x08 \x08\x08 \x08c\r\n", vec![bytes("c\n")]),
            ("ab\x03c\r", "ab^Cc\r\n", vec![Typed::Interrupt, bytes("c\n")]),
            ("\x04", "", vec![bytes("")]),
            ("ab\x04", "ab", vec![bytes("ab")]),
            ("a\tb\r", "a\tb\r\n", vec![bytes("a\tb\n")]),
        ] {
            let seen = Line::default().take(keys.as_bytes());
            assert_eq!(seen, (shown.as_bytes().to_vec(), typed), "{keys:?}");
        }
        let mut line = Line::default();
        let (shown, _) = line.take(&[b'x'; LONGEST + 1]);
        assert_eq!((line.0.len(), shown.last()), (LONGEST, Some(&7)));
    }

    #[test]
    fn what_is_written_begins_its_lines_at_the_left() {
        assert_eq!(written(b"a\nb\r\n"), b"a\r\nb\r\r\n");
    }
}
