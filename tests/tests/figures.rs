//! Figures that need a quiet machine and a release build; `docs/performance.md` has the command and the results.

#[path = "figures/faults.rs"]
mod faults;
#[path = "figures/upstreams.rs"]
mod upstreams;

use std::time::Duration;

use postern_tests::load::{Load, Report};
use postern_tests::{Answer, Call, Gateway, Upstream, eventually, guests};

const CLIENTS: usize = 16;
const RELOADS: usize = 100;
const SPAN: Duration = Duration::from_secs(20);

/// Clients of one worker, at full load, for a while.
async fn full_load(gateway: &Gateway, meanwhile: impl Future<Output = ()>) -> Report {
    let good = |answer: &Answer| answer.status == 200;
    let load = Load::start(gateway.address(), CLIENTS, vec![Call::get("/")], good);
    meanwhile.await;
    load.stop().await
}

#[tokio::test]
#[ignore = "a measurement: it needs a quiet machine"]
async fn a_hundred_reloads_at_full_load() {
    let upstream = Upstream::says("served");
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        plugin.greeter.file = "./greeter.wasm"
        route = [{{ name = "r", path = "/{{*rest}}", plugins = ["greeter"], upstream = "u" }}]
        "#
    );
    // Each is compiled anew: nothing comes from the cache.
    let variants: Vec<Vec<u8>> = (0..RELOADS)
        .scan(guests::bytes("greeter"), |bytes, round| {
            *bytes = guests::variant(&guests::bytes("greeter"), round as u8);
            Some(bytes.clone())
        })
        .collect();
    let gateway = Gateway::with(fragment)
        .file("greeter.wasm", guests::bytes("greeter"))
        .workers(1)
        .process()
        .await;
    let mut quiet = full_load(&gateway, tokio::time::sleep(SPAN)).await;
    let series = r#"postern_plugin_reloads_total{outcome="applied",plugin="greeter"}"#;
    let reloads = async {
        for (round, variant) in variants.iter().enumerate() {
            gateway.replace("greeter.wasm", variant);
            let count = (round + 1) as f64;
            eventually!(gateway.metric(series).await, |applied| *applied
                >= Some(count));
        }
    };
    let mut busy = full_load(&gateway, reloads).await;
    for (name, report) in [("undisturbed", &mut quiet), ("reloading", &mut busy)] {
        let [median, p99, p999] = [0.5, 0.99, 0.999].map(|share| report.quantile(share));
        println!(
            "{name}: {} answered, p50 {median:?}, p99 {p99:?}, p99.9 {p999:?}, longest {:?}",
            report.answered, report.longest
        );
        assert_eq!(report.failures, Vec::<String>::new());
    }
}
