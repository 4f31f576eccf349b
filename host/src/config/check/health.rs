//! `[upstream.NAME.health]`, `[upstream.NAME.outlier]`

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::Checker;
use super::quantity::TIMEOUT;
use crate::config::defaults as default;
use crate::config::entry::{Entry, Place};
use crate::config::file::{Field, HealthFile, UpstreamFile};
use crate::config::resolved::{HealthConfig, OutlierConfig, Position, ProbeConfig};
use crate::config::values::{ProbeKind, Share};

/// More often is an attack on the targets.
const INTERVAL: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(24 * 60 * 60);
const MAX_TEXT: usize = 4_096;

impl Checker<'_> {
    pub(super) fn health(&mut self, table: &Entry<'_, UpstreamFile>) -> Option<HealthConfig> {
        let place = &table.place;
        let health = table.file.health.as_ref()?;
        let file = health.get_ref();
        let kind = file
            .kind
            .as_ref()
            .map_or(ProbeKind::Http, |kind| kind.get_ref().0);
        self.only_of(place, &file.path, "path", kind, ProbeKind::Http);
        self.only_of(place, &file.host, "host", kind, ProbeKind::Http);
        self.only_of(
            place,
            &file.expected_status,
            "expected-status",
            kind,
            ProbeKind::Http,
        );
        self.only_of(
            place,
            &file.expected_body,
            "expected-body",
            kind,
            ProbeKind::Http,
        );
        self.only_of(
            place,
            &file.reuse_connection,
            "reuse-connection",
            kind,
            ProbeKind::Http,
        );
        self.only_of(place, &file.service, "service", kind, ProbeKind::Grpc);
        let probe = self.probe(table, health, kind);
        let interval = self.duration(
            place,
            &file.interval,
            default::DEFAULT_HEALTH_INTERVAL,
            INTERVAL,
        );
        Some(HealthConfig {
            probe,
            interval,
            jitter: share(&file.jitter, default::DEFAULT_HEALTH_JITTER),
            timeout: self.duration(
                place,
                &file.timeout,
                default::DEFAULT_HEALTH_TIMEOUT,
                TIMEOUT,
            ),
            rise: self.count(place, &file.rise, default::DEFAULT_HEALTH_RISE, 1..=100),
            fall: self.count(place, &file.fall, default::DEFAULT_HEALTH_FALL, 1..=100),
        })
    }

    fn probe(
        &mut self,
        table: &Entry<'_, UpstreamFile>,
        health: &toml::Spanned<HealthFile>,
        kind: ProbeKind,
    ) -> ProbeConfig {
        let (place, file) = (&table.place, health.get_ref());
        match kind {
            ProbeKind::Tcp => ProbeConfig::Tcp,
            ProbeKind::Tls => {
                let entries = table.file.targets.iter().flat_map(|list| list.get_ref());
                let mut addresses = entries.filter_map(|entry| entry.get_ref().address());
                if !addresses.all(|address| address.secure) {
                    let message = "not all targets are spoken to over TLS";
                    let help = "write `kind = \"tcp\"`, or `https://` targets";
                    self.report
                        .at(&place.at(health), message, Some(help.into()));
                }
                ProbeConfig::Tls
            }
            ProbeKind::Http => self.http_probe(place, &place.at(health), file),
            ProbeKind::Grpc => ProbeConfig::Grpc {
                service: self.short(place, &file.service).unwrap_or_default(),
            },
        }
    }

    fn http_probe(&mut self, place: &Place<'_>, here: &Position, file: &HealthFile) -> ProbeConfig {
        let is_path =
            |text: &str| text.starts_with('/') && text.parse::<http::uri::PathAndQuery>().is_ok();
        let path = self.short(place, &file.path).unwrap_or_else(|| "/".into());
        if let Some(field) = file.path.as_ref().filter(|_| !is_path(&path)) {
            let message = format!("expected a path like \"/healthz\", found {path:?}");
            self.report.at(&place.at(field), message, None);
        }
        let host = self.short(place, &file.host);
        let is_host = |text: &str| text.parse::<http::uri::Authority>().is_ok();
        if let (Some(field), Some(text)) = (&file.host, &host)
            && !is_host(text)
        {
            let message = format!("expected a host, found {text:?}");
            self.report.at(&place.at(field), message, None);
        }
        let expected = file.expected_status.as_ref();
        if let Some(list) = expected
            .filter(|list| list.get_ref().is_empty() && !place.is_lost(here, "expected-status"))
        {
            let message = "no answer would be good";
            self.report.at(&place.at(list), message, None);
        }
        let given = |list: &toml::Spanned<Vec<_>>| {
            let list: &Vec<crate::config::values::StatusText> = list.get_ref();
            list.iter().map(|status| status.0).collect()
        };
        ProbeConfig::Http {
            path,
            host,
            status: expected.map_or_else(|| vec![(200, 299)], given),
            body: self.short(place, &file.expected_body),
            reuse: file
                .reuse_connection
                .as_ref()
                .is_none_or(|reuse| *reuse.get_ref()),
        }
    }

    /// A key that another kind of check has no use for.
    fn only_of<T>(
        &mut self,
        place: &Place<'_>,
        field: &Field<T>,
        key: &str,
        kind: ProbeKind,
        owner: ProbeKind,
    ) {
        if let Some(field) = field.as_ref().filter(|_| kind != owner) {
            let message = format!("`{key}` is for checks of the kind `{}`", owner.as_str());
            let help = format!("remove it, or write `kind = \"{}\"`", owner.as_str());
            self.report.at(&place.at(field), message, Some(help));
        }
    }

    fn short(&mut self, place: &Place<'_>, field: &Field<String>) -> Option<Arc<str>> {
        let text = field.as_ref()?;
        if text.get_ref().len() > MAX_TEXT {
            let message = format!("expected at most {MAX_TEXT} bytes");
            self.report.at(&place.at(text), message, None);
        }
        Some(text.get_ref().as_str().into())
    }

    pub(super) fn outlier(&mut self, table: &Entry<'_, UpstreamFile>) -> OutlierConfig {
        let place = &table.place;
        let Some(outlier) = &table.file.outlier else {
            return OutlierConfig::default();
        };
        let file = outlier.get_ref();
        let time = |this: &mut Self, field, default| this.duration(place, field, default, INTERVAL);
        let mut streak = |field, default| self.count(place, field, default, 0..=1_000_000);
        OutlierConfig {
            consecutive_5xx: streak(
                &file.consecutive_5xx,
                default::DEFAULT_OUTLIER_CONSECUTIVE_5XX,
            ),
            consecutive_gateway_errors: streak(&file.consecutive_gateway_errors, 0),
            consecutive_connect_failures: streak(
                &file.consecutive_connect_failures,
                default::DEFAULT_OUTLIER_CONSECUTIVE_CONNECT_FAILURES,
            ),
            success_rate_stdev_factor: streak(
                &file.success_rate_stdev_factor,
                default::DEFAULT_OUTLIER_SUCCESS_RATE_STDEV_FACTOR,
            ),
            interval: time(self, &file.interval, default::DEFAULT_OUTLIER_INTERVAL),
            base_ejection_time: time(
                self,
                &file.base_ejection_time,
                default::DEFAULT_OUTLIER_BASE_EJECTION_TIME,
            ),
            max_ejection_time: time(
                self,
                &file.max_ejection_time,
                default::DEFAULT_OUTLIER_MAX_EJECTION_TIME,
            ),
            max_ejected: share(&file.max_ejected, default::DEFAULT_OUTLIER_MAX_EJECTED),
            success_rate_minimum_hosts: self.count(
                place,
                &file.success_rate_minimum_hosts,
                default::DEFAULT_OUTLIER_SUCCESS_RATE_MINIMUM_HOSTS,
                2..=100_000,
            ),
            success_rate_request_volume: self.count(
                place,
                &file.success_rate_request_volume,
                default::DEFAULT_OUTLIER_SUCCESS_RATE_REQUEST_VOLUME,
                1..=1_000_000_000,
            ),
            failure_percentage: share(&file.failure_percentage, 0),
            failure_percentage_request_volume: self.count(
                place,
                &file.failure_percentage_request_volume,
                default::DEFAULT_OUTLIER_FAILURE_PERCENTAGE_REQUEST_VOLUME,
                1..=1_000_000_000,
            ),
        }
    }
}

fn share(field: &Field<Share>, default: u32) -> u32 {
    field.as_ref().map_or(default, |share| share.get_ref().0)
}
