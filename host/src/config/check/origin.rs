//! `[[route]]`: what becomes of its requests.

use std::sync::Arc;

use toml::Spanned;

use super::Checker;
use super::route::{conditions, on_headers};
use crate::config::defaults as default;
use crate::config::entry::Entry;
use crate::config::file::{CanaryFile, RedirectFile, RouteFile, SplitFile};
use crate::config::path::{parameters, regex_groups};
use crate::config::resolved::{
    CanaryConfig, MirrorConfig, OriginConfig, PathChangeConfig, PathConfig, Position,
};
use crate::config::template::{Part, Template};

const REDIRECTS: [u64; 5] = [301, 302, 303, 307, 308];
const MAX_SHARES: usize = 100;
const MAX_WEIGHT: u64 = 1_000_000;
const ORIGINS: &str = "`upstream`, `split`, `responder`, `redirect`";

impl Checker<'_> {
    /// Exactly one answers.
    pub(super) fn origin(
        &mut self,
        table: &Entry<'_, RouteFile>,
        here: &Position,
    ) -> Option<OriginConfig> {
        let Entry { file, place, .. } = table;
        let mut origins = Vec::new();
        if let Some(name) = &file.upstream {
            let upstream = self.existing_one(place, name, "upstream");
            origins.push((place.at(name), OriginConfig::Upstream(upstream)));
        }
        if let Some(split) = &file.split {
            origins.push((place.at(split), self.split(table, split)));
        }
        if let Some(name) = &file.responder {
            let plugin = self.existing_one(place, name, "plugin");
            origins.push((place.at(name), OriginConfig::Responder(plugin)));
        }
        if let Some(redirect) = &file.redirect {
            origins.push((place.at(redirect), self.redirect(table, redirect)));
        }
        let keys = ["upstream", "split", "responder", "redirect"];
        if origins.is_empty() && !keys.iter().any(|key| place.is_lost(here, key)) {
            let help = "add `upstream = \"NAME\"`, or `responder = \"NAME\"` for a plugin that answers itself".to_owned();
            self.report.at(
                here,
                format!("nothing answers the route: it has none of {ORIGINS}"),
                Some(help),
            );
        }
        let mut origins = origins.into_iter();
        let (_, origin) = origins.next()?;
        if let Some((second, _)) = origins.next() {
            self.report.at(
                &second,
                format!("a route has one of {ORIGINS}, not two"),
                Some("keep the one that is to answer".to_owned()),
            );
        }
        self.only_to_upstreams(table, &origin);
        Some(origin)
    }

    /// What is about requests to upstreams has no sense where there is none.
    fn only_to_upstreams(&mut self, table: &Entry<'_, RouteFile>, origin: &OriginConfig) {
        if origin.upstreams().next().is_some() {
            return;
        }
        let Entry { file, place, .. } = table;
        let of = |key, position: Option<Position>| position.map(|position| (key, position));
        let keys = [
            of(
                "strip-prefix",
                file.strip_prefix.as_ref().map(|field| place.at(field)),
            ),
            of(
                "rewrite",
                file.rewrite.as_ref().map(|field| place.at(field)),
            ),
            of("canary", file.canary.as_ref().map(|field| place.at(field))),
            of("mirror", file.mirror.as_ref().map(|field| place.at(field))),
            of("retry", file.retry.as_ref().map(|field| place.at(field))),
            of("fault", file.fault.as_ref().map(|field| place.at(field))),
        ];
        for (key, position) in keys.into_iter().flatten() {
            let message = format!("`{key}` is for routes with `upstream` or `split`");
            self.report.at(&position, message, Some("remove it".into()));
        }
    }

    fn split(
        &mut self,
        table: &Entry<'_, RouteFile>,
        split: &Spanned<Vec<Spanned<SplitFile>>>,
    ) -> OriginConfig {
        let place = &table.place;
        let mut shares: Vec<(Arc<str>, u32)> = Vec::new();
        if split.get_ref().len() > MAX_SHARES {
            let message = format!("a split has at most {MAX_SHARES} upstreams");
            self.report.at(&place.at(split), message, None);
        }
        for share in split.get_ref() {
            let here = place.at(share);
            let file = share.get_ref();
            let upstream = self.required(place, &here, &file.upstream, "upstream", "\"orders\"");
            self.required(place, &here, &file.weight, "weight", "90");
            let weight = self.count(place, &file.weight, 1, 0..=MAX_WEIGHT);
            let Some(name) = upstream else { continue };
            if shares.iter().any(|(known, _)| **known == **name.get_ref()) {
                let message = format!("the upstream {:?} is in the split twice", name.get_ref());
                self.report.at(&place.at(name), message, None);
            }
            shares.push((self.existing_one(place, name, "upstream"), weight));
        }
        let has_lost = place.is_lost(&place.here(), "split");
        if shares.iter().all(|(_, weight)| *weight == 0) && !has_lost {
            let message = "expected at least one upstream with a weight above 0";
            self.report.at(&place.at(split), message, None);
        }
        OriginConfig::Split(shares)
    }

    fn redirect(
        &mut self,
        table: &Entry<'_, RouteFile>,
        redirect: &Spanned<RedirectFile>,
    ) -> OriginConfig {
        let place = &table.place;
        let file = redirect.get_ref();
        let status = file.status.as_ref().map_or(307, |status| *status.get_ref());
        if let Some(field) = file
            .status
            .as_ref()
            .filter(|_| !REDIRECTS.contains(&status))
        {
            let message = format!("expected one of 301, 302, 303, 307, 308, found {status}");
            self.report.at(&place.at(field), message, None);
        }
        let here = place.at(redirect);
        let to = self.required(place, &here, &file.to, "to", "\"https://{$host}{$path}\"");
        let to = to.map(|to| {
            self.not_empty(place, to);
            let template = self.template(table, to);
            if let Err(reason) = leads_where_it_says(&template) {
                self.report.at(
                    &place.at(to),
                    reason,
                    Some("for example \"/new/{rest}\" or \"https://{$host}{$path}\"".into()),
                );
            }
            template
        });
        OriginConfig::Redirect {
            status: u16::try_from(status).unwrap_or_default(),
            to: to.unwrap_or_default(),
        }
    }

    fn template(&mut self, table: &Entry<'_, RouteFile>, field: &Spanned<String>) -> Template {
        let Entry { file, place, .. } = table;
        let names = match (&file.path, &file.path_regex) {
            (Some(path), _) => parameters(&path.get_ref().0),
            (None, Some(regex)) => regex_groups(&regex.get_ref().0),
            // What is missing is reported already.
            (None, None) => return Template::default(),
        };
        let text = field.get_ref();
        if let Some(wrong) = text.chars().find(|character| !character.is_ascii_graphic()) {
            let message = format!("expected only visible ASCII characters, found {wrong:?}");
            self.report.at(
                &place.at(field),
                message,
                Some("percent-encode it as UTF-8".into()),
            );
        }
        Template::parse(text, &names).unwrap_or_else(|reason| {
            let help = "write `{name}` for a parameter of the path; a literal brace is doubled";
            self.report.at(&place.at(field), reason, Some(help.into()));
            Template::default()
        })
    }

    /// What becomes of the path.
    pub(super) fn path_change(
        &mut self,
        table: &Entry<'_, RouteFile>,
        path: Option<&PathConfig>,
    ) -> Option<PathChangeConfig> {
        let Entry { file, place, .. } = table;
        if let (Some(_), Some(field)) = (&file.strip_prefix, &file.rewrite) {
            let message = "a route has `strip-prefix` or `rewrite`, not both";
            self.report.at(
                &place.at(field),
                message,
                Some("`rewrite` alone can do it".into()),
            );
        }
        if let Some(field) = &file.rewrite {
            let template = self.template(table, field);
            let begins = field.get_ref().starts_with('/') || field.get_ref().starts_with("{$path}");
            if !begins || field.get_ref().contains(['?', '#']) || template.0.contains(&Part::Host) {
                let message = "expected a path that begins with \"/\", without a query and a host";
                self.report.at(
                    &place.at(field),
                    message,
                    Some("the query is kept as it is".into()),
                );
            }
            return Some(PathChangeConfig::Rewrite(template));
        }
        let field = file.strip_prefix.as_ref()?;
        let prefix = field.get_ref().as_str();
        let cuts_segments = |path: &str| {
            let rest = path.strip_prefix(prefix);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let plain =
            prefix.starts_with('/') && !prefix.ends_with('/') && !prefix.contains(['{', '}']);
        match path {
            Some(PathConfig::Pattern(path)) if plain && cuts_segments(path) => {}
            Some(PathConfig::Regex(_)) => self.report.at(
                &place.at(field),
                "`strip-prefix` is for routes with `path`",
                Some("use `rewrite` with a group of the expression".into()),
            ),
            Some(path) => {
                let message = format!(
                    "expected whole segments without parameters that {path:?} begins with, found {prefix:?}",
                    path = path.to_string()
                );
                self.report.at(
                    &place.at(field),
                    message,
                    Some("for example \"/api\" of \"/api/{*rest}\"".into()),
                );
            }
            None => {}
        }
        Some(PathChangeConfig::StripPrefix(prefix.into()))
    }

    pub(super) fn canaries(&mut self, table: &Entry<'_, RouteFile>) -> Vec<CanaryConfig> {
        let rules = table.file.canary.iter().flat_map(Spanned::get_ref);
        rules.filter_map(|rule| self.canary(table, rule)).collect()
    }

    fn canary(
        &mut self,
        table: &Entry<'_, RouteFile>,
        rule: &Spanned<CanaryFile>,
    ) -> Option<CanaryConfig> {
        let place = &table.place;
        let (here, file) = (place.at(rule), rule.get_ref());
        let upstream = self.required(place, &here, &file.upstream, "upstream", "\"orders-next\"");
        let consumers = self.existing(place, file.consumers.as_ref(), "consumer");
        let (headers, cookies) = (on_headers(&file.headers), conditions(&file.cookies));
        let is_lost = ["headers", "cookies", "consumers"]
            .iter()
            .any(|key| place.is_lost(&here, key));
        if headers.is_empty() && cookies.is_empty() && consumers.is_empty() && !is_lost {
            let help =
                "add `headers`, `cookies` or `consumers`; a share of all requests is a `split`";
            self.report.at(
                &here,
                "the rule says nothing about its requests",
                Some(help.into()),
            );
        }
        Some(CanaryConfig {
            upstream: self.existing_one(place, upstream?, "upstream"),
            headers,
            cookies,
            consumers,
        })
    }

    pub(super) fn mirror(&mut self, table: &Entry<'_, RouteFile>) -> Option<MirrorConfig> {
        let place = &table.place;
        let mirror = table.file.mirror.as_ref()?;
        let (here, file) = (place.at(mirror), mirror.get_ref());
        let upstream = self.required(place, &here, &file.upstream, "upstream", "\"orders-next\"");
        let max_body = self.memory_size(
            place,
            &file.max_body,
            default::DEFAULT_MIRROR_MAX_BODY,
            0..=16 << 20,
        );
        let max_pending = self.count(
            place,
            &file.max_pending,
            default::DEFAULT_MIRROR_MAX_PENDING,
            1..=10_000,
        );
        Some(MirrorConfig {
            upstream: self.existing_one(place, upstream?, "upstream"),
            per_million: file
                .share
                .as_ref()
                .map_or(1_000_000, |share| share.get_ref().0),
            max_body,
            max_pending,
        })
    }
}

