//! The programs of a run: the upstream, which serves all runs, and a proxy, which serves one.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::documents::{self, CONSUMERS, SECRET};
use super::procfs::{self, Stat};
use super::scenario::{Kind, Peer};
use super::template;
use super::tools::{LOAD_CORE, PROXY_CORE, Tools, pinned};
use crate::call::{Call, Client};
use crate::process::{self, Service};
use crate::workspace::Workspace;

/// Starting includes compiling the plugins.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// More than the load of the bench ever needs.
pub(super) const NO_LIMIT: u32 = 1_000_000;

/// What all runs share: the upstream, and a folder for generated files, which goes when the bench ends.
pub(super) struct Site<'a> {
    pub(super) tools: &'a Tools,
    pub(super) upstream: Running,
    workspace: &'a Workspace,
    folder: TempDir,
}

impl<'a> Site<'a> {
    /// Writes the files and starts the upstream.
    pub(super) fn set_up(workspace: &'a Workspace, tools: &'a Tools) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("postern-bench-")
            .tempdir()?;
        fs::create_dir(folder.path().join("www"))?;
        fs::write(folder.path().join("www/64k"), documents::large())?;
        let tokens: Vec<_> = (0..CONSUMERS)
            .map(|number| documents::token(&documents::consumer(number)))
            .collect();
        fs::write(folder.path().join("tokens"), tokens.join("\n") + "\n")?;

        let address = free_address()?;
        let mut values = documents::values();
        values.insert("RUN", text(folder.path())?);
        values.insert("UP", address.to_string());
        let config = folder.path().join("upstream.conf");
        let template = workspace.root.join("bench/upstream.conf");
        fs::write(&config, template::render(&template, &values)?)?;
        let command = nginx(tools, LOAD_CORE, &config);
        let upstream = Running::start("the upstream", command, address, folder.path())?;
        Ok(Self {
            tools,
            upstream,
            workspace,
            folder,
        })
    }

    /// Stops the upstream; an error when it does not end as it should.
    pub(super) fn tear_down(self) -> Result<()> {
        self.upstream.stop()
    }

    /// The file with a token in each line.
    pub(super) fn tokens(&self) -> PathBuf {
        self.folder.path().join("tokens")
    }

    /// The script of the load tool.
    pub(super) fn load_script(&self) -> PathBuf {
        self.workspace.root.join("bench/load.lua")
    }

    /// Starts a proxy that does this kind of work, with this many requests a second for a consumer.
    pub(super) fn start(&self, peer: Peer, kind: Kind, limit: u32) -> Result<Running> {
        let address = free_address()?;
        let templates = self.workspace.root.join("bench").join(peer.name());
        let mut values = documents::values();
        values.insert("RUN", text(self.folder.path())?);
        values.insert("UP", self.upstream.address.to_string());
        values.insert("PORT", address.port().to_string());
        values.insert("RATE_LIMIT", limit.to_string());
        // Plugins are in `@PEER@/../../target/plugins`; with another target directory, a folder elsewhere leads there.
        values.insert("PEER", text(&self.peer_folder(&templates)?)?);
        let template = templates
            .join(kind.config())
            .with_extension(peer.extension());
        let config = self
            .folder
            .path()
            .join(peer.name())
            .with_extension(peer.extension());
        fs::write(&config, template::render(&template, &values)?)?;
        let command = match peer {
            Peer::Nginx => nginx(self.tools, PROXY_CORE, &config),
            Peer::Postern => {
                let mut command = pinned(PROXY_CORE, &self.tools.postern);
                command.args(["run", "--config"]).arg(&config);
                command.env("BENCH_JWT_SECRET", SECRET);
                command
            }
        };
        Running::start(peer.name(), command, address, self.folder.path())
    }

    fn peer_folder(&self, templates: &Path) -> Result<PathBuf> {
        if self.workspace.target == self.workspace.root.join("target") {
            return Ok(templates.to_owned());
        }
        let stand_in = self.folder.path().join("root/bench/postern");
        if !stand_in.is_dir() {
            fs::create_dir_all(&stand_in)?;
            std::os::unix::fs::symlink(
                &self.workspace.target,
                self.folder.path().join("root/target"),
            )?;
        }
        Ok(stand_in)
    }
}

/// A program that listens, until it is stopped or dropped.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    service: Service,
    log: PathBuf,
    /// The processes that it consisted of when it was ready.
    pub(super) processes: Vec<Stat>,
}

impl Running {
    fn start(
        name: &'static str,
        mut command: Command,
        address: SocketAddr,
        folder: &Path,
    ) -> Result<Self> {
        let log = folder.join(format!("{name}.output"));
        let output = File::create(&log)?;
        command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let service = Service::start(name, &mut command)?;
        let mut running = Self {
            address,
            service,
            log,
            processes: Vec::new(),
        };
        running.wait_until_ready()?;
        running.processes = procfs::tree(running.service.id())?;
        Ok(running)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let client = Client::new();
        // Any answer will do, a refusal too: what the answers are is looked at next.
        let call = Call::get(self.address, "/json");
        let ready = process::poll(START_PATIENCE, || match self.expect_running() {
            Err(error) => Some(Err(error)),
            Ok(()) => client.send(&call).ok().map(|_| Ok(())),
        });
        ready.unwrap_or_else(|| bail!("no answer on {} after {START_PATIENCE:?}", self.address))
    }

    /// An error, with the end of the program's output, when it has ended.
    pub(super) fn expect_running(&mut self) -> Result<()> {
        let running = self.service.expect_running();
        running.with_context(|| {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            lines[lines.len().saturating_sub(5)..].join(" | ")
        })
    }

    /// The same processes now; an error when one has ended or come.
    pub(super) fn processes_now(&self) -> Result<Vec<Stat>> {
        let now = procfs::tree(self.service.id())?;
        if !procfs::are_same(&self.processes, &now) {
            bail!("processes have ended or come during the run");
        }
        Ok(now)
    }

    /// Stops the program; an error when it does not end as it should.
    pub(super) fn stop(self) -> Result<()> {
        let stopped = self.service.stop();
        // Workers whose master had to be killed.
        for process in self.processes.iter().filter(|process| process.is_there()) {
            if let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) {
                kill_process(pid, Signal::KILL)?;
            }
        }
        stopped
    }
}

fn nginx(tools: &Tools, core: usize, config: &Path) -> Command {
    let folder = config.parent().unwrap_or(config);
    let mut command = pinned(core, &tools.nginx);
    command.arg("-p").arg(folder).arg("-c").arg(config);
    // Without it nginx looks at the system's log file before it has read the configuration.
    command.arg("-e").arg(folder.join("nginx.log"));
    command.args(["-g", "daemon off;"]);
    command
}

/// An address on the loopback interface that nobody listens on at the moment.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?)
}

fn text(path: &Path) -> Result<String> {
    let text = path.to_str();
    Ok(text
        .with_context(|| format!("{} is not Unicode", path.display()))?
        .to_owned())
}
