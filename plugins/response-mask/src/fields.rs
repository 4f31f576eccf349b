//! Which fields are meant: names, wherever they are, and paths from the root.

/// Paths are numbered by the bits of a word.
pub(crate) const MAX_PATHS: usize = 64;
/// No name is longer, and a longer key is no name.
pub(crate) const MAX_NAME_BYTES: usize = 256;

/// The fields to mask.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    names: Vec<Vec<u8>>,
    paths: Vec<Vec<Step>>,
}

#[derive(Debug)]
enum Step {
    Key(Vec<u8>),
    /// Any key, and any element of an array.
    Any,
}

/// The paths that lead to or through a place, one bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Alive(u64);

impl Alive {
    /// All paths lead through the root.
    pub(crate) const ROOT: Alive = Alive(u64::MAX);
}

impl Fields {
    /// Adds `name`, or `$.path.to.*.name`.
    pub(crate) fn add(&mut self, text: &str) -> Result<(), String> {
        let Some(path) = text.strip_prefix("$.") else {
            let name = checked(text, text)?;
            if text.starts_with('$') || text.contains(['.', '*']) {
                return Err(format!(
                    "{text:?} is neither a name nor a path: a path begins with \"$.\""
                ));
            }
            self.names.push(name);
            return Ok(());
        };
        if self.paths.len() == MAX_PATHS {
            return Err(format!("at most {MAX_PATHS} paths are possible"));
        }
        let step = |step: &str| match step {
            "*" => Ok(Step::Any),
            name => checked(name, text).map(Step::Key),
        };
        let steps: Result<Vec<Step>, String> = path.split('.').map(step).collect();
        self.paths.push(steps?);
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.paths.is_empty()
    }

    /// The paths that go on from a place at `depth` to its child, and whether the child is meant. `key` is none for an
    /// element of an array.
    pub(crate) fn step(&self, alive: Alive, depth: usize, key: Option<&[u8]>) -> (Alive, bool) {
        let mut meant = key.is_some_and(|key| self.names.iter().any(|name| name == key));
        let mut next = 0;
        for (number, path) in self.paths.iter().enumerate() {
            let bit = 1_u64 << number;
            let goes_on = alive.0 & bit != 0
                && match path.get(depth) {
                    Some(Step::Any) => true,
                    Some(Step::Key(name)) => key == Some(name),
                    None => false,
                };
            if goes_on {
                next |= bit;
                meant |= path.len() == depth + 1;
            }
        }
        (Alive(next), meant)
    }
}

fn checked(name: &str, whole: &str) -> Result<Vec<u8>, String> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(format!("{whole:?}: a name has 1 to {MAX_NAME_BYTES} bytes"));
    }
    Ok(name.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::{Alive, Fields};

    fn fields(texts: &[&str]) -> Fields {
        let mut fields = Fields::default();
        texts
            .iter()
            .for_each(|text| fields.add(text).expect("it is right"));
        fields
    }

    fn meant(fields: &Fields, place: &[Option<&str>]) -> bool {
        let mut alive = Alive::ROOT;
        let mut last = false;
        for (depth, key) in place.iter().enumerate() {
            (alive, last) = fields.step(alive, depth, key.map(str::as_bytes));
        }
        last
    }

    #[test]
    fn names_are_meant_everywhere_and_paths_from_the_root() {
        let fields = fields(&["password", "$.card.number", "$.items.*.ssn", "$.*"]);
        for (place, expected) in [
            (&[Some("a"), None, Some("password")][..], true),
            (&[Some("card"), Some("number")], true),
            (&[Some("x"), Some("card"), Some("number")], false),
            (&[Some("items"), None, Some("ssn")], true),
            (&[Some("items"), Some("first"), Some("ssn")], true),
            (&[Some("items"), Some("ssn")], false),
            (&[Some("anything")], true),
            (&[Some("card"), Some("holder")], false),
        ] {
            assert_eq!(meant(&fields, place), expected, "{place:?}");
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        for bad in ["", "$", "$.", "$.a..b", "a.b", "*", "$a"] {
            assert!(Fields::default().add(bad).is_err(), "{bad:?}");
        }
        let mut many = Fields::default();
        assert!((0..64).all(|_| many.add("$.a").is_ok()));
        assert!(many.add("$.a").is_err());
    }
}
