//! What of rules that are asked for is in none that are held (`component-helpers/auth/rbac/validation`: `Covers`,
//! `BreakdownRule`; `rbac/v1/helpers`: `CompactRules`).
//!
//! Upstream breaks a rule down into the product of its lists first, which a short request can make larger than any memory.
//! Here a rule stays a product: what a rule held covers is cut out of it, and only what is left over at the end is told
//! one by one, as far as a message reaches.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::rbac::Rule;
use crate::schema::quote_list;

/// The lists of a rule in the order in which it is broken down.
const LISTS: usize = 5;
const PATHS: usize = 0;
const GROUPS: usize = 1;
const RESOURCES: usize = 2;
const VERBS: usize = 3;
const NAMES: usize = 4;

/// How many bytes of what is lacking are told.
const TOLD: usize = 256 * 1024;
/// How many values are looked at until what is not told apart by then counts as lacking. Rules that are held in part, many
/// of them each a little, leave ever smaller pieces.
const WORK: usize = 5_000_000;
/// What an entry takes in a message besides its texts.
const ENTRY: usize = 16;

/// A rule held, its lists to be looked up in.
struct Held<'a> {
    lists: [BTreeSet<&'a str>; LISTS],
    /// What paths that end in stars begin with.
    starts: BTreeSet<&'a str>,
}

impl<'a> Held<'a> {
    fn new(rule: &'a Rule) -> Self {
        let lists = [&rule.paths, &rule.groups, &rule.resources, &rule.verbs, &rule.names];
        let starred = rule.paths.iter().filter(|p| p.ends_with('*'));
        Self {
            lists: lists.map(|l| l.iter().map(String::as_str).collect()),
            starts: starred.map(|p| p.trim_end_matches('*')).collect(),
        }
    }

    /// Whether it covers one value of a list; `None`: a rule that was broken down says nothing there (`ruleCovers`).
    fn covers(&self, list: usize, value: Option<&str>) -> bool {
        let own = &self.lists[list];
        let Some(v) = value else {
            return list != NAMES || own.is_empty();
        };
        if own.contains(v) {
            return true;
        }
        match list {
            PATHS => (0..=v.len()).any(|n| v.get(..n).is_some_and(|start| self.starts.contains(start))),
            NAMES => own.is_empty(),
            RESOURCES => {
                let of_any = v.split_once('/').map(|(_, sub)| format!("*/{sub}"));
                own.contains("*") || of_any.is_some_and(|r| own.contains(r.as_str()))
            }
            _ => own.contains("*"),
        }
    }
}

/// A rule of resources alone or of paths alone: the product of its lists.
struct Part<'a>([Vec<Option<&'a str>>; LISTS]);

impl<'a> Part<'a> {
    /// Those of a rule. One with an empty list is of nothing.
    fn of(rule: &'a Rule) -> [Self; 2] {
        let all = |list: &'a [String]| -> Vec<Option<&'a str>> { list.iter().map(|s| Some(s.as_str())).collect() };
        let nothing = || vec![None];
        let names = match rule.names.as_slice() {
            [] => nothing(),
            names => all(names),
        };
        let verbs = || all(&rule.verbs);
        [
            Self([nothing(), all(&rule.groups), all(&rule.resources), verbs(), names]),
            Self([all(&rule.paths), nothing(), nothing(), verbs(), nothing()]),
        ]
    }

    /// Which values of each list `held` covers; `None` where that is nothing of the product.
    fn covered(&self, held: &Held<'_>) -> Option<[Vec<bool>; LISTS]> {
        let mut all = <[Vec<bool>; LISTS]>::default();
        for (list, (covered, values)) in all.iter_mut().zip(&self.0).enumerate() {
            *covered = values.iter().map(|v| held.covers(list, *v)).collect();
            if !covered.contains(&true) {
                return None;
            }
        }
        Some(all)
    }

