//! Acting as another (`apiserver/pkg/endpoints/filters/impersonation`): the headers `Impersonate-User`, `-Group`, `-Uid`
//! and `-Extra-*`, each of which the asker must have the verb `impersonate` for; or one that is constrained to a kind of
//! user (`impersonate:user-info`), and then the right to do as such what is asked for (`impersonate-on:user-info:get`).

use std::collections::BTreeMap;
use std::sync::PoisonError;

use http::HeaderMap;

use super::Attributes;
use super::rbac::refused;
use crate::defaults::names;
use crate::http::decode;
use crate::registry::{Server, User};
use crate::schema::quote;
use crate::status::Status;

const GROUP: &str = "authentication.k8s.io";
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";
const ANONYMOUS: &str = "system:anonymous";
const MASTERS: &str = "system:masters";
/// How many groups or values of extras are asked for at once first.
const MANY: usize = 4;

/// For how many users it is remembered in which way they act as others.
const REMEMBERED: usize = 10_000;

/// Whom a request wants to be, as its headers say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wish {
    user: String,
    groups: Vec<String>,
    uid: String,
    extra: BTreeMap<String, Vec<String>>,
}

impl Wish {
    fn of(headers: &HeaderMap) -> Self {
        let all = |name: &str| -> Vec<String> {
            let list = headers.get_all(name).iter();
            list.map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
                .collect()
        };
        let first = |name: &str| all(name).into_iter().next().unwrap_or_default();
        let names = headers.keys().filter_map(|k| k.as_str().strip_prefix(EXTRA));
        Self {
            user: first("impersonate-user"),
            groups: all("impersonate-group"),
            uid: first("impersonate-uid"),
            // Header names are case-insensitive, and in lower case here as upstream.
            extra: names
                .map(|k| (decode(k, false).into_owned(), all(&format!("{EXTRA}{k}"))))
                .collect(),
        }
    }

    /// The parts as Go prints a `user.DefaultInfo` (`%#v`).
    fn printed(&self) -> String {
        let list = |of: &[String]| match of {
            [] => "[]string(nil)".to_owned(),
            all => {
                let all: Vec<String> = all.iter().map(|t| quote(t)).collect();
                format!("[]string{{{}}}", all.join(", "))
            }
        };
        let extra: Vec<String> = self
            .extra
            .iter()
            .map(|(k, v)| format!("{}:{}", quote(k), list(v)))
            .collect();
        let extra = match extra.as_slice() {
            [] => "map[string][]string(nil)".to_owned(),
            all => format!("map[string][]string{{{}}}", all.join(", ")),
        };
        format!(
            "&user.DefaultInfo{{Name:{}, UID:{}, Groups:{}, Extra:{extra}}}",
            quote(&self.user),
            quote(&self.uid),
            list(&self.groups)
        )
    }
}

/// Namespace and name of a service account's user name (`serviceaccount.SplitUsername`).
pub(super) fn service_account(user: &str) -> Option<(&str, &str)> {
    let (ns, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let valid = |s: &str| {
        !s.is_empty()
            && s.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
    };
    (valid(ns) && valid(name)).then_some((ns, name))
}

/// Name of a node's user name.
fn node(user: &str) -> Option<&str> {
    let name = user.strip_prefix("system:node:")?;
    names::dns1123_subdomain(name).is_empty().then_some(name)
}

/// The ways to act as another, in the order they are tried: those that are constrained to what is asked for then, and
/// the one that is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    UserInfo,
    Legacy,
}

impl Mode {
    const ALL: [Self; 5] = [
        Self::AssociatedNode,
        Self::ArbitraryNode,
        Self::ServiceAccount,
        Self::UserInfo,
        Self::Legacy,
    ];

    /// Its part of verbs; `None`: there is no such part.
    fn name(self) -> Option<&'static str> {
        match self {
            Self::AssociatedNode => Some("associated-node"),
            Self::ArbitraryNode => Some("arbitrary-node"),
            Self::ServiceAccount => Some("serviceaccount"),
            Self::UserInfo => Some("user-info"),
            Self::Legacy => None,
        }
    }

    /// Whether it is a way to be this one.
    fn fits(self, wish: &Wish, asker: &User) -> bool {
        let bare = wish.uid.is_empty() && wish.groups.is_empty() && wish.extra.is_empty();
        let (node, account) = (node(&wish.user), service_account(&wish.user));
        match self {
            Self::AssociatedNode => {
                let own = asker.extra.get("authentication.kubernetes.io/node-name");
                let own = own.filter(|l| l.len() == 1).and_then(|l| l.first());
                bare && node.is_some_and(|n| own.is_some_and(|o| o == n)) && service_account(&asker.name).is_some()
            }
            Self::ArbitraryNode => bare && node.is_some(),
            Self::ServiceAccount => bare && account.is_some(),
            Self::UserInfo => node.is_none() && account.is_none(),
            Self::Legacy => true,
        }
    }
}

