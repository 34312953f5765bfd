//! Macros: calls that stand for a loop, whose parts are checked as the loop's would be.

use super::{Checker, Environment, Expr, Type, What};

/// What a loop gathers, beside the truth of its steps.
#[derive(Clone, Copy)]
enum Gathers {
    Items,
    Values,
    Entries,
    Merged,
}

/// Variables that macros use themselves.
const OWN: [&str; 2] = ["__result__", "@result"];

/// What is wrong with the arguments of macros, which are expanded before anything is checked
/// (`cel-go/parser/macro.go`, `cel-go/ext`).
pub(super) fn malformed(root: &Expr, environment: &Environment) -> Vec<(Option<usize>, String)> {
    let mut wrong = Vec::new();
    gather(root, environment, &mut wrong);
    wrong.sort_by_key(|(at, _)| *at);
    wrong
}

fn gather(e: &Expr, environment: &Environment, wrong: &mut Vec<(Option<usize>, String)>) {
    for child in e.children() {
        gather(child, environment, wrong);
    }
    if let What::Call(target, name, args) = &e.what {
        let binds = target.as_deref().and_then(Expr::name) == Some("cel") && environment.bindings;
        let found = argument(target.is_some(), binds, name, args);
        wrong.extend(found.map(|(i, why)| (Some(args[i].at), why)));
    }
}

/// What is wrong with the arguments of a call, if it is one of a macro, each of which was read on its own and begins there;
/// `method`: it is called on something.
pub(crate) fn misnamed(method: bool, name: &str, args: &[Expr], starts: &[usize]) -> Option<(Option<usize>, String)> {
    let (i, why) = argument(method, false, name, args)?;
    Some((Some(starts[i] + args[i].at), why))
}

/// The argument of a macro that is wrong, by its number, and why; `binds`: there is `cel.bind`, and this is called on `cel`.
fn argument(method: bool, binds: bool, name: &str, args: &[Expr]) -> Option<(usize, String)> {
    let named = |i: usize, why: &str| match args.get(i)?.name() {
        None => Some((i, why.to_owned())),
        Some(n) if OWN.contains(&n) => Some((i, "iteration variable overwrites accumulator variable".to_owned())),
        Some(_) => None,
    };
    if !method {
        let field = |e: &Expr| matches!(e.what, What::Select(_, _, false));
        let wrong = name == "has" && args.len() == 1 && !field(&args[0]);
        return wrong.then(|| (0, "invalid argument to has() macro".to_owned()));
    }
    let simple = "argument must be a simple name";
    match (name, args.len()) {
        ("bind", 3) if binds => {
            let why = "cel.bind() variable names must be simple identifiers";
            args[0].name().is_none().then(|| (0, why.to_owned()))
        }
        ("all" | "exists" | "exists_one", 2) => named(0, simple),
        ("map", 2 | 3) | ("filter", 2) => named(0, "argument is not an identifier"),
        ("all" | "exists" | "exists_one" | "existsOne", 3)
        | ("transformList" | "transformMap" | "transformMapEntry", 3 | 4) => {
            let twice = || {
                let (a, b) = (args[0].name()?, args[1].name()?);
                (a == b).then(|| (1, format!("duplicate variable name: {a}")))
            };
            let plain = |i: usize| args[i].name().is_none().then(|| (i, simple.to_owned()));
            plain(0)
                .or_else(|| plain(1))
                .or_else(twice)
                .or_else(|| named(0, simple))
                .or_else(|| named(1, simple))
        }
        ("optMap" | "optFlatMap", 2) => {
            let why = format!("{name}() variable name must be a simple identifier");
            args[0].name().is_none().then_some((0, why))
        }
        _ => None,
    }
}

