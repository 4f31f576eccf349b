//! One rule: which requests it is for, and what their tokens must say.

use crate::pattern::Pattern;

/// A rule, checked.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) methods: Vec<String>,
    pub(crate) path: Option<Pattern>,
    pub(crate) scopes: Vec<String>,
    pub(crate) any_scope: Vec<String>,
    /// Keys of notes, and the values of which each must hold one.
    pub(crate) claims: Vec<(String, Vec<String>)>,
}

/// What a token lacks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    Scope,
    Claim,
}

impl Rule {
    /// Whether the rule is for such a request.
    pub(crate) fn fits(&self, method: &str, path: &str) -> bool {
        let is_method = self.methods.is_empty() || self.methods.iter().any(|own| own == method);
        is_method && self.path.as_ref().is_none_or(|pattern| pattern.fits(path))
    }

    /// What the token lacks whose claims `note` knows: their values, one a line.
    pub(crate) fn check(
        &self,
        scope_note: &str,
        note: impl Fn(&str) -> String,
    ) -> Result<(), Lack> {
        if !self.scopes.is_empty() || !self.any_scope.is_empty() {
            let granted = note(scope_note);
            let has = |scope: &String| granted.split(['\n', ' ']).any(|own| own == scope);
            let has_one = self.any_scope.is_empty() || self.any_scope.iter().any(has);
            if !has_one || !self.scopes.iter().all(has) {
                return Err(Lack::Scope);
            }
        }
        for (key, values) in &self.claims {
            let claimed = note(key);
            if !claimed
                .lines()
                .any(|own| values.iter().any(|value| value == own))
            {
                return Err(Lack::Claim);
            }
        }
        Ok(())
    }

    /// All scopes that the rule names, as a challenge tells them.
    pub(crate) fn wanted(&self) -> String {
        let scopes: Vec<&str> = self
            .scopes
            .iter()
            .chain(&self.any_scope)
            .map(String::as_str)
            .collect();
        scopes.join(" ")
    }
}
