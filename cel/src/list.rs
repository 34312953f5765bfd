//! Lists, which may be sets and maps by what their schema says (`k8s.io/apiserver/pkg/cel/common/valuesunstructured.go`).

use std::ops::Deref;
use std::sync::Arc;

use super::value::{Key, Value};

/// The items of a list.
#[derive(Debug, Clone, Default)]
pub struct List {
    items: Vec<Value>,
    kind: ListKind,
}

/// What tells items of a list apart.
#[derive(Debug, Clone, Default)]
pub enum ListKind {
    /// Their places.
    #[default]
    Atomic,
    /// Themselves: each is there once.
    Set,
    /// These of their fields.
    Map(Arc<[String]>),
}

impl Deref for List {
    type Target = Vec<Value>;

    fn deref(&self) -> &Vec<Value> {
        &self.items
    }
}

impl From<Vec<Value>> for List {
    fn from(items: Vec<Value>) -> Self {
        Self {
            items,
            kind: ListKind::Atomic,
        }
    }
}

impl List {
    /// A list of this kind.
    #[must_use]
    pub fn new(items: Vec<Value>, kind: ListKind) -> Self {
        Self { items, kind }
    }

    /// Whether its items are told apart by their places.
    pub(super) fn is_atomic(&self) -> bool {
        matches!(self.kind, ListKind::Atomic)
    }

    /// Where the item is that is the same one by what tells them apart.
    fn place(&self, of: &Value) -> Option<usize> {
        match &self.kind {
            ListKind::Atomic => None,
            ListKind::Set => self.items.iter().position(|item| item == of),
            ListKind::Map(keys) => self
                .items
                .iter()
                .position(|item| keys.iter().all(|k| field(item, k) == field(of, k))),
        }
    }

    /// This one's items, and those of the other that are not among them; of maps' the other's stand for this one's.
    pub(super) fn with(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for item in &other.items {
            match all.place(item) {
                Some(at) => all.items[at] = item.clone(),
                None => all.items.push(item.clone()),
            }
        }
        all
    }
}

fn field<'v>(item: &'v Value, name: &str) -> Option<&'v Value> {
    match item {
        Value::Map(fields) => fields.get(&Key::Text(name.into())),
        _ => None,
    }
}

impl PartialEq for List {
    fn eq(&self, other: &Self) -> bool {
        if self.items.len() != other.items.len() {
            return false;
        }
        match self.kind {
            ListKind::Atomic => self.items == other.items,
            _ => other
                .items
                .iter()
                .all(|item| self.place(item).is_some_and(|at| self.items[at] == *item)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{List, ListKind, Value};

    #[test]
    fn sets_have_no_order() {
        let of = |items: &[i64], kind| List::new(items.iter().copied().map(Value::Int).collect(), kind);
        let (set, other) = (of(&[1, 2], ListKind::Set), of(&[2, 1], ListKind::Atomic));
        assert!(set == other && other != set);
        assert!(set.with(&of(&[2, 3], ListKind::Set)) == of(&[1, 2, 3], ListKind::Atomic));
        assert!(other.with(&other) == of(&[2, 1, 2, 1], ListKind::Atomic));
    }
}
