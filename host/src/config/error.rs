//! What is wrong with a configuration, and how it is shown.
//!
//! A problem keeps its place as bytes; lines and columns are worked out when it is printed.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::resolved::Position;
use super::text::{Text, Texts};

/// Longer source lines are cut around the place, so that one line of a terminal still shows it.
const MAX_SHOWN_LINE: usize = 160;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file it is in.
    pub file: Arc<PathBuf>,
    /// The bytes it is about; `None` when it is about the whole file.
    pub span: Option<Range<usize>>,
    /// The key's path, such as `route[3].timeout`; may be empty.
    pub key: Arc<str>,
    /// What is wrong: lower case, no full stop, and what was expected.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Problem {
    /// A mistake that a later stage found in the table or key at `position`.
    #[must_use]
    pub fn at(position: &Position, message: impl Into<String>, help: Option<String>) -> Self {
        Self {
            file: Arc::clone(&position.file),
            span: Some(position.span.clone()),
            key: Arc::clone(&position.key),
            message: message.into(),
            help,
        }
    }

    /// A mistake that has no place in `file`: something is absent, or the file cannot be read.
    #[must_use]
    pub fn of_file(
        file: impl Into<PathBuf>,
        message: impl Into<String>,
        help: Option<String>,
    ) -> Self {
        Self {
            file: Arc::new(file.into()),
            span: None,
            key: "".into(),
            message: message.into(),
            help,
        }
    }

    fn render(&self, text: Option<&Text>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        let place = text.zip(self.span.as_ref());
        if let Some((text, span)) = place {
            let (line, column) = text.line_and_column(span.start);
            write!(f, ":{line}:{column}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        writeln!(f, ": {}", self.message)?;
        if let Some((text, span)) = place {
            Excerpt::new(text, span).render(f)?;
        }
        if let Some(help) = &self.help {
            writeln!(f, "help: {help}")?;
        }
        Ok(())
    }
}

/// All mistakes of one run, in the order of the files.
#[derive(Debug, Clone)]
pub struct Problems {
    list: Vec<Problem>,
    texts: Texts,
}

impl Problems {
    /// Puts problems in order; `texts` ([`Config::texts`](super::Config::texts)) shows the lines that they are about.
    #[must_use]
    pub fn new(mut list: Vec<Problem>, texts: &Texts) -> Self {
        list.sort_by_cached_key(|problem| {
            (
                texts.rank(&problem.file),
                problem.span.as_ref().map(|span| span.start),
            )
        });
        Self {
            list,
            texts: texts.clone(),
        }
    }

    /// The problems, in order; at least one unless the caller of [`Problems::new`] gave none.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Line and column of a problem, both from 1; `None` when it is about a whole file.
    #[must_use]
    pub fn line_and_column(&self, problem: &Problem) -> Option<(usize, usize)> {
        let text = self.texts.get(&problem.file)?;
        problem
            .span
            .as_ref()
            .map(|span| text.line_and_column(span.start))
    }
}

impl<'p> IntoIterator for &'p Problems {
    type Item = &'p Problem;
    type IntoIter = std::slice::Iter<'p, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            problem.render(self.texts.get(&problem.file), f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A source line with carets under the place.
struct Excerpt {
    number: usize,
    line: String,
    indent: usize,
    carets: usize,
}

impl Excerpt {
    fn new(text: &Text, span: &Range<usize>) -> Self {
        let (number, column) = text.line_and_column(span.start);
        let range = text.line_range(span.start);
        // A place that spans lines is marked on its first one.
        let end = span.end.clamp(span.start.min(range.end), range.end);
        let carets = text
            .content
            .get(span.start..end)
            .map_or(1, |marked| marked.chars().count().max(1));
        let (line, indent) = cut(text.shown(range), column - 1);
        let carets = carets.min(line.chars().count().saturating_sub(indent).max(1));
        Self {
            number,
            line,
            indent,
            carets,
        }
    }

    fn render(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.number.to_string();
        let gutter = " ".repeat(number.len());
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{number} | {}", self.line)?;
        writeln!(
            f,
            "{gutter} | {}{}",
            " ".repeat(self.indent),
            "^".repeat(self.carets)
        )
    }
}

/// Shortens a long line around character `at`, and says where that character is now.
fn cut(line: String, at: usize) -> (String, usize) {
    if line.chars().count() <= MAX_SHOWN_LINE {
        return (line, at);
    }
    let start = at.saturating_sub(MAX_SHOWN_LINE / 3);
    let shown: String = line.chars().skip(start).take(MAX_SHOWN_LINE).collect();
    let before = if start > 0 { "…" } else { "" };
    let after = if start + MAX_SHOWN_LINE < line.chars().count() {
        "…"
    } else {
        ""
    };
    (
        format!("{before}{shown}{after}"),
        at - start + before.chars().count(),
    )
}

/// Collects problems while files are read and checked.
#[derive(Debug, Default)]
pub(super) struct Report {
    problems: Vec<Problem>,
    /// The files read so far.
    pub(super) texts: Texts,
}

impl Report {
    /// Notes a mistake at a place. Saying the same thing about the same place twice helps nobody.
    pub(super) fn at(
        &mut self,
        position: &Position,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.add(Problem::at(position, message, help));
    }

    /// Notes a mistake.
    pub(super) fn add(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// `file:line:column` of a place, for problems that are about two places.
    pub(super) fn place(&self, position: &Position) -> String {
        let file = position.file.display();
        match self.texts.get(&position.file) {
            Some(text) => {
                let (line, column) = text.line_and_column(position.span.start);
                format!("{file}:{line}:{column}")
            }
            None => file.to_string(),
        }
    }

    /// The problems and the texts that they are shown with.
    pub(super) fn finish(self) -> (Texts, Option<Problems>) {
        let problems =
            (!self.problems.is_empty()).then(|| Problems::new(self.problems, &self.texts));
        (self.texts, problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(content: &str) -> Texts {
        let mut texts = Texts::default();
        texts.add(Text::new("postern.toml".into(), content));
        texts
    }

    fn position(span: Range<usize>) -> Position {
        Position {
            file: Arc::new("postern.toml".into()),
            span,
            key: "route[0].timeout".into(),
        }
    }

    #[test]
    fn a_problem_shows_its_place_line_carets_and_help() {
        let content = "version = 1\n[[route]]\ntimeout = 250\n";
        let start = content.find("250").unwrap();
        let problem = Problem::at(
            &position(start..start + 3),
            "expected a duration, found 250",
            Some("write \"250ms\"".into()),
        );
        assert_eq!(
            Problems::new(vec![problem], &texts(content)).to_string(),
            "postern.toml:3:11: route[0].timeout: expected a duration, found 250\n  |\n3 | timeout = 250\n  |           ^^^\nhelp: write \"250ms\"\n"
        );
    }

    #[test]
    fn problems_are_sorted_by_their_place() {
        let late = Problem::at(&position(5..6), "late", None);
        let early = Problem::at(&position(1..2), "early", None);
        let whole = Problem::of_file("postern.toml", "whole", None);
        let other = Problem::of_file("other.toml", "other", None);
        let problems = Problems::new(vec![other, late, early, whole], &texts("0123456789"));
        let messages: Vec<_> = problems
            .iter()
            .map(|problem| problem.message.as_str())
            .collect();
        assert_eq!(messages, ["whole", "early", "late", "other"]);
    }

    #[test]
    fn a_place_that_spans_lines_or_lies_outside_is_still_shown() {
        let text = "a = \"\"\"x\ny\"\"\"\n";
        let shown =
            Problems::new(vec![Problem::at(&position(4..13), "m", None)], &texts(text)).to_string();
        assert!(shown.contains("1 | a = \"\"\"x\n  |     ^^^^\n"), "{shown}");
        let shown = Problems::new(
            vec![Problem::at(&position(900..901), "m", None)],
            &texts("a\n"),
        )
        .to_string();
        assert!(
            shown.contains("postern.toml:2:1: route[0].timeout: m\n"),
            "{shown}"
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let content = format!("x = \"{}\" # {}", "ä".repeat(300), "z".repeat(300));
        let start = content.find('#').unwrap();
        let shown = Problems::new(
            vec![Problem::at(&position(start..start + 1), "m", None)],
            &texts(&content),
        )
        .to_string();
        let lines: Vec<_> = shown.lines().collect();
        let marked = lines[2]
            .chars()
            .nth(lines[3].chars().position(|c| c == '^').unwrap());
        assert_eq!(marked, Some('#'), "{shown}");
        assert!(lines[2].chars().count() < 180);
    }

    #[test]
    fn a_file_that_was_never_read_is_named_without_a_line() {
        let shown = Problems::new(
            vec![Problem::at(&position(3..4), "m", None)],
            &Texts::default(),
        )
        .to_string();
        assert_eq!(shown, "postern.toml: route[0].timeout: m\n");
    }
}
