//! "Did you mean": hints for words that are not known.

/// A hint for `word`, which is none of `known`: the nearest one, or all of them when none is near. `what` is their plural.
pub(super) fn hint<'k>(word: &str, what: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    let mut known: Vec<&str> = known.into_iter().collect();
    if let Some(near) = nearest(word, &known) {
        return format!("did you mean \"{near}\"?");
    }
    if known.is_empty() {
        return format!("there are no {what}");
    }
    known.sort_unstable();
    format!("{what}: {}", known.join(", "))
}

/// The candidate that `word` was probably meant to be.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let folded = fold(word);
    // One edit in three letters: `tmeout` is near `timeout`, `cpu` is not near `mem`.
    let budget = (folded.chars().count() / 3).max(1);
    known
        .iter()
        .map(|&candidate| (distance(&folded, &fold(candidate)), candidate))
        .filter(|&(distance, _)| distance <= budget)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Case, and `_` for `-`, are the commonest slips: they count as nothing.
fn fold(word: &str) -> String {
    word.to_lowercase().replace('_', "-")
}

fn distance(word: &str, candidate: &str) -> usize {
    strsim::damerau_levenshtein(word, candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let known = ["connect-timeout", "read-timeout", "targets", "cpu"];
        assert_eq!(nearest("conect-timeout", &known), Some("connect-timeout"));
        assert_eq!(nearest("READ_TIMEOUT", &known), Some("read-timeout"));
        assert_eq!(nearest("target", &known), Some("targets"));
        assert_eq!(nearest("memory", &known), None);
    }

    #[test]
    fn without_a_near_word_all_are_listed() {
        assert_eq!(
            hint("memory", "known keys", ["wall", "cpu"]),
            "known keys: cpu, wall"
        );
        assert_eq!(hint("x", "upstreams", []), "there are no upstreams");
    }
}
