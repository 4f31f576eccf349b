//! The configuration of the gateway: read from TOML files, checked as a whole, handed out as plain typed data.
//!
//! Each table has three forms: what is written (`file`), what is wrong with it (`check`), and what the rest of the host works
//! with (`resolved`). Whoever edits the file by hand should see every mistake at once and where it is, so reading goes on
//! after an error wherever that makes sense.

mod address;
mod check;
mod condition;
mod credential;
pub mod defaults;
mod discovery;
mod document;
mod entry;
mod error;
mod file;
mod key_set;
mod path;
mod reference;
mod regex;
mod resilience;
mod resolved;
mod secret;
mod state;
mod suggest;
mod tables;
mod target_list;
mod template;
mod text;
pub mod tls;
mod units;
mod values;

use std::ffi::OsString;
use std::path::Path;

pub use address::ListenAddress;
pub use error::{Problem, Problems};
pub use regex::{MAX_REGEX_SIZE, whole_regex};
pub use resolved::*;
pub use secret::{KeyDigest, Secret};
pub use target_list::{ListedTarget, target_list};
pub use template::{Part, Template};
pub use text::Texts;
pub use tls::{CertificateConfig, ClientAuth, ListenTlsConfig, TargetTls, TlsVersion, UpstreamTls};

use error::Report;

/// Reads the configuration at `path`, what it includes, and the secrets it refers to.
///
/// # Errors
/// All problems that were found. There is no configuration then, not even a part of one.
pub fn load(path: &Path) -> Result<Config, Problems> {
    load_with(path, &|name| std::env::var_os(name))
}

/// Like [`load`], with another way to look up environment variables than the process's own.
///
/// # Errors
/// As [`load`].
pub fn load_with(
    path: &Path,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Config, Problems> {
    let mut report = Report::default();
    let config = read(path, environment, &mut report);
    let (texts, problems) = report.finish();
    match (config, problems) {
        (Some(config), None) => Ok(Config { texts, ..config }),
        (_, Some(problems)) => Err(problems),
        (None, None) => Err(Problems::new(
            vec![Problem::of_file(
                path,
                "cannot read the configuration",
                None,
            )],
            &texts,
        )),
    }
}

/// The configuration, as far as it could be understood; what is wrong with it is in `report`.
fn read(
    path: &Path,
    environment: &dyn Fn(&str) -> Option<OsString>,
    report: &mut Report,
) -> Option<Config> {
    let files = document::read(path, report);
    let documents = document::parse_all(&files.texts, report);
    let tables = tables::read(&documents, report);
    // Where a part could not be read, checks between tables would complain about what is merely unread.
    if !files.complete || documents.len() < files.texts.len() {
        return None;
    }
    let sources = files
        .texts
        .iter()
        .map(|text| text.file.to_path_buf())
        .collect();
    Some(check::check(
        &tables,
        path.to_owned(),
        sources,
        environment,
        report,
    ))
}

#[cfg(test)]
mod reference_page;
#[cfg(test)]
mod tests;
