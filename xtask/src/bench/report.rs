//! What is made of the runs: lines as they end, tables, and a file for other programs.

use std::fmt::Write;

use serde_json::{Value, json};

use super::measure::{Figures, Run};
use super::scenario::{self, Peer, Scenario};
use super::wrk::CONNECTIONS;

/// What a report says of its circumstances.
pub(super) struct Circumstances {
    pub(super) processor: String,
    pub(super) cores: usize,
    pub(super) kernel: String,
    pub(super) versions: Vec<(&'static str, String)>,
    pub(super) rounds: u32,
    pub(super) seconds: u32,
    /// Seconds since 1970.
    pub(super) time: u64,
}

/// Median, least and most of some figures.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(figures: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.collect();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        Some(Self {
            median,
            least,
            most,
        })
    }

    fn show(self, decimals: usize) -> String {
        let Self {
            median,
            least,
            most,
        } = self;
        format!("{median:.decimals$} ({least:.decimals$}-{most:.decimals$})")
    }
}

/// The line that is printed when a run has ended.
pub(super) fn line(run: &Run) -> String {
    let head = format!(
        "{:<4} round {}  {:<8}",
        run.scenario.name,
        run.round,
        run.peer.name()
    );
    match &run.outcome {
        Err(reason) => format!("{head} FAILED: {reason}"),
        Ok(figures) => {
            let mut line = format!(
                "{head} {:>7.1} us CPU a request, {:>6.0} requests/s, proxy core {:.0}%",
                figures.cpu_us,
                figures.requests_per_second,
                figures.proxy_share * 100.0
            );
            if figures.disturbed() {
                let (foreign, stolen) = (figures.foreign, figures.stolen);
                write!(
                    line,
                    "  DISTURBED: others {foreign:.2} cores, host {stolen:.2}"
                )
                .expect("a String takes everything");
            }
            line
        }
    }
}

/// The runs whose figures count: those that were not disturbed, or all when there are no others.
fn usable<'a>(runs: &'a [Run], scenario: &Scenario, peer: Peer) -> Vec<&'a Figures> {
    let all: Vec<_> = runs
        .iter()
        .filter(|run| run.scenario.name == scenario.name && run.peer == peer)
        .filter_map(|run| run.outcome.as_ref().ok())
        .collect();
    let quiet: Vec<_> = all
        .iter()
        .copied()
        .filter(|figures| !figures.disturbed())
        .collect();
    if quiet.is_empty() { all } else { quiet }
}

/// A table for each scenario.
pub(super) fn tables(runs: &[Run]) -> String {
    let mut text = String::new();
    for scenario in &scenario::ALL {
        if !runs.iter().any(|run| run.scenario.name == scenario.name) {
            continue;
        }
        text += &format!("\n## {}: {}\n\n", scenario.name, scenario.title);
        text += "| proxy | CPU µs/request | of it user | requests/s | p50 µs | p99 µs | proxy core | MiB | runs |\n\
                 |---|---|---|---|---|---|---|---|---|\n";
        for peer in Peer::ALL {
            text += &row(runs, scenario, peer).unwrap_or_default();
        }
    }
    let failed: Vec<_> = runs.iter().filter(|run| run.outcome.is_err()).collect();
    if !failed.is_empty() {
        text += "\n## Failed runs\n\n";
        for run in failed {
            text += &format!("- {}\n", line(run));
        }
    }
    text
}

fn row(runs: &[Run], scenario: &Scenario, peer: Peer) -> Option<String> {
    let usable = usable(runs, scenario, peer);
    let spread =
        |figure: fn(&Figures) -> f64| Spread::of(usable.iter().map(|figures| figure(figures)));
    let mut count = usable.len().to_string();
    if usable.iter().any(|figures| figures.disturbed()) {
        count += ", disturbed";
    }
    Some(format!(
        "| {} | {} | {:.1} | {} | {} | {} | {:.0}% | {:.1} | {count} |\n",
        peer.name(),
        spread(|figures| figures.cpu_us)?.show(1),
        spread(|figures| figures.cpu_user_us)?.median,
        spread(|figures| figures.requests_per_second)?.show(0),
        spread(|figures| figures.p50_us)?.show(0),
        spread(|figures| figures.p99_us)?.show(0),
        spread(|figures| figures.proxy_share)?.median * 100.0,
        spread(|figures| figures.memory_mib)?.median,
    ))
}

