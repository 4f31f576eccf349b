//! `[upstream.NAME.balance]`, `[upstream.NAME.sticky]`

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Checker;
use super::quantity::TIMEOUT;
use crate::config::defaults as default;
use crate::config::entry::{Entry, Place};
use crate::config::file::{BalanceEntry, BalanceFile, StickyFile, UpstreamFile};
use crate::config::resolved::{
    BalanceConfig, BalancePolicy, HashOn, Position, SameSite, StickyConfig, SubsetConfig,
};
use crate::config::values::{PolicyKind, check_name};

/// What a client can send without trouble; browsers take 4,096 bytes for a cookie with its attributes.
const MAX_TEXT: usize = 256;
/// As for HS256: less can be guessed.
const MIN_SECRET: usize = 32;
const MAX_ZONES: usize = 64;

impl Checker<'_> {
    pub(super) fn balance(&mut self, table: &Entry<'_, UpstreamFile>) -> BalanceConfig {
        let Entry { file, place, .. } = table;
        let none = BalanceFile::default();
        let Some(entry) = &file.balance else {
            return BalanceConfig::default();
        };
        let here = place.at(entry);
        let (kind, file) = match entry.get_ref() {
            BalanceEntry::Policy(word) => (Some(word.0), &none),
            BalanceEntry::Table(file) => {
                (file.policy.as_ref().map(|word| word.get_ref().0), &**file)
            }
        };
        BalanceConfig {
            policy: self.policy(place, &here, kind, file),
            panic_threshold: file
                .panic_threshold
                .as_ref()
                .map_or(default::DEFAULT_BALANCE_PANIC_THRESHOLD, |share| {
                    share.get_ref().0
                }),
            slow_start: file
                .slow_start
                .is_some()
                .then(|| self.duration(place, &file.slow_start, *TIMEOUT.end(), TIMEOUT)),
            zones: self.zones(place, file),
            subset: self.subset(place, &here, file),
        }
    }

    fn policy(
        &mut self,
        place: &Place<'_>,
        here: &Position,
        kind: Option<PolicyKind>,
        file: &BalanceFile,
    ) -> BalancePolicy {
        let on = file.hash_on.as_ref().map(|on| on.get_ref().0.clone());
        if let Some(field) = file
            .hash_on
            .as_ref()
            .filter(|_| kind != Some(PolicyKind::Hash))
        {
            let help = "write `policy = \"hash\"`";
            let message = "only the policy `hash` has something to hash";
            self.report.at(&place.at(field), message, Some(help.into()));
        }
        match kind {
            None | Some(PolicyKind::RoundRobin) => BalancePolicy::RoundRobin,
            Some(PolicyKind::LeastRequest) => BalancePolicy::LeastRequest,
            Some(PolicyKind::PeakEwma) => BalancePolicy::PeakEwma,
            Some(PolicyKind::Hash) => {
                self.required(place, here, &file.hash_on, "hash-on", "\"header:x-user\"");
                BalancePolicy::Hash(on.unwrap_or(HashOn::Address))
            }
        }
    }

    fn zones(&mut self, place: &Place<'_>, file: &BalanceFile) -> BTreeMap<Arc<str>, u32> {
        let Some(zones) = &file.zones else {
            return BTreeMap::new();
        };
        if zones.get_ref().len() > MAX_ZONES {
            let message = format!("expected at most {MAX_ZONES} zones");
            self.report.at(&place.at(zones), message, None);
        }
        let mut resolved = BTreeMap::new();
        for (name, weight) in zones.get_ref() {
            if let Err(refusal) = check_name(name) {
                let (message, help) = refusal.into_parts();
                self.report.at(&place.at(weight), message, help);
            }
            let field = Some(weight.clone());
            resolved.insert(
                name.as_str().into(),
                self.count(place, &field, 1, 1..=10_000),
            );
        }
        resolved
    }

    fn subset(
        &mut self,
        place: &Place<'_>,
        here: &Position,
        file: &BalanceFile,
    ) -> Option<SubsetConfig> {
        let (header, tag) = (&file.subset_header, &file.subset_tag);
        if header.is_none() && tag.is_none() && file.subset_fallback.is_none() {
            return None;
        }
        let header = self.required(place, here, header, "subset-header", "\"x-version\"");
        let tag = self.required(place, here, tag, "subset-tag", "\"version\"");
        Some(SubsetConfig {
            header: http::HeaderName::from_bytes(header?.get_ref().0.as_bytes()).ok()?,
            tag: self.not_empty(place, tag?),
            otherwise_any: file
                .subset_fallback
                .as_ref()
                .is_none_or(|word| word.get_ref().0),
        })
    }

    pub(super) fn sticky(&mut self, table: &Entry<'_, UpstreamFile>) -> Option<StickyConfig> {
        let place = &table.place;
        let sticky = table.file.sticky.as_ref()?;
        let (here, file) = (place.at(sticky), sticky.get_ref());
        let same_site = file.same_site.as_ref().map_or(SameSite::Lax, |word| word.0);
        let secure = file.secure.unwrap_or(true);
        if same_site == SameSite::None && !secure {
            let message = "browsers take `same-site = \"none\"` only with `secure = true`";
            self.report.at(&here, message, None);
        }
        let (cookie, path) = (self.cookie_name(place, file), self.cookie_path(place, file));
        let max_age = self.timeout(place, &file.max_age);
        let secret = self.required(
            place,
            &here,
            &file.secret,
            "secret",
            "\"env:STICKY_SECRET\"",
        );
        let (position, secret) = secret.and_then(|secret| self.read(place, secret))?;
        if secret.reveal().len() < MIN_SECRET {
            let message = format!("a secret for cookies has at least {MIN_SECRET} bytes");
            let help = "make one: `openssl rand -hex 32`";
            self.report.at(&position, message, Some(help.into()));
        }
        Some(StickyConfig {
            cookie,
            secret,
            max_age,
            path,
            secure,
            http_only: file.http_only.unwrap_or(true),
            same_site,
        })
    }

    fn cookie_name(&mut self, place: &Place<'_>, file: &StickyFile) -> Arc<str> {
        let Some(name) = &file.cookie else {
            return default::DEFAULT_STICKY_COOKIE.into();
        };
        let text = name.get_ref();
        // A token (RFC 6265, 4.1.1), as names of headers are.
        let is_token = http::HeaderName::from_bytes(text.as_bytes()).is_ok();
        if !is_token || text.len() > MAX_TEXT {
            let message = format!("{text:?} cannot be the name of a cookie");
            let help = "use letters, digits, \"-\" and \"_\"";
            self.report.at(&place.at(name), message, Some(help.into()));
        }
        text.as_str().into()
    }

    fn cookie_path(&mut self, place: &Place<'_>, file: &StickyFile) -> Arc<str> {
        let Some(path) = &file.path else {
            return default::DEFAULT_STICKY_PATH.into();
        };
        let text = path.get_ref();
        let legal = |byte: u8| byte.is_ascii_graphic() && byte != b';';
        if !text.starts_with('/') || !text.bytes().all(legal) || text.len() > MAX_TEXT {
            let message = format!("expected a path like \"/api\", found {text:?}");
            self.report.at(&place.at(path), message, None);
        }
        text.as_str().into()
    }
}
