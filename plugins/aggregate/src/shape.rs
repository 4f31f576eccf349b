//! What of a branch's answer goes out, and under which names. Works on the text: what no rule speaks of is copied as it is.

use std::collections::BTreeMap;

use crate::json::{self, Member};

/// Longer paths are mistakes, and each segment is a pass over the text.
const MAX_SEGMENTS: usize = 16;

/// The value at a dot path; a number chooses an element of an array.
pub(crate) fn find<'a>(value: &'a str, target: &[String]) -> Option<&'a str> {
    target.iter().try_fold(value, |value, segment| {
        if json::is_array(value) {
            return json::elements(value)
                .get(segment.parse::<usize>().ok()?)
                .copied();
        }
        // Of a key that is there twice the last counts, as in most parsers.
        json::members(value)
            .iter()
            .rev()
            .find(|member| member.name() == *segment)
            .map(|member| member.value)
    })
}

/// Splits a dot path of the configuration.
pub(crate) fn segments(path: &str) -> Result<Vec<String>, String> {
    let segments: Vec<String> = path.split('.').map(str::to_owned).collect();
    if segments.iter().any(String::is_empty) || segments.len() > MAX_SEGMENTS {
        return Err(format!(
            "expected keys with dots between them, at most {MAX_SEGMENTS}, found {path:?}"
        ));
    }
    Ok(segments)
}

/// `allow`, `deny` and `rename` of one branch, as a tree of keys. The longest path that leads to a value decides.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// Whether what no path speaks of goes out.
    keeps_rest: bool,
    root: Rule,
}

#[derive(Debug, Default)]
struct Rule {
    /// Whether the value goes out; none if a shorter path decides.
    keep: Option<bool>,
    /// Whether something below it is allowed by a path of its own.
    allows_below: bool,
    /// Its new key, as JSON, and as it is meant.
    rename: Option<(String, String)>,
    below: BTreeMap<String, Rule>,
}

impl Rules {
    /// Makes the tree, or says what contradicts itself.
    pub(crate) fn new(
        allow: &[String],
        deny: &[String],
        rename: &BTreeMap<String, String>,
    ) -> Result<Self, String> {
        let mut rules = Rules {
            keeps_rest: allow.is_empty(),
            root: Rule::default(),
        };
        for (key, paths, keep) in [("allow", allow, true), ("deny", deny, false)] {
            for (index, path) in paths.iter().enumerate() {
                let wrong = |reason: String| format!("{key}[{index}]: {reason}");
                let rule = rules.root.enter(&segments(path).map_err(wrong)?, keep);
                if rule.keep.is_some_and(|decided| decided != keep) {
                    return Err(wrong(format!("{path:?} is allowed and denied")));
                }
                rule.keep = Some(keep);
            }
        }
        for (path, new) in rename {
            rules
                .rename(path, new)
                .map_err(|reason| format!("rename.{path:?}: {reason}"))?;
        }
        Ok(rules)
    }

    fn rename(&mut self, path: &str, new: &str) -> Result<(), String> {
        let segments = segments(path)?;
        let (last, parents) = segments.split_last().ok_or("expected a key")?;
        if new.is_empty() || new.contains('.') {
            return Err(format!(
                "expected a new key for the same place, without dots, found {new:?}"
            ));
        }
        let parent = self.root.enter(parents, false);
        if parent.below.values().any(|rule| rule.renames_to(new)) {
            return Err(format!("two keys are renamed to {new:?}"));
        }
        let rule = parent.below.entry(last.clone()).or_default();
        rule.rename = Some((json::string(new), new.to_owned()));
        Ok(())
    }

    /// Whether they change nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.keeps_rest && self.root.below.is_empty()
    }

    /// What goes out of a checked value; none if nothing does.
    pub(crate) fn apply(&self, value: &str) -> Option<String> {
        self.root.wants(value, self.keeps_rest).then(|| {
            let mut out = String::with_capacity(value.len());
            self.root.write(value, self.keeps_rest, &mut out);
            out
        })
    }
}

impl Rule {
    /// The rule at a path, made if it is absent.
    fn enter(&mut self, path: &[String], allows: bool) -> &mut Rule {
        path.iter().fold(self, |rule, segment| {
            rule.allows_below |= allows;
            rule.below.entry(segment.clone()).or_default()
        })
    }

    fn renames_to(&self, new: &str) -> bool {
        self.rename.as_ref().is_some_and(|(_, name)| name == new)
    }

