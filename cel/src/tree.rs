//! What is known of a tree's parts: names, children, what is not declared.

use super::parse::{Expr, MACROS, What};

/// Names that are functions' homes or types.
const KNOWN: [&str; 22] = [
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
    "timestamp",
    "duration",
    "math",
    "sets",
    "strings",
    "optional",
    "cel",
    "jsonpatch",
    "format",
    "lists",
    "semver",
    "ip",
];

impl Expr {
    /// What tells it from the other parts of its tree, as long as that stays where it is.
    pub(super) fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Whether it, or a part of it, is this name.
    pub(super) fn mentions(&self, name: &str) -> bool {
        self.name() == Some(name) || self.children().into_iter().any(|child| child.mentions(name))
    }

    /// The name it is, if it is a plain one.
    pub(super) fn name(&self) -> Option<&str> {
        match &self.what {
            What::Name(n) => Some(n),
            _ => None,
        }
    }

    /// The expressions it is made of.
    pub(super) fn children(&self) -> Vec<&Expr> {
        match &self.what {
            What::Literal(_) | What::Name(_) => Vec::new(),
            What::Select(e, ..) | What::Unary(_, e) => vec![e],
            What::Index(a, b, _) | What::Binary(_, a, b) => vec![a, b],
            What::Condition(a, b, c) => vec![a, b, c],
            What::List(l) => l.iter().map(|(e, _)| e).collect(),
            What::Map(l) => l.iter().flat_map(|(k, v, _)| [k, v]).collect(),
            What::Struct(_, l) => l.iter().map(|(_, e, ..)| e).collect(),
            What::Call(target, _, args) => target.as_deref().into_iter().chain(args).collect(),
        }
    }

    /// Its text, if it is nothing but names and dots.
    pub(super) fn path(&self) -> Option<String> {
        match &self.what {
            What::Name(n) => Some(n.clone()),
            What::Select(of, field, false) => of.path().map(|p| format!("{p}.{field}")),
            _ => None,
        }
    }

    /// The first name that is not in `bound` and stands for nothing, or the first method that no value has, with `methods`.
    pub(super) fn undeclared(&self, bound: &mut Vec<String>, methods: &[&str]) -> Option<String> {
        match &self.what {
            What::Literal(_) => None,
            What::Name(n) => {
                let own = n.strip_prefix('.').unwrap_or(n);
                let known = bound.iter().any(|b| b == own) || KNOWN.contains(&own);
                (!known).then(|| n.clone())
            }
            What::Select(e, ..) | What::Unary(_, e) => e.undeclared(bound, methods),
            What::Index(a, b, _) | What::Binary(_, a, b) => {
                a.undeclared(bound, methods).or_else(|| b.undeclared(bound, methods))
            }
            What::Condition(a, b, c) => a
                .undeclared(bound, methods)
                .or_else(|| b.undeclared(bound, methods))
                .or_else(|| c.undeclared(bound, methods)),
            What::List(l) => l.iter().find_map(|(e, _)| e.undeclared(bound, methods)),
            What::Map(l) => l
                .iter()
                .find_map(|(k, v, _)| k.undeclared(bound, methods).or_else(|| v.undeclared(bound, methods))),
            What::Struct(_, l) => l.iter().find_map(|(_, e, ..)| e.undeclared(bound, methods)),
            What::Call(target, name, args) => {
                if let Some(found) = target.as_ref().and_then(|t| t.undeclared(bound, methods)) {
                    return Some(found);
                }
                let names: Vec<String> = match (target, name.as_str()) {
                    (Some(_), m) if MACROS.contains(&m) => bound_names(m, args),
                    (Some(t), "bind") if t.name() == Some("cel") => bound_names("filter", args),
                    (Some(_), "optMap" | "optFlatMap") => bound_names("filter", args),
                    (Some(_), m) if !super::methods::is_method(m) && !methods.contains(&m) => {
                        return Some(m.to_owned());
                    }
                    (None, f) if !super::functions::GLOBAL.contains(&f.trim_start_matches('.')) => {
                        return Some(f.to_owned());
                    }
                    _ => Vec::new(),
                };
                let before = bound.len();
                let skip = names.len();
                bound.extend(names);
                let found = args.iter().skip(skip).find_map(|a| a.undeclared(bound, methods));
                bound.truncate(before);
                found
            }
        }
    }
}

/// The names that a macro binds: one, or two where it has one argument more.
pub(super) fn bound_names(name: &str, args: &[Expr]) -> Vec<String> {
    let two = match name {
        "all" | "exists" | "exists_one" | "existsOne" => args.len() == 3,
        "transformList" | "transformMap" | "transformMapEntry" => true,
        _ => false,
    };
    args.iter()
        .take(if two { 2 } else { 1 })
        .filter_map(|a| a.name().map(str::to_owned))
        .collect()
}
