//! What health checks of many targets cost, and what a target that has died costs a request.

use std::fs;
use std::time::{Duration, Instant};

use postern_tests::setup::one_route;
use postern_tests::{Call, Gateway, Upstream, eventually, reply};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

const UPSTREAMS: usize = 1_000;
const TARGETS: usize = 10;
const CHECKED_FOR: Duration = Duration::from_secs(20);
const CALLS: usize = 2_000;

/// CPU time that a process has used (proc(5), `stat`: fields 14 and 15, in hundredths of a second on Linux).
fn cpu_time(process: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).expect("the process lives");
    // Its name may contain anything.
    let (_, fields) = text.rsplit_once(") ").expect("the name has an end");
    let hundredths = fields.split(' ').skip(11).take(2);
    let hundredths: u64 = hundredths
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(hundredths * 10)
}

/// Each target has a connection for its checks, here and there.
fn allow_many_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, most).expect("up to the maximum it is ours to say");
}

#[tokio::test]
#[ignore = "a measurement: it needs a quiet machine"]
async fn checks_of_ten_thousand_targets() {
    allow_many_files();
    let services: Vec<Upstream> = (0..TARGETS)
        .map(|_| Upstream::start(|_| reply(200).into()))
        .collect();
    let targets: Vec<String> = services.iter().map(|it| format!("\"{it}\"")).collect();
    let targets = targets.join(", ");
    let upstreams: String = (0..UPSTREAMS)
        .map(|number| format!("upstream.u{number} = {{ targets = [{targets}], health = {{}} }}\n"))
        .collect();
    let route = "route = [{ name = \"r\", path = \"/\", upstream = \"u0\" }]\n";
    let gateway = Gateway::with(upstreams + route).process().await;
    let checks = || services.iter().map(Upstream::count).sum::<usize>();
    let all = UPSTREAMS * TARGETS;
    eventually!(checks(), |checks| *checks >= all);
    let (before, used) = (checks(), cpu_time(gateway.process_id()));
    tokio::time::sleep(CHECKED_FOR).await;
    let (made, used) = (
        checks() - before,
        cpu_time(gateway.process_id()).saturating_sub(used),
    );
    let share = used.as_secs_f64() / CHECKED_FOR.as_secs_f64();
    println!(
        "checks of {all} targets: {} a second, {:.1} % of a core, {:.0} us each",
        made / CHECKED_FOR.as_secs() as usize,
        share * 100.0,
        used.as_secs_f64() * 1e6 / made as f64,
    );
    let usable = gateway.metrics().await;
    let usable = usable
        .lines()
        .filter(|line| line.starts_with("postern_target_usable{") && line.ends_with(" 1"));
    assert_eq!(usable.count(), all);
}

/// The times of so many calls, one after the other, in order of length.
async fn times(gateway: &Gateway) -> Vec<Duration> {
    let mut connection = gateway.connect().await;
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let begun = Instant::now();
        assert_eq!(connection.call(&Call::get("/")).await.text(), "ok");
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    times
}

#[tokio::test]
#[ignore = "a measurement: it needs a quiet machine"]
async fn going_on_from_a_target_that_has_died() {
    let service = Upstream::says("ok");
    let one = Gateway::with(one_route(&service, "")).process().await;
    let two = Gateway::with(one_route(&service, "")).process().await;
    // It is asked again and again.
    let fragment = format!(
        r#"
        [upstream.u]
        targets = ["http://{}", "http://{}"]
        outlier = {{ consecutive-connect-failures = 0, consecutive-5xx = 0 }}
        retry = {{ on = ["connect-failure", "reset"] }}
        [[route]]
        name = "r"
        path = "/"
        upstream = "u"
        "#,
        one.address(),
        two.address()
    );
    let gateway = Gateway::with(fragment).process().await;
    times(&gateway).await;
    let direct = times(&gateway).await;
    one.signal(Signal::KILL);
    let mixed = times(&gateway).await;
    let series = "postern_upstream_retries_total{reason=\"connect-failure\",upstream=\"u\"}";
    let repeated = gateway.metric(series).await.unwrap_or_default();
    assert!(repeated as usize >= CALLS / 2 - 10, "{repeated}");
    // The longer half are those that met the dead target first.
    let of = |times: &[Duration], share: f64| times[(times.len() as f64 * share) as usize];
    let repeated = &mixed[CALLS / 2..];
    for (name, share) in [("median", 0.5), ("p99", 0.99)] {
        let (direct, repeated) = (of(&direct, share), of(repeated, share));
        println!(
            "{name}: {direct:?} direct, {repeated:?} after a dead target, {:?} more",
            repeated.saturating_sub(direct)
        );
    }
}
