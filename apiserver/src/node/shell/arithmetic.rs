//! `$(( ))`: integers with `+ - * / %`, comparisons and parentheses.

use super::parse::DEEPEST;

/// The value of an expression; `None` when it has none.
pub(crate) fn evaluate(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Option<i64> {
    let text: Vec<char> = text.chars().filter(|c| !c.is_whitespace() && *c != '$').collect();
    let mut e = Expression {
        text,
        at: 0,
        depth: 0,
        variable,
    };
    let value = e.compare()?;
    (e.at == e.text.len()).then_some(value)
}

struct Expression<'a> {
    text: Vec<char>,
    at: usize,
    /// How many signs and parentheses are open.
    depth: usize,
    variable: &'a dyn Fn(&str) -> Option<String>,
}

impl Expression<'_> {
    fn one_of(&mut self, choices: &[&'static str]) -> Option<&'static str> {
        let rest: String = self.text[self.at..].iter().take(2).collect();
        let found = choices.iter().find(|c| rest.starts_with(**c))?;
        self.at += found.len();
        Some(found)
    }

    fn compare(&mut self) -> Option<i64> {
        let mut left = self.sum()?;
        while let Some(op) = self.one_of(&["==", "!=", "<=", ">=", "<", ">"]) {
            let right = self.sum()?;
            left = i64::from(match op {
                "==" => left == right,
                "!=" => left != right,
                "<=" => left <= right,
                ">=" => left >= right,
                "<" => left < right,
                _ => left > right,
            });
        }
        Some(left)
    }

    fn sum(&mut self) -> Option<i64> {
        let mut left = self.product()?;
        while let Some(op) = self.one_of(&["+", "-"]) {
            let right = self.product()?;
            left = if op == "+" {
                left.checked_add(right)?
            } else {
                left.checked_sub(right)?
            };
        }
        Some(left)
    }

    fn product(&mut self) -> Option<i64> {
        let mut left = self.value()?;
        while let Some(op) = self.one_of(&["*", "/", "%"]) {
            let right = self.value()?;
            left = match op {
                "*" => left.checked_mul(right)?,
                "/" => left.checked_div(right)?,
                _ => left.checked_rem(right)?,
            };
        }
        Some(left)
    }

    /// One operand; none in more signs and parentheses than commands may stand in.
    fn value(&mut self) -> Option<i64> {
        self.depth += 1;
        let value = if self.depth > DEEPEST { None } else { self.operand() };
        self.depth -= 1;
        value
    }

    fn operand(&mut self) -> Option<i64> {
        if self.one_of(&["-"]).is_some() {
            return self.value()?.checked_neg();
        }
        if self.one_of(&["("]).is_some() {
            let value = self.compare()?;
            return self.one_of(&[")"]).map(|_| value);
        }
        let rest = &self.text[self.at..];
        let n = rest
            .iter()
            .take_while(|c| c.is_ascii_alphanumeric() || **c == '_')
            .count();
        let word: String = rest[..n].iter().collect();
        self.at += n;
        match word.chars().next()? {
            c if c.is_ascii_digit() => word.parse().ok(),
            _ => match (self.variable)(&word) {
                None => Some(0),
                Some(v) if v.is_empty() => Some(0),
                Some(v) => v.trim().parse().ok(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let variable = |n: &str| (n == "a").then(|| "4".to_owned());
        for (text, expected) in [
            ("1+2*3", Some(7)),
            ("(1+2)*3", Some(9)),
            ("a + 1", Some(5)),
            ("$a % 3", Some(1)),
            ("b", Some(0)),
            ("-2 < 1", Some(1)),
            ("1/0", None),
            ("1 +", None),
        ] {
            assert_eq!(evaluate(text, &variable), expected, "{text}");
        }
        for n in [10, 100_000] {
            let nested = format!("{}1{}", "(".repeat(n), ")".repeat(n));
            assert_eq!(evaluate(&nested, &variable), (n == 10).then_some(1), "{n}");
            assert_eq!(
                evaluate(&format!("{}1", "-".repeat(n)), &variable),
                (n == 10).then_some(1),
                "{n}"
            );
            assert_eq!(evaluate(&"1+".repeat(n), &variable), None, "{n}");
        }
    }
}
