//! Expressions that are made up: out of parts, and out of whole ones by changes.

use proptest::prelude::*;
use proptest::sample::select;

use crate::{CelError, Environment, Program, Scope, Type, antlr, check, parse};

/// Expressions that can be read, with all that the grammar has.
pub(super) const WHOLE: [&str; 22] = [
    "self.s == 'a' && self.n > 1 || !has(self.o)",
    "has(self.s) ? self.s.size() < 3 : true",
    "self.l.all(x, x.startsWith('a')) ? 1 : 2 == 3 ? 4 : 5",
    "self.map.all(k, self.map[k] != \"\")",
    "self.?s.orValue('') != 'x' && self[?'a'].hasValue()",
    "{'a': 1, ?'b': optional.of(2)}['a'] == 1",
    "[1, 2u, 3.0e1, ?optional.none(),].size() == 3",
    "Object{spec: Object.spec{replicas: 5, ?a: b,}}",
    "-self.n < -(1 + 2) * 3 % 4 - 5 / 6 - -1",
    "!!true || false in [null]",
    "b'abc' == bytes(\"\"\"a\nb\"\"\") || br'\\d' != b'\\x00'",
    "r'\\d' + '\\n\\u00e9\\101' == ''",
    "f(g(.a.b, c), {}).d[0][1].e()",
    "a.b.c{d: 1}.e",
    ".package{}",
    "0x1F > 0xfu ? 1.5 : .5e-3",
    "self.`a.b` == 1",
    "type(1) == int // for nothing",
    "((((a))))",
    "[[[[1]]]]",
    "'''a'b''' + r\"\"\"c\"d\"\"\"",
    "cel.bind(x, 1, x + x)",
];

const PARTS: [&str; 88] = [
    "self",
    "self.a",
    "x",
    "[",
    "]",
    "(",
    ")",
    "{",
    "}",
    ",",
    ":",
    "?",
    ".",
    "?.",
    "[?",
    ".?",
    "+",
    "-",
    "*",
    "/",
    "%",
    "!",
    "&&",
    "||",
    "==",
    "!=",
    "<",
    "<=",
    " in ",
    "1",
    "1.5",
    "2u",
    "0x",
    "0x1",
    "0xfU",
    "1e",
    "1e3",
    "9223372036854775808",
    "'t'",
    "b'é'",
    "rb'x'",
    "br'\\'",
    "'\\ud800'",
    "'\\x+5'",
    "'\r'",
    "\"",
    "'",
    "'''",
    "\"\"\"",
    "r'",
    "b",
    "r",
    "null",
    "true",
    "false",
    "in",
    "for",
    "package",
    "`a.b`",
    "`",
    "``",
    ".map(x, ",
    ".all(x, ",
    ".all(x, y, ",
    ".filter(x, x)",
    ".optMap(x, ",
    "has(",
    "has(self.a)",
    "optional.of(",
    "type(",
    "size(",
    "duration('x')",
    "timestamp(",
    ".format([",
    ".matches('(')",
    "Object{",
    "Object.spec{a: ",
    "a{b:",
    "(a){b:1}",
    "\n",
    "\t",
    "\r",
    " ",
    "//",
    "é",
    "$",
    "&",
    "=",
];

/// Texts made of parts, and whole expressions with some characters or parts taken away, changed or put in.
pub(super) fn expression() -> impl Strategy<Value = String> {
    let soup = proptest::collection::vec(select(&PARTS[..]), 0..16).prop_map(|parts| parts.concat());
    let change = (any::<prop::sample::Index>(), 0_usize..4, select(&PARTS[..]));
    let changed = (select(&WHOLE[..]), proptest::collection::vec(change, 0..4)).prop_map(|(whole, changes)| {
        let mut text: Vec<char> = whole.chars().collect();
        for (at, taken, put) in changes {
            let at = at.index(text.len() + 1);
            let end = (at + taken).min(text.len());
            text.splice(at..end, put.chars());
        }
        text.into_iter().collect::<String>()
    });
    prop_oneof![soup, changed]
}

fn environment() -> Environment {
    let own = Type::object("self", [("a".to_owned(), Type::list(Type::Int))]);
    Environment {
        variables: [("self".to_owned(), own)].into(),
        bindings: true,
        patches: true,
    }
}

/// All that is done with an expression, and what must hold of it.
pub(super) fn holds(text: &str) -> Result<(), TestCaseError> {
    // What makes trees and what words errors take the same.
    let read = parse::read(text);
    let refused = matches!(read, Err(CelError::Syntax { .. }));
    let told = antlr::errors(text);
    prop_assert_eq!(refused, !told.is_empty(), "{}: {:?} {:?}", text, read.err(), told);
    // The check ends, and says the same of the same.
    let told = check(text, &environment());
    prop_assert_eq!(&told, &check(text, &environment()));
    if let Err(why) = told {
        prop_assert!(
            why.to_string().starts_with("compilation failed: ERROR: <input>:"),
            "{}",
            why
        );
    }
    // So does an evaluation, of whatever type.
    if let Ok(program) = Program::read(text) {
        let scope = Scope::from([(
            "self".to_owned(),
            crate::Value::from_json(&serde_json::json!({"a": [1, 2]})),
        )]);
        let first = program.evaluate(&scope).map(|v| v.to_json());
        prop_assert_eq!(first, program.evaluate(&scope).map(|v| v.to_json()));
    }
    Ok(())
}

#[test]
fn whole_expressions_are_taken() {
    for text in WHOLE {
        assert_eq!(antlr::errors(text), [], "{text}");
        assert!(!matches!(parse::read(text), Err(CelError::Syntax { .. })), "{text}");
    }
}

proptest! {
    // Each is read by both parts, checked and evaluated twice.
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_is_written_the_parts_agree_about_it(text in expression()) {
        holds(&text)?;
    }
}

#[test]
fn long_texts_are_told_of_in_bounded_time() {
    // The forms whose prediction looks furthest ahead, and one that is longer than what is looked at.
    for (part, times) in [
        ("(", 60),
        ("{1:", 30),
        ("a.", 60),
        ("a ? b :", 20),
        ("x.map(y, ", 12),
        ("a{b:", 600),
    ] {
        let text = part.repeat(times);
        let told = check(&text, &environment()).map_err(|e| e.to_string());
        assert!(
            told.is_err_and(|e| e.starts_with("compilation failed: ERROR: ")),
            "{part}"
        );
    }
}
