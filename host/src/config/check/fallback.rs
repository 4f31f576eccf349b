//! `[[route.fallback]]` and `[route.fault]`.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use toml::Spanned;

use super::Checker;
use super::plugin::{AsJson, has_no_json};
use super::route::on_headers;
use crate::config::defaults as default;
use crate::config::entry::{Entry, Place};
use crate::config::file::{FallbackFile, FaultFile, Field, RouteFile};
use crate::config::resolved::{FallbackConfig, FallbackTo, FaultConfig, Position};
use crate::config::values::Share;

/// Kept in memory for as long as the configuration.
const MAX_ANSWER: u64 = 1 << 20;
const MAX_STEPS: usize = 16;
const STATUSES: RangeInclusive<u64> = 200..=599;
/// Held requests take places.
const MAX_DELAY: Duration = Duration::from_secs(60);
const DELAY: RangeInclusive<Duration> = Duration::from_millis(1)..=MAX_DELAY;
const ANSWERS: &str = "`upstream`, `responder`, `json`, `body`, `file`";

impl Checker<'_> {
    pub(super) fn fallbacks(&mut self, table: &Entry<'_, RouteFile>) -> Vec<FallbackConfig> {
        let Entry { file, place, .. } = table;
        let Some(list) = &file.fallback else {
            return Vec::new();
        };
        if let Some(redirect) = &file.redirect {
            let message = "a redirect needs no fallback: nobody can fail at it";
            self.report.at(
                &place.at(redirect),
                message,
                Some("remove one of them".into()),
            );
        }
        if list.get_ref().len() > MAX_STEPS {
            let message = format!("a route has at most {MAX_STEPS} fallbacks");
            self.report.at(&place.at(list), message, None);
        }
        let steps = list.get_ref().iter();
        steps
            .filter_map(|step| self.fallback(place, step))
            .collect()
    }

    fn fallback(
        &mut self,
        place: &Place<'_>,
        step: &Spanned<FallbackFile>,
    ) -> Option<FallbackConfig> {
        let (here, file) = (place.at(step), step.get_ref());
        self.distinct(place, file.statuses.as_ref(), u64::to_string);
        let statuses = file.statuses.as_ref().map(|statuses| {
            let status = |status| self.status(place, status, 400..=599);
            statuses.iter().map(status).collect()
        });
        let to = self.fallback_to(place, &here, file);
        Some(FallbackConfig {
            statuses: statuses.unwrap_or_else(|| default::DEFAULT_FALLBACK_STATUSES.to_vec()),
            to: to?,
        })
    }

    /// Exactly one answers.
    fn fallback_to(
        &mut self,
        place: &Place<'_>,
        here: &Position,
        file: &FallbackFile,
    ) -> Option<FallbackTo> {
        let named = [
            file.upstream.as_ref().map(|field| place.at(field)),
            file.responder.as_ref().map(|field| place.at(field)),
            file.json.as_ref().map(|field| place.at(field)),
            file.body.as_ref().map(|field| place.at(field)),
            file.file.as_ref().map(|field| place.at(field)),
        ];
        let keys = ["upstream", "responder", "json", "body", "file"];
        let mut named = named.into_iter().flatten();
        if named.next().is_none() && !keys.iter().any(|key| place.is_lost(here, key)) {
            self.report.at(
                here,
                format!("nothing answers here: the fallback has none of {ANSWERS}"),
                Some("for example `json = { orders = [] }`".into()),
            );
        }
        if let Some(second) = named.next() {
            self.report.at(
                &second,
                format!("a fallback has one of {ANSWERS}, not two"),
                None,
            );
        }
        if let Some(name) = &file.upstream {
            self.only_of_answers(place, file);
            return Some(FallbackTo::Upstream(
                self.existing_one(place, name, "upstream"),
            ));
        }
        if let Some(name) = &file.responder {
            self.only_of_answers(place, file);
            return Some(FallbackTo::Responder(
                self.existing_one(place, name, "plugin"),
            ));
        }
        let (body, content_type) = self.fallback_body(place, file)?;
        let status = file.status.as_ref();
        Some(FallbackTo::Answer {
            status: status.map_or(200, |status| self.status(place, status, STATUSES)),
            content_type: self.content_type(place, file, content_type),
            body,
        })
    }

    fn only_of_answers(&mut self, place: &Place<'_>, file: &FallbackFile) {
        let positions = [
            file.status.as_ref().map(|field| place.at(field)),
            file.content_type.as_ref().map(|field| place.at(field)),
        ];
        for position in positions.into_iter().flatten() {
            let message = "whoever answers says that itself";
            self.report.at(&position, message, Some("remove it".into()));
        }
    }

    /// The answer, and what it is if the file does not say.
    fn fallback_body(
        &mut self,
        place: &Place<'_>,
        file: &FallbackFile,
    ) -> Option<(Arc<[u8]>, &'static str)> {
        if let Some(json) = &file.json {
            if has_no_json(json.get_ref()) {
                let message = "JSON has no `inf` and `nan`";
                self.report.at(&place.at(json), message, None);
            }
            let text = serde_json::to_vec(&AsJson(json.get_ref())).unwrap_or_default();
            return Some((text.into(), "application/json"));
        }
        if let Some(body) = &file.body {
            return Some((
                body.get_ref().as_bytes().into(),
                "text/plain; charset=utf-8",
            ));
        }
        let path = file.file.as_ref()?;
        let bytes = self.read_bytes(place, path, MAX_ANSWER)?.bytes;
        let known = known_type(Path::new(path.get_ref()));
        if known.is_none() && file.content_type.is_none() {
            self.report.at(
                &place.at(path),
                "what this file is cannot be told from its name",
                Some("add `content-type = \"text/html; charset=utf-8\"` or what it is".into()),
            );
        }
        Some((bytes.into(), known.unwrap_or_default()))
    }

    fn content_type(
        &mut self,
        place: &Place<'_>,
        file: &FallbackFile,
        usual: &'static str,
    ) -> HeaderValue {
        let Some(field) = &file.content_type else {
            return HeaderValue::from_static(usual);
        };
        HeaderValue::from_str(field.get_ref()).unwrap_or_else(|_| {
            let message = format!("{:?} cannot stand in a header", field.get_ref());
            self.report.at(&place.at(field), message, None);
            HeaderValue::from_static(usual)
        })
    }

    fn status(
        &mut self,
        place: &Place<'_>,
        field: &Spanned<u64>,
        range: RangeInclusive<u64>,
    ) -> u16 {
        let status = *field.get_ref();
        if !range.contains(&status) {
            let (least, most) = (range.start(), range.end());
            let message = format!("expected a status from {least} to {most}, found {status}");
            self.report.at(&place.at(field), message, None);
        }
        u16::try_from(status).unwrap_or_default()
    }

    /// `[route.fault]`
    pub(super) fn fault(
        &mut self,
        place: &Place<'_>,
        table: &Field<FaultFile>,
    ) -> Option<FaultConfig> {
        let table = table.as_ref()?;
        let file = table.get_ref();
        self.together(
            place,
            (&file.delay_share, "delay-share"),
            (&file.delay, "delay"),
        );
        self.together(
            place,
            (&file.abort_share, "abort-share"),
            (&file.abort, "abort"),
        );
        let here = place.at(table);
        let is_lost = ["delay", "abort"]
            .iter()
            .any(|key| place.is_lost(&here, key));
        if file.delay.is_none() && file.abort.is_none() && !is_lost {
            let help = "add `delay = \"100ms\"` or `abort = 503`".to_owned();
            self.report.at(&here, "nothing goes wrong here", Some(help));
        }
        let share =
            |share: &Field<Share>| share.as_ref().map_or(1_000_000, |share| share.get_ref().0);
        let delay = file.delay.is_some();
        let delay = delay.then(|| self.duration(place, &file.delay, MAX_DELAY, DELAY));
        let abort = file.abort.as_ref();
        let abort = abort.map(|status| self.status(place, status, STATUSES));
        Some(FaultConfig {
            delay: delay.map(|delay| (delay, share(&file.delay_share))),
            abort: abort.map(|status| (status, share(&file.abort_share))),
            headers: on_headers(&file.headers),
        })
    }
}

fn known_type(path: &Path) -> Option<&'static str> {
    match path.extension()?.to_str()? {
        "json" => Some("application/json"),
        "html" | "htm" => Some("text/html; charset=utf-8"),
        "txt" => Some("text/plain; charset=utf-8"),
        "xml" => Some("application/xml"),
        _ => None,
    }
}
