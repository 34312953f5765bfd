//! A shell that is told its commands, one after the other.

use tokio::sync::Notify;

use super::{Flow, Io, Shell};
use crate::node::shell::{INTERRUPTED, parse};

/// How many bytes of a command that is typed in lines are read again, as each line comes, to see whether it is whole.
const READ_AGAIN: usize = 16 << 20;

impl Shell {
    /// Reads commands and runs each when it is whole, to the end of the input. At a terminal it asks for them, and Ctrl-C
    /// ends what is typed or runs.
    pub(crate) async fn interact(&mut self, io: &Io) -> i32 {
        let (mut text, mut read) = (String::new(), 0);
        let interrupts = self.p.interrupts.clone();
        loop {
            if interrupts.is_some() {
                self.write(&io.err, self.prompt(text.is_empty()).as_bytes());
            }
            let Some(line) = or_interrupted(interrupts.as_deref(), io.input.line()).await else {
                text.clear();
                self.interrupted(io);
                continue;
            };
            let Some((line, _)) = line else { break };
            // What has been read of the command before.
            read = if text.is_empty() { 0 } else { read + text.len() };
            text += &String::from_utf8_lossy(&line);
            text.push('\n');
            if read > READ_AGAIN {
                self.complain(io, "sh: syntax error: a command of too many lines");
                return 2;
            }
            match parse::parse_whole(&text) {
                Ok(None) => continue,
                Ok(Some(c)) => {
                    text.clear();
                    let depth = self.depth;
                    let done = or_interrupted(interrupts.as_deref(), self.run(&c, io.clone())).await;
                    match done {
                        Some(Flow::Exit(code)) => return code,
                        Some(_) => {}
                        None => {
                            self.depth = depth;
                            self.interrupted(io);
                        }
                    }
                }
                Err(e) => {
                    self.complain(io, &format!("sh: syntax error: {e}"));
                    self.status = 2;
                    text.clear();
                }
            }
        }
        match text.is_empty() {
            true => self.status,
            false => {
                self.complain(io, "sh: syntax error: unexpected end of file");
                2
            }
        }
    }

    fn interrupted(&mut self, io: &Io) {
        self.status = INTERRUPTED;
        self.write(&io.err, b"\n");
    }

    /// What busybox asks with: `\w \$ `, or that a command goes on.
    fn prompt(&self, new: bool) -> String {
        if !new {
            return "> ".to_owned();
        }
        let home = self.variable("HOME").filter(|h| h.len() > 1);
        let at = match home.and_then(|h| self.p.directory.strip_prefix(h.as_str())) {
            Some(below) if below.is_empty() || below.starts_with('/') => format!("~{below}"),
            _ => self.p.directory.clone(),
        };
        format!("{at} {} ", if self.p.files.user.uid == 0 { '#' } else { '$' })
    }
}

/// What `f` comes to; `None`: Ctrl-C came before, and nobody who waits inside `f` took it.
async fn or_interrupted<T>(interrupts: Option<&Notify>, f: impl Future<Output = T>) -> Option<T> {
    let Some(interrupts) = interrupts else {
        return Some(f.await);
    };
    let mut interrupted = std::pin::pin!(interrupts.notified());
    // It waits before those inside do: the last one is told.
    interrupted.as_mut().enable();
    tokio::select! {
        biased;
        () = interrupted => None,
        done = f => Some(done),
    }
}
