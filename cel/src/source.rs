//! Where errors point at.

/// An error, the line it is in and a mark below the character at byte `at`.
pub(super) fn told(text: &str, at: usize, message: &str) -> String {
    // Nothing has neither characters nor lines (`ToDisplayString`).
    if text.is_empty() {
        return format!("ERROR: <input>:1:0: {message}");
    }
    let before = text.get(..at).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |n| n + 1);
    let number = before.matches('\n').count() + 1;
    let line = text[start..].split('\n').next().unwrap_or_default().replace('\t', " ");
    let column = text.get(start..at).unwrap_or_default().chars().count();
    // Wide marks stand below wide characters.
    let dots: String = line
        .chars()
        .take(column)
        .map(|c| if c.is_ascii() { '.' } else { '\u{ff0e}' })
        .collect();
    let wide = line.chars().nth(column).is_some_and(|c| !c.is_ascii());
    let mark = if wide { '\u{ff3e}' } else { '^' };
    format!(
        "ERROR: <input>:{number}:{}: {message}\n | {line}\n | {dots}{mark}",
        column + 1
    )
}
