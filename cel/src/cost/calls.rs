//! What calls of functions cost.

use super::{Coster, NOTHING, ONE, PATTERN, Path, Range, TEXT, UNKNOWN};
use crate::check::Overload;
use crate::parse::{Expr, What};
use crate::types::Type;
use crate::value::Value;

/// What making a list of a list costs, `factor` for each element.
fn allocating(factor: f64, size: Range) -> Estimate {
    (size.by(factor).plus(ONE).plus(Range::fixed(10)), Some(size))
}

/// What sorting costs.
pub(super) fn sorted(size: Range, is_text: bool) -> (Range, Range) {
    let (cost, _) = allocating(if is_text { 2.0 + TEXT } else { 2.0 }, size.times(size));
    (cost, size.times(size))
}

/// A number that is written there; none is less than nought (`nodeAsIntValue`).
fn written(e: Option<&&Expr>, otherwise: u64) -> u64 {
    match e.map(|e| &e.what) {
        Some(What::Literal(Value::Int(n))) => u64::try_from(*n).unwrap_or(0),
        _ => otherwise,
    }
}

/// cel-go's extensions (`ext/lists.go`, `ext/sets.go`).
fn extension(
    name: &str,
    overload: &Overload,
    target: Option<&Argument>,
    args: &[Argument],
    given: &[&Expr],
) -> Option<Estimate> {
    let list = target.filter(|_| matches!(overload.takes.first(), Some(Type::List(_))));
    #[allow(clippy::cast_precision_loss, reason = "as upstream estimates")]
    let factor = |n: u64| n as f64;
    Some(match (name, list, args) {
        ("lists.range", None, [_]) => allocating(1.0, Range::fixed(written(given.first(), u64::MAX))),
        ("sets.contains" | "sets.intersects" | "sets.equivalent", None, [a, b]) => {
            let each = if name == "sets.equivalent" { 2.0 } else { 1.0 };
            (a.size().times(b.size()).by(each).plus(ONE), None)
        }
        ("slice", Some(on), [_, _]) => {
            let (start, end) = (written(given.first(), 0), written(given.get(1), on.size().max));
            allocating(1.0, Range::fixed(end.wrapping_sub(start)))
        }
        ("flatten", Some(on), []) => allocating(1.0, on.size()),
        ("flatten", Some(on), [_]) => allocating(factor(written(given.first(), u64::MAX)), on.size()),
        ("distinct", Some(on), []) => allocating(2.0, on.size().times(on.size())),
        ("reverse", Some(on), []) => allocating(1.0, on.size()),
        ("sort", Some(on), []) => {
            let is_text = match overload.takes.first() {
                Some(Type::List(of)) => matches!(**of, Type::Text | Type::Bytes),
                _ => false,
            };
            let (cost, size) = sorted(on.size(), is_text);
            (cost, Some(size))
        }
        _ => return None,
    })
}

/// What a call costs beside its arguments, and the size of what it gives.
type Estimate = (Range, Option<Range>);

/// An argument.
struct Argument {
    size: Option<Range>,
    path: Path,
    of: Type,
}

impl Argument {
    fn size(&self) -> Range {
        self.size.unwrap_or(UNKNOWN)
    }
}

