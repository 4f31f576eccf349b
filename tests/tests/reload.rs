//! Hot reload: what changes on disk changes the gateway, and what is wrong with it changes nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use postern_tests::load::Load;
use postern_tests::{Answer, Call, Gate, Gateway, Script, Upstream, client, eventually, guests};

/// A gateway whose answers carry the greeting of a plugin.
fn greeting(upstream: &Upstream) -> String {
    format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        plugin.greeter = {{ file = "greeter.wasm" }}
        route = [{{ name = "r", path = "/{{*rest}}", plugins = ["greeter"], upstream = "u" }}]
        "#
    )
}

/// The greeter, saying something else.
fn saying(word: &str) -> Vec<u8> {
    guests::patched(&guests::bytes("greeter"), "hello", word)
}

fn greets(answer: &Answer) -> String {
    answer.header("x-greeting").unwrap_or_default()
}

/// From the change of a file to the first request that sees it: 200 ms to settle, a look, and the compiler's time.
const PROMPT: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_plugin_serves_within_a_second_and_no_request_is_lost() {
    let upstream = Upstream::says("served");
    let gateway = Gateway::with(greeting(&upstream)).workers(2).start().await;
    // Compile once before the clock runs: what is measured is the gateway, not Cranelift in a debug build.
    for word in ["howdy", "salut", "ahoi!"] {
        let warm = Gateway::with(greeting(&upstream))
            .file("greeter.wasm", saying(word))
            .start()
            .await;
        assert_eq!(greets(&warm.get("/").await), word);
    }
    let load = Load::start(gateway.address(), 8, vec![Call::get("/")], |answer| {
        answer.status == 200
    });
    assert_eq!(greets(&gateway.get("/").await), "hello");
    for (word, in_place) in [("howdy", false), ("salut", true), ("ahoi!", false)] {
        let component = saying(word);
        let begun = Instant::now();
        match in_place {
            true => gateway.overwrite("greeter.wasm", &component),
            false => gateway.replace("greeter.wasm", &component),
        }
        eventually!(greets(&gateway.get("/").await), |greeting| greeting == word);
        let took = begun.elapsed();
        println!("{word}: after {took:?}");
        assert!(took < PROMPT, "{word} after {took:?}");
    }
    let report = load.stop().await;
    assert!(report.failures.is_empty(), "{report:#?}");
    assert!(report.answered > 100, "{report:?}");
    let series = r#"postern_plugin_reloads_total{outcome="applied",plugin="greeter"}"#;
    assert_eq!(gateway.metric(series).await, Some(3.0));
}

#[tokio::test]
async fn an_exchange_keeps_the_plugins_that_it_began_with() {
    let gate = Gate::default();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| {
        Script::after_body()
            .wait(&held)
            .send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    });
    let gateway = Gateway::with(greeting(&upstream)).start().await;
    let address = gateway.address();
    let slow = tokio::spawn(async move { greets(&client::call(address, &Call::get("/")).await) });
    eventually!(upstream.count(), |count| *count == 1);
    gateway.replace("greeter.wasm", &saying("howdy"));
    eventually!(gateway.generation().await, |generation| *generation == 2);
    gate.open();
    assert_eq!(slow.await.expect("no panic"), "hello");
    assert_eq!(greets(&gateway.get("/").await), "howdy");
}

