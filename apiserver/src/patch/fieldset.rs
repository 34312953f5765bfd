//! Sets of fields: what a manager owns (`fieldsV1`).

use super::path::PathElement;
use crate::schema::SchemaRef;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// A set of fields of an object. A field's being in the set says nothing of the fields below it or above it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSet {
    members: BTreeSet<PathElement>,
    /// Never holds empty sets.
    children: BTreeMap<PathElement, FieldSet>,
}

impl FieldSet {
    /// A set of the fields with these names from the root: `.status`, `.metadata.labels`.
    pub fn of_names(paths: &[&str]) -> FieldSet {
        let mut set = FieldSet::default();
        for path in paths {
            let path: Vec<PathElement> = path
                .split('.')
                .filter(|s| !s.is_empty())
                .map(|s| PathElement::Field(s.to_owned()))
                .collect();
            set.insert(&path);
        }
        set
    }

    /// From `fieldsV1`; `None` if it is not of that form.
    pub fn parse(fields: &Value) -> Option<FieldSet> {
        let mut set = FieldSet::default();
        for (name, child) in fields.as_object()? {
            if name == "." {
                continue;
            }
            let element = PathElement::parse(name)?;
            let child_fields = child.as_object()?;
            if child_fields.is_empty() || child_fields.contains_key(".") {
                set.members.insert(element.clone());
            }
            let child = FieldSet::parse(child)?;
            if !child.is_empty() {
                set.children.insert(element, child);
            }
        }
        Some(set)
    }

    /// As `fieldsV1`.
    pub fn to_value(&self) -> Value {
        let mut fields = Map::new();
        let elements: BTreeSet<&PathElement> = self.members.iter().chain(self.children.keys()).collect();
        for element in elements {
            let mut value = Map::new();
            if let Some(child) = self.children.get(element) {
                if self.members.contains(element) {
                    value.insert(".".to_owned(), Value::Object(Map::new()));
                }
                if let Value::Object(below) = child.to_value() {
                    value.extend(below);
                }
            }
            fields.insert(element.serialise(), Value::Object(value));
        }
        Value::Object(fields)
    }

    /// Whether no field is in it.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.is_empty()
    }

    /// Adds a field; the root itself is never a member.
    pub fn insert(&mut self, path: &[PathElement]) {
        match path {
            [] => {}
            [last] => {
                self.members.insert(last.clone());
            }
            [first, rest @ ..] => self.children.entry(first.clone()).or_default().insert(rest),
        }
    }

    /// Whether a field directly below is a member.
    pub fn has_member(&self, element: &PathElement) -> bool {
        self.members.contains(element)
    }

    /// Whether a field is a member.
    pub fn has(&self, path: &[PathElement]) -> bool {
        match path {
            [] => false,
            [last] => self.members.contains(last),
            [first, rest @ ..] => self.children.get(first).is_some_and(|child| child.has(rest)),
        }
    }

    /// The fields below an element.
    pub fn below(&self, element: &PathElement) -> Option<&FieldSet> {
        self.children.get(element)
    }

    /// Fields in either.
    #[must_use]
    pub fn union(&self, other: &FieldSet) -> FieldSet {
        let mut result = self.clone();
        result.members.extend(other.members.iter().cloned());
        for (element, child) in &other.children {
            let merged = result
                .children
                .get(element)
                .map_or_else(|| child.clone(), |mine| mine.union(child));
            result.children.insert(element.clone(), merged);
        }
        result
    }

    /// Takes another set's fields in.
    pub fn absorb(&mut self, other: FieldSet) {
        if self.is_empty() {
            *self = other;
            return;
        }
        self.members.extend(other.members);
        for (element, child) in other.children {
            self.children.entry(element).or_default().absorb(child);
        }
    }

    /// Takes another set's fields out.
    pub fn subtract(&mut self, other: &FieldSet) {
        for element in &other.members {
            self.members.remove(element);
        }
        for (element, theirs) in &other.children {
            if let Some(child) = self.children.get_mut(element) {
                child.subtract(theirs);
                if child.is_empty() {
                    self.children.remove(element);
                }
            }
        }
    }

    /// Fields in both.
    #[must_use]
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        let both = |(element, child): (&PathElement, &FieldSet)| {
            let common = child.intersection(other.children.get(element)?);
            (!common.is_empty()).then(|| (element.clone(), common))
        };
        FieldSet {
            members: self.members.intersection(&other.members).cloned().collect(),
            children: self.children.iter().filter_map(both).collect(),
        }
    }

    /// Fields in this one only.
    #[must_use]
    pub fn difference(&self, other: &FieldSet) -> FieldSet {
        let left = |(element, child): (&PathElement, &FieldSet)| {
            let rest = other
                .children
                .get(element)
                .map_or_else(|| child.clone(), |theirs| child.difference(theirs));
            (!rest.is_empty()).then(|| (element.clone(), rest))
        };
        FieldSet {
            members: self.members.difference(&other.members).cloned().collect(),
            children: self.children.iter().filter_map(left).collect(),
        }
    }

    /// Fields in this one only, and not below a member of the other either.
    #[must_use]
    pub fn recursive_difference(&self, other: &FieldSet) -> FieldSet {
        let left = |(element, child): (&PathElement, &FieldSet)| {
            if other.members.contains(element) {
                return None;
            }
            let rest = other
                .children
                .get(element)
                .map_or_else(|| child.clone(), |theirs| child.recursive_difference(theirs));
            (!rest.is_empty()).then(|| (element.clone(), rest))
        };
        FieldSet {
            members: self.members.difference(&other.members).cloned().collect(),
            children: self.children.iter().filter_map(left).collect(),
        }
    }

    /// The set with every declared field that has members below it as a member too.
    #[must_use]
    pub fn with_named_fields(&self, schema: &SchemaRef) -> FieldSet {
        let mut result = FieldSet {
            members: self.members.clone(),
            children: BTreeMap::new(),
        };
        for (element, child) in &self.children {
            let child_schema = match element {
                PathElement::Field(name) => {
                    if schema.property(name).is_some() {
                        result.members.insert(element.clone());
                    }
                    schema.field(name)
                }
                _ => schema.items(),
            };
            let child_schema = child_schema.unwrap_or_else(SchemaRef::anything);
            result
                .children
                .insert(element.clone(), child.with_named_fields(&child_schema));
        }
        result
    }

    /// Every member's path: those of a level before those below it.
    pub fn paths(&self) -> Vec<Vec<PathElement>> {
        let mut paths = Vec::new();
        self.collect_paths(&mut Vec::new(), &mut paths);
        paths
    }

    fn collect_paths(&self, prefix: &mut Vec<PathElement>, paths: &mut Vec<Vec<PathElement>>) {
        for element in &self.members {
            prefix.push(element.clone());
            paths.push(prefix.clone());
            prefix.pop();
        }
        for (element, child) in &self.children {
            prefix.push(element.clone());
            child.collect_paths(prefix, paths);
            prefix.pop();
        }
    }
}