impl Coster<'_> {
    fn argument(&mut self, e: &Expr) -> Argument {
        Argument {
            size: self.size(e),
            path: self.path(e),
            of: self.checked.type_of(e),
        }
    }

    /// A call of a function: of all forms that fit the dearest.
    pub(super) fn call(&mut self, e: &Expr, name: &str, target: Option<&Expr>, args: &[&Expr]) -> Range {
        let (mut costs, mut all) = (NOTHING, Vec::new());
        for arg in args {
            costs = costs.plus(self.cost(arg));
            all.push(self.argument(arg));
        }
        let overloads = self.checked.overloads_of(e);
        if overloads.is_empty() {
            return NOTHING;
        }
        let of_target = target.map(|t| self.cost(t));
        let target = target.map(|t| self.argument(t));
        let mut cost: Option<Range> = None;
        let mut result: Option<Range> = None;
        for overload in overloads {
            let (own, size) = extension(name, overload, target.as_ref(), &all, args)
                .or_else(|| self.kubernetes(name, overload, target.as_ref(), &all, args))
                .unwrap_or_else(|| language(name, overload, target.as_ref(), &all));
            let own = own.plus(costs);
            cost = Some(cost.map_or(own, |c| c.or(own)));
            if let Some(size) = size {
                result = Some(result.map_or(size, |r| r.or(size)));
            }
            self.containers(e, name, overload, args, &mut result);
            if result.is_none() {
                result = self.size(e);
            }
        }
        if let Some(result) = result {
            self.sizes.insert(e.id(), result);
        }
        of_target.unwrap_or(NOTHING).plus(cost.unwrap_or(NOTHING))
    }

    /// What is known of elements of what is indexed or put together.
    fn containers(&mut self, e: &Expr, name: &str, overload: &Overload, args: &[&Expr], result: &mut Option<Range>) {
        match (name, overload.takes.first(), args) {
            ("_[_]", Some(of @ (Type::List(_) | Type::Map(..))), [container, _]) => {
                *result = self.entry(container).map(|s| s.value);
                let mut path = self.path(container);
                path.push(
                    if matches!(of, Type::List(_)) {
                        "@items"
                    } else {
                        "@values"
                    }
                    .to_owned(),
                );
                self.paths.insert(e.id(), path);
            }
            ("_+_", Some(Type::Text | Type::Bytes | Type::List(_)), [a, b]) => {
                if let (Some(x), Some(y)) = (self.entry(a), self.entry(b)) {
                    self.entries.insert(e.id(), x.or(y));
                }
            }
            _ => {}
        }
    }

    /// The type and size of a list's elements.
    fn element(&self, list: &Argument) -> Option<(Type, Range)> {
        let of = match &list.of {
            Type::List(of) | Type::Map(of, _) => (**of).clone(),
            Type::Opaque(_, of) => of.first()?.clone(),
            _ => return None,
        };
        let mut path = list.path.clone();
        if !path.is_empty() {
            path.push("@items".to_owned());
        }
        Some((of, self.at(&path).unwrap_or(UNKNOWN)))
    }

    /// Kubernetes' functions.
    fn kubernetes(
        &self,
        name: &str,
        overload: &Overload,
        target: Option<&Argument>,
        args: &[Argument],
        given: &[&Expr],
    ) -> Option<Estimate> {
        let through = |a: &Argument| (a.size().by(TEXT), None);
        let both = |a: &Argument| (a.size().by(TEXT), Some(a.size()));
        let first = args.first();
        Some(match (name, target) {
            ("check", _) => (Range::fixed(350_000), None),
            (
                "serviceAccount"
                | "path"
                | "group"
                | "resource"
                | "subresource"
                | "namespace"
                | "name"
                | "allowed"
                | "reason"
                | "error"
                | "errored"
                | "masked"
                | "prefixLength"
                | "family"
                | "isUnspecified"
                | "isLoopback"
                | "isLinkLocalMulticast"
                | "isLinkLocalUnicast"
                | "isGlobalUnicast"
                | "format.named"
                | "sign"
                | "asInteger"
                | "isInteger"
                | "asApproximateFloat"
                | "isGreaterThan"
                | "isLessThan"
                | "compareTo"
                | "add"
                | "sub"
                | "major"
                | "minor"
                | "patch"
                | "getScheme"
                | "getHostname"
                | "getHost"
                | "getPort"
                | "getEscapedPath"
                | "getQuery",
                _,
            ) => (ONE, None),
            ("fieldSelector" | "labelSelector", _) if args.len() == 1 => {
                let size = first?.size();
                let needs = size.by(0.5).by(50.0);
                (Range::fixed(10).plus(size.by(TEXT)).plus(needs), None)
            }
            ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf", Some(on)) => match self.element(on) {
                None => through(on),
                Some((of, size)) => {
                    let each = match of {
                        Type::Text | Type::Bytes => ONE.plus(size.by(TEXT)),
                        _ => ONE,
                    };
                    (on.size().times(each), None)
                }
            },
            ("url" | "jsonpatch.escapeKey", _) if args.len() == 1 => both(first?),
            ("lowerAscii" | "upperAscii" | "substring" | "trim", Some(on)) => both(on),
            ("replace", Some(on)) if args.len() >= 2 => {
                let size = replaced(on.size(), args[0].size(), args[1].size());
                (on.size().by(2.0 * TEXT), Some(size))
            }
            ("split", Some(on)) => {
                let most = match given.get(1).map(|e| &e.what) {
                    Some(What::Literal(Value::Int(n))) => u64::try_from(*n).unwrap_or(u64::MAX),
                    _ => on.size().max,
                };
                (on.size().by(2.0 * TEXT), Some(Range { min: 0, max: most }))
            }
            ("join", Some(on)) => {
                let all = on.size();
                let mut size = self.element(on).map_or(NOTHING, |(_, each)| all.times(each));
                if let Some(by) = first {
                    size = size.plus(by.size().times(all.of(|n| n.saturating_sub(1))));
                }
                (size.by(TEXT), Some(size))
            }
            ("find" | "findAll", Some(on)) => {
                let text = on.size().plus(ONE).by(TEXT);
                let cost = text.times(first?.size().by(PATTERN));
                (
                    cost,
                    Some(Range {
                        min: 0,
                        max: on.size().max,
                    }),
                )
            }
            ("cidr" | "isIP" | "isCIDR" | "quantity" | "isQuantity" | "semver" | "isSemver", _) => through(first?),
            ("ip", Some(_)) => (ONE, None),
            ("ip", None) => through(first?),
            ("ip.isCanonical", _) => (first?.size().by(2.0 * TEXT), None),
            ("containsIP" | "containsCIDR", Some(_)) => {
                let size = Range { min: 4, max: 16 };
                let mut cost = size.plus(size).by(TEXT);
                if name == "containsCIDR" {
                    cost = cost.plus(size.by(TEXT)).plus(ONE);
                }
                if overload.takes.get(1) == Some(&Type::Text) {
                    cost = cost.plus(first?.size().by(TEXT));
                }
                (cost, None)
            }
            ("validate", _) => (first?.size().by(TEXT).by(128.0 * PATTERN), None),
            ("_==_", None) if args.len() == 2 && args[0].of == args[1].of => {
                let (opaque, most) = match &args[0].of {
                    Type::Opaque(of, _) if &**of == "kubernetes.NamedFormat" => (true, scaled_text(64)),
                    Type::Opaque(of, _) if &**of == "kubernetes.URL" => {
                        (true, scaled_text(args[1].size.map_or(1, |s| s.max)))
                    }
                    Type::Opaque(of, _) => (&**of != "optional_type", 1),
                    _ => (false, 1),
                };
                if !opaque {
                    return None;
                }
                (Range { min: 1, max: most }, None)
            }
            _ => return None,
        })
    }
}

