//! The two programs of the demo: the shop's services, and the gateway in front of them.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::setup::{self, Addresses, SECRETS};
use crate::call::{Call, Client};
use crate::process::{self, Service};
use crate::workspace::Workspace;

/// The first start compiles seven plugins to machine code, on whatever machine this is.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// Where the programs' logs go.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Output {
    /// Where a person sees the access log scroll by.
    Terminal,
    /// Into a file that outlives the run.
    File,
}

/// The running programs.
pub(super) struct Demo {
    // In the order in which they are dropped: the gateway first, so that it never finds its upstreams gone.
    gateway: Service,
    shop: Service,
    log: PathBuf,
    // Holds the generated configuration as long as it is watched.
    _folder: TempDir,
}

impl Demo {
    /// Starts both programs and waits until the gateway answers.
    pub(super) fn start(
        workspace: &Workspace,
        addresses: Addresses,
        output: Output,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("postern-demo-").tempdir()?;
        let config = setup::config(workspace, &addresses, folder.path())?;
        let log = workspace.target.join("demo.log");
        let shop = start_shop(workspace, &addresses)?;
        let gateway = start_gateway(workspace, &config, output, &log)?;
        let mut demo = Self {
            gateway,
            shop,
            log,
            _folder: folder,
        };
        demo.wait_until_ready(&addresses)?;
        Ok(demo)
    }

    /// An error when one of the programs has ended.
    pub(super) fn expect_running(&mut self) -> Result<()> {
        self.shop.expect_running()?;
        self.gateway.expect_running()
    }

    /// The gateway's log with [`Output::File`].
    pub(super) fn log_file(&self) -> PathBuf {
        self.log.clone()
    }

    /// Stops both, the gateway first.
    pub(super) fn stop(self) -> Result<()> {
        self.gateway.stop().and(self.shop.stop())
    }

    fn wait_until_ready(&mut self, addresses: &Addresses) -> Result<()> {
        let client = Client::new();
        // Any answer will do, a 401 too: it has passed the listener, the router and a plugin.
        let call = Call::get(addresses.public, "/api/orders");
        let ready = process::poll(START_PATIENCE, || match self.expect_running() {
            Err(error) => Some(Err(error)),
            Ok(()) => client.send(&call).ok().map(|_| Ok(())),
        });
        match ready {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(error.context(self.log_tail())),
            None => bail!(
                "the gateway does not answer on {} after {START_PATIENCE:?}",
                addresses.public
            ),
        }
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(20)..].join("\n");
        if tail.is_empty() {
            "the demo did not start".to_owned()
        } else {
            format!("the demo did not start:\n{tail}\n")
        }
    }
}

fn start_shop(workspace: &Workspace, addresses: &Addresses) -> Result<Service> {
    let mut command = Command::new(workspace.program("shop"));
    let services = addresses.named().into_iter().skip(2);
    for (name, address) in services.clone() {
        command.arg(format!("--{name}")).arg(address.to_string());
    }
    let mut shop = Service::start(
        "the shop",
        command.stdin(Stdio::null()).stdout(Stdio::piped()),
    )?;
    // It prints a line for each service once all of them listen.
    let mut output = BufReader::new(shop.take_stdout().context("the shop has no output")?).lines();
    for (name, _) in services {
        let line = output.next().transpose()?;
        ensure!(
            line.is_some(),
            "the shop ended before it listened for {name}"
        );
    }
    Ok(shop)
}

fn start_gateway(
    workspace: &Workspace,
    config: &PathBuf,
    output: Output,
    log: &PathBuf,
) -> Result<Service> {
    let mut command = Command::new(workspace.program("postern"));
    command
        .current_dir(&workspace.root)
        .args(["run", "--config"])
        .arg(config)
        .stdin(Stdio::null());
    command.envs(SECRETS.iter().map(|secret| (secret.variable, secret.value)));
    if output == Output::File {
        let file = std::fs::File::create(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        command.stdout(file.try_clone()?).stderr(file);
    }
    Service::start("the gateway", &mut command)
}