    /// Gives the products that are left over to `each`, none of which has anything in common with another, until that
    /// wants no more. `false`: it was too much work, and there may be others.
    fn left_over(&self, own: &[Held<'_>], mut each: impl FnMut(&Product) -> bool) -> bool {
        let mut cuts = Vec::new();
        for covered in own.iter().filter_map(|h| self.covered(h)) {
            // The whole of it, mostly.
            if covered.iter().flatten().all(|c| *c) {
                return true;
            }
            cuts.push(covered);
        }
        // What covers most leaves the fewest pieces for the others.
        let share = |cut: &[Vec<bool>; LISTS]| -> f64 {
            let of = |list: &Vec<bool>| list.iter().filter(|c| **c).count() as f64 / list.len() as f64;
            cut.iter().map(of).product()
        };
        cuts.sort_by(|a, b| share(b).total_cmp(&share(a)));
        let whole: Product = self.0.each_ref().map(|values| (0..values.len()).collect());
        let mut open: Vec<(Product, usize)> = vec![(whole, 0)];
        let mut work = 0;
        while let Some((product, from)) = open.pop() {
            if product.iter().any(|list| list.is_empty()) {
                continue;
            }
            let meets = |cut: &[Vec<bool>; LISTS]| product.iter().zip(cut).all(|(l, c)| l.iter().any(|i| c[*i]));
            let next = (from..cuts.len()).find(|at| meets(&cuts[*at]));
            let size: usize = product.iter().map(|list| list.len()).sum();
            work += size * (next.unwrap_or(cuts.len()) - from + 1);
            if work > WORK {
                return false;
            }
            let Some(at) = next else {
                if !each(&product) {
                    return true;
                }
                continue;
            };
            let mut rest = product;
            for list in 0..LISTS {
                let covered = &cuts[at][list];
                let (inside, outside): (Vec<usize>, Vec<usize>) = rest[list].iter().partition(|i| covered[**i]);
                if outside.is_empty() {
                    continue;
                }
                let mut piece = rest.clone();
                piece[list] = outside.into();
                open.push((piece, at + 1));
                rest[list] = inside.into();
            }
        }
        true
    }
}

/// Places in the lists of a [`Part`].
type Product = [Rc<[usize]>; LISTS];
/// What rules that are told together have in common: path, group, resource, name; and the verb of a path.
type Common<'a> = [Option<&'a str>; 5];
/// Where in what was asked for a verb stands.
type Place = (usize, [usize; LISTS]);

/// What is lacking, verbs of one resource together.
#[derive(Default)]
pub(super) struct Lacking<'a> {
    rules: BTreeMap<Common<'a>, Vec<(Place, &'a str)>>,
    bytes: usize,
    /// Whether there is more than is told.
    more: bool,
}

impl<'a> Lacking<'a> {
    /// What of `asked` is in none of `own`.
    pub(super) fn of(own: &[Rule], asked: &'a [Rule]) -> Self {
        let own: Vec<Held<'_>> = own.iter().map(Held::new).collect();
        let mut all = Self::default();
        for (at, part) in asked.iter().flat_map(Part::of).enumerate() {
            let done = part.left_over(&own, |product| all.add(at, &part, product));
            all.more |= !done;
        }
        all
    }

