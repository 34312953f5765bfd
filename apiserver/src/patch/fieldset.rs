//! Sets of fields: what a manager owns (`fieldsV1`).

use super::path::PathElement;
use crate::schema::SchemaRef;
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

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

    /// A set with these directly below, and these below those. The children are not empty.
    pub(super) fn of(members: Vec<PathElement>, children: Vec<(PathElement, FieldSet)>) -> FieldSet {
        FieldSet {
            members: members.into_iter().collect(),
            children: children.into_iter().collect(),
        }
    }

    /// From `fieldsV1`; `None` if it is not of that form.
    pub fn parse(fields: &Value) -> Option<FieldSet> {
        Some(Below::deserialize(fields).ok()?.set)
    }

    /// As `fieldsV1`, at the end of a JSON text.
    pub fn write(&self, out: &mut String) {
        out.push('{');
        self.write_fields(out, true);
        out.push('}');
    }

    /// The fields without their braces; whether none was written before them.
    fn write_fields(&self, out: &mut String, mut first: bool) {
        // Both are sorted: each element once, in their order.
        let (mut members, mut children) = (self.members.iter().peekable(), self.children.iter().peekable());
        loop {
            let (member, below) = (members.peek().copied(), children.peek().copied());
            let (element, child) = match (member, below) {
                (None, None) => return,
                (Some(m), None) => (m, None),
                (Some(m), Some((c, _))) if m < c => (m, None),
                (_, Some((c, child))) => (c, Some(child)),
            };
            let is_member = members.next_if(|m| *m == element).is_some();
            if child.is_some() {
                children.next();
            }
            if !first {
                out.push(',');
            }
            first = false;
            element.write(out);
            out.push_str(":{");
            if let Some(child) = child {
                if is_member {
                    out.push_str("\".\":{}");
                }
                child.write_fields(out, !is_member);
            }
            out.push('}');
        }
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

    /// Adds a field directly below.
    pub(super) fn insert_member(&mut self, element: PathElement) {
        self.members.insert(element);
    }

    /// Takes in what is below an element.
    pub(super) fn absorb_below(&mut self, element: &PathElement, fields: FieldSet) {
        match self.children.get_mut(element) {
            Some(known) => known.absorb(fields),
            None => drop(self.children.insert(element.clone(), fields)),
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

/// What `fieldsV1` says below an element.
struct Below {
    set: FieldSet,
    /// Whether the element itself is a member: it has nothing below, or `.`.
    member: bool,
}

impl<'de> Deserialize<'de> for FieldSet {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Ok(Below::deserialize(d)?.set)
    }
}

impl<'de> Deserialize<'de> for Below {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Below;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("fieldsV1")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Below, A::Error> {
        let mut set = FieldSet::default();
        let (mut empty, mut member) = (true, false);
        while let Some(name) = map.next_key::<Name<'de>>()? {
            empty = false;
            if name.0 == "." {
                map.next_value::<IgnoredAny>()?;
                member = true;
                continue;
            }
            let element = PathElement::parse(&name.0).ok_or_else(|| A::Error::custom("no path element"))?;
            let below: Below = map.next_value()?;
            if below.set.is_empty() {
                if below.member {
                    set.members.insert(element);
                }
                continue;
            }
            if below.member {
                set.members.insert(element.clone());
            }
            set.children.insert(element, below.set);
        }
        Ok(Below {
            set,
            member: empty || member,
        })
    }
}

/// A key, borrowed where it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
