//! The five steps: remove, rename, replace, add, append. Each sees what the steps before it did.

use postern_plugin::{Header, HeaderEdit};

use crate::template::{Facts, NoFacts, Template};

/// One side of the configuration, compiled. All names are in lower case.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// Removes headers.
    pub(crate) remove: Vec<String>,
    /// Old name to new name; all at once, so that two headers can change places.
    pub(crate) rename: Vec<(String, String)>,
    /// Only where the header is present.
    pub(crate) replace: Vec<(String, Template)>,
    /// Only where the header is absent.
    pub(crate) add: Vec<(String, Template)>,
    /// Beside the values that are there.
    pub(crate) append: Vec<(String, Template)>,
}

impl Rules {
    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.remove.is_empty()
            && self.rename.is_empty()
            && self.replace.is_empty()
            && self.add.is_empty()
            && self.append.is_empty()
    }

    /// The headers whose values are needed: the gateway itself sees to presence.
    pub(crate) fn renamed(&self) -> impl Iterator<Item = &str> {
        self.rename.iter().map(|(old, _)| old.as_str())
    }

    /// The edits, if they are the same for every message.
    pub(crate) fn constant(&self) -> Option<Vec<HeaderEdit>> {
        let mut templates = self.replace.iter().chain(&self.add).chain(&self.append);
        let is_constant = self.rename.is_empty()
            && templates.all(|(_, template)| matches!(template, Template::Constant(_)));
        is_constant.then(|| self.edits(&[], &NoFacts))
    }

    /// The request headers that templates read.
    pub(crate) fn read(&self) -> impl Iterator<Item = &str> {
        self.replace
            .iter()
            .chain(&self.add)
            .chain(&self.append)
            .flat_map(|(_, template)| template.headers())
    }

    /// The edits for a message with these headers, of which only the renamed ones matter.
    pub(crate) fn edits(&self, headers: &[Header], facts: &impl Facts) -> Vec<HeaderEdit> {
        let size = self.remove.len()
            + 2 * self.rename.len()
            + self.replace.len()
            + self.add.len()
            + self.append.len();
        let mut edits = Vec::with_capacity(size);
        edits.extend(self.remove.iter().map(HeaderEdit::remove));
        self.rename(headers, &mut edits);
        let mut write = |headers: &[(String, Template)], edit: fn(Header) -> HeaderEdit| {
            let filled = headers
                .iter()
                .map(|(name, template)| Header::new(name, template.fill(facts)));
            edits.extend(filled.map(edit));
        };
        write(&self.replace, HeaderEdit::Replace);
        write(&self.add, HeaderEdit::Add);
        write(&self.append, HeaderEdit::Append);
        edits
    }

    /// A renamed header takes the place of what had the new name.
    fn rename(&self, headers: &[Header], edits: &mut Vec<HeaderEdit>) {
        // All old names go first: one of them may be the new name of another.
        edits.extend(self.moves(headers).map(|(old, _)| HeaderEdit::remove(old)));
        for (old, new) in self.moves(headers) {
            for (index, header) in headers
                .iter()
                .filter(|header| header.name == old)
                .enumerate()
            {
                let header = Header {
                    name: new.to_owned(),
                    value: header.value.clone(),
                };
                edits.push(if index == 0 {
                    HeaderEdit::Set(header)
                } else {
                    HeaderEdit::Append(header)
                });
            }
        }
    }

    /// The renames that have something to rename.
    fn moves<'a>(&'a self, headers: &'a [Header]) -> impl Iterator<Item = (&'a str, &'a str)> {
        let renames = self
            .rename
            .iter()
            .map(|(old, new)| (old.as_str(), new.as_str()));
        renames.filter(|(old, _)| self.is_present_after_removal(headers, old))
    }

    fn is_present_after_removal(&self, headers: &[Header], name: &str) -> bool {
        headers.iter().any(|header| header.name == name)
            && !self.remove.iter().any(|removed| removed == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Side;

    /// Applies the edits as the host does, and returns `name: value` sorted.
    #[track_caller]
    fn after(rules: &str, before: &[(&str, &str)]) -> Vec<String> {
        let side: Side = postern_plugin::config::parse(rules).expect("config is right");
        let rules = side.compile("request").expect("config is right");
        let mut headers: Vec<Header> = before
            .iter()
            .map(|&(name, value)| Header::new(name, value))
            .collect();
        for edit in rules.edits(&headers.clone(), &NoFacts) {
            match edit {
                HeaderEdit::Set(header) => {
                    headers.retain(|known| known.name != header.name);
                    headers.push(header);
                }
                HeaderEdit::Append(header) => headers.push(header),
                HeaderEdit::Add(header) => {
                    if headers.iter().all(|known| known.name != header.name) {
                        headers.push(header);
                    }
                }
                HeaderEdit::Replace(header) => {
                    if headers.iter().any(|known| known.name == header.name) {
                        headers.retain(|known| known.name != header.name);
                        headers.push(header);
                    }
                }
                HeaderEdit::Include(header) => unreachable!("{header:?}"),
                HeaderEdit::Remove(name) => headers.retain(|known| known.name != name),
            }
        }
        let mut lines: Vec<String> = headers
            .iter()
            .map(|header| format!("{}: {}", header.name, header.text().unwrap_or("?")))
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn each_step_does_its_part() {
        assert_eq!(
            after(
                r#"{"remove": ["A"]}"#,
                &[("a", "1"), ("a", "2"), ("b", "3")]
            ),
            ["b: 3"]
        );
        assert_eq!(
            after(
                r#"{"rename": {"A": "B"}}"#,
                &[("a", "1"), ("a", "2"), ("b", "3")]
            ),
            ["b: 1", "b: 2"]
        );
        assert_eq!(after(r#"{"rename": {"A": "B"}}"#, &[("b", "3")]), ["b: 3"]);
        assert_eq!(
            after(
                r#"{"replace": {"a": "x", "b": "y"}}"#,
                &[("a", "1"), ("a", "2")]
            ),
            ["a: x"]
        );
        assert_eq!(
            after(r#"{"add": {"a": "x", "b": "y"}}"#, &[("a", "1")]),
            ["a: 1", "b: y"]
        );
        assert_eq!(
            after(r#"{"append": {"a": "x", "b": "y"}}"#, &[("a", "1")]),
            ["a: 1", "a: x", "b: y"]
        );
    }

    #[test]
    fn a_step_sees_what_the_steps_before_it_did() {
        assert_eq!(
            after(r#"{"remove": ["a"], "add": {"a": "x"}}"#, &[("a", "1")]),
            ["a: x"]
        );
        assert_eq!(
            after(r#"{"remove": ["a"], "replace": {"a": "x"}}"#, &[("a", "1")]),
            Vec::<String>::new()
        );
        assert_eq!(
            after(r#"{"remove": ["a"], "rename": {"a": "b"}}"#, &[("a", "1")]),
            Vec::<String>::new()
        );
        assert_eq!(
            after(
                r#"{"rename": {"a": "b"}, "add": {"b": "x"}}"#,
                &[("a", "1")]
            ),
            ["b: 1"]
        );
        assert_eq!(
            after(
                r#"{"rename": {"a": "b"}, "replace": {"b": "x"}}"#,
                &[("a", "1")]
            ),
            ["b: x"]
        );
        assert_eq!(
            after(
                r#"{"rename": {"a": "b"}, "add": {"a": "x"}}"#,
                &[("a", "1")]
            ),
            ["a: x", "b: 1"]
        );
        assert_eq!(
            after(r#"{"add": {"a": "x"}, "append": {"a": "y"}}"#, &[]),
            ["a: x", "a: y"]
        );
    }

    #[test]
    fn headers_can_change_places() {
        assert_eq!(
            after(
                r#"{"rename": {"a": "b", "b": "a"}}"#,
                &[("a", "1"), ("b", "2")]
            ),
            ["a: 2", "b: 1"]
        );
        assert_eq!(
            after(
                r#"{"rename": {"a": "b", "b": "c"}}"#,
                &[("a", "1"), ("b", "2")]
            ),
            ["b: 1", "c: 2"]
        );
    }

    #[test]
    fn only_what_is_needed_is_asked_for() {
        let side = r#"{"remove": ["a"], "rename": {"b": "c"}, "add": {"d": "{header.e}"}, "append": {"f": "{header.g}"}}"#;
        let side: Side = postern_plugin::config::parse(side).expect("config is right");
        let rules = side.compile("request").expect("config is right");
        assert_eq!(rules.renamed().collect::<Vec<_>>(), ["b"]);
        assert_eq!(rules.read().collect::<Vec<_>>(), ["e", "g"]);
    }
}
