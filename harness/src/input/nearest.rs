//! The nearest valid name to a misspelt one.

/// Edit distance (insert, delete, replace, swap of neighbours), without regard to case.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut d = (rows[i - 1][j] + 1)
                .min(rows[i][j - 1] + 1)
                .min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                d = d.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = d;
        }
    }
    rows[a.len()][b.len()]
}

/// The name of `valid` nearest to `wrong`, if one is near enough to be what was meant: at most a third of its
/// letters (and at least two) away. The first of equals.
pub fn nearest<'a>(wrong: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (wrong.chars().count() / 3).max(2);
    let mut best: Option<(usize, &str)> = None;
    for v in valid {
        let d = distance(wrong, v);
        if d <= limit && best.is_none_or(|(b, _)| d < b) {
            best = Some((d, v));
        }
    }
    best.map(|(_, v)| v)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let valid = ["member1", "member2", "hub", "clusterFailureThreshold"];
        for (wrong, want) in [
            ("mebmer1", Some("member1")),
            ("member3", Some("member1")),
            ("Hub", Some("hub")),
            ("clusterFailureTreshhold", Some("clusterFailureThreshold")),
            ("something", None),
            ("", None),
        ] {
            assert_eq!(nearest(wrong, valid), want, "{wrong}");
        }
    }
}
