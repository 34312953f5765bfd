//! What differs between two objects, in server-side apply's eyes (`sigs.k8s.io/structured-merge-diff/v6/typed`).

use super::fieldset::FieldSet;
use super::path::{PathElement, same};
use super::typed::{
    Shape, by_element, element_schema, elements, field_names, field_schema, field_value, is_empty, shape,
};
use crate::schema::SchemaRef;
use serde_json::Value;
use std::collections::BTreeMap;

/// What differs between two objects; no field is in more than one of the sets.
#[derive(Debug, Clone, Default)]
pub(super) struct Comparison {
    pub(super) added: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) removed: FieldSet,
}

impl Comparison {
    /// Leaves out fields and all below them.
    pub(super) fn without(mut self, fields: &FieldSet) -> Comparison {
        for set in [&mut self.added, &mut self.modified, &mut self.removed] {
            set.subtract_whole(fields);
        }
        self
    }

    fn of(&mut self, change: Change) -> &mut FieldSet {
        match change {
            Change::Added => &mut self.added,
            Change::Modified => &mut self.modified,
            Change::Removed => &mut self.removed,
        }
    }

    /// Takes in what differs in a field of this one.
    fn take(&mut self, element: impl Fn() -> PathElement, found: Differences) {
        let Comparison {
            added,
            modified,
            removed,
        } = found.below;
        let below = [
            (Change::Added, added),
            (Change::Modified, modified),
            (Change::Removed, removed),
        ];
        for (change, set) in below {
            let here = found.here == Some(change);
            if here || !set.is_empty() {
                self.of(change).put(element(), here, set);
            }
        }
    }
}

/// What differs in `new` from `old`.
pub(super) fn compare(schema: &SchemaRef, old: &Value, new: &Value) -> Comparison {
    compare_at(schema, Some(old), Some(new)).below
}

/// What happened to a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Added,
    Modified,
    Removed,
}

/// What differs in a field, and below it.
#[derive(Default)]
struct Differences {
    here: Option<Change>,
    below: Comparison,
}

fn compare_at(schema: &SchemaRef, old: Option<&Value>, new: Option<&Value>) -> Differences {
    let mut found = Differences::default();
    let shapes = match (old, new) {
        (None, Some(value)) => {
            found.here = Some(Change::Added);
            found.below.added = all_below(schema, value);
            return found;
        }
        (Some(value), None) => {
            found.here = Some(Change::Removed);
            found.below.removed = all_below(schema, value);
            return found;
        }
        // Most of an object is what it was.
        (Some(old), Some(new)) if old == new => return found,
        (Some(old), Some(new)) => {
            let (of_old, of_new) = (shape(schema, old), shape(schema, new));
            // Null goes with whatever the other is.
            let of_old = if old.is_null() { of_new } else { of_old };
            let of_new = if new.is_null() { of_old } else { of_new };
            [Some(of_old), Some(of_new).filter(|s| *s != of_old)]
        }
        (None, None) => return found,
    };
    for shape in shapes.into_iter().flatten() {
        let leaf = matches!(shape, Shape::Leaf | Shape::Atomic) || (is_empty(old) && is_empty(new));
        if leaf {
            match (old, new) {
                (Some(old), Some(new)) if !same(old, new) => found.here = Some(Change::Modified),
                _ => {}
            }
        } else if shape == Shape::Map {
            for name in field_names(schema, [old, new]) {
                let child = field_schema(schema, name).unwrap_or_else(SchemaRef::anything);
                let (old, new) = (field_value(schema, old, name), field_value(schema, new, name));
                let differ = compare_at(&child, old, new);
                found.below.take(|| PathElement::Field(name.to_owned()), differ);
            }
        } else {
            compare_lists(schema, old, new, &mut found.below);
        }
    }
    found
}

/// The fields below a value that is there on one side only: all of them, so nothing needs to be compared.
fn all_below(schema: &SchemaRef, value: &Value) -> FieldSet {
    let whole = Some(value);
    let mut all = FieldSet::default();
    match shape(schema, value) {
        Shape::Map if !is_empty(whole) => {
            for name in field_names(schema, [None, whole]) {
                let child = field_schema(schema, name).unwrap_or_else(SchemaRef::anything);
                let below = field_value(schema, whole, name).map(|value| all_below(&child, value));
                all.put(PathElement::Field(name.to_owned()), true, below.unwrap_or_default());
            }
        }
        Shape::List => {
            let child = element_schema(schema);
            for (element, items) in by_element(schema, value) {
                // Elements that occur more than once are one value together.
                let below = match items.as_slice() {
                    [one] => all_below(&child, one),
                    _ => FieldSet::default(),
                };
                all.put(element, true, below);
            }
        }
        Shape::Map | Shape::Leaf | Shape::Atomic => {}
    }
    all
}

fn compare_lists(schema: &SchemaRef, old: Option<&Value>, new: Option<&Value>, result: &mut Comparison) {
    let child = element_schema(schema);
    let mut all: BTreeMap<PathElement, [Vec<&Value>; 2]> = BTreeMap::new();
    for (side, list) in [old, new].into_iter().enumerate() {
        for (element, item) in elements(schema, list) {
            all.entry(element).or_default()[side].push(item);
        }
    }
    for (element, [old, new]) in all {
        let of = |old: Option<&&Value>, new: Option<&&Value>| compare_at(&child, old.copied(), new.copied());
        match (old.as_slice(), new.as_slice()) {
            ([] | [_], [] | [_]) => result.take(|| element.clone(), of(old.first(), new.first())),
            // Elements that occur more than once are one value together.
            ([_, _, ..], [_, _, ..]) => {
                if old.len() != new.len() || old.iter().zip(&new).any(|(old, new)| !same(old, new)) {
                    result.modified.insert_member(element);
                }
            }
            ([_, _, ..], _) => {
                result.take(|| element.clone(), of(None, new.first()));
                result.removed.insert_member(element);
            }
            _ => {
                result.take(|| element.clone(), of(old.first(), None));
                result.added.insert_member(element);
            }
        }
    }
}
