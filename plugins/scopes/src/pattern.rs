//! Path patterns, written as those of routes: `/orders/{id}`, `/orders/{*rest}`.

/// A pattern, by its segments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    segments: Vec<Segment>,
    /// Whether the path may go on: `{*rest}` at the end.
    goes_on: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Segment {
    Text(String),
    Any,
}

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!("{text:?} does not begin with /"));
        };
        let mut segments: Vec<&str> = rest.split('/').collect();
        let goes_on = segments
            .last()
            .is_some_and(|last| last.starts_with("{*") && last.ends_with('}'));
        if goes_on {
            segments.pop();
        }
        let segments = segments
            .into_iter()
            .map(Segment::parse)
            .collect::<Result<_, _>>()?;
        Ok(Pattern { segments, goes_on })
    }

    /// Whether a path fits, as it is written in the request. `{*rest}` stands for one character at least.
    pub(crate) fn fits(&self, path: &str) -> bool {
        let Some(mut rest) = path.strip_prefix('/') else {
            return false;
        };
        for (index, segment) in self.segments.iter().enumerate() {
            let is_last = index + 1 == self.segments.len() && !self.goes_on;
            let (here, after) = match rest.split_once('/') {
                Some((here, after)) if !is_last => (here, after),
                None if is_last => (rest, ""),
                _ => return false,
            };
            if !segment.fits(here) {
                return false;
            }
            rest = after;
        }
        !self.goes_on || !rest.is_empty()
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, String> {
        match text
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
        {
            Some(name) if !name.is_empty() && !name.contains(['{', '}', '*']) => Ok(Segment::Any),
            None if !text.contains(['{', '}', '?', '#', '*']) => Ok(Segment::Text(text.to_owned())),
            _ => Err(format!(
                "{text:?} is no segment: expected a text, {{name}}, or {{*rest}} at the end"
            )),
        }
    }

    fn fits(&self, segment: &str) -> bool {
        match self {
            Segment::Text(text) => text == segment,
            Segment::Any => !segment.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn paths_fit_as_they_do_in_routes() {
        for (pattern, fitting, others) in [
            ("/", &["/"][..], &["/a", "", "//"][..]),
            (
                "/orders",
                &["/orders"],
                &["/orders/", "/Orders", "/order", "/orders/1"],
            ),
            ("/orders/", &["/orders/"], &["/orders", "/orders/1"]),
            (
                "/orders/{id}",
                &["/orders/1", "/orders/%2e"],
                &["/orders/", "/orders", "/orders/1/", "/orders/1/x"],
            ),
            (
                "/orders/{*rest}",
                &["/orders/1", "/orders/1/x", "/orders/1/"],
                &["/orders/", "/orders", "/other/1"],
            ),
            (
                "/{shop}/orders/{*rest}",
                &["/a/orders/1"],
                &["/orders/1", "//orders/1", "/a/orders/"],
            ),
            ("/{*rest}", &["/a", "/a/b"], &["/"]),
        ] {
            let parsed = Pattern::parse(pattern).expect(pattern);
            for path in fitting {
                assert!(parsed.fits(path), "{pattern} {path}");
            }
            for path in others {
                assert!(!parsed.fits(path), "{pattern} {path}");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in [
            "",
            "orders",
            "/a*",
            "/{}",
            "/{*rest}/a",
            "/{a}b",
            "/a?b=c",
            "/{a{b}}",
        ] {
            assert!(Pattern::parse(bad).is_err(), "{bad:?}");
        }
    }
}
