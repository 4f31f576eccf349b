//! `postern check`: everything that a start does, up to opening sockets.

use std::path::Path;
use std::process::ExitCode;

use crate::app;

pub(super) fn check(path: &Path) -> ExitCode {
    match app::load(path).and_then(app::check) {
        Ok(summary) => {
            report(path, &summary);
            ExitCode::SUCCESS
        }
        Err(error) => super::refuse(&error),
    }
}

#[expect(clippy::print_stdout, reason = "the answer to the command")]
fn report(path: &Path, summary: &str) {
    println!("{} is right: {summary}", path.display());
}
