//! The log of a container, as a container runtime keeps it: lines with their times.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::Value;

use super::env;
use super::files::{Kind, Volume};
use crate::controllers::object::{Object, micro};
use crate::local::{Ending, Follower, LogOptions, Output};

/// Lines of log kept per container.
const LINES: usize = 2000;
/// Bytes of a line that is kept as one (`max_container_log_line_size` of containerd).
const LONGEST: usize = 16 * 1024;
/// Last words: bytes of the file, and lines and bytes of the log that stand for them.
const MESSAGE: usize = 4096;
const MESSAGE_LINES: usize = 80;
const MESSAGE_OF_LOG: usize = 2048;

/// When a line began, and its bytes.
type Line = (Timestamp, Vec<u8>);

/// A log. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    lines: Arc<Mutex<VecDeque<Line>>>,
    /// Who is told what is written.
    followers: Arc<Mutex<Vec<Follower>>>,
}

impl Log {
    /// Adds a line.
    pub(crate) fn line(&self, now: Timestamp, line: &str) {
        self.write(now, format!("{line}\n").as_bytes());
    }

    /// Adds bytes; a line goes on until it ends.
    pub(crate) fn write(&self, now: Timestamp, bytes: &[u8]) {
        // Who does not keep up is let go.
        self.followers().retain(|f| f.tell(bytes));
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            let goes_on = |l: &Vec<u8>| l.last() != Some(&b'\n') && l.len() + part.len() <= LONGEST;
            match lines.back_mut().filter(|(_, l)| goes_on(l)) {
                Some((_, open)) => open.extend_from_slice(part),
                None => {
                    if lines.len() >= LINES {
                        lines.pop_front();
                    }
                    lines.push_back((now, part.to_vec()));
                }
            }
        }
    }

    fn followers(&self) -> MutexGuard<'_, Vec<Follower>> {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is written from now on.
    pub(crate) fn follow(&self) -> Output {
        let (follower, output) = Follower::new();
        self.followers().push(follower);
        output
    }

    /// Nothing more is written.
    pub(crate) fn end(&self, why: Ending) {
        self.followers().drain(..).for_each(|f| f.end(why));
    }

    /// What of it is asked for.
    pub(crate) fn read(&self, wanted: &LogOptions) -> Vec<u8> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let skip = wanted.tail.map_or(0, |t| lines.len().saturating_sub(t));
        let mut out: Vec<u8> = Vec::new();
        for (at, line) in lines
            .iter()
            .skip(skip)
            .filter(|(at, _)| wanted.since.is_none_or(|s| *at >= s))
        {
            // What goes on has its time already.
            if wanted.timestamps && out.last().is_none_or(|b| *b == b'\n') {
                out.extend(format!("{} ", micro(*at)).into_bytes());
            }
            out.extend_from_slice(line);
        }
        out.truncate(wanted.limit.unwrap_or(usize::MAX));
        out
    }
}

/// Where a container's last words are (`terminationMessagePath`, `terminationMessagePolicy`).
pub(crate) struct LastWords {
    file: Option<Volume>,
    or_log: bool,
    log: Log,
}

impl LastWords {
    pub(crate) fn of(pod: &Value, container: &str, file: Option<Volume>, log: Log) -> Self {
        let policy = env::container(pod, container).map_or("", |c| c.text("/terminationMessagePolicy"));
        Self {
            file,
            or_log: policy == "FallbackToLogsOnError",
            log,
        }
    }

    /// What it said, ended with this code. Containers without files say nothing.
    pub(crate) fn read(&self, code: i32) -> String {
        let Some(file) = &self.file else { return String::new() };
        let said = match &file.tree().kind {
            Kind::File(b) => String::from_utf8_lossy(&b[..b.len().min(MESSAGE)]).into_owned(),
            _ => String::new(),
        };
        if !said.is_empty() || code == 0 || !self.or_log {
            return said;
        }
        let log = self.log.read(&LogOptions {
            tail: Some(MESSAGE_LINES),
            ..LogOptions::default()
        });
        String::from_utf8_lossy(&log[log.len().saturating_sub(MESSAGE_OF_LOG)..]).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_follows_is_told_what_comes_until_the_end() {
        let log = Log::default();
        let at = Timestamp::from_second(0).unwrap();
        log.line(at, "before");
        let mut told = log.follow();
        log.line(at, "after");
        log.end(Ending::Exited);
        assert_eq!(told.recv().await.as_deref(), Some(b"after\n".as_slice()));
        assert_eq!((told.recv().await, told.ending()), (None, Ending::Exited));
        let mut slow = log.follow();
        let most = 10_000;
        for _ in 0..most {
            log.line(at, "x");
        }
        let mut read = 0;
        while slow.recv().await.is_some() {
            read += 1;
        }
        assert!(read < most, "who does not read is let go");
        log.end(Ending::Exited);
        assert_eq!(slow.ending(), Ending::Behind, "and knows that there was more");
        let (mut slow, mut fast, piece) = (log.follow(), log.follow(), [b'x'; LONGEST]);
        let mut kept = 0;
        for _ in 0..200 {
            log.write(at, &piece);
            assert_eq!(fast.recv().await.map(|p| p.len()), Some(LONGEST), "who reads has all");
        }
        while let Some(p) = slow.recv().await {
            kept += p.len();
        }
        assert_eq!(kept, 1 << 20, "few large pieces are as much as many small ones");
    }

    #[test]
    fn a_line_without_end_is_kept_in_pieces() {
        let log = Log::default();
        let at = Timestamp::from_second(0).unwrap();
        for _ in 0..3000 {
            log.write(at, &[b'x'; LONGEST]);
        }
        log.line(at, "y");
        assert_eq!(log.lines.lock().unwrap().len(), LINES, "and the oldest are forgotten");
        let last = log.read(&LogOptions {
            tail: Some(1),
            ..LogOptions::default()
        });
        assert_eq!(last, b"y\n");
    }

    #[test]
    fn lines_go_on_until_they_end() {
        let log = Log::default();
        let at = |s| Timestamp::from_second(s).unwrap();
        log.write(at(0), b"a");
        log.write(at(1), b"b\nc");
        log.line(at(2), "d");
        log.line(at(3), "e");
        let read = |wanted: LogOptions| String::from_utf8(log.read(&wanted)).unwrap();
        let all = LogOptions::default;
        assert_eq!(read(all()), "ab\ncd\ne\n");
        assert_eq!(read(LogOptions { tail: Some(1), ..all() }), "e\n");
        assert_eq!(
            read(LogOptions {
                since: Some(at(1)),
                ..all()
            }),
            "cd\ne\n"
        );
        assert_eq!(
            read(LogOptions {
                limit: Some(4),
                ..all()
            }),
            "ab\nc"
        );
        let timed = read(LogOptions {
            timestamps: true,
            tail: Some(1),
            ..all()
        });
        assert!(
            timed.starts_with("1970-01-01T00:00:03") && timed.ends_with(" e\n"),
            "{timed}"
        );
    }
}
