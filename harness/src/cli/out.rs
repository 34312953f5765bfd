//! Writing to the terminal when nobody may be listening.

use std::io::Write;

/// Prints a line; a closed pipe is nobody's error.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints many lines at once.
pub fn lines(list: &[String]) {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for l in list {
        if writeln!(out, "{l}").is_err() {
            return;
        }
    }
    let _ = out.flush();
}

/// A table with aligned columns.
#[must_use]
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| {
        rows.iter()
            .filter_map(|r| r.get(c))
            .map(|t| t.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for r in rows {
        let mut text = String::new();
        for (c, cell) in r.iter().enumerate() {
            text.push_str(cell);
            let pad = widths[c].saturating_sub(cell.chars().count()) + 3;
            text.extend(std::iter::repeat_n(' ', pad));
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}
