//! Upstreams for tests, as an operator would write them.

use crate::config::UpstreamConfig;

/// The upstream of a table `[upstream.u]` with these lines.
pub(super) fn configured(lines: &str) -> UpstreamConfig {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("postern.toml");
    let text = format!(
        "version = 1\n[listen.l]\naddress = \"127.0.0.1:0\"\n[[route]]\nname = \"r\"\npath = \"/\"\nupstream = \"u\"\n[upstream.u]\n{lines}\n"
    );
    std::fs::write(&path, text).expect("a file");
    let environment = |_: &str| Some("correct-horse-battery-staple-123".into());
    match crate::config::load_with(&path, &environment) {
        Ok(mut config) => config.upstreams.remove(0),
        Err(problems) => panic!("{problems}"),
    }
}
