//! Files that nobody would write: each is loaded, or explained.

use super::load_with;
use crate::fuzz::Fuzz;

const EXAMPLE: &str = r#"
version = 1

[server]
workers = 2
drain-timeout = "30s"

[listen.public]
address = "0.0.0.0:8080"
max-header-bytes = "32KiB"
trusted-proxies = ["10.0.0.0/8", "::1"]

[upstream.orders]
targets = ["http://127.0.0.1:7001", "http://[::1]"]
connect-timeout = "1s"

[plugin.jwt]
file = "plugins/jwt.wasm"
grants = ["identity", "keys"]
on-failure = { status = 502, body = "no" }
config = { a = [1, 2.5, 1979-05-27T07:32:00Z], b = { c = "d" } }

[plugin.jwt.budget]
cpu = "2ms"

[tier.free]
limits = ["100/minute", "10/10s"]

[consumer.app]
tier = "free"
[[consumer.app.api-key]]
key = "env:KEY"

[keys.idp]
algorithm = "HS256"
secret = "env:KEY"

[[route]]
name = "orders"
hosts = ["*.example", "a.example"]
path = "/orders/{id}/{*rest}"
methods = ["GET", "POST"]
plugins = ["jwt"]
upstream = "orders"
"#;

const WORDS: [&str; 24] = [
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "\"",
    "\"\"\"",
    "=",
    ".",
    ",",
    "\n",
    "#",
    "1e999",
    "-1",
    "0x7f",
    "\\u0000",
    "\u{feff}",
    "env:NONE",
    "[route]",
    "include = [\"*.toml\"]\n",
    "18446744073709551616",
    "99999999999999999999days",
    "true",
];

/// Nothing panics, and every problem can be shown.
#[test]
fn fuzz_config() {
    let folder = tempfile::tempdir().expect("there is room for temporary files");
    let path = folder.path().join("postern.toml");
    let environment = |name: &str| (name == "KEY").then(|| "x".repeat(32).into());
    Fuzz::new([EXAMPLE], WORDS).run(|input| {
        std::fs::write(&path, input).expect("the folder is writable");
        if let Err(problems) = load_with(&path, &environment) {
            assert!(!problems.to_string().is_empty());
        }
    });
}
