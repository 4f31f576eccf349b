//! Configurations that are wrong, as the operator meets them: `postern check` and `postern run` of the real program. What
//! each key may be is pinned in the host's own golden files; here it is that everything is found before a socket opens.

use postern_tests::setup::Finished;
use postern_tests::{Gateway, Upstream, guests};

const UPSTREAM: &str = "upstream.u.targets = [\"http://127.0.0.1:9\"]\n";

/// `postern check` of a fragment must fail at a place and say certain words.
fn assert_refused(fragment: &str, place: &str, words: &[&str]) {
    refused(
        &Gateway::with(format!("{UPSTREAM}{fragment}")).check(),
        place,
        words,
    );
}

fn refused(finished: &Finished, place: &str, words: &[&str]) {
    let Finished {
        code,
        stdout,
        stderr,
    } = finished;
    assert_eq!(*code, Some(2), "{stderr}");
    assert_eq!(stdout, "", "what is wrong goes to standard error");
    assert!(stderr.starts_with("postern: "), "{stderr}");
    assert!(stderr.contains(place), "{place:?} is not in {stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is not in {stderr}");
    }
    // The line itself, and a mark under the place.
    assert!(stderr.contains(" | ") && stderr.contains('^'), "{stderr}");
}

const ROUTE: &str = "[[route]]\nname = \"r\"\npath = \"/\"\nupstream = \"u\"\n";

#[test]
fn mistakes_in_the_file_are_reported_at_their_place() {
    // Line 1 is the version, line 2 the upstream.
    for (fragment, place, words) in [
        (
            format!("{ROUTE}tiemout = \"1s\"\n"),
            "postern.toml:7:1:",
            &["unknown key", "tiemout", "did you mean", "timeout"][..],
        ),
        (
            format!("{ROUTE}timeout = 250\n"),
            "postern.toml:7:11:",
            &["expected a duration", "250ms"],
        ),
        (
            format!("{ROUTE}timeout = \"soon\"\n"),
            "postern.toml:7:11:",
            &["expected a duration"],
        ),
        (format!("{ROUTE}{ROUTE}"), "postern.toml:8:8:", &["\"r\""]),
        (
            format!("{ROUTE}[listne.public]\naddress = \"127.0.0.1:0\"\n"),
            "postern.toml:7:2:",
            &["unknown table", "did you mean", "listen"],
        ),
        (
            ROUTE.replace("\"u\"", "\"nobody\""),
            "postern.toml:6:12:",
            &["nobody"],
        ),
        (
            format!("{ROUTE}plugins = [\"jtw\"]\n[plugin.jwt]\nfile = \"greeter.wasm\"\n"),
            "postern.toml:7:12:",
            &["jtw", "did you mean", "jwt"],
        ),
        (
            format!("{ROUTE}[consumer.c]\ntier = \"gold\"\n"),
            "postern.toml:8:8:",
            &["gold"],
        ),
        (
            format!("{ROUTE}[plugin.p]\nfile = \"not/there.wasm\"\n"),
            "postern.toml:8:8:",
            &["not/there.wasm"],
        ),
        (
            format!("{ROUTE}[keys.k]\nalgorithm = \"HS256\"\nsecret = \"env:NOT_SET\"\n"),
            "postern.toml:9:10:",
            &["NOT_SET"],
        ),
        (
            format!("{ROUTE}[keys.k]\nalgorithm = \"HS256\"\nsecret = \"file:not.there\"\n"),
            "postern.toml:9:10:",
            &["not.there"],
        ),
        (
            format!("{ROUTE}[keys.k]\nalgorithm = \"HS256\"\nsecret = \"hunter2\"\n"),
            "postern.toml:9:10:",
            &["env:", "file:"],
        ),
        (
            format!("{ROUTE}[plugin.p]\nfile = \"greeter.wasm\"\ngrants = [\"secrets\"]\n"),
            "postern.toml:9:11:",
            &["secrets"],
        ),
        (
            format!("{ROUTE}[upstream.u]\ntargets = []\n"),
            "postern.toml:",
            &[],
        ),
        (format!("{ROUTE}[server\n"), "postern.toml:7:", &[]),
    ] {
        assert_refused(&fragment, place, words);
    }
}

#[test]
fn all_mistakes_are_reported_in_one_run_and_no_secret_is() {
    let fragment = format!(
        "{UPSTREAM}{}tiemout = \"1s\"\n[keys.k]\nalgorithm = \"HS256\"\nsecret = \"hunter2-hunter2\"\n",
        ROUTE.replace("\"u\"", "\"nobody\"")
    );
    let finished = Gateway::with(fragment).check();
    refused(
        &finished,
        "postern.toml:6:12:",
        &["3 problems", "postern.toml:7:1:", "postern.toml:10:10:"],
    );
    assert!(!finished.stderr.contains("hunter2"), "{}", finished.stderr);
}

#[test]
fn routes_that_cannot_be_told_apart_are_refused() {
    let second = ROUTE.replace("\"r\"", "\"s\"");
    assert_refused(
        &format!("{ROUTE}{second}"),
        "postern.toml:7:",
        &["route \"r\"", "route \"s\""],
    );
}

#[test]
fn a_missing_main_file_is_named() {
    let mut command = postern_tests::setup::program();
    let finished = Finished::of(
        &command
            .args(["check", "--config", "/not/there.toml"])
            .output()
            .expect("it starts"),
    );
    assert_eq!(finished.code, Some(2), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("/not/there.toml"),
        "{}",
        finished.stderr
    );
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
}