/// What a request brings must not choose whose address it is: `/{rest}` is a path of ours, `https://{rest}` anybody's.
fn leads_where_it_says(to: &Template) -> Result<(), String> {
    let beginning = to.beginning();
    if to.0.is_empty()
        || beginning.starts_with('/') && !beginning.starts_with("//")
        || to.0.first() == Some(&Part::Path)
    {
        return Ok(());
    }
    let Some(host) = ["https://", "http://"]
        .iter()
        .find_map(|scheme| beginning.strip_prefix(scheme))
    else {
        return Err("expected a path, or a URL with \"https://\" or \"http://\"".into());
    };
    // The host is written out, or that of the request; a port may follow.
    let mut is_empty = host.is_empty();
    let mut has_ended = host.contains('/');
    for part in to.0.iter().skip(1) {
        match part {
            _ if has_ended => break,
            Part::Host if is_empty => is_empty = false,
            Part::Path => has_ended = true,
            Part::Text(text) if text.starts_with(['/', ':']) => has_ended = text.contains('/'),
            Part::Host | Part::Parameter(_) | Part::Text(_) => {
                return Err("a parameter cannot be a part of the host".into());
            }
        }
    }
    match is_empty || host.starts_with('/') {
        true => Err("the URL has no host".into()),
        false => Ok(()),
    }
}