/// What a constrained way does not take as extra (`validateExtra`).
fn extra_error(extra: &BTreeMap<String, Vec<String>>) -> Option<String> {
    let path = |p: &str| {
        !p.is_empty()
            && p.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b))
    };
    extra.iter().find_map(|(key, values)| {
        if key.is_empty() {
            return Some("impersonating the empty string key in extra is not allowed".to_owned());
        }
        let good = key
            .split_once('/')
            .is_some_and(|(d, p)| names::dns1123_subdomain(d).is_empty() && path(p));
        if !good {
            let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            return Some(format!(
                "impersonating an invalid key in extra is not allowed: extra.key: Invalid value: {}: {why}",
                quote(key)
            ));
        }
        let empty = values.iter().any(String::is_empty);
        empty.then(|| "impersonating the empty string value in extra is not allowed".to_owned())
    })
}

impl Server {
    /// Whom a request of `user` with these headers, for `asked`, is to be answered as; `None`: as `user`.
    ///
    /// # Errors
    /// 403 when one of the parts may not be impersonated, 400 when others are asked for without a user.
    pub fn impersonate(
        &self,
        headers: &HeaderMap,
        user: &User,
        asked: &Attributes<'_>,
    ) -> Result<Option<User>, Status> {
        if !headers.keys().any(|k| k.as_str().starts_with("impersonate-")) {
            return Ok(None);
        }
        let wish = Wish::of(headers);
        if wish.user.is_empty() {
            if wish == Wish::default() {
                return Ok(None);
            }
            let why = format!("requested {} without impersonating a user name", wish.printed());
            return Err(Status::bad_request(why));
        }
        let mut first = None;
        let ways = || self.auth.ways.lock().unwrap_or_else(PoisonError::into_inner);
        // Who acted in one way is likely to do so again: it goes first (`modeIndexCache`).
        let last = ways().get(&user.name).copied();
        let others = Mode::ALL.into_iter().filter(|m| Some(*m) != last);
        for mode in last.into_iter().chain(others).filter(|m| m.fits(&wish, user)) {
            match self.impersonate_by(mode, &wish, user, asked) {
                Ok(new) => {
                    let mut ways = ways();
                    if ways.len() >= REMEMBERED && last.is_none() {
                        ways.clear();
                    }
                    ways.insert(user.name.clone(), mode);
                    return Ok(Some(new));
                }
                Err(s) => drop(first.get_or_insert(s)),
            }
        }
        Err(first.unwrap_or_else(|| Status::internal("all impersonation modes failed")))
    }

