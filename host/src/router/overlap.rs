//! Whether two regular expressions can match the same path: then nothing says which of the two routes is meant.
//!
//! Both are turned into automata, and all pairs of states that one path can lead to are visited. What is too large to be
//! decided counts as an overlap: a priority settles it.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashSet;
use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::util::syntax;
use regex_automata::{Anchored, MatchKind};
use regex_syntax::hir::{Hir, HirKind};

/// Memory of one automaton.
const MAX_AUTOMATON: usize = 1 << 20;
/// Pairs of states that are visited for one pair of expressions.
const MAX_STATES: usize = 20_000;
/// Pairs of expressions that are compared by their automata, for one configuration.
const MAX_COMPARISONS: usize = 2_000;

/// Compares the regular expressions of a configuration.
#[derive(Default)]
pub(super) struct Overlaps {
    known: BTreeMap<Box<str>, Known>,
    comparisons: usize,
}

#[derive(Clone)]
struct Known {
    /// What every path begins with.
    prefix: Arc<str>,
    /// Made when it is first needed; none if it is too large.
    automaton: Option<Option<Arc<dense::DFA<Vec<u32>>>>>,
}

impl Overlaps {
    /// Whether a path may match both.
    pub(super) fn overlap(&mut self, one: &str, two: &str) -> bool {
        let (first, second) = (self.prefix(one), self.prefix(two));
        if !first.starts_with(&*second) && !second.starts_with(&*first) {
            return false;
        }
        self.comparisons += 1;
        if self.comparisons > MAX_COMPARISONS {
            return true;
        }
        match (self.automaton(one), self.automaton(two)) {
            (Some(one), Some(two)) => meet(&one, &two).unwrap_or(true),
            _ => true,
        }
    }

    fn prefix(&mut self, text: &str) -> Arc<str> {
        let known = self.known.entry(text.into()).or_insert_with(|| Known {
            prefix: prefix(text).into(),
            automaton: None,
        });
        Arc::clone(&known.prefix)
    }

    fn automaton(&mut self, text: &str) -> Option<Arc<dense::DFA<Vec<u32>>>> {
        let known = self.known.get_mut(text)?;
        let made = known
            .automaton
            .get_or_insert_with(|| automaton(text).map(Arc::new));
        made.clone()
    }
}

fn syntax() -> syntax::Config {
    syntax::Config::new().unicode(false).utf8(false)
}

/// The literal text that an expression begins with.
fn prefix(text: &str) -> String {
    fn literal(hir: &Hir) -> &[u8] {
        match hir.kind() {
            HirKind::Literal(literal) => &literal.0,
            HirKind::Concat(parts) => {
                // An anchor comes before the text, but does not add to it.
                let mut parts = parts
                    .iter()
                    .skip_while(|part| matches!(part.kind(), HirKind::Look(_)));
                parts.next().map(literal).unwrap_or_default()
            }
            _ => &[],
        }
    }
    let parsed = syntax::parse_with(text, &syntax());
    parsed.map_or_else(
        |_| String::new(),
        |hir| String::from_utf8_lossy(literal(&hir)).into_owned(),
    )
}

fn automaton(text: &str) -> Option<dense::DFA<Vec<u32>>> {
    let config = dense::Config::new()
        .start_kind(StartKind::Anchored)
        // All alternatives are followed to their end, not only the preferred one.
        .match_kind(MatchKind::All)
        .dfa_size_limit(Some(MAX_AUTOMATON))
        .determinize_size_limit(Some(MAX_AUTOMATON));
    let mut builder = dense::Builder::new();
    let builder = builder.configure(config).syntax(syntax());
    builder.build(&format!("^(?:{text})$")).ok()
}

/// Whether a path leads both automata to a match; none if that would take too long to find out.
fn meet(one: &dense::DFA<Vec<u32>>, two: &dense::DFA<Vec<u32>>) -> Option<bool> {
    let begin = start::Config::new().anchored(Anchored::Yes);
    let begin = (one.start_state(&begin).ok()?, two.start_state(&begin).ok()?);
    let step = |(first, second): (StateID, StateID), byte: u8| {
        (one.next_state(first, byte), two.next_state(second, byte))
    };
    let mut seen = HashSet::new();
    let mut open = vec![step(begin, b'/')];
    while let Some(pair) = open.pop() {
        let (first, second) = pair;
        if one.is_dead_state(first) || two.is_dead_state(second) || !seen.insert(pair) {
            continue;
        }
        if one.is_quit_state(first) || two.is_quit_state(second) || seen.len() > MAX_STATES {
            return None;
        }
        let ends = (one.next_eoi_state(first), two.next_eoi_state(second));
        if one.is_match_state(ends.0) && two.is_match_state(ends.1) {
            return Some(true);
        }
        // Normal paths consist of visible ASCII characters.
        open.extend((b'!'..=b'~').map(|byte| step(pair, byte)));
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlap(one: &str, two: &str) -> bool {
        let found = Overlaps::default().overlap(one, two);
        assert_eq!(found, Overlaps::default().overlap(two, one), "{one} {two}");
        found
    }

    #[test]
    fn expressions_overlap_when_a_path_matches_both() {
        for (one, two) in [
            ("/users/[0-9]+", "/users/[0-9a-f]+"),
            ("/a.*", "/.*b"),
            ("/(a|ab)", "/ab"),
            ("^/a$", "/a"),
            ("/a?", "/"),
            ("/(?i)ORDERS", "/orders"),
        ] {
            assert!(overlap(one, two), "{one} {two}");
        }
    }

    #[test]
    fn expressions_that_share_no_path_do_not_overlap() {
        for (one, two) in [
            ("/users/[0-9]+", "/users/[a-z]+"),
            ("/users/[0-9]+", "/orders/[0-9]+"),
            ("/a", "/a/b"),
            ("/[^/]+", "/[^/]+/[^/]+"),
            ("/(a|ab)c", "/ab"),
            // Only by characters that no normal path has.
            ("/\\x00|/a", "/\\x00|/b"),
        ] {
            assert!(!overlap(one, two), "{one} {two}");
        }
    }

    #[test]
    fn what_is_too_large_to_compare_counts_as_an_overlap() {
        let large = "/(a|b)*a(a|b){18}";
        assert!(overlap(large, "/(a|b)*c"));
    }

    #[test]
    fn the_prefix_is_the_text_that_all_paths_begin_with() {
        for (text, expected) in [
            ("/users/[0-9]+", "/users/"),
            ("^/users/x", "/users/x"),
            ("/a|/b", ""),
            ("/ab?", "/a"),
            ("/v1\\.0/(a|b)", "/v1.0/"),
        ] {
            assert!(
                expected.starts_with(&prefix(text)),
                "{text}: {}",
                prefix(text)
            );
        }
        assert_eq!(prefix("/users/[0-9]+"), "/users/");
    }
}
