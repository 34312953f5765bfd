//! What is told of expressions that cannot be read: cel-go reads with a parser that ANTLR made, whose errors are those of
//! its strategy of going on behind them. The expression is read here once more as that parser reads it
//! (`cel-go/parser/gen/CEL.g4`, ANTLR's `DefaultErrorStrategy` and `ParserATNSimulator`).

mod grammar;
mod network;
mod predict;
mod recover;
mod run;
pub(super) mod tokens;

use super::room::with_much_room;

/// An error: where it is (a byte's place), if it is anywhere, and its text.
pub(super) type Told = (Option<usize>, String);

/// Longest expression, in tokens, that is read again: how far a prediction looks ahead grows with it, and so does each.
const MOST: usize = 500;

/// The syntax errors of an expression, by their places.
pub(super) fn errors(text: &str) -> Vec<Told> {
    let (tokens, wrong) = tokens::tokens(text);
    let skipped = wrong
        .iter()
        .map(|(end, (at, _))| (at.unwrap_or_default(), *end))
        .collect();
    let mut errors: Vec<Told> = wrong.into_iter().map(|(_, told)| told).collect();
    if tokens.len() > MOST {
        return Vec::new();
    }
    // Rules call rules, some ten for each level of what is read.
    errors.extend(with_much_room(|| run::errors(text, tokens, skipped)));
    errors.sort_by_key(|(at, _)| at.map_or(0, |at| at + 1));
    errors
}

#[cfg(test)]
mod tests {
    use super::errors;

    const START: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, \
                         BYTES, IDENTIFIER}";

    #[test]
    fn errors_are_antlrs() {
        for (text, wanted) in [
            ("a.b == 1 && [1, 2u][0] in {'a': -1.5e3}.c ? !x : f(y, 1).g()", vec![]),
            (
                "*",
                vec![
                    (0, format!("mismatched input '*' expecting {START}")),
                    (1, format!("mismatched input '<EOF>' expecting {START}")),
                ],
            ),
            ("/x", vec![(0, format!("extraneous input '/' expecting {START}"))]),
            ("../a", vec![(1, "no viable alternative at input '..'".to_owned())]),
            (
                "has(a) + b.all(c.d, e) *",
                vec![
                    (4, "invalid argument to has() macro".to_owned()),
                    (16, "argument must be a simple name".to_owned()),
                    (24, format!("mismatched input '<EOF>' expecting {START}")),
                ],
            ),
            ("1.2.3.4", vec![(3, "mismatched input '.3' expecting <EOF>".to_owned())]),
            (
                "$",
                vec![
                    (0, "token recognition error at: '$'".to_owned()),
                    (1, format!("mismatched input '<EOF>' expecting {START}")),
                ],
            ),
        ] {
            let found = errors(text);
            let found: Vec<(usize, String)> = found
                .into_iter()
                .map(|(at, text)| {
                    (
                        at.unwrap_or(usize::MAX),
                        text.trim_start_matches("Syntax error: ").to_owned(),
                    )
                })
                .collect();
            assert_eq!(found, wanted, "{text}");
        }
    }
}