    /// Whether nothing is.
    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty() && !self.more
    }

    /// Takes a product up; `false`: no more is told.
    fn add(&mut self, at: usize, part: &Part<'a>, product: &Product) -> bool {
        let [paths, groups, resources, verbs, names] = product;
        for &p in paths.iter() {
            for &g in groups.iter() {
                for &r in resources.iter() {
                    for &v in verbs.iter() {
                        for &n in names.iter() {
                            if !self.add_one(at, part, [p, g, r, v, n]) {
                                return false;
                            }
                        }
                    }
                }
            }
        }
        true
    }

    fn add_one(&mut self, at: usize, part: &Part<'a>, place: [usize; LISTS]) -> bool {
        let of = |list: usize| part.0[list][place[list]];
        let verb = of(VERBS).unwrap_or_default();
        let own_verb = of(PATHS).map(|_| verb);
        let common = [of(PATHS), of(GROUPS), of(RESOURCES), of(NAMES), own_verb];
        let mut bytes = verb.len() + ENTRY;
        if !self.rules.contains_key(&common) {
            bytes += common.iter().flatten().map(|t| t.len() + ENTRY).sum::<usize>();
        }
        if self.bytes + bytes > TOLD {
            self.more = true;
            return false;
        }
        self.bytes += bytes;
        self.rules.entry(common).or_default().push(((at, place), verb));
        true
    }

    /// A line for each rule, sorted; a last one says that there are more.
    pub(super) fn lines(self) -> Vec<String> {
        let owned = |t: Option<&str>| -> Vec<String> { t.into_iter().map(str::to_owned).collect() };
        let lines: BTreeSet<String> = self
            .rules
            .into_iter()
            .map(|([path, group, resource, name, own_verb], mut verbs)| {
                verbs.sort_unstable();
                let verbs = match own_verb {
                    Some(verb) => vec![verb.to_owned()],
                    None => verbs.into_iter().map(|(_, verb)| verb.to_owned()).collect(),
                };
                let rule = Rule {
                    verbs,
                    groups: owned(group),
                    resources: owned(resource),
                    names: owned(name),
                    paths: owned(path),
                };
                rule.told()
            })
            .collect();
        let more = self.more.then(|| "...".to_owned());
        lines.into_iter().chain(more).collect()
    }
}

