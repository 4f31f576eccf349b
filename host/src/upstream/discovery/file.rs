//! Targets by a file that somebody else writes.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::Source;
use super::found::Found;
use super::sink::Sink;
use crate::config::{FileDiscovery, ListedTarget, target_list};
use crate::watch::{FileWatch, POLL};

/// Longer files are not lists of targets.
const MAX_BYTES: u64 = 16 << 20;

/// Watches a file.
pub(super) struct FileSource {
    pub(super) config: FileDiscovery,
}

impl Source for FileSource {
    async fn watch(self, sink: Sink) {
        let path = &self.config.path;
        let mut watch = FileWatch::new();
        let mut seen: Option<Result<String, String>> = None;
        loop {
            watch.follow(std::iter::once(path.as_path()));
            let now = read(path);
            let is_new = seen.as_ref() != Some(&now);
            match now
                .as_deref()
                .map_err(String::clone)
                .and_then(|text| found(path, text))
            {
                Ok(found) if is_new => sink.update(found),
                Ok(_) => sink.confirm(),
                Err(error) => sink.fail(error),
            }
            seen = Some(now);
            tokio::select! {
                () = watch.changed() => watch.settle().await,
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    let mut file = file.take(MAX_BYTES + 1);
    file.read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(format!(
            "{} is longer than {MAX_BYTES} bytes",
            path.display()
        ));
    }
    Ok(text)
}

fn found(path: &Path, text: &str) -> Result<Vec<Found>, String> {
    let is_toml = path
        .extension()
        .is_some_and(|extension| extension == "toml");
    let listed = target_list(text, is_toml);
    let listed = listed.map_err(|error| format!("{}: {error}", path.display()))?;
    let found = |listed: ListedTarget| Found {
        host: listed.host,
        port: listed.port,
        name: None,
        secure: Some(listed.secure),
        placement: listed.placement,
    };
    Ok(listed.into_iter().map(found).collect())
}
