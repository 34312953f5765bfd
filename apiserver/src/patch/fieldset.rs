//! Sets of fields: what a manager owns (`fieldsV1`).

use super::path::PathElement;
use crate::schema::SchemaRef;
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;

/// A set of fields of an object. A field's being in the set says nothing of the fields below it or above it.
///
/// One sorted list a level: sets are small, are read far more often than changed, and are mostly made in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSet {
    /// Sorted by element, each once; never one that is no member and has nothing below.
    fields: Vec<Field>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    element: PathElement,
    member: bool,
    below: FieldSet,
}

impl Field {
    fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }
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
        Some(Below::deserialize(fields).ok()?.set)
    }

    /// Of fields in any order, also some that are there more than once.
    fn from_fields(mut fields: Vec<Field>) -> FieldSet {
        if !fields.is_sorted_by(|a, b| a.element < b.element) {
            fields.sort_by(|a, b| a.element.cmp(&b.element));
            fields.dedup_by(|again, first| {
                let same = again.element == first.element;
                if same {
                    first.member |= again.member;
                    first.below.absorb(std::mem::take(&mut again.below));
                }
                same
            });
        }
        fields.retain(|f| !f.is_empty());
        FieldSet { fields }
    }

    /// As `fieldsV1`, at the end of a JSON text.
    pub fn write(&self, out: &mut String) {
        out.push('{');
        self.write_fields(out, true);
        out.push('}');
    }

    /// The fields without their braces; whether none was written before them.
    fn write_fields(&self, out: &mut String, mut first: bool) {
        for field in &self.fields {
            if !first {
                out.push(',');
            }
            first = false;
            field.element.write(out);
            out.push_str(":{");
            if !field.below.is_empty() {
                if field.member {
                    out.push_str("\".\":{}");
                }
                field.below.write_fields(out, !field.member);
            }
            out.push('}');
        }
    }

    /// Whether no field is in it.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Where an element is, or belongs.
    fn find(&self, element: &PathElement) -> Result<usize, usize> {
        match self.fields.last() {
            // Most come in order.
            Some(last) if last.element < *element => Err(self.fields.len()),
            _ => self.fields.binary_search_by(|f| f.element.cmp(element)),
        }
    }

    fn get(&self, element: &PathElement) -> Option<&Field> {
        self.find(element).ok().map(|at| &self.fields[at])
    }

    /// Adds a field; the root itself is never a member.
    pub fn insert(&mut self, path: &[PathElement]) {
        match path {
            [] => {}
            [last] => self.put(last.clone(), true, FieldSet::default()),
            [first, rest @ ..] => {
                let mut below = FieldSet::default();
                match self.find(first) {
                    Ok(at) => self.fields[at].below.insert(rest),
                    Err(_) => {
                        below.insert(rest);
                        self.put(first.clone(), false, below);
                    }
                }
            }
        }
    }

    /// Adds an element, as a member or not, and what is below it.
    pub(super) fn put(&mut self, element: PathElement, member: bool, below: FieldSet) {
        match self.find(&element) {
            Ok(at) => {
                let known = &mut self.fields[at];
                known.member |= member;
                known.below.absorb(below);
            }
            Err(at) => {
                let field = Field { element, member, below };
                if !field.is_empty() {
                    self.fields.insert(at, field);
                }
            }
        }
    }

    /// Adds a field directly below.
    pub(super) fn insert_member(&mut self, element: PathElement) {
        self.put(element, true, FieldSet::default());
    }

    /// Whether a field directly below is a member.
    pub fn has_member(&self, element: &PathElement) -> bool {
        self.get(element).is_some_and(|f| f.member)
    }

    /// Whether a field is a member.
    pub fn has(&self, path: &[PathElement]) -> bool {
        match path {
            [] => false,
            [last] => self.has_member(last),
            [first, rest @ ..] => self.get(first).is_some_and(|f| f.below.has(rest)),
        }
    }

    /// The fields below an element.
    pub fn below(&self, element: &PathElement) -> Option<&FieldSet> {
        self.get(element).map(|f| &f.below).filter(|below| !below.is_empty())
    }

    /// Fields in either.
    #[must_use]
    pub fn union(&self, other: &FieldSet) -> FieldSet {
        let mut all = self.clone();
        all.absorb(other.clone());
        all
    }

    /// Takes another set's fields in.
    pub fn absorb(&mut self, other: FieldSet) {
        if self.is_empty() {
            *self = other;
            return;
        }
        // One after the other into the middle would cost large sets dear.
        let known = self.fields.len();
        for Field { element, member, below } in other.fields {
            match self.fields[..known].binary_search_by(|f| f.element.cmp(&element)) {
                Ok(at) => {
                    self.fields[at].member |= member;
                    self.fields[at].below.absorb(below);
                }
                Err(_) => self.fields.push(Field { element, member, below }),
            }
        }
        // Two runs, each in order: what this sort is best at.
        self.fields.sort_by(|a, b| a.element.cmp(&b.element));
    }

    /// Takes fields out that `leave` says so of, each with what another set has of it; what then is empty goes.
    fn take_out(&mut self, other: &FieldSet, leave: fn(&mut Field, &Field)) {
        if other.is_empty() {
            return;
        }
        let mut emptied = false;
        for theirs in &other.fields {
            if let Ok(at) = self.find(&theirs.element) {
                leave(&mut self.fields[at], theirs);
                emptied |= self.fields[at].is_empty();
            }
        }
        if emptied {
            self.fields.retain(|f| !f.is_empty());
        }
    }

    /// Takes another set's fields out.
    pub fn subtract(&mut self, other: &FieldSet) {
        self.take_out(other, |mine, theirs| {
            mine.member &= !theirs.member;
            mine.below.subtract(&theirs.below);
        });
    }

    /// Takes another set's fields out, and all below them.
    pub fn subtract_whole(&mut self, other: &FieldSet) {
        self.take_out(other, |mine, theirs| {
            if theirs.member {
                mine.member = false;
                mine.below = FieldSet::default();
            } else {
                mine.below.subtract_whole(&theirs.below);
            }
        });
    }

    /// Fields in both.
    #[must_use]
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        let both = |mine: &Field| {
            let theirs = other.get(&mine.element)?;
            let common = Field {
                element: mine.element.clone(),
                member: mine.member && theirs.member,
                below: mine.below.intersection(&theirs.below),
            };
            (!common.is_empty()).then_some(common)
        };
        FieldSet {
            fields: self.fields.iter().filter_map(both).collect(),
        }
    }

    /// Fields in this one only.
    #[must_use]
    pub fn difference(&self, other: &FieldSet) -> FieldSet {
        let mut left = self.clone();
        left.subtract(other);
        left
    }

    /// The set with every declared field that has members below it as a member too.
    #[must_use]
    pub fn with_named_fields(&self, schema: &SchemaRef) -> FieldSet {
        let named = |field: &Field| {
            if field.below.is_empty() {
                return field.clone();
            }
            let (declared, child) = match &field.element {
                PathElement::Field(name) => (schema.property(name).is_some(), schema.field(name)),
                _ => (false, schema.items()),
            };
            let child = child.unwrap_or_else(SchemaRef::anything);
            Field {
                element: field.element.clone(),
                member: field.member || declared,
                below: field.below.with_named_fields(&child),
            }
        };
        FieldSet {
            fields: self.fields.iter().map(named).collect(),
        }
    }

    /// Every member's path: those of a level before those below it.
    pub fn paths(&self) -> Vec<Vec<PathElement>> {
        let mut paths = Vec::new();
        self.collect_paths(&mut Vec::new(), &mut paths);
        paths
    }

    fn collect_paths(&self, prefix: &mut Vec<PathElement>, paths: &mut Vec<Vec<PathElement>>) {
        for field in self.fields.iter().filter(|f| f.member) {
            prefix.push(field.element.clone());
            paths.push(prefix.clone());
            prefix.pop();
        }
        for field in self.fields.iter().filter(|f| !f.below.is_empty()) {
            prefix.push(field.element.clone());
            field.below.collect_paths(prefix, paths);
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
        let mut fields = Vec::new();
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
            fields.push(Field {
                element,
                member: below.member,
                below: below.set,
            });
        }
        Ok(Below {
            set: FieldSet::from_fields(fields),
            member: empty || member,
        })
    }
}

/// A key, borrowed where it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