impl Checker<'_> {
    /// What a macro gives; `None`: it is none.
    pub(super) fn expanded(&mut self, at: usize, target: Option<&Expr>, name: &str, args: &[Expr]) -> Option<Type> {
        let Some(target) = target else {
            return (name == "has" && args.len() == 1).then(|| self.has(at, &args[0]));
        };
        if name == "bind" && args.len() == 3 && target.name() == Some("cel") && self.environment.bindings {
            let of = self.of(&args[1]);
            return Some(self.within(vec![(args[0].name()?.to_owned(), of)], |c| c.of(&args[2])));
        }
        let count = args.len();
        let two = match (name, count) {
            ("all" | "exists" | "exists_one" | "map" | "filter", 2) | ("map", 3) => false,
            ("all" | "exists" | "exists_one" | "existsOne", 3)
            | ("transformList" | "transformMap" | "transformMapEntry", 3 | 4) => true,
            ("optMap" | "optFlatMap", 2) => return Some(self.opt(at, target, name, args)),
            ("sortBy", 2) => return Some(self.sort(at, target, args)),
            _ => return None,
        };
        let range = self.of(target);
        let range = self.bound.replaced(&range, false);
        let variables = self.variables(target, &range, two);
        let names = args.iter().map_while(|a| a.name().map(str::to_owned));
        let scope: Vec<(String, Type)> = names.zip(variables.clone()).collect();
        let skip = if two { 2 } else { 1 };
        if scope.len() < skip {
            return Some(Type::Error);
        }
        let rest = &args[skip..];
        let key = variables[0].clone();
        Some(self.within(scope, |c| match name {
            "all" | "exists" => {
                let t = c.of(&rest[0]);
                c.truth(&rest[0], &t);
                Type::Bool
            }
            "exists_one" | "existsOne" => {
                let t = c.of(&rest[0]);
                c.call(at, "_?_:_", false, vec![t, Type::Int, Type::Int]);
                Type::Bool
            }
            "filter" => {
                let test = c.of(&rest[0]);
                c.gathered(at, Some(test), key, Gathers::Items)
            }
            _ => {
                let test = (rest.len() == 2).then(|| c.of(&rest[0]));
                let value = rest.last().map_or(Type::Error, |e| c.of(e));
                match name {
                    "transformMap" => {
                        let entry = Type::map(key, value);
                        c.gathered(at, test, entry, Gathers::Entries)
                    }
                    "transformMapEntry" => c.gathered(at, test, value, Gathers::Merged),
                    _ => c.gathered(at, test, value, Gathers::Values),
                }
            }
        }))
    }

    fn within<T>(&mut self, names: Vec<(String, Type)>, f: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.scopes.len();
        self.scopes.extend(names);
        let result = f(self);
        self.scopes.truncate(before);
        result
    }

    fn has(&mut self, at: usize, e: &Expr) -> Type {
        let What::Select(of, field, _) = &e.what else {
            return self.tell(e.at, "invalid argument to has() macro".to_owned());
        };
        let of = self.of(of);
        self.field(at, &of, field, false);
        Type::Bool
    }

    /// The types of what a loop over `range` names.
    fn variables(&mut self, target: &Expr, range: &Type, two: bool) -> Vec<Type> {
        match range {
            Type::List(of) if two => vec![Type::Int, (**of).clone()],
            Type::List(of) => vec![(**of).clone()],
            Type::Map(key, value) => vec![(**key).clone(), (**value).clone()],
            Type::Dyn | Type::Error | Type::Parameter(_) => {
                self.bound.fits(&Type::Dyn, range);
                vec![Type::Dyn, Type::Dyn]
            }
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.tell(target.at, message);
                vec![Type::Error, Type::Error]
            }
        }
    }

    /// What a loop makes of its items, of those that pass a test if there is one.
    fn gathered(&mut self, at: usize, test: Option<Type>, item: Type, how: Gathers) -> Type {
        let one = self.fresh();
        let all = match how {
            Gathers::Items | Gathers::Values => Type::list(one),
            Gathers::Entries | Gathers::Merged => Type::map(one, self.fresh()),
        };
        let mut step = match how {
            Gathers::Items | Gathers::Values => self.call(at, "_+_", false, vec![all.clone(), Type::list(item)]),
            Gathers::Entries | Gathers::Merged => self.call(at, "cel.@mapInsert", false, vec![all.clone(), item]),
        };
        if let Some(test) = test {
            step = self.call(at, "_?_:_", false, vec![test, step, all.clone()]);
        }
        self.bound.fits(&all, &step);
        self.bound.replaced(&all, false)
    }

    fn opt(&mut self, at: usize, target: &Expr, name: &str, args: &[Expr]) -> Type {
        let Some(variable) = args[0].name() else {
            return self.tell(
                args[0].at,
                format!("{name}() variable name must be a simple identifier"),
            );
        };
        let of = self.of(target);
        let test = self.call(at, "hasValue", true, vec![of]);
        // It stands for two calls on the same, each of which is checked.
        let again = self.of(target);
        let value = self.call(at, "value", true, vec![again]);
        let made = self.within(vec![(variable.to_owned(), value)], |c| c.of(&args[1]));
        let made = if name == "optMap" { Type::optional(made) } else { made };
        let none = Type::optional(self.fresh());
        self.call(at, "_?_:_", false, vec![test, made, none])
    }

    fn sort(&mut self, at: usize, target: &Expr, args: &[Expr]) -> Type {
        let range = self.of(target);
        let range = self.bound.replaced(&range, false);
        let item = self.variables(target, &range, false).swap_remove(0);
        let Some(variable) = args[0].name() else {
            return self.tell(args[0].at, "argument is not an identifier".to_owned());
        };
        let key = self.within(vec![(variable.to_owned(), item)], |c| c.of(&args[1]));
        self.call(at, "@sortByAssociatedKeys", true, vec![range, Type::list(key)])
    }
}
