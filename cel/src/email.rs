//! Addresses of mail as Go reads them (`net/mail.ParseAddress`, RFC 5322).

/// Whether a text is one address of mail, with or without a name before it.
pub(super) fn is_email(text: &str) -> bool {
    let mut reader = Reader { rest: text };
    let count = reader.address(true);
    count == Some(1) && reader.skip_comments().is_some() && reader.rest.is_empty()
}

struct Reader<'t> {
    rest: &'t str,
}

/// What may be in an atom; dots are not told apart from the rest here.
fn is_atom(c: char) -> bool {
    !"()<>[]:;@\\,\"".contains(c) && is_visible(c)
}

fn is_visible(c: char) -> bool {
    ('!'..='~').contains(&c) || !c.is_ascii()
}

impl Reader<'_> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    fn take(&mut self, sign: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(sign)?;
        Some(())
    }

    /// How many addresses there are next: one, or those of a group if there may be one.
    fn address(&mut self, group: bool) -> Option<usize> {
        self.skip_space();
        if self.rest.is_empty() {
            return None;
        }
        if self.plain().is_some() {
            self.skip_space();
            if self.rest.starts_with('(') {
                self.comment()?;
            }
            return Some(1);
        }
        if !self.rest.starts_with('<') {
            self.phrase()?;
        }
        self.skip_space();
        if group && self.take(':').is_some() {
            return self.group();
        }
        self.take('<')?;
        self.plain()?;
        self.take('>')?;
        Some(1)
    }

    fn group(&mut self) -> Option<usize> {
        let mut count = 0;
        self.skip_space();
        if self.take(';').is_some() {
            self.skip_comments()?;
            return Some(count);
        }
        loop {
            self.skip_space();
            count += self.address(false)?;
            self.skip_comments()?;
            if self.take(';').is_some() {
                self.skip_comments()?;
                return Some(count);
            }
            self.take(',')?;
        }
    }

    /// `local@domain`; nothing is read of what is none.
    fn plain(&mut self) -> Option<()> {
        let before = self.rest;
        let found = self.local_and_domain();
        if found.is_none() {
            self.rest = before;
        }
        found
    }

    fn local_and_domain(&mut self) -> Option<()> {
        self.skip_space();
        if self.rest.starts_with('"') {
            if self.quoted()?.is_empty() {
                return None;
            }
        } else {
            self.atom(false)?;
        }
        self.take('@')?;
        self.skip_space();
        if self.rest.starts_with('[') {
            self.literal()
        } else {
            self.atom(false)
        }
    }

    /// Words; what is wrong behind the first one ends it.
    fn phrase(&mut self) -> Option<()> {
        let mut any = false;
        loop {
            if any {
                self.skip_comments()?;
            }
            self.skip_space();
            let word = if self.rest.is_empty() {
                None
            } else if self.rest.starts_with('"') {
                self.quoted().map(drop)
            } else {
                self.atom(true)
            };
            match word {
                None if any || self.rest.is_empty() => return Some(()),
                None => return None,
                Some(()) => any = true,
            }
        }
    }

    fn quoted(&mut self) -> Option<String> {
        let (mut out, mut escaped) = (String::new(), false);
        for (i, c) in self.rest.char_indices().skip(1) {
            match c {
                _ if escaped && !is_visible(c) && !matches!(c, ' ' | '\t') => return None,
                _ if escaped => {
                    out.push(c);
                    escaped = false;
                }
                '"' => {
                    self.rest = &self.rest[i + 1..];
                    return Some(out);
                }
                '\\' => escaped = true,
                c if is_visible(c) || matches!(c, ' ' | '\t') => out.push(c),
                _ => return None,
            }
        }
        None
    }

    /// An atom with dots; they stand alone and between others unless `loose`.
    fn atom(&mut self, loose: bool) -> Option<()> {
        let end = self.rest.find(|c| !is_atom(c)).unwrap_or(self.rest.len());
        let (atom, rest) = self.rest.split_at(end);
        let dots = atom.starts_with('.') || atom.ends_with('.') || atom.contains("..");
        if atom.is_empty() {
            return None;
        }
        self.rest = rest;
        (loose || !dots).then_some(())
    }

    /// `[address]`.
    fn literal(&mut self) -> Option<()> {
        let inner = self.rest.strip_prefix('[')?;
        let (address, rest) = inner.split_once(']')?;
        let (_, zone) = super::address::parse(address).ok()?;
        self.rest = rest;
        zone.is_empty().then_some(())
    }

    fn skip_comments(&mut self) -> Option<()> {
        self.skip_space();
        while self.rest.starts_with('(') {
            self.comment()?;
            self.skip_space();
        }
        Some(())
    }

    /// `(comment (within))`.
    fn comment(&mut self) -> Option<()> {
        let (mut depth, mut escaped) = (0, false);
        for (i, c) in self.rest.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                self.rest = &self.rest[i + 1..];
                return Some(());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::is_email;

    #[test]
    fn addresses_are_told_from_what_is_none() {
        for fine in [
            "a@b",
            " a.b@c.d ",
            "A B <a@b>",
            "\"a b\"@c",
            "a@[10.0.0.1]",
            "a@b (c)",
            "g: a@b;",
            "é@日",
            "<a@b>",
            "A. \"B\" (c) <a@b>",
        ] {
            assert!(is_email(fine), "{fine}");
        }
        for wrong in [
            "",
            "a",
            "a@",
            "@b",
            "a@b c",
            "a..b@c",
            ".a@b",
            "a@b.",
            "A <a@b",
            "a@[x]",
            "a@b, c@d",
            "g: a@b, c@d;",
            "g:;",
            "\"\"@b",
            "a b@c",
            "a@b (c",
        ] {
            assert!(!is_email(wrong), "{wrong}");
        }
    }
}