fn scaled_text(n: u64) -> u64 {
    super::scaled(n, TEXT)
}

/// The size of a text some of which was replaced.
fn replaced(size: Range, old: Range, new: Range) -> Range {
    let (mut count, mut kept) = (NOTHING, NOTHING);
    if old.min == 0 {
        count.max = size.max.saturating_add(1);
        kept.max = size.max;
    } else if new.max <= old.min {
        kept.max = size.max;
    } else {
        count.max = size.max.div_ceil(old.min);
    }
    if old.max == 0 {
        count.min = size.min.saturating_add(1);
        kept.min = size.min;
    } else if old.max <= new.min {
        kept.min = size.min;
    } else {
        count.min = size.min.div_ceil(old.max);
    }
    count.times(new).plus(kept)
}

/// The language's own functions.
fn language(name: &str, overload: &Overload, target: Option<&Argument>, args: &[Argument]) -> Estimate {
    let of = overload.takes.first();
    let is_text = matches!(of, Some(Type::Text | Type::Bytes));
    match (name, target, args) {
        ("format", Some(on), _) if is_text => (on.size().by(TEXT), None),
        ("bytes", None, [a]) if of == Some(&Type::Text) => {
            let size = a.size();
            let most = size.max.saturating_mul(4);
            (
                size.by(TEXT),
                Some(Range {
                    min: size.min,
                    max: most,
                }),
            )
        }
        ("string", None, [a]) if of == Some(&Type::Bytes) => {
            let size = a.size();
            (
                size.by(TEXT),
                Some(Range {
                    min: size.min / 4,
                    max: size.max,
                }),
            )
        }
        ("strings.quote", None, [a]) => {
            let size = a.size();
            let quoted = size.times(Range { min: 1, max: 2 }).plus(Range::fixed(2));
            (size.by(TEXT), Some(quoted))
        }
        ("startsWith" | "endsWith", Some(_), [a]) => (a.size().by(TEXT), None),
        ("@in", None, [_, list]) if matches!(overload.takes.get(1), Some(Type::List(_))) => (list.size(), None),
        ("matches", Some(on), [pattern]) => {
            let text = on.size().plus(ONE).by(TEXT);
            (text.times(pattern.size().by(PATTERN)), None)
        }
        ("contains", Some(on), [part]) if of == Some(&Type::Text) => {
            (on.size().by(TEXT).times(part.size().by(TEXT)), None)
        }
        ("_+_", None, [a, b]) if is_text || matches!(of, Some(Type::List(_))) => {
            let size = a.size().plus(b.size());
            (if is_text { size.by(TEXT) } else { ONE }, Some(size))
        }
        ("_==_" | "_!=_", None, [a, b]) => (shorter(a, b), None),
        ("_<_" | "_<=_" | "_>_" | "_>=_", None, [a, b]) if is_text => (shorter(a, b), None),
        _ => (ONE, None),
    }
}

/// Of comparing two values, which ends with the shorter.
fn shorter(a: &Argument, b: &Argument) -> Range {
    let max = a.size().max.min(b.size().max);
    let min = u64::from(max > 0);
    Range { min, max }.by(TEXT)
}
