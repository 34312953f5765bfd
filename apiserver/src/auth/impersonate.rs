//! Acting as another (`apiserver/pkg/endpoints/filters/impersonation`): the headers `Impersonate-User`, `-Group`, `-Uid`
//! and `-Extra-*`, each of which the asker must have the verb `impersonate` for.

use std::collections::BTreeMap;

use http::HeaderMap;

use super::Attributes;
use crate::http::decode;
use crate::registry::{Server, User};
use crate::schema::quote;
use crate::status::Status;

const GROUP: &str = "authentication.k8s.io";
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";
const ANONYMOUS: &str = "system:anonymous";

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
            list.map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).collect()
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
        let extra: Vec<String> = self.extra.iter().map(|(k, v)| format!("{}:{}", quote(k), list(v))).collect();
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
fn service_account(user: &str) -> Option<(&str, &str)> {
    let (ns, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let valid = |s: &str| {
        !s.is_empty()
            && s.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
    };
    (valid(ns) && valid(name)).then_some((ns, name))
}

impl Server {
    /// Whom a request of `user` with these headers is to be answered as; `None`: as `user`.
    ///
    /// # Errors
    /// 403 when one of the parts may not be impersonated, 400 when others are asked for without a user.
    pub fn impersonate(&self, headers: &HeaderMap, user: &User) -> Result<Option<User>, Status> {
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
        let check = |group: &str, resource: &str, sub: &str, ns: &str, name: &str| {
            let a = Attributes::resource("impersonate", group, resource, sub).named(ns, name);
            self.authorize(user, &a)
        };
        let mut groups = wish.groups.clone();
        match service_account(&wish.user) {
            Some((ns, name)) => {
                check("", "serviceaccounts", "", ns, name)?;
                if groups.is_empty() {
                    groups = vec![
                        "system:serviceaccounts".to_owned(),
                        format!("system:serviceaccounts:{ns}"),
                    ];
                }
            }
            None => check("", "users", "", "", &wish.user)?,
        }
        for g in &wish.groups {
            check("", "groups", "", "", g)?;
        }
        for (k, v) in wish.extra.iter().flat_map(|(k, l)| l.iter().map(move |v| (k, v))) {
            check(GROUP, "userextras", k, "", v)?;
        }
        if !wish.uid.is_empty() {
            check(GROUP, "uids", "", "", &wish.uid)?;
        }
        // One of the two that everybody is in, unless it was asked for.
        let add = if wish.user == ANONYMOUS {
            UNAUTHENTICATED
        } else {
            AUTHENTICATED
        };
        if !groups.iter().any(|g| g == AUTHENTICATED || g == UNAUTHENTICATED) {
            groups.push(add.to_owned());
        }
        let mut new = User::new(wish.user, groups);
        new.uid = wish.uid;
        new.extra = wish.extra;
        Ok(Some(new))
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
