//! Lists in strategic merge patches: merged by key, and in what order
//! (`k8s.io/apimachinery/pkg/util/strategicpatch`, `mergeSlice` and `normalizeElementOrder`).

use super::PatchError;
use super::strategic::{DIRECTIVE, SET_ELEMENT_ORDER, merge_map, unknown_directive};
use crate::schema::{self, SchemaRef, Type, go_value};
use serde_json::Value;

/// A list's declaration.
pub(super) struct List {
    pub(super) elements: SchemaRef,
    /// The member that tells its elements apart.
    pub(super) key: Option<String>,
}

/// What Go calls the type of decoded JSON where it prints a `reflect.Type` as a text.
pub(super) fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        other => schema::go_type(other),
    }
}

/// A list's elements.
pub(super) fn items(value: &Value) -> Result<Vec<Value>, PatchError> {
    value
        .as_array()
        .cloned()
        .ok_or_else(|| wrong_type("[]interface {}", value))
}

fn wrong_type(expected: &str, value: &Value) -> PatchError {
    PatchError::Unforeseen(format!("expected a {expected}, but received a {}", go_type(value)))
}

fn no_key(item: &Value, key: &str) -> PatchError {
    let item = go_value(item);
    PatchError::Unforeseen(format!("map: {item} does not contain declared merge key: {key}"))
}

/// Refuses lists of lists, and elements of several types; tells whether the elements are objects.
fn of_objects(lists: [&[Value]; 2]) -> Result<bool, PatchError> {
    let mut all = lists.iter().copied().flatten();
    let Some(first) = all.next() else {
        return Err(PatchError::Unforeseen(
            "no elements in any of the given slices".to_owned(),
        ));
    };
    if first.is_array() {
        return Err(PatchError::DoesNotFit("lists of lists are not supported".to_owned()));
    }
    if all.any(|item| go_type(item) != go_type(first)) {
        let shown: Vec<String> = lists.iter().map(|l| go_value(&Value::from(l.to_vec()))).collect();
        return Err(PatchError::Unforeseen(format!(
            "list element types are not identical: [{}]",
            shown.join(" ")
        )));
    }
    Ok(first.is_object())
}

/// Each of these once: the place of one that is there again is taken by the last, as Go does it.
fn once_each(mut all: Vec<Value>) -> Vec<Value> {
    let mut i = 0;
    while i + 1 < all.len() {
        let mut j = i + 1;
        while j < all.len() {
            if all[i] == all[j] {
                all.swap_remove(j);
            } else {
                j += 1;
            }
        }
        i += 1;
    }
    all
}

impl List {
    fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    fn same(&self, a: &Value, b: &Value) -> bool {
        match self.key() {
            Some(key) => a.get(key).zip(b.get(key)).is_some_and(|(a, b)| a == b),
            None => a == b,
        }
    }

    fn position(&self, order: &[Value], item: &Value) -> Option<usize> {
        order.iter().position(|other| self.same(other, item))
    }

    /// Merges `patch` into `live`, or takes its elements out (`deletes`).
    pub(super) fn merge(&self, live: Vec<Value>, patch: &mut [Value], deletes: bool) -> Result<Vec<Value>, PatchError> {
        if live.is_empty() && patch.is_empty() {
            return Ok(live);
        }
        if !of_objects([&live, patch])? {
            if deletes {
                return Ok(live.into_iter().filter(|item| !patch.contains(item)).collect());
            }
            let both = once_each(live.iter().chain(&*patch).cloned().collect());
            return Ok(self.in_order(both, patch, &live));
        }
        let Some(key) = self.key() else {
            let of = match self.elements.kind() {
                _ if self.elements.is_map() => "map",
                Type::Object => "struct",
                Type::String => "string",
                _ => "interface",
            };
            return Err(PatchError::Unforeseen(format!(
                "cannot merge lists without merge key for {of}"
            )));
        };
        let (live, mut wanted) = self.directed(key, live, patch)?;
        let mut merged = live.clone();
        for item in &mut wanted {
            let Some(fields) = item.as_object_mut().filter(|fields| fields.contains_key(key)) else {
                return Err(no_key(item, key));
            };
            let own = fields.get(key).cloned();
            match merged.iter_mut().find(|live| live.get(key) == own.as_ref()) {
                Some(live) => {
                    let current = live.as_object().cloned().unwrap_or_default();
                    *live = Value::Object(merge_map(current, fields, &self.elements)?);
                }
                None => merged.push(item.clone()),
            }
        }
        // What was merged is spent in the patch, too.
        let plain = patch.iter_mut().filter(|item| item.get(DIRECTIVE).is_none());
        plain.zip(&wanted).for_each(|(item, spent)| *item = spent.clone());
        self.all_keyed(key, &merged)?;
        Ok(self.in_order(merged, &wanted, &live))
    }

