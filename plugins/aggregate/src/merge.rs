//! One object of many: the order of the branches decides, never the order of their answers.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use crate::json::{self, Member};

/// What happens when two branches bring the same key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnConflict {
    /// The later branch's value stands.
    #[default]
    LastWins,
    /// The earlier branch's value stands.
    FirstWins,
    /// The request fails.
    Error,
}

/// Two branches brought this key, and that is an error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Conflict(pub String);

/// An object in the making.
#[derive(Debug)]
pub(crate) struct Merge<'a> {
    rule: OnConflict,
    entries: Vec<Entry<'a>>,
    places: BTreeMap<Cow<'a, str>, usize>,
}

#[derive(Debug)]
struct Entry<'a> {
    /// As JSON.
    key: &'a str,
    part: Part<'a>,
    /// The branch that brought it.
    branch: usize,
}

#[derive(Debug)]
enum Part<'a> {
    Text(&'a str),
    /// What one branch brought for a group.
    GroupOfOne(&'a str),
    Group(Merge<'a>),
}

impl<'a> Merge<'a> {
    /// An empty object.
    pub(crate) fn new(rule: OnConflict) -> Self {
        Merge {
            rule,
            entries: Vec::new(),
            places: BTreeMap::new(),
        }
    }

    /// Adds the members of an object that a branch brought, all but the one of the name `except`.
    pub(crate) fn add_members(
        &mut self,
        branch: usize,
        object: &'a str,
        except: Option<&str>,
    ) -> Result<(), Conflict> {
        for member in json::members(object) {
            let name = member.name();
            if except != Some(&*name) {
                self.add(branch, name, member.key, Part::Text(member.value))?;
            }
        }
        Ok(())
    }

    /// Adds a value under a group; objects of one group are merged by the same rule.
    pub(crate) fn add_group(&mut self, branch: usize, group: Member<'a>) -> Result<(), Conflict> {
        let name = group.name();
        let place = self.places.get(&name).copied();
        if let Some(entry) = place.and_then(|place| self.entries.get_mut(place))
            && json::is_object(group.value)
            && entry.open_group(self.rule)?
            && let Part::Group(merged) = &mut entry.part
        {
            return merged.add_members(branch, group.value, None);
        }
        self.add(branch, name, group.key, Part::GroupOfOne(group.value))
    }

    fn add(
        &mut self,
        branch: usize,
        name: Cow<'a, str>,
        key: &'a str,
        part: Part<'a>,
    ) -> Result<(), Conflict> {
        let entry = Entry { key, part, branch };
        let Some(present) = self
            .places
            .get(&name)
            .and_then(|&place| self.entries.get_mut(place))
        else {
            self.places.insert(name, self.entries.len());
            self.entries.push(entry);
            return Ok(());
        };
        // Of a key that one branch brought twice the last counts, as in most parsers.
        let rule = if present.branch == branch {
            OnConflict::LastWins
        } else {
            self.rule
        };
        match rule {
            OnConflict::LastWins => *present = entry,
            OnConflict::FirstWins => {}
            OnConflict::Error => return Err(Conflict(name.into_owned())),
        }
        Ok(())
    }

    /// Writes the object, with `last` as a further member.
    pub(crate) fn write(&self, out: &mut String, last: Option<(&str, &str)>) {
        out.push('{');
        for (index, entry) in self.entries.iter().enumerate() {
            begin_member(out, index, entry.key);
            match &entry.part {
                Part::Text(text) | Part::GroupOfOne(text) => out.push_str(text),
                Part::Group(merged) => merged.write(out, None),
            }
        }
        if let Some((key, value)) = last {
            begin_member(out, self.entries.len(), key);
            out.push_str(value);
        }
        out.push('}');
    }
}

impl<'a> Entry<'a> {
    /// Makes a group of one ready for a second; false if it is no group of an object.
    fn open_group(&mut self, rule: OnConflict) -> Result<bool, Conflict> {
        if let Part::GroupOfOne(text) = self.part
            && json::is_object(text)
        {
            let mut merged = Merge::new(rule);
            merged.add_members(self.branch, text, None)?;
            self.part = Part::Group(merged);
        }
        Ok(matches!(self.part, Part::Group(_)))
    }
}

fn begin_member(out: &mut String, index: usize, key: &str) {
    if index > 0 {
        out.push(',');
    }
    out.push_str(key);
    out.push(':');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    /// Each branch: its group, or "", and its value.
    fn merge(rule: OnConflict, branches: &[(&str, &str)]) -> Result<String, Conflict> {
        let keys: Vec<String> = branches
            .iter()
            .map(|(group, _)| json::string(group))
            .collect();
        let mut merge = Merge::new(rule);
        for (branch, (&(group, value), key)) in branches.iter().zip(&keys).enumerate() {
            match group {
                "" => merge.add_members(branch, value, None)?,
                _ => merge.add_group(branch, Member { key, value })?,
            }
        }
        let mut out = String::new();
        merge.write(&mut out, None);
        Ok(out)
    }

    #[test]
    fn groups_and_members_stand_in_the_order_of_the_branches() {
        let merged = merge(
            OnConflict::Error,
            &[("b", "[1, 2]"), ("", r#"{"x":1.0,"y":{}}"#), ("a", "null")],
        );
        assert_eq!(
            merged.as_deref(),
            Ok(r#"{"b":[1, 2],"x":1.0,"y":{},"a":null}"#)
        );
        assert_eq!(merge(OnConflict::Error, &[]).as_deref(), Ok("{}"));
    }

    #[test]
    fn a_conflict_is_resolved_by_the_rule() {
        let branches = [
            ("", r#"{"a":1,"b":1}"#),
            ("", r#"{"b":2,"c":2}"#),
            ("c", "3"),
        ];
        assert_eq!(
            merge(OnConflict::LastWins, &branches).as_deref(),
            Ok(r#"{"a":1,"b":2,"c":3}"#)
        );
        assert_eq!(
            merge(OnConflict::FirstWins, &branches).as_deref(),
            Ok(r#"{"a":1,"b":1,"c":2}"#)
        );
        assert_eq!(
            merge(OnConflict::Error, &branches),
            Err(Conflict("b".into()))
        );
    }

    #[test]
    fn a_key_that_one_branch_brings_twice_is_no_conflict() {
        let branches = [("", r#"{"a":1,"\u0061":2}"#)];
        assert_eq!(
            merge(OnConflict::Error, &branches).as_deref(),
            Ok(r#"{"\u0061":2}"#)
        );
    }

    #[test]
    fn objects_of_one_group_are_merged() {
        let branches = [
            ("g", r#"{"a":1}"#),
            ("g", r#"{"b":2}"#),
            ("g", r#"{"a":3}"#),
        ];
        assert_eq!(
            merge(OnConflict::LastWins, &branches).as_deref(),
            Ok(r#"{"g":{"a":3,"b":2}}"#)
        );
        assert_eq!(
            merge(OnConflict::FirstWins, &branches).as_deref(),
            Ok(r#"{"g":{"a":1,"b":2}}"#)
        );
        assert_eq!(
            merge(OnConflict::Error, &branches),
            Err(Conflict("a".into()))
        );
        let branches = [("g", r#"{"a":1}"#), ("g", "[]")];
        assert_eq!(
            merge(OnConflict::LastWins, &branches).as_deref(),
            Ok(r#"{"g":[]}"#)
        );
        assert_eq!(
            merge(OnConflict::Error, &branches),
            Err(Conflict("g".into()))
        );
    }

    #[test]
    fn a_group_is_not_merged_into_a_member_of_its_name() {
        let branches = [("", r#"{"g":{"a":1}}"#), ("g", r#"{"b":2}"#)];
        assert_eq!(
            merge(OnConflict::LastWins, &branches).as_deref(),
            Ok(r#"{"g":{"b":2}}"#)
        );
    }

    proptest! {
        #[test]
        fn merging_texts_is_merging_maps(
            objects in prop::collection::vec(crate::tests::any_object(), 0..5),
            first_wins: bool,
        ) {
            let texts: Vec<String> = objects.iter().map(Value::to_string).collect();
            let branches: Vec<(&str, &str)> = texts.iter().map(|text| ("", text.as_str())).collect();
            let rule = if first_wins { OnConflict::FirstWins } else { OnConflict::LastWins };
            let merged = merge(rule, &branches).expect("no error with this rule");
            let mut expected = Map::new();
            for (key, value) in objects.iter().filter_map(Value::as_object).flatten() {
                if !(first_wins && expected.contains_key(key)) {
                    expected.insert(key.clone(), value.clone());
                }
            }
            let merged: Value = serde_json::from_str(&merged).expect("is JSON");
            prop_assert_eq!(merged, Value::Object(expected));
        }
    }
}