impl Rule {
    /// `CompactString`.
    fn told(&self) -> String {
        let fields = [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.paths),
            ("ResourceNames", &self.names),
            ("Verbs", &self.verbs),
        ];
        let said = fields.iter().filter(|(_, list)| !list.is_empty());
        let all: Vec<String> = said.map(|(k, list)| format!("{k}:{}", quote_list(*list))).collect();
        format!("{{{}}}", all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::super::rbac::rules_of;
    use super::*;
    use serde_json::{Value, json};

    fn rules(v: Value) -> Vec<Rule> {
        rules_of(&json!({"rules": v}))
    }

    fn told(own: Value, asked: Value) -> Vec<String> {
        Lacking::of(&rules(own), &rules(asked)).lines()
    }

    #[test]
    fn what_is_held_covers_what_is_given() {
        let pods = |verbs: Value| json!([{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}]);
        for (own, asked) in [
            (pods(json!(["get", "list"])), pods(json!(["list"]))),
            (pods(json!(["*"])), pods(json!(["list", "escalate"]))),
            (
                json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]),
                json!([{"apiGroups": ["a"], "resources": ["b/c"], "verbs": ["d"], "resourceNames": ["e"]}]),
            ),
            (
                json!([{"apiGroups": [""], "resources": ["*/scale"], "verbs": ["get"]}]),
                json!([{"apiGroups": [""], "resources": ["pods/scale"], "verbs": ["get"]}]),
            ),
            (
                json!([{"nonResourceURLs": ["/healthz*"], "verbs": ["get"]}]),
                json!([{"nonResourceURLs": ["/healthz/etcd"], "verbs": ["get"]}]),
            ),
            // Two rules that cover it together only.
            (
                json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"], "resourceNames": ["a"]},
                    {"apiGroups": [""], "resources": ["pods"], "verbs": ["*"], "resourceNames": ["b"]},
                    {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]},
                    {"apiGroups": ["*"], "resources": ["nodes"], "verbs": ["get"]}]),
                json!([{"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["get", "list"], "resourceNames": ["a", "b"]}]),
            ),
        ] {
            assert_eq!(told(own.clone(), asked.clone()), [""; 0], "{own} {asked}");
        }
    }

    #[test]
    fn what_is_lacking_is_told_by_resource() {
        let own = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"], "resourceNames": ["a"]}]);
        let asked = json!([{"apiGroups": ["", "apps"], "resources": ["pods"], "verbs": ["list", "get"]},
            {"nonResourceURLs": ["/x"], "verbs": ["get", "post"]},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"], "resourceNames": ["a", "b"]},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["delete", "list"]}]);
        let wanted = [
            r#"{APIGroups:[""], Resources:["pods"], ResourceNames:["b"], Verbs:["get"]}"#,
            r#"{APIGroups:[""], Resources:["pods"], Verbs:["list" "get" "delete" "list"]}"#,
            r#"{APIGroups:["apps"], Resources:["pods"], Verbs:["list" "get"]}"#,
            r#"{NonResourceURLs:["/x"], Verbs:["get"]}"#,
            r#"{NonResourceURLs:["/x"], Verbs:["post"]}"#,
        ];
        assert_eq!(told(own, asked), wanted);
    }

    #[test]
    fn a_huge_rule_is_soon_looked_through() {
        let many = |of: &str, n: usize| -> Vec<String> { (0..n).map(|i| format!("{of}{i}")).collect() };
        let rule = |verbs: Vec<String>, groups: Vec<String>| Rule {
            verbs,
            groups,
            resources: many("r", 1000),
            names: many("n", 1000),
            paths: Vec::new(),
        };
        let asked = [rule(many("v", 1000), many("g", 1000))];
        let (some, rest) = (many("v", 999), vec!["v999".to_owned()]);
        let (both, first) = (many("g", 1000), many("g", 999));
        for (own, is_lacking) in [
            (vec![], true),
            (vec![rule(some.clone(), both.clone())], true),
            (vec![rule(some.clone(), both.clone()), rule(rest.clone(), both)], false),
            (
                vec![
                    rule(some, vec!["*".to_owned()]),
                    rule(rest.clone(), first),
                    rule(rest, vec!["g999".to_owned()]),
                ],
                false,
            ),
        ] {
            let lacking = Lacking::of(&own, &asked);
            assert_eq!(lacking.is_empty(), !is_lacking);
            let lines = lacking.lines();
            assert_eq!(lines.last().is_some_and(|l| l == "..."), is_lacking);
            assert!(lines.iter().map(String::len).sum::<usize>() < 4 * TOLD);
        }
    }

    /// Each rule that is held covers half of each list, every one other halves: what is left is in crumbs.
    #[test]
    fn what_is_held_in_crumbs_is_looked_through_as_far_as_it_goes() {
        let list = |of: &str, with: &dyn Fn(usize) -> bool| -> Vec<String> {
            (0..64).filter(|i| with(*i)).map(|i| format!("{of}{i}")).collect()
        };
        let rule = |with: &dyn Fn(usize, usize) -> bool| Rule {
            verbs: list("v", &|i| with(0, i)),
            groups: list("g", &|i| with(1, i)),
            resources: list("r", &|i| with(2, i)),
            names: list("n", &|i| with(3, i)),
            paths: Vec::new(),
        };
        let mut own: Vec<Rule> = Vec::new();
        for n in 0..200_usize {
            // The bits of a number that has no order.
            let mixed = |list: usize| (n * 4 + list + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            own.push(rule(&|list, i| mixed(list) >> (i % 64) & 1 == 1));
        }
        let asked = [rule(&|_, _| true)];
        let lacking = Lacking::of(&own, &asked);
        assert!(!lacking.is_empty(), "what was not looked at is not held");
        assert_eq!(lacking.lines().last().map(String::as_str), Some("..."));
        for half in [0, 1] {
            own.push(rule(&|list, i| list > 0 || i % 2 == half));
        }
        assert!(Lacking::of(&own, &asked).is_empty(), "two are enough");
    }

    #[test]
    fn one_that_no_message_holds_is_lacking_nevertheless() {
        let long = "x".repeat(2 * TOLD);
        let asked = json!([{"apiGroups": [long], "resources": ["pods"], "verbs": ["get"]}]);
        assert_eq!(told(json!([]), asked), ["..."]);
    }
}
