//! Differences of texts as Go's `difflib` tells them, by the algorithm of Python's: what refusals of changes show. Libraries
//! here find shorter differences (Myers), which are other texts.

use std::collections::BTreeMap;

/// Lines of context around a change.
const CONTEXT: usize = 3;

/// From where to where in both texts, and whether they are the same there.
#[derive(Debug, Clone, Copy)]
struct Block {
    equal: bool,
    a: (usize, usize),
    b: (usize, usize),
}

struct Matcher<'t> {
    a: Vec<&'t str>,
    b: Vec<&'t str>,
    /// Where in `b` a line is; without lines that are everywhere in a long text.
    places: BTreeMap<&'t str, Vec<usize>>,
}

impl<'t> Matcher<'t> {
    fn new(a: &'t str, b: &'t str) -> Self {
        let (a, b): (Vec<_>, Vec<_>) = (a.split('\n').collect(), b.split('\n').collect());
        let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (i, line) in b.iter().enumerate() {
            places.entry(line).or_default().push(i);
        }
        if b.len() >= 200 {
            let most = b.len() / 100 + 1;
            places.retain(|_, all| all.len() <= most);
        }
        Self { a, b, places }
    }

    /// The longest stretch that is the same within bounds.
    fn longest(&self, (a_low, a_high): (usize, usize), (b_low, b_high): (usize, usize)) -> (usize, usize, usize) {
        let (mut i_best, mut j_best, mut size) = (a_low, b_low, 0);
        let mut lengths: BTreeMap<usize, usize> = BTreeMap::new();
        for i in a_low..a_high {
            let mut next = BTreeMap::new();
            for &j in self.places.get(self.a[i]).into_iter().flatten() {
                if j < b_low {
                    continue;
                }
                if j >= b_high {
                    break;
                }
                let k = j.checked_sub(1).and_then(|j| lengths.get(&j)).copied().unwrap_or(0) + 1;
                next.insert(j, k);
                if k > size {
                    (i_best, j_best, size) = (i + 1 - k, j + 1 - k, k);
                }
            }
            lengths = next;
        }
        // Lines that are everywhere may join it at its ends.
        while i_best > a_low && j_best > b_low && self.a[i_best - 1] == self.b[j_best - 1] {
            (i_best, j_best, size) = (i_best - 1, j_best - 1, size + 1);
        }
        while i_best + size < a_high && j_best + size < b_high && self.a[i_best + size] == self.b[j_best + size] {
            size += 1;
        }
        (i_best, j_best, size)
    }

    fn matches(&self, a: (usize, usize), b: (usize, usize), found: &mut Vec<(usize, usize, usize)>) {
        let (i, j, size) = self.longest(a, b);
        if size == 0 {
            return;
        }
        if a.0 < i && b.0 < j {
            self.matches((a.0, i), (b.0, j), found);
        }
        found.push((i, j, size));
        if i + size < a.1 && j + size < b.1 {
            self.matches((i + size, a.1), (j + size, b.1), found);
        }
    }

    fn blocks(&self) -> Vec<Block> {
        let mut found = Vec::new();
        self.matches((0, self.a.len()), (0, self.b.len()), &mut found);
        found.push((self.a.len(), self.b.len(), 0));
        let (mut i, mut j, mut blocks) = (0, 0, Vec::<Block>::new());
        for (a, b, size) in found {
            if i < a || j < b {
                blocks.push(Block {
                    equal: false,
                    a: (i, a),
                    b: (j, b),
                });
            }
            (i, j) = (a + size, b + size);
            match blocks.last_mut() {
                // Neighbours are one.
                Some(last) if size > 0 && last.equal => (last.a.1, last.b.1) = (i, j),
                _ if size > 0 => blocks.push(Block {
                    equal: true,
                    a: (a, i),
                    b: (b, j),
                }),
                _ => {}
            }
        }
        blocks
    }
}

/// Changes with what is around them, those that are near in one group.
fn grouped(mut blocks: Vec<Block>) -> Vec<Vec<Block>> {
    if let Some(first) = blocks.first_mut().filter(|b| b.equal) {
        first.a.0 = first.a.0.max(first.a.1.saturating_sub(CONTEXT));
        first.b.0 = first.b.0.max(first.b.1.saturating_sub(CONTEXT));
    }
    if let Some(last) = blocks.last_mut().filter(|b| b.equal) {
        last.a.1 = last.a.1.min(last.a.0 + CONTEXT);
        last.b.1 = last.b.1.min(last.b.0 + CONTEXT);
    }
    let (mut groups, mut group) = (Vec::new(), Vec::new());
    for mut block in blocks {
        if block.equal && block.a.1 - block.a.0 > 2 * CONTEXT {
            let mut head = block;
            (head.a.1, head.b.1) = (block.a.0 + CONTEXT, block.b.0 + CONTEXT);
            group.push(head);
            groups.push(std::mem::take(&mut group));
            (block.a.0, block.b.0) = (block.a.1 - CONTEXT, block.b.1 - CONTEXT);
        }
        group.push(block);
    }
    groups.push(group);
    groups.retain(|g| g.iter().any(|b| !b.equal));
    groups
}

/// Where a group is, as `diff -u` writes it.
fn range(from: usize, to: usize) -> String {
    match to - from {
        1 => format!("{}", from + 1),
        0 => format!("{from},0"),
        n => format!("{},{n}", from + 1),
    }
}

/// A unified difference of two texts, without names of files.
pub fn unified(a: &str, b: &str) -> String {
    let matcher = Matcher::new(a, b);
    let mut out = String::new();
    for group in grouped(matcher.blocks()) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            continue;
        };
        out.push_str(&format!(
            "@@ -{} +{} @@\n",
            range(first.a.0, last.a.1),
            range(first.b.0, last.b.1)
        ));
        let mut lines = |sign: char, lines: &[&str]| {
            for line in lines {
                out.push(sign);
                out.push_str(line);
                out.push('\n');
            }
        };
        for block in group {
            if block.equal {
                lines(' ', &matcher.a[block.a.0..block.a.1]);
            } else {
                lines('-', &matcher.a[block.a.0..block.a.1]);
                lines('+', &matcher.b[block.b.0..block.b.1]);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_have_three_lines_around_them() {
        let a: Vec<String> = (0..30).map(|i| i.to_string()).collect();
        let mut b = a.clone();
        b[10] = "ten".to_owned();
        b.remove(25);
        let out = unified(&a.join("\n"), &b.join("\n"));
        assert_eq!(
            out,
            "@@ -8,7 +8,7 @@\n 7\n 8\n 9\n-10\n+ten\n 11\n 12\n 13\n@@ -23,7 +23,6 @@\n 22\n 23\n 24\n-25\n 26\n 27\n 28\n"
        );
        assert_eq!(unified("a\nb", "a\nb"), "");
        assert_eq!(unified("a", "b"), "@@ -1 +1 @@\n-a\n+b\n");
    }

    #[test]
    fn lines_that_are_everywhere_join_at_the_ends() {
        let a: Vec<String> = (0..300)
            .map(|i| if i % 2 == 0 { "x".to_owned() } else { i.to_string() })
            .collect();
        let mut b = a.clone();
        b[151] = "new".to_owned();
        let out = unified(&a.join("\n"), &b.join("\n"));
        assert_eq!(out, "@@ -149,7 +149,7 @@\n x\n 149\n x\n-151\n+new\n x\n 153\n x\n");
    }
}
