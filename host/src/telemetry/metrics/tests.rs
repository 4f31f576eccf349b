//! The metrics page.

use std::time::Duration;

use super::*;
use crate::telemetry::GuestMetricKind;
use crate::telemetry::testing::assert_golden;
use crate::types::Source;

/// The page without what changes from run to run.
fn page(metrics: &Metrics) -> String {
    let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
    let page = metrics.render().replace(&version, "version=\"VERSION\"");
    let own = |line: &&str| line.contains("postern_");
    page.lines()
        .filter(own)
        .fold(String::new(), |page, line| page + line + "\n")
}

fn busy() -> Metrics {
    let metrics = Metrics::new();
    let route = metrics.route("orders");
    for status in [200, 200, 404, 100, 999, 42] {
        route.ended(
            status,
            Some(Source::Upstream),
            Duration::from_millis(3),
            10,
            2_000,
        );
    }
    route.ended(401, Some(Source::Plugin), Duration::from_micros(90), 0, 0);
    route.ended(502, Some(Source::Gateway), Duration::from_secs(60), 0, 0);
    metrics.route("").ended(499, None, Duration::ZERO, 0, 0);
    let plugin = metrics.plugin("jwt");
    plugin.called(PluginPhase::Request, PluginOutcome::Next, 1_500_000);
    plugin.called(PluginPhase::Request, PluginOutcome::Reply, 500_000);
    plugin.called(
        PluginPhase::ResponseBody,
        PluginOutcome::Failed,
        2_000_000_000,
    );
    plugin.failed("trap");
    plugin.instance_made();
    plugin.instance_made();
    plugin.instance_gone();
    plugin.reloaded(ReloadOutcome::Applied);
    metrics
        .upstream("orders")
        .answered(Duration::from_millis(2));
    let listener = metrics.listener("public");
    listener.opened();
    listener.opened();
    listener.closed();
    listener.handshake(HandshakeOutcome::Done);
    listener.certificates([("shop.pem", 1_800_000_000)].into_iter());
    metrics.config_reloaded(ReloadOutcome::Failed);
    metrics.set_config_generation(3);
    metrics.exchange_began();
    let guest = metrics.prepare_guest("jwt");
    let counter = guest
        .define(
            GuestMetricKind::Counter,
            "verified_total",
            &["issuer".to_owned()],
        )
        .unwrap();
    guest
        .observe(counter, 2.0, &["a \"b\"\n".to_owned()])
        .unwrap();
    metrics.publish_guest(&guest);
    metrics
}

#[test]
fn the_page_looks_as_it_did() {
    assert_golden("metrics.txt", &page(&busy()));
}

#[test]
fn the_page_holds_figures_of_the_process() {
    let page = Metrics::new().render();
    if cfg!(target_os = "linux") {
        for name in [
            "process_resident_memory_bytes ",
            "process_cpu_seconds_total ",
            "process_open_fds ",
        ] {
            assert!(page.lines().any(|line| line.starts_with(name)), "{name}");
        }
    }
}

#[test]
fn the_series_of_what_is_no_longer_configured_are_removed() {
    let metrics = busy();
    let old = metrics.route("orders");
    for forget in [Metrics::forget_route, Metrics::forget_upstream] {
        forget(&metrics, "orders");
        forget(&metrics, "orders");
    }
    metrics.forget_route("");
    metrics.forget_plugin("jwt");
    metrics.forget_listener("public");
    // An exchange of the old configuration ends later.
    old.ended(200, Some(Source::Upstream), Duration::ZERO, 0, 0);
    let left = page(&metrics);
    assert!(
        !left.contains("orders") && !left.contains("jwt") && !left.contains("public"),
        "{left}"
    );
    assert!(!left.contains("route="), "{left}");
    // When it comes back, it begins anew.
    metrics
        .route("orders")
        .ended(200, Some(Source::Upstream), Duration::ZERO, 0, 0);
    let series = "postern_requests_total{route=\"orders\",source=\"upstream\",status=\"200\"} 1\n";
    assert!(page(&metrics).contains(series));
}

#[test]
fn a_handle_asked_for_twice_is_the_same() {
    let metrics = Metrics::new();
    assert!(Arc::ptr_eq(&metrics.route("a"), &metrics.route("a")));
    assert!(!Arc::ptr_eq(&metrics.route("a"), &metrics.route("b")));
}

#[test]
fn names_that_plugins_must_not_take_are_those_of_the_gateway() {
    let page = page(&busy());
    let families = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE postern_plugin_"));
    let mut names: Vec<_> = families
        .filter_map(|family| family.split(' ').next())
        .collect();
    names.retain(|name| *name != "verified_total");
    assert_eq!(names, RESERVED_FOR_PLUGINS);
}
