//! Patterns in text that comes in pieces. A match lies within a line of text, or within a string of JSON.

use std::ops::Range;

use regex::bytes::Regex;

/// A longer match may be cut: so many bytes are held back until more have come.
pub(crate) const MAX_MATCH_BYTES: usize = 256;

/// A pattern, and what stands in the place of its matches.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub(crate) regex: Regex,
    pub(crate) replacement: Vec<u8>,
}

/// Text of which the last bytes may be the beginning of a match.
#[derive(Debug, Default)]
pub(crate) struct Scrub {
    held: Vec<u8>,
    /// So many of the bytes held have been passed on: a pattern may look at what stands before a match.
    seen: usize,
}

impl Scrub {
    /// Takes a piece of text: what is masked of it, line by line.
    pub(crate) fn lines(&mut self, patterns: &[Pattern], piece: &[u8], out: &mut Vec<u8>) {
        for line in piece.split_inclusive(|byte| *byte == b'\n') {
            self.push(patterns, line, out);
            if line.ends_with(b"\n") {
                self.end(patterns, out);
            }
        }
    }

    /// Takes a piece of one line or string.
    pub(crate) fn push(&mut self, patterns: &[Pattern], piece: &[u8], out: &mut Vec<u8>) {
        self.held.extend_from_slice(piece);
        self.pass_on(patterns, false, out);
    }

    /// The line or string has ended.
    pub(crate) fn end(&mut self, patterns: &[Pattern], out: &mut Vec<u8>) {
        self.pass_on(patterns, true, out);
        self.held.clear();
        self.seen = 0;
    }

    /// Passes on what can no longer be a part of a match that is not known yet.
    fn pass_on(&mut self, patterns: &[Pattern], ended: bool, out: &mut Vec<u8>) {
        // A match that begins before this place is known whole.
        let known = match ended {
            true => self.held.len(),
            false => self.held.len().saturating_sub(MAX_MATCH_BYTES),
        };
        let mut at = self.seen;
        if at < known {
            // The next match of each pattern: looked for again only when it has been passed.
            let mut next: Vec<_> = patterns
                .iter()
                .map(|pattern| self.find(pattern, at))
                .collect();
            loop {
                let first = next.iter().zip(patterns);
                let first = first.filter_map(|(found, pattern)| Some((found.clone()?, pattern)));
                let Some((found, pattern)) = first
                    .min_by_key(|(found, _)| found.start)
                    .filter(|(found, _)| found.start < known)
                else {
                    break;
                };
                out.extend_from_slice(self.held.get(at..found.start).unwrap_or_default());
                out.extend_from_slice(&pattern.replacement);
                at = found.end;
                for (next, pattern) in next.iter_mut().zip(patterns) {
                    if next.as_ref().is_some_and(|next| next.start < at) {
                        *next = self.find(pattern, at);
                    }
                }
            }
            out.extend_from_slice(self.held.get(at..known).unwrap_or_default());
            at = at.max(known);
        }
        // One byte is enough for `\b` and `^`.
        let kept = at.saturating_sub(1);
        self.held.drain(..kept);
        self.seen = at - kept;
    }

    fn find(&self, pattern: &Pattern, at: usize) -> Option<Range<usize>> {
        let found = pattern.regex.find_at(&self.held, at)?;
        Some(found.range())
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_MATCH_BYTES, Pattern, Scrub};

    fn patterns(list: &[(&str, &str)]) -> Vec<Pattern> {
        list.iter()
            .map(|(regex, replacement)| Pattern {
                regex: regex::bytes::RegexBuilder::new(regex)
                    .unicode(false)
                    .build()
                    .expect("it is right"),
                replacement: replacement.as_bytes().to_vec(),
            })
            .collect()
    }

    fn scrubbed(patterns: &[Pattern], text: &[u8], size: usize) -> Vec<u8> {
        let (mut scrub, mut out) = (Scrub::default(), Vec::new());
        for piece in text.chunks(size) {
            scrub.lines(patterns, piece, &mut out);
        }
        scrub.end(patterns, &mut out);
        out
    }

    #[test]
    fn matches_are_found_wherever_the_text_is_cut() {
        let patterns = patterns(&[
            (r"\b\d{4}-\d{4}\b", "<card>"),
            (r"[a-z]+@[a-z.]+", "<mail>"),
            ("^secret", "<s>"),
        ]);
        let filler = "-".repeat(MAX_MATCH_BYTES);
        let text = format!(
            "secret 1234-5678 a@b.c, 1234-56789 no secret\nsecret{filler}me@x.y {filler} 9999-0000"
        );
        let expected =
            format!("<s> <card> <mail>, 1234-56789 no secret\n<s>{filler}<mail> {filler} <card>");
        for size in [1, 2, 3, 7, 100, 10_000] {
            let masked = scrubbed(&patterns, text.as_bytes(), size);
            let masked = String::from_utf8(masked).expect("it is text");
            assert_eq!(masked, expected, "pieces of {size}");
        }
    }

    #[test]
    fn a_line_is_passed_on_at_once() {
        let patterns = patterns(&[("secret", "***")]);
        let (mut scrub, mut out) = (Scrub::default(), Vec::new());
        scrub.lines(&patterns, b"data: secret\n\nda", &mut out);
        assert_eq!(out, b"data: ***\n\n");
    }

    #[test]
    fn no_more_is_held_than_a_match_can_have() {
        let patterns = patterns(&[("a+b", "*")]);
        let (mut scrub, mut out) = (Scrub::default(), Vec::new());
        for _ in 0..1_000 {
            scrub.push(&patterns, &[b'a'; 100], &mut out);
            assert!(scrub.held.len() <= MAX_MATCH_BYTES + 1);
        }
    }
}