    fn impersonate_by(&self, mode: Mode, wish: &Wish, asker: &User, asked: &Attributes<'_>) -> Result<User, Status> {
        let mut asker = std::borrow::Cow::Borrowed(asker);
        if mode == Mode::AssociatedNode {
            // Who may act as the node that it is on is not told by which one that is.
            let keys = asker.extra.keys().cloned().collect();
            let of = "authentication.kubernetes.io/associated-node-keys".to_owned();
            asker.to_mut().extra = BTreeMap::from([(of, keys)]);
        }
        let asker = &*asker;
        let constrained = mode.name();
        let verb = constrained.map_or_else(|| "impersonate".to_owned(), |m| format!("impersonate:{m}"));
        let check = |group: &str, resource: &str, sub: &str, ns: &str, name: &str| {
            let a = Attributes::resource(&verb, group, resource, sub).named(ns, name);
            self.authorize(asker, &a)
        };
        let refuse = |resource: &str, name: &str, why: &str| {
            let a = Attributes::resource(&verb, GROUP, resource, "").named("", name);
            Err(refused(asker, &a, why))
        };
        if let Some(mode) = constrained {
            let on = format!("impersonate-on:{mode}:{}", asked.verb);
            self.authorize(
                asker,
                &Attributes {
                    verb: &on,
                    ..asked.clone()
                },
            )?;
        }
        let group = if constrained.is_some() { GROUP } else { "" };
        let mut groups = wish.groups.clone();
        match (
            service_account(&wish.user),
            node(&wish.user).filter(|_| constrained.is_some()),
        ) {
            (Some((ns, name)), _) => {
                if groups.is_empty() {
                    groups = vec![
                        "system:serviceaccounts".to_owned(),
                        format!("system:serviceaccounts:{ns}"),
                    ];
                }
                check(group, "serviceaccounts", "", ns, name)?;
            }
            (None, Some(name)) => {
                groups = vec!["system:nodes".to_owned()];
                let name = if mode == Mode::AssociatedNode { "*" } else { name };
                check(group, "nodes", "", "", name)?;
            }
            (None, None) => check(group, "users", "", "", &wish.user)?,
        }
        if !wish.uid.is_empty() {
            check(GROUP, "uids", "", "", &wish.uid)?;
        }
        if constrained.is_some() {
            if wish.groups.iter().any(String::is_empty) {
                return refuse("groups", "", "impersonating the empty string group is not allowed");
            }
            if wish.groups.iter().any(|g| g == MASTERS) {
                return refuse(
                    "groups",
                    MASTERS,
                    "impersonating the system:masters group is not allowed",
                );
            }
        }
        let many = |n: usize| constrained.is_some() && n >= MANY;
        if !(many(wish.groups.len()) && check(group, "groups", "", "", "*").is_ok()) {
            for g in &wish.groups {
                check(group, "groups", "", "", g)?;
            }
        }
        if let Some(why) = constrained.and_then(|_| extra_error(&wish.extra)) {
            return refuse("userextras", "", &why);
        }
        let values = wish.extra.values().map(Vec::len).sum::<usize>().max(wish.extra.len());
        if !(many(values) && check(GROUP, "userextras", "*", "", "*").is_ok()) {
            for (k, v) in wish.extra.iter().flat_map(|(k, l)| l.iter().map(move |v| (k, v))) {
                check(GROUP, "userextras", k, "", v)?;
            }
        }
        // One of the two that everybody is in; who is unknown stays so.
        let unknown = groups.iter().any(|g| g == UNAUTHENTICATED);
        let add = if wish.user == ANONYMOUS {
            UNAUTHENTICATED
        } else {
            AUTHENTICATED
        };
        if !(unknown || groups.iter().any(|g| g == add)) {
            groups.push(add.to_owned());
        }
        let mut new = User::new(wish.user.clone(), groups);
        new.uid.clone_from(&wish.uid);
        new.extra.clone_from(&wish.extra);
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_accounts_are_told_from_users() {
        assert_eq!(service_account("system:serviceaccount:a:b"), Some(("a", "b")));
        for u in [
            "jane",
            "system:serviceaccount:a",
            "system:serviceaccount::b",
            "system:serviceaccount:a:b:c",
        ] {
            assert_eq!(service_account(u), None, "{u}");
        }
    }

    #[test]
    fn ways_fit_whom_is_asked_for() {
        let wish = |user: &str, groups: &[&str]| Wish {
            user: user.to_owned(),
            groups: groups.iter().map(|g| (*g).to_owned()).collect(),
            ..Wish::default()
        };
        let asker = User::new("jane", ["dev"]);
        let ways = |w: &Wish| -> Vec<Mode> { Mode::ALL.into_iter().filter(|m| m.fits(w, &asker)).collect() };
        assert_eq!(ways(&wish("x", &["g"])), [Mode::UserInfo, Mode::Legacy]);
        assert_eq!(ways(&wish("system:node:n", &[])), [Mode::ArbitraryNode, Mode::Legacy]);
        assert_eq!(ways(&wish("system:node:n", &["g"])), [Mode::Legacy]);
        let account = "system:serviceaccount:a:b";
        assert_eq!(ways(&wish(account, &[])), [Mode::ServiceAccount, Mode::Legacy]);
    }

    #[test]
    fn headers_say_who() {
        let mut h = HeaderMap::new();
        for (k, v) in [
            ("impersonate-user", "jane"),
            ("impersonate-group", "dev"),
            ("impersonate-group", "ops"),
            ("impersonate-extra-acme.com%2fproject", "p1"),
            ("impersonate-uid", "u"),
        ] {
            h.append(k, v.parse().unwrap());
        }
        let w = Wish::of(&h);
        assert_eq!((w.user.as_str(), w.groups.len(), w.uid.as_str()), ("jane", 2, "u"));
        assert_eq!(w.extra["acme.com/project"], ["p1"]);
    }
}