/// Replaces the greeter's file with something, and expects that the old greeter serves on and the operator is told.
async fn assert_kept(gateway: &Gateway, bytes: &[u8], failures: f64, message: &str) {
    gateway.replace("greeter.wasm", bytes);
    let series = r#"postern_plugin_reloads_total{outcome="failed",plugin="greeter"}"#;
    eventually!(gateway.metric(series).await, |count| *count
        == Some(failures));
    assert_eq!(greets(&gateway.get("/").await), "hello", "{message}");
    let problem = gateway.status().await["plugin_problems"]["greeter"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(
        problem.contains(message),
        "{message:?} is not in {problem:?}"
    );
    assert!(
        problem.contains("postern.toml:"),
        "it says where: {problem}"
    );
    let folder = gateway.folder().display().to_string();
    assert!(
        gateway
            .log(&folder)
            .iter()
            .any(|line| line.contains("the old one serves on")),
        "{problem}"
    );
}

#[tokio::test]
async fn a_component_that_cannot_be_loaded_keeps_the_old_one_serving() {
    let upstream = Upstream::says("served");
    let gateway = Gateway::with(greeting(&upstream)).start().await;
    let good = guests::bytes("greeter");
    assert_kept(
        &gateway,
        &good[..good.len() / 2],
        1.0,
        "it is not a valid component",
    )
    .await;
    assert_kept(&gateway, b"", 2.0, "it is empty or cut off").await;
    assert_kept(
        &gateway,
        b"\0asm\x01\0\0\0",
        3.0,
        "it is a core WebAssembly module",
    )
    .await;
    assert_kept(&gateway, b"#!/bin/sh", 4.0, "it is not a WebAssembly file").await;
    assert_kept(
        &gateway,
        &guests::bytes("wrong-world"),
        5.0,
        "but not a plugin",
    )
    .await;
    assert_kept(
        &gateway,
        &guests::bytes("future-version"),
        6.0,
        "it was built for postern:plugin",
    )
    .await;
    // Another plugin than the one that is configured refuses the configuration.
    assert_kept(
        &gateway,
        &guests::bytes("misbehaving"),
        7.0,
        "it refuses its configuration",
    )
    .await;
    assert_eq!(gateway.generation().await, 1);
    // The old file comes back: nothing is wrong any more.
    gateway.replace("greeter.wasm", &good);
    eventually!(
        gateway.status().await["plugin_problems"].clone(),
        |problems| problems.as_object().is_some_and(|all| all.is_empty())
    );
    gateway.replace("greeter.wasm", &saying("howdy"));
    eventually!(greets(&gateway.get("/").await), |greeting| greeting
        == "howdy");
}

#[tokio::test]
async fn a_plugin_that_fails_to_start_keeps_the_old_one_serving() {
    let upstream = Upstream::says("served");
    let fragment = |config: &str| {
        format!(
            r#"
            upstream.u.targets = ["{upstream}"]
            plugin.bad = {{ file = "misbehaving.wasm", config = {{ {config} }} }}
            route = [{{ name = "r", path = "/", plugins = ["bad"], upstream = "u" }}]
            "#
        )
    };
    let gateway = Gateway::with(fragment(r#"do = "nothing""#)).start().await;
    for (number, (config, message)) in [
        (
            r#"do = "trap", phase = "configure""#,
            "its `configure` failed",
        ),
        (
            r#"do = "spin", phase = "configure""#,
            "its `configure` failed",
        ),
        (
            r#"do = "error", phase = "configure", message = "I do not like it""#,
            "I do not like it",
        ),
        (
            r#"do = "nothing", interest = ["not a name"]"#,
            "not a header name",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        gateway.edit(&fragment(config));
        let series = r#"postern_config_reloads_total{outcome="failed"}"#;
        eventually!(gateway.metric(series).await, |count| *count
            == Some(number as f64 + 1.0));
        let problem = gateway.status().await["config_problem"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(problem.contains(message), "{problem}");
        assert_eq!(gateway.get("/").await.text(), "served", "{config}");
    }
}

#[tokio::test]
async fn an_edited_configuration_serves_and_a_wrong_one_does_not() {
    let (one, two) = (Upstream::says("one"), Upstream::says("two"));
    let fragment = |upstream: &Upstream, path: &str| {
        format!(
            r#"
            upstream.u.targets = ["{upstream}"]
            route = [{{ name = "r", path = "{path}", upstream = "u" }}]
            "#
        )
    };
    let gateway = Gateway::with(fragment(&one, "/a")).start().await;
    assert_eq!(gateway.get("/a").await.text(), "one");
    gateway.edit(&fragment(&two, "/b"));
    eventually!(gateway.get("/b").await.text(), |text| text == "two");
    assert_eq!(gateway.get("/a").await.status, 404);
    assert_eq!(
        gateway
            .metric(r#"postern_config_reloads_total{outcome="applied"}"#)
            .await,
        Some(1.0)
    );

    gateway.edit(&fragment(&one, "/c").replace(
        "upstream = \"u\"",
        "upstream = \"nobody\", tiemout = \"1s\"",
    ));
    let failed = r#"postern_config_reloads_total{outcome="failed"}"#;
    eventually!(gateway.metric(failed).await, |count| *count == Some(1.0));
    assert_eq!(
        gateway.get("/b").await.text(),
        "two",
        "the old one serves on"
    );
    let status = gateway.status().await;
    let problem = status["config_problem"]
        .as_str()
        .expect("the operator is told");
    for part in [
        "postern.toml:",
        "unknown key",
        "tiemout",
        "nobody",
        "did you mean",
    ] {
        assert!(problem.contains(part), "{part:?} is not in {problem}");
    }
    assert_eq!(status["ready"], true);
    let folder = gateway.folder().display().to_string();
    assert!(
        gateway
            .log(&folder)
            .iter()
            .any(|line| line.contains("configuration not reloaded"))
    );
    assert_eq!(gateway.metric("postern_config_generation").await, Some(2.0));

    gateway.edit(&fragment(&one, "/c"));
    eventually!(gateway.get("/c").await.text(), |text| text == "one");
    assert!(gateway.status().await["config_problem"].is_null());
}

#[tokio::test]
async fn a_changed_plugin_configuration_takes_effect() {
    let upstream = Upstream::says("served");
    let fragment = |value: &str| {
        format!(
            r#"
            upstream.u.targets = ["{upstream}"]
            plugin.h = {{ file = "header-transform.wasm", config.response.add = {{ x-added = "{value}" }} }}
            route = [{{ name = "r", path = "/", plugins = ["h"], upstream = "u" }}]
            "#
        )
    };
    let gateway = Gateway::with(fragment("one")).start().await;
    assert_eq!(
        gateway.get("/").await.header("x-added").as_deref(),
        Some("one")
    );
    gateway.edit(&fragment("two"));
    eventually!(gateway.get("/").await.header("x-added"), |added| added
        .as_deref()
        == Some("two"));
}

#[tokio::test]
async fn counters_and_connections_outlive_a_reload() {
    let upstream = Upstream::says("served");
    let fragment = |more: &str| {
        format!(
            r#"
            upstream.u.targets = ["{upstream}"]
            plugin.limit = {{ file = "rate-limit.wasm", grants = ["limits"], config = {{ limits = ["2/hour"] }} }}
            route = [{{ name = "r", path = "/", plugins = ["limit"], upstream = "u" }}{more}]
            "#
        )
    };
    let gateway = Gateway::with(fragment("")).start().await;
    let mut kept = gateway.connect().await;
    assert_eq!(kept.call(&Call::get("/")).await.status, 200);
    gateway.edit(&fragment(
        r#", { name = "s", path = "/s", upstream = "u" }"#,
    ));
    eventually!(gateway.generation().await, |generation| *generation == 2);
    assert_eq!(kept.call(&Call::get("/")).await.status, 200);
    assert_eq!(
        kept.call(&Call::get("/")).await.status,
        429,
        "the first request still counts"
    );
    assert_eq!(
        upstream.connections(),
        1,
        "connections to targets that stay are kept"
    );
}

#[tokio::test]
async fn a_plugin_folder_that_is_deleted_and_comes_back_is_watched_again() {
    let upstream = Upstream::says("served");
    let fragment = greeting(&upstream).replace("greeter.wasm", "plugins/greeter.wasm");
    let gateway = Gateway::with(fragment)
        .file("plugins/greeter.wasm", guests::bytes("greeter"))
        .start()
        .await;
    let folder = gateway.folder().join("plugins");
    fs::remove_dir_all(&folder).expect("it is ours");
    eventually!(
        gateway.status().await["plugin_problems"]["greeter"]
            .as_str()
            .map(str::to_owned),
        |problem| {
            problem
                .as_ref()
                .is_some_and(|problem| problem.contains("cannot be read"))
        }
    );
    assert_eq!(greets(&gateway.get("/").await), "hello");
    fs::create_dir(&folder).expect("the folder is writable");
    gateway.replace("plugins/greeter.wasm", &saying("howdy"));
    eventually!(greets(&gateway.get("/").await), |greeting| greeting
        == "howdy");
    // And from here on promptly again.
    gateway.replace("plugins/greeter.wasm", &saying("salut"));
    eventually!(greets(&gateway.get("/").await), |greeting| greeting
        == "salut");
    assert_eq!(
        gateway.status().await["plugin_problems"],
        serde_json::json!({})
    );
}

#[tokio::test]
async fn a_mounted_volume_that_is_switched_by_a_link_is_noticed() {
    let upstream = Upstream::says("served");
    let fragment = greeting(&upstream).replace("greeter.wasm", "mount/greeter.wasm");
    // As Kubernetes mounts a ConfigMap: a link to a link that is replaced.
    let setup = Gateway::with(fragment).file("mount/..v1/greeter.wasm", guests::bytes("greeter"));
    let setup = setup
        .link("..v1", "mount/..data")
        .link("..data/greeter.wasm", "mount/greeter.wasm");
    let gateway = setup.start().await;
    assert_eq!(greets(&gateway.get("/").await), "hello");
    let mount = gateway.folder().join("mount");
    fs::create_dir(mount.join("..v2")).expect("the folder is writable");
    fs::write(mount.join("..v2/greeter.wasm"), saying("howdy")).expect("the folder is writable");
    symlink("..v2", mount.join("..data_tmp")).expect("the folder is writable");
    fs::rename(mount.join("..data_tmp"), mount.join("..data")).expect("the folder is writable");
    eventually!(greets(&gateway.get("/").await), |greeting| greeting
        == "howdy");
}

#[tokio::test]
async fn what_a_refused_configuration_lacks_is_noticed_when_it_comes() {
    let upstream = Upstream::says("served");
    let fragment = greeting(&upstream);
    let gateway = Gateway::with(&fragment).start().await;
    gateway.edit(&fragment.replace("greeter.wasm", "./other.wasm"));
    eventually!(
        gateway.status().await["config_problem"].clone(),
        |problem| problem.is_string()
    );
    gateway.replace("other.wasm", &saying("howdy"));
    eventually!(greets(&gateway.get("/").await), |greeting| greeting
        == "howdy");
    eventually!(
        gateway.status().await["config_problem"].clone(),
        |problem| problem.is_null()
    );
}

#[tokio::test]
async fn a_new_file_in_an_included_folder_is_noticed() {
    let upstream = Upstream::says("served");
    let fragment = format!(
        "version = 1\ninclude = [\"conf.d/*.toml\"]\nupstream.u.targets = [\"{upstream}\"]\n"
    );
    let route = |name: &str| {
        format!("[[route]]\nname = \"{name}\"\npath = \"/{name}\"\nupstream = \"u\"\n")
    };
    let gateway = Gateway::with(fragment)
        .file("conf.d/a.toml", route("a"))
        .start()
        .await;
    assert_eq!(gateway.get("/b").await.status, 404);
    fs::write(gateway.folder().join("conf.d/b.toml"), route("b")).expect("the folder is writable");
    eventually!(gateway.get("/b").await.status, |status| *status == 200);
    fs::remove_file(gateway.folder().join("conf.d/b.toml")).expect("the folder is writable");
    eventually!(gateway.get("/b").await.status, |status| *status == 404);
    assert_eq!(gateway.get("/a").await.status, 200);
}

#[tokio::test]
async fn an_edit_during_a_reload_is_not_missed() {
    let upstream = Upstream::says("served");
    let fragment = |path: &str, milliseconds: u32| {
        format!(
            r#"
            upstream.u.targets = ["{upstream}"]
            route = [{{ name = "r", path = "{path}", plugins = ["slow"], upstream = "u" }}]
            [plugin.slow]
            file = "misbehaving.wasm"
            config = {{ do = "spin", phase = "configure", milliseconds = {milliseconds} }}
            "#
        )
    };
    let gateway = Gateway::with(fragment("/a", 1)).start().await;
    gateway.edit(&fragment("/b", 700));
    // Longer than a change needs to settle, shorter than the plugin needs to start.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(
        gateway.generation().await,
        1,
        "the first edit is being loaded"
    );
    gateway.edit(&fragment("/c", 1));
    let begun = Instant::now();
    eventually!(gateway.get("/c").await.status, |status| *status == 200);
    // At once after the first, and not when the files are looked at the next time.
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(gateway.get("/b").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_are_answered_while_a_plugin_is_compiled() {
    let upstream = Upstream::says("served");
    let gateway = Gateway::with(greeting(&upstream)).start().await;
    // Bytes that nobody has compiled before, and that are no greeter: it takes the compiler's time and changes nothing.
    let component = (0..4).fold(guests::bytes("aggregate"), |component, _| {
        guests::variant(&component, Instant::now().elapsed().as_nanos() as u8)
    });
    let unique = std::process::id()
        .to_le_bytes()
        .iter()
        .fold(component, |component, byte| {
            guests::variant(&component, *byte)
        });
    gateway.replace("greeter.wasm", &unique);
    let series = r#"postern_plugin_reloads_total{outcome="failed",plugin="greeter"}"#;
    let (mut longest, mut looks) = (Duration::ZERO, 0);
    loop {
        let begun = Instant::now();
        let failed = gateway.metric(series).await;
        longest = longest.max(begun.elapsed());
        looks += 1;
        if failed == Some(1.0) {
            break;
        }
        assert!(looks < 100_000);
    }
    println!("longest of {looks} looks at the metrics page: {longest:?}");
    assert!(longest < Duration::from_millis(400), "{longest:?}");
}

#[tokio::test]
async fn a_hangup_signal_reloads() {
    let upstream = Upstream::says("served");
    let gateway = Gateway::with(greeting(&upstream)).process().await;
    assert_eq!(gateway.generation().await, 1);
    gateway.reload();
    eventually!(gateway.generation().await, |generation| *generation == 2);
    assert_eq!(greets(&gateway.get("/").await), "hello");
}

const PLUGINS: usize = 20;
const ROUNDS: usize = 50;
/// The allocator keeps what it was given back for a while: what is resident goes up and down by tens of MiB in thousands
/// of reloads, so the least of some rounds is compared. That every old generation is freed is seen by its code.
const ALLOWED_GROWTH: u64 = 64 << 20;
const WINDOW: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_reloads_under_load_lose_no_request_and_no_memory() {
    let upstream = Upstream::says("served");
    let mut fragment = format!("upstream.u.targets = [\"{upstream}\"]\n");
    for number in 0..PLUGINS {
        fragment += &format!(
            "[plugin.p{number}]\nfile = \"./p{number}.wasm\"\n[[route]]\nname = \"r{number}\"\npath = \"/{number}\"\n\
             plugins = [\"p{number}\"]\nupstream = \"u\"\n"
        );
    }
    // Four variants: each is compiled once, and found in the cache of compiled code afterwards.
    let variants: Vec<Vec<u8>> = (0..4)
        .map(|mark| guests::variant(&guests::bytes("greeter"), b'0' + mark))
        .collect();
    let mut setup = Gateway::with(fragment).workers(2);
    for number in 0..PLUGINS {
        setup = setup.file(&format!("p{number}.wasm"), &variants[0]);
    }
    let gateway = setup.process().await;
    let calls = (0..PLUGINS)
        .map(|number| Call::get(&format!("/{number}")))
        .collect();
    let good = |answer: &Answer| answer.status == 200 && greets(answer) == "hello";
    let load = Load::start(gateway.address(), 8, calls, good);

    let (begun, code) = (Instant::now(), gateway.mapped_code());
    assert!(code >= PLUGINS, "{code}");
    let mut memory = Vec::new();
    for round in 1..=ROUNDS {
        let variant = &variants[round % variants.len()];
        for number in 0..PLUGINS {
            gateway.replace(&format!("p{number}.wasm"), variant);
        }
        let reloads = async || {
            let page = gateway.metrics().await;
            let series = page.lines().filter(|line| {
                line.starts_with("postern_plugin_reloads_total{outcome=\"applied\"")
            });
            series
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum::<f64>()
        };
        eventually!(reloads().await, |count| *count >= (round * PLUGINS) as f64);
        memory.push(gateway.resident_bytes());
    }
    let least = |rounds: &[u64]| rounds.iter().copied().min().unwrap_or_default();
    // The first hundred reloads make the caches warm.
    let early = least(&memory[100 / PLUGINS..][..WINDOW]);
    let late = least(&memory[ROUNDS - WINDOW..]);
    let took = begun.elapsed();
    let report = load.stop().await;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "{} reloads in {took:.1?}; {} requests, longest {:?}; memory {:.1} MiB after 100, {:.1} MiB after all",
        ROUNDS * PLUGINS,
        report.answered,
        report.longest,
        mib(early),
        mib(late)
    );
    assert!(
        report.failures.is_empty(),
        "{report:#?}\n{:#?}",
        gateway.log("\"reason\"")
    );
    assert!(report.answered > 1_000, "{report:?}");
    assert!(
        late <= early + ALLOWED_GROWTH,
        "{:.1} MiB became {:.1} MiB",
        mib(early),
        mib(late)
    );
    // Nothing of the old generations is left: code and instances are those of the plugins that serve.
    eventually!(gateway.mapped_code(), |mapped| *mapped == code);
    let page = gateway.metrics().await;
    let instances = page
        .lines()
        .filter(|line| line.starts_with("postern_plugin_instances{"));
    let instances: f64 = instances
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    assert!(
        instances <= (PLUGINS * 2 * 2) as f64,
        "{instances} instances of {PLUGINS} plugins on 2 workers"
    );
}