    /// Whether anything of the value goes out: `keeps` says what happens to what no path speaks of.
    fn wants(&self, value: &str, keeps: bool) -> bool {
        keeps || (self.allows_below && (json::is_object(value) || json::is_array(value)))
    }

    fn write(&self, value: &str, keeps: bool, out: &mut String) {
        if self.below.is_empty() {
            out.push_str(value);
        } else if json::is_object(value) {
            self.write_object(value, keeps, out);
        } else if json::is_array(value) {
            let elements = json::elements(value);
            let wanted = elements.iter().filter(|element| self.wants(element, keeps));
            write_list(out, ['[', ']'], wanted, |out, element| {
                self.write(element, keeps, out)
            });
        } else {
            out.push_str(value);
        }
    }

    fn write_object(&self, value: &str, keeps: bool, out: &mut String) {
        let members = json::members(value);
        let mut wanted: Vec<(&Member<'_>, Option<&Rule>, bool)> = Vec::with_capacity(members.len());
        for member in &members {
            let rule = self.below.get(&*member.name());
            let keeps = rule.and_then(|rule| rule.keep).unwrap_or(keeps);
            if rule.map_or(keeps, |rule| rule.wants(member.value, keeps)) {
                wanted.push((member, rule, keeps));
            }
        }
        // A renamed key takes the place of one that had the name before.
        let new_names: Vec<&str> = wanted
            .iter()
            .filter_map(|(_, rule, _)| {
                rule.and_then(|rule| rule.rename.as_ref())
                    .map(|(_, name)| name.as_str())
            })
            .collect();
        if !new_names.is_empty() {
            let is_renamed = |rule: &Option<&Rule>| rule.is_some_and(|rule| rule.rename.is_some());
            wanted.retain(|(member, rule, _)| {
                is_renamed(rule) || !new_names.contains(&&*member.name())
            });
        }
        write_list(
            out,
            ['{', '}'],
            wanted.into_iter(),
            |out, (member, rule, keeps)| {
                let renamed = rule.and_then(|rule| rule.rename.as_ref());
                out.push_str(renamed.map_or(member.key, |(key, _)| key));
                out.push(':');
                match rule {
                    Some(rule) => rule.write(member.value, keeps, out),
                    None => out.push_str(member.value),
                }
            },
        );
    }
}

fn write_list<T>(
    out: &mut String,
    [open, close]: [char; 2],
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut String, T),
) {
    out.push(open);
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(close);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn list(paths: &[&str]) -> Vec<String> {
        paths.iter().map(|&path| path.to_owned()).collect()
    }

    fn rules(allow: &[&str], deny: &[&str], rename: &[(&str, &str)]) -> Result<Rules, String> {
        let rename = rename
            .iter()
            .map(|&(old, new)| (old.to_owned(), new.to_owned()))
            .collect();
        Rules::new(&list(allow), &list(deny), &rename)
    }

    #[track_caller]
    fn apply(
        allow: &[&str],
        deny: &[&str],
        rename: &[(&str, &str)],
        value: &str,
    ) -> Option<String> {
        rules(allow, deny, rename).expect("is right").apply(value)
    }

    #[test]
    fn a_target_leads_through_objects_and_arrays() {
        let value = r#"{"data":{"items":[{"id":1},{"id":2}]},"data":{"items":[0,{"id":3}]}}"#;
        let find = |path| find(value, &segments(path).expect("is a path"));
        assert_eq!(find("data.items.1.id"), Some("3"));
        assert_eq!(find("data.items"), Some(r#"[0,{"id":3}]"#));
        for missing in [
            "x",
            "data.x",
            "data.items.2",
            "data.items.id",
            "data.items.0.id",
        ] {
            assert_eq!(find(missing), None, "{missing}");
        }
    }

    #[test]
    fn only_what_is_allowed_goes_out_also_within_arrays() {
        let value = r#"{"id":1,"orders":[{"id":7,"cents":1},5,{"id":8}],"note":"x"}"#;
        let out = apply(&["orders.id", "note"], &[], &[], value);
        assert_eq!(
            out.as_deref(),
            Some(r#"{"orders":[{"id":7},{"id":8}],"note":"x"}"#)
        );
        assert_eq!(apply(&["id"], &[], &[], "5"), None);
        assert_eq!(
            apply(&["id"], &[], &[], r#"[{"id":1,"x":2},3]"#).as_deref(),
            Some(r#"[{"id":1}]"#)
        );
        assert_eq!(
            apply(&["id.x"], &[], &[], r#"{"id":1}"#).as_deref(),
            Some("{}")
        );
    }

    #[test]
    fn what_is_denied_does_not_go_out_however_its_key_is_written() {
        let value =
            r#"{"a":1.10,"card\u002dnumber":4,"b":[{"card-number":4,"c":[]}],"card-number":5}"#;
        let out = apply(&[], &["card-number", "b.card-number"], &[], value);
        assert_eq!(out.as_deref(), Some(r#"{"a":1.10,"b":[{"c":[]}]}"#));
    }

    #[test]
    fn of_allow_and_deny_the_longer_path_decides() {
        let value = r#"{"account":{"holder":"a","card":{"number":1,"brand":"v"}},"x":1}"#;
        let out = apply(
            &["account", "account.card.brand"],
            &["account.card"],
            &[],
            value,
        );
        assert_eq!(
            out.as_deref(),
            Some(r#"{"account":{"holder":"a","card":{"brand":"v"}}}"#)
        );
        assert!(rules(&["a.b"], &["a.b"], &[]).is_err());
    }

    #[test]
    fn keys_are_renamed_in_their_place() {
        let value = r#"{"old":1,"list":[{"x":{"y":0}}],"new":2,"keep":3}"#;
        let out = apply(
            &[],
            &["keep"],
            &[("old", "new"), ("list", "items"), ("list.x", "z \"")],
            value,
        );
        assert_eq!(
            out.as_deref(),
            Some(r#"{"new":1,"items":[{"z \"":{"y":0}}]}"#)
        );
        let swapped = apply(&[], &[], &[("a", "b"), ("b", "a")], r#"{"a":1,"b":2}"#);
        assert_eq!(swapped.as_deref(), Some(r#"{"b":1,"a":2}"#));
    }

    #[test]
    fn contradictions_and_bad_paths_are_explained() {
        for error in [
            rules(&["a..b"], &[], &[]),
            rules(&[], &[""], &[]),
            rules(&[], &[], &[("a", "x"), ("b", "x")]),
            rules(&[], &[], &[("a", "x.y")]),
            rules(&[], &[], &[("a", "")]),
        ] {
            error.expect_err("is wrong");
        }
    }

    /// The same rules on a tree, written as plainly as possible.
    fn expected(value: &Value, path: &str, allow: &[String], deny: &[String]) -> Option<Value> {
        let under = |key: &str| {
            if path.is_empty() {
                key.to_owned()
            } else {
                format!("{path}.{key}")
            }
        };
        let covers = |rule: &String| path == rule || path.starts_with(&format!("{rule}."));
        let longest = |rules: &[String]| {
            rules
                .iter()
                .filter(|rule| covers(rule))
                .map(String::len)
                .max()
        };
        let keeps = match (longest(allow), longest(deny)) {
            (None, None) => allow.is_empty(),
            (allowed, denied) => allowed > denied,
        };
        let reaches = !path.is_empty()
            && allow
                .iter()
                .any(|rule| rule.starts_with(&format!("{path}.")));
        let goes_in = keeps || reaches || path.is_empty();
        match value {
            Value::Object(members) if goes_in => {
                let kept = members.iter().filter_map(|(key, value)| {
                    expected(value, &under(key), allow, deny).map(|value| (key.clone(), value))
                });
                Some(Value::Object(kept.collect()))
            }
            Value::Array(elements) if goes_in => Some(
                elements
                    .iter()
                    .filter_map(|element| expected(element, path, allow, deny))
                    .collect(),
            ),
            _ => keeps.then(|| value.clone()),
        }
    }

    fn paths() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec("[abc](\\.[abc]){0,2}", 0..4)
    }

    proptest! {
        #[test]
        fn filtering_the_text_is_filtering_the_tree(value in crate::tests::any_object(), allow in paths(), deny in paths()) {
            prop_assume!(!allow.iter().any(|path| deny.contains(path)));
            let rules = Rules::new(&allow, &deny, &BTreeMap::new()).expect("do not contradict");
            let out = rules.apply(&value.to_string()).unwrap_or_else(|| String::from("{}"));
            let out: Value = serde_json::from_str(&out).expect("is JSON");
            prop_assert_eq!(out, expected(&value, "", &allow, &deny).unwrap_or_else(|| json!({})));
        }
    }
}