/// The whole report as Markdown.
pub(super) fn markdown(circumstances: &Circumstances, runs: &[Run]) -> String {
    let Circumstances {
        processor,
        cores,
        kernel,
        rounds,
        seconds,
        ..
    } = circumstances;
    let mut text = format!(
        "# Postern beside nginx\n\n\
         {processor}, {cores} cores, Linux {kernel}. The proxy has one worker and a core for itself; the load tool\n\
         ({CONNECTIONS} keep-alive connections) and the upstream share another. {rounds} rounds of {seconds} s, in which the proxies take turns.\n\
         Each run is a fresh process that is first checked to do the work, and fails on any error.\n\
         Figures are medians (least-most) of the runs that nothing else on the machine disturbed.\n\n\
         **CPU µs/request** is the user and system time of the proxy's processes divided by the requests. Where *proxy core* is\n\
         well below 100%, the load's core was the limit: requests/s and latencies then say little of the proxy.\n\n"
    );
    for (program, version) in &circumstances.versions {
        text += &format!("- {program}: {version}\n");
    }
    text + &tables(runs)
}

/// Everything for other programs.
pub(super) fn json(circumstances: &Circumstances, runs: &[Run]) -> Value {
    let versions: serde_json::Map<_, _> = circumstances
        .versions
        .iter()
        .map(|(program, version)| ((*program).to_owned(), json!(version)))
        .collect();
    json!({
        "meta": {
            "time": circumstances.time,
            "processor": circumstances.processor,
            "cores": circumstances.cores,
            "kernel": circumstances.kernel,
            "versions": versions,
            "rounds": circumstances.rounds,
            "seconds": circumstances.seconds,
        },
        "runs": runs.iter().map(run_json).collect::<Vec<_>>(),
    })
}

fn run_json(run: &Run) -> Value {
    let mut value = json!({
        "scenario": run.scenario.name,
        "peer": run.peer.name(),
        "round": run.round,
        "ok": run.outcome.is_ok(),
    });
    match &run.outcome {
        Err(reason) => value["reason"] = json!(reason),
        Ok(figures) => {
            value["requests"] = json!(figures.requests);
            value["disturbed"] = json!(figures.disturbed());
            let rounded = |figure: f64| json!((figure * 1e4).round() / 1e4);
            for (name, figure) in [
                ("cpu_us", figures.cpu_us),
                ("cpu_user_us", figures.cpu_user_us),
                ("requests_per_second", figures.requests_per_second),
                ("p50_us", figures.p50_us),
                ("p99_us", figures.p99_us),
                ("proxy_share", figures.proxy_share),
                ("memory_mib", figures.memory_mib),
                ("foreign", figures.foreign),
                ("stolen", figures.stolen),
            ] {
                value[name] = rounded(figure);
            }
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(round: u32, cpu_us: f64, foreign: f64) -> Run {
        let figures = Figures {
            cpu_us,
            foreign,
            ..Figures::default()
        };
        Run {
            scenario: &scenario::ALL[0],
            peer: Peer::Postern,
            round,
            outcome: Ok(figures),
        }
    }

    #[test]
    fn the_median_is_the_middle_one_or_between_two() {
        let spread =
            |figures: &[f64]| Spread::of(figures.iter().copied()).map(|spread| spread.show(1));
        assert_eq!(spread(&[3.0, 1.0, 2.0]).as_deref(), Some("2.0 (1.0-3.0)"));
        assert_eq!(
            spread(&[4.0, 1.0, 2.0, 3.0]).as_deref(),
            Some("2.5 (1.0-4.0)")
        );
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn disturbed_and_failed_runs_are_left_out_where_there_are_others() {
        let mut runs = vec![run(1, 10.0, 0.0), run(2, 90.0, 0.5), run(3, 12.0, 0.0)];
        runs[2].outcome = Err("status 500".to_owned());
        let text = tables(&runs);
        assert!(
            text.contains("| postern | 10.0 (10.0-10.0) |") && text.contains("| 1 |"),
            "{text}"
        );
        assert!(text.contains("FAILED: status 500"), "{text}");
        let only = tables(&runs[1..2]);
        assert!(
            only.contains("| 90.0 (90.0-90.0) |") || only.contains("1, disturbed"),
            "{only}"
        );
    }

    #[test]
    fn the_file_has_every_run() {
        let value = run_json(&run(2, 10.123_456, 0.2));
        assert_eq!(
            (&value["cpu_us"], &value["disturbed"]),
            (&json!(10.1235), &json!(true))
        );
        let failed = Run {
            outcome: Err("why".to_owned()),
            ..run(1, 0.0, 0.0)
        };
        assert_eq!(run_json(&failed)["reason"], "why");
    }
}
