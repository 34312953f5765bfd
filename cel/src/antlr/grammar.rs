//! The grammar (`cel-go/parser/gen/CEL.g4`), its left recursion made loops as ANTLR makes it.

use std::sync::LazyLock;

use super::network::{Builder, Network};
use super::tokens::{BYTES, END, ESCAPED, FLOAT, INT, Kinds, NAME, STRING, UINT, kind_of};

/// A part of a rule.
#[derive(Debug, Clone)]
pub(super) enum Part {
    /// One of these tokens.
    Token(Kinds),
    /// A rule, with the precedence it is called with.
    Rule(usize, u8),
    /// One of these, told apart by looking ahead; by one token only where `simple`.
    Choice { of: Vec<Vec<Part>>, simple: bool },
    /// This or nothing.
    Maybe(Vec<Part>),
    /// As often as there is one more.
    Loop { of: Vec<Part>, simple: bool },
    /// As a loop, but once at least.
    Many { of: Vec<Part>, simple: bool },
    /// What may follow, again and again, each where its precedence is high enough.
    Suffixes(Vec<(u8, Vec<Part>)>),
}

use Part::{Choice, Loop, Many, Maybe, Rule, Suffixes, Token};

pub(super) const START: usize = 0;
pub(super) const EXPR: usize = 1;
const OR: usize = 2;
const AND: usize = 3;
const RELATION: usize = 4;
const CALC: usize = 5;
const UNARY: usize = 6;
pub(super) const MEMBER: usize = 7;
pub(super) const PRIMARY: usize = 8;
pub(super) const ARGUMENTS: usize = 9;
const ELEMENTS: usize = 10;
const FIELDS: usize = 11;
const FIELD: usize = 12;
const ENTRIES: usize = 13;
pub(super) const IDENTIFIER: usize = 14;
const ELEMENT: usize = 15;
pub(super) const LITERAL: usize = 16;

/// Whether a rule was left-recursive.
pub(super) fn is_recursive(rule: usize) -> bool {
    matches!(rule, RELATION | CALC | MEMBER)
}

fn t(text: &str) -> Part {
    any(&[text])
}

fn any(texts: &[&str]) -> Part {
    Token(texts.iter().map(|text| 1 << kind_of(text)).sum())
}

fn k(kind: u8) -> Part {
    Token(1 << kind)
}

fn r(rule: usize) -> Part {
    Rule(rule, 0)
}

/// Items with commas between; `open`: a comma may follow the last one.
fn separated(item: &[Part], open: bool) -> Vec<Part> {
    let mut more = vec![t(",")];
    more.extend_from_slice(item);
    let mut all = item.to_vec();
    all.push(Loop {
        of: more,
        simple: !open,
    });
    all
}

fn rules() -> Vec<Vec<Part>> {
    let dotted = || Maybe(vec![t(".")]);
    let optional = || Maybe(vec![t("?")]);
    let call = |name: Part| vec![name, t("("), Maybe(vec![r(ARGUMENTS)]), t(")")];
    let global: Vec<Part> = [dotted()].into_iter().chain(call(k(NAME))).collect();
    let signed = |kind: u8| vec![Maybe(vec![t("-")]), k(kind)];
    let made = |of: usize| [Maybe(vec![r(of)]), Maybe(vec![t(",")])];
    let list = |open: &str, of: usize, close: &str| -> Vec<Part> {
        [t(open)].into_iter().chain(made(of)).chain([t(close)]).collect()
    };
    let member_call: Vec<Part> = [t(".")].into_iter().chain(call(k(NAME))).collect();
    let message: Vec<Part> = [
        dotted(),
        k(NAME),
        Loop {
            of: vec![t("."), k(NAME)],
            simple: true,
        },
    ]
    .into_iter()
    .chain(list("{", FIELDS, "}"))
    .collect();
    let chain = |of: usize, sign: &str| {
        let of_more = vec![t(sign), r(of)];
        vec![
            r(of),
            Loop {
                of: of_more,
                simple: true,
            },
        ]
    };
    let several = |sign: &str, simple: bool| Many {
        of: vec![t(sign)],
        simple,
    };
    let choice = |of: Vec<Vec<Part>>| vec![Choice { of, simple: false }];
    vec![
        vec![r(EXPR), k(END)],
        vec![r(OR), Maybe(vec![t("?"), r(OR), t(":"), r(EXPR)])],
        chain(AND, "||"),
        chain(RELATION, "&&"),
        vec![
            r(CALC),
            Suffixes(vec![(
                1,
                vec![any(&["<", "<=", ">=", ">", "==", "!=", "in"]), Rule(RELATION, 2)],
            )]),
        ],
        vec![
            r(UNARY),
            Suffixes(vec![
                (2, vec![any(&["*", "/", "%"]), Rule(CALC, 3)]),
                (1, vec![any(&["+", "-"]), Rule(CALC, 2)]),
            ]),
        ],
        choice(vec![
            vec![r(MEMBER)],
            vec![several("!", true), r(MEMBER)],
            vec![several("-", false), r(MEMBER)],
        ]),
        vec![
            r(PRIMARY),
            Suffixes(vec![
                (3, vec![t("."), optional(), r(IDENTIFIER)]),
                (2, member_call),
                (1, vec![t("["), optional(), r(EXPR), t("]")]),
            ]),
        ],
        choice(vec![
            vec![dotted(), k(NAME)],
            global,
            vec![t("("), r(EXPR), t(")")],
            list("[", ELEMENTS, "]"),
            list("{", ENTRIES, "}"),
            message,
            vec![r(LITERAL)],
        ]),
        separated(&[r(EXPR)], false),
        separated(&[r(ELEMENT)], true),
        separated(&[r(FIELD), t(":"), r(EXPR)], true),
        vec![optional(), r(IDENTIFIER)],
        separated(&[r(ELEMENT), t(":"), r(EXPR)], true),
        vec![Choice {
            of: vec![vec![k(NAME)], vec![k(ESCAPED)]],
            simple: true,
        }],
        vec![optional(), r(EXPR)],
        choice(vec![
            signed(INT),
            vec![k(UINT)],
            signed(FLOAT),
            vec![k(STRING)],
            vec![k(BYTES)],
            vec![t("true")],
            vec![t("false")],
            vec![t("null")],
        ]),
    ]
}

/// The grammar as a network of states.
pub(super) static GRAMMAR: LazyLock<Network> = LazyLock::new(|| Builder::network(&rules()));