/// A configuration that is right but for its plugin.
fn with_plugin(keys: &str) -> String {
    format!("{ROUTE}plugins = [\"p\"]\n[plugin.p]\n{keys}\n")
}

#[test]
fn a_plugin_that_refuses_its_configuration_is_quoted_at_its_table() {
    assert_refused(
        &with_plugin("file = \"header-transform.wasm\"\nconfig = { reqest = {} }"),
        "postern.toml:10:10:",
        &["plugin \"p\"", "it refuses its configuration", "reqest"],
    );
    assert_refused(
        &with_plugin(
            "file = \"jwt.wasm\"\ngrants = [\"identity\", \"keys\"]\n[plugin.p.config]\nleeway = \"1 year\"",
        ),
        "postern.toml:11:1:",
        &["plugin \"p\"", "leeway"],
    );
    assert_refused(
        &with_plugin(
            "file = \"misbehaving.wasm\"\nconfig = { do = \"error\", phase = \"configure\", message = \"not on a Sunday\" }",
        ),
        "postern.toml:10:10:",
        &["not on a Sunday"],
    );
}

#[test]
fn a_plugin_that_breaks_down_in_configure_is_refused() {
    for (act, words) in [
        (
            "do = \"trap\", message = \"the roof is on fire\"",
            &["`configure` failed", "misbehaving"][..],
        ),
        ("do = \"spin\"", &["`configure` failed"]),
        ("do = \"exit\"", &["`configure` failed"]),
        (
            "do = \"allocate\"",
            &["`configure` failed", "budget.memory"],
        ),
    ] {
        let plugin = with_plugin(&format!(
            "file = \"misbehaving.wasm\"\nconfig = {{ {act}, phase = \"configure\" }}"
        ));
        assert_refused(&plugin, "postern.toml:10:10:", words);
    }
}

#[test]
fn a_file_that_is_no_plugin_says_what_it_is_and_what_to_do() {
    let component = guests::bytes("greeter");
    for (bytes, words) in [
        (b"".to_vec(), &["empty or cut off"][..]),
        (
            b"\0asm\x01\0\0\0".to_vec(),
            &["core WebAssembly module", "wasm32-wasip2"],
        ),
        (b"\0asm\x0d\0".to_vec(), &["cut off"]),
        (
            b"\x7fELF\x02\x01\x01\0".to_vec(),
            &["not a WebAssembly file"],
        ),
        (
            component[..component.len() / 2].to_vec(),
            &["not a valid component"],
        ),
        (guests::bytes("wrong-world"), &["not a plugin", "lifecycle"]),
        (
            guests::bytes("future-version"),
            &["postern:plugin", "0.9.0", "0.1.0", "newer gateway"],
        ),
        (
            guests::bytes("forbidden-import"),
            &["wasi:filesystem", "store"],
        ),
    ] {
        let fragment = format!("{UPSTREAM}{}", with_plugin("file = \"./plugin.wasm\""));
        let finished = Gateway::with(fragment).file("plugin.wasm", bytes).check();
        refused(&finished, "postern.toml:8:", words);
        assert!(
            finished.stderr.contains("plugin.wasm"),
            "it names the file: {}",
            finished.stderr
        );
    }
}

#[test]
fn what_a_plugin_imports_must_be_granted() {
    assert_refused(
        &with_plugin("file = \"rate-limit.wasm\""),
        "postern.toml:8:",
        &["limits", "not granted", "grants"],
    );
    assert_refused(
        &with_plugin(
            "file = \"aggregate.wasm\"\nconfig.branches = [{ name = \"a\", upstream = \"u\", path = \"/\" }]",
        ),
        "postern.toml:10:",
        &["outbound", "not granted", "upstreams ="],
    );
}

#[test]
fn a_plugin_must_fit_its_role() {
    let responder = "[[route]]\nname = \"r\"\npath = \"/\"\nresponder = \"p\"\n[plugin.p]\nfile = \"greeter.wasm\"\n";
    assert_refused(responder, "postern.toml:3:", &["cannot be a responder"]);
    let chain = with_plugin(
        "file = \"aggregate.wasm\"\nupstreams = [\"u\"]\nconfig.branches = [{ name = \"a\", upstream = \"u\", path = \"/\" }]",
    );
    assert_refused(
        &chain,
        "postern.toml:3:",
        &["does nothing in a chain", "responder = \"p\""],
    );
}

#[test]
fn a_right_configuration_is_called_right() {
    let upstream = Upstream::says("ok");
    let fragment = format!(
        "upstream.u.targets = [\"{upstream}\"]\n{}",
        with_plugin("file = \"greeter.wasm\"")
    );
    let finished = Gateway::with(fragment).check();
    assert_eq!(
        (finished.code, finished.stderr.as_str()),
        (Some(0), ""),
        "{finished:?}"
    );
    assert_eq!(
        finished.stdout,
        "postern.toml is right: 1 routes, 1 plugins, 1 upstreams\n"
    );
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn run_refuses_what_check_refuses() {
    let fragment = format!("{UPSTREAM}{ROUTE}tiemout = \"1s\"\n");
    let (check, run) = (
        Gateway::with(&fragment).check(),
        Gateway::with(&fragment).run(),
    );
    assert_eq!((run.code, run.stderr), (check.code, check.stderr));
}
