//! The demo's last promise: a new build of a plugin takes over while requests flow, and none is lost.
//!
//! The plugin is `greeter`, because it is what a reader's own would be: built only from the SDK. Its changed version is
//! a real build of a copy of its source.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::check::Report;
use super::setup::{self, Addresses};
use crate::build_plugins::{self, GUEST_PROFILE, GUEST_TARGET};
use crate::call::{Call, Client};
use crate::process;
use crate::workspace::Workspace;

const PLUGIN: &str = "greeter";
const HEADER: &str = "x-greeting";
/// What the plugin says, as it stands in its source, and what the changed version says.
const OLD_GREETING: &str = "hello";
const NEW_GREETING: &str = "good evening";
/// What the issue promises.
const PROMISED: Duration = Duration::from_secs(1);
/// More than promised, so that a late reload is told as late and not as missing.
const PATIENCE: Duration = Duration::from_secs(10);

/// Replaces the running plugin and watches the answers.
pub(super) fn check(report: &mut Report, workspace: &Workspace, addresses: &Addresses) {
    let what = "A rebuilt plugin takes over within a second, and no request is lost.";
    report.record(what, swap(workspace, addresses));
}

fn swap(workspace: &Workspace, addresses: &Addresses) -> Result<()> {
    let changed = build_changed(workspace)?;
    let installed = workspace.plugins().join(format!("{PLUGIN}.wasm"));
    let original = fs::read(&installed)?;
    let outcome = swap_under_load(&changed, &installed, addresses);
    // The next run, and a gateway that a person has running, must find the real one.
    let restored = build_plugins::install_bytes(&original, &installed);
    outcome.and(restored.map(drop))
}

fn swap_under_load(changed: &Path, installed: &Path, addresses: &Addresses) -> Result<()> {
    let call = Call::get(addresses.public, "/api/customers/alice").bearer(&setup::internal_token());
    ensure!(
        greeting(&Client::new(), &call)? == OLD_GREETING,
        "the plugin does not greet before the change"
    );
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| keep_calling(&call, &done)))
            .collect();
        let taken = time_until_changed(changed, installed, &call);
        done.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().map_err(|_| anyhow!("a client panicked"))??;
        }
        let taken = taken?;
        ensure!(
            taken <= PROMISED,
            "expected the new greeting within {PROMISED:?}, got it after {taken:?}"
        );
        Ok(())
    })
}

fn time_until_changed(changed: &Path, installed: &Path, call: &Call) -> Result<Duration> {
    let client = Client::new();
    let start = Instant::now();
    build_plugins::install(changed, installed)?;
    let seen = process::poll(PATIENCE, || match greeting(&client, call) {
        Ok(greeting) => (greeting == NEW_GREETING).then(|| Ok(start.elapsed())),
        Err(error) => Some(Err(error)),
    });
    seen.unwrap_or_else(|| {
        Err(anyhow!(
            "expected {HEADER}: {NEW_GREETING}, got the old one for {PATIENCE:?}"
        ))
    })
}

/// Calls until told to stop. Both greetings are right in between; anything else is a lost request.
fn keep_calling(call: &Call, done: &AtomicBool) -> Result<()> {
    let client = Client::new();
    while !done.load(Ordering::Relaxed) {
        let greeting = greeting(&client, call).context("a request was lost during the change")?;
        ensure!(
            [OLD_GREETING, NEW_GREETING].contains(&greeting.as_str()),
            "got {HEADER}: {greeting}"
        );
        // All clients together stay below the internal consumer's 5000 a minute, however late the change comes.
        std::thread::park_timeout(Duration::from_millis(10));
    }
    Ok(())
}

fn greeting(client: &Client, call: &Call) -> Result<String> {
    let answer = client.send(call)?;
    ensure!(
        answer.status == 200,
        "expected status 200, got {}: {}",
        answer.status,
        answer.body
    );
    let value = answer
        .headers
        .get(HEADER)
        .with_context(|| format!("no header {HEADER}"))?;
    Ok(value.to_str()?.to_owned())
}

/// Does what a plugin author does: changes the source and runs `cargo build`, in a folder outside the workspace.
fn build_changed(workspace: &Workspace) -> Result<PathBuf> {
    let source = workspace.root.join("examples/plugins").join(PLUGIN);
    let copy = workspace.guest_target().join("demo-changed");
    copy_sources(&source.join("src"), &copy.join("src"))?;
    fs::write(copy.join("Cargo.toml"), manifest(workspace)?)?;
    // The same versions of everything, so that nothing is looked up or downloaded.
    fs::copy(workspace.root.join("Cargo.lock"), copy.join("Cargo.lock"))?;
    let mut cargo = workspace.cargo();
    cargo.current_dir(&copy).args([
        "build",
        "--offline",
        "--target",
        GUEST_TARGET,
        "--profile",
        GUEST_PROFILE,
    ]);
    run_quietly(cargo.arg("--target-dir").arg(copy.join("target")))?;
    Ok(build_plugins::artifact(&copy.join("target"), PLUGIN))
}

fn copy_sources(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let mut changes = 0;
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let entry = entry?;
        let text = fs::read_to_string(entry.path())?;
        let (old, new) = (format!("\"{OLD_GREETING}\""), format!("\"{NEW_GREETING}\""));
        changes += text.matches(&old).count();
        fs::write(to.join(entry.file_name()), text.replace(&old, &new))?;
    }
    ensure!(
        changes > 0,
        "the source of {PLUGIN} does not say \"{OLD_GREETING}\""
    );
    Ok(())
}

fn manifest(workspace: &Workspace) -> Result<String> {
    let sdk = workspace.root.join("plugin-sdk");
    let Some(sdk) = sdk.to_str() else {
        bail!("the path of the project is not Unicode")
    };
    Ok(format!(
        "[workspace]\n\n[package]\nname = \"{PLUGIN}\"\nversion = \"0.2.0\"\nedition = \"2024\"\n\n\
         [lib]\ncrate-type = [\"cdylib\"]\n\n[dependencies]\npostern-plugin = {{ path = {sdk:?} }}\n\n\
         [profile.{GUEST_PROFILE}]\ninherits = \"release\"\npanic = \"abort\"\nstrip = \"debuginfo\"\n"
    ))
}

fn run_quietly(command: &mut Command) -> Result<()> {
    let output = command.output().context("cannot start cargo")?;
    ensure!(
        output.status.success(),
        "the changed plugin does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