    /// Follows the directives among the elements of a patch: what they leave of the live list, and the other elements.
    fn directed(
        &self,
        key: &str,
        mut live: Vec<Value>,
        patch: &[Value],
    ) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
        let (mut wanted, mut replaces) = (Vec::new(), false);
        for item in patch {
            let Some(directive) = item.get(DIRECTIVE) else {
                wanted.push(item.clone());
                continue;
            };
            match directive.as_str() {
                Some("delete") => {
                    if item.get(key).is_none() {
                        return Err(no_key(item, key));
                    }
                    live.retain(|live| !self.same(live, item));
                }
                Some("replace") => replaces = true,
                Some("merge") => {
                    let why = "merging lists cannot yet be specified in the patch";
                    return Err(PatchError::Unforeseen(why.to_owned()));
                }
                _ => return Err(unknown_directive(item)),
            }
        }
        Ok(if replaces { (wanted, Vec::new()) } else { (live, wanted) })
    }

    fn all_keyed(&self, key: &str, items: &[Value]) -> Result<(), PatchError> {
        match items.iter().find(|item| item.get(key).is_none()) {
            Some(item) if !item.is_object() => Err(wrong_type("map[string]interface {}", item)),
            Some(item) => Err(no_key(item, key)),
            None => Ok(()),
        }
    }

    /// A merged list in the order that the patch tells.
    pub(super) fn told(
        &self,
        merged: Vec<Value>,
        order: &[Value],
        live: &[Value],
        patch: &[Value],
    ) -> Result<Vec<Value>, PatchError> {
        if let Some(key) = self.key() {
            self.all_keyed(key, &merged)?;
            if !merged.is_empty()
                && let Some(i) = order.iter().position(|item| !item.is_object())
            {
                return Err(PatchError::Unforeseen(format!("value for key {i} is not a map")));
            }
        }
        if of_objects([live, patch])?
            && let Some(key) = self.key()
        {
            self.all_keyed(key, order)?;
        }
        Ok(self.in_order(merged, order, live))
    }

    /// Everything a patch has must be in the order it tells, in the same order.
    pub(super) fn check_order(&self, patch: &[Value], order: &[Value]) -> Result<(), PatchError> {
        if patch.is_empty() || order.is_empty() {
            return Ok(());
        }
        if self.key.is_some()
            && let Some(item) = patch.iter().find(|item| !item.is_object())
        {
            return Err(wrong_type("map[string]interface {}", item));
        }
        let mut rest = order.iter();
        for item in patch.iter().filter(|item| item.get(DIRECTIVE).is_none()) {
            loop {
                let Some(entry) = rest.next() else {
                    return Err(PatchError::Unforeseen(format!(
                        "The order in patch list:\n{}\n doesn't match {SET_ELEMENT_ORDER} list:\n{}\n",
                        go_value(&Value::from(patch.to_vec())),
                        go_value(&Value::from(order.to_vec()))
                    )));
                };
                if let Some(key) = self.key() {
                    self.all_keyed(key, std::slice::from_ref(item))?;
                    self.all_keyed(key, std::slice::from_ref(entry))?;
                }
                if self.same(item, entry) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Orders a merged list: elements the patch has in the patch's order, the others in the live order, the two
    /// interleaved by the live order as far as it tells (normalizeElementOrder).
    fn in_order(&self, merged: Vec<Value>, patch_order: &[Value], live_order: &[Value]) -> Vec<Value> {
        let (mut right, mut left): (Vec<Value>, Vec<Value>) = merged
            .into_iter()
            .partition(|item| self.position(patch_order, item).is_some());
        right.sort_by_key(|item| self.position(patch_order, item));
        left.sort_by_key(|item| self.position(live_order, item));
        let mut result = Vec::with_capacity(left.len() + right.len());
        let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
        while let (Some(l), Some(r)) = (left.peek(), right.peek()) {
            let places = (self.position(live_order, l), self.position(live_order, r));
            let before = matches!(places, (Some(l), Some(r)) if l < r);
            result.extend(if before { left.next() } else { right.next() });
        }
        result.extend(left);
        result.extend(right);
        result
    }
}
