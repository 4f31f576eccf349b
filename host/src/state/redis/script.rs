//! What runs inside of the server, so that nothing comes between a look and a change.

/// A script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    /// Checks limits and counts.
    Take,
    /// Writes an entry.
    Write,
    /// Adds to an entry.
    Add,
}

impl Script {
    pub(super) const ALL: [Self; 3] = [Self::Take, Self::Write, Self::Add];

    /// What it says.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Take => include_str!("take.lua"),
            Self::Write => include_str!("write.lua"),
            Self::Add => include_str!("add.lua"),
        }
    }
}

/// The names that the server gave to the scripts, in the order of [`Script::ALL`].
#[derive(Debug)]
pub(super) struct Names([String; Script::ALL.len()]);

impl Names {
    pub(super) fn new(names: [String; Script::ALL.len()]) -> Self {
        Self(names)
    }

    pub(super) fn of(&self, script: Script) -> &str {
        let [take, write, add] = &self.0;
        match script {
            Script::Take => take,
            Script::Write => write,
            Script::Add => add,
        }
    }
}
