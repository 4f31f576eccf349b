//! A running gateway, in this process or as one of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{self, Answer, Call, Connection};
use crate::eventually::{pause, within};
use crate::log;
use crate::setup::{self, Setup};

/// A gateway that serves. It stops when it is dropped.
pub struct Gateway {
    listeners: Vec<(String, String)>,
    admin: SocketAddr,
    config: PathBuf,
    workers: usize,
    running: Running,
    folder: TempDir,
}

enum Running {
    Here(Option<Box<postern::app::Gateway>>),
    Process {
        child: Child,
        log: Arc<Mutex<Vec<String>>>,
    },
}

impl Gateway {
    /// A gateway with this configuration; see [`Setup::new`].
    pub fn with(fragment: impl Into<String>) -> Setup {
        Setup::new(fragment)
    }

    /// The address of the first listener.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        let (_, address) = self.listeners.first().expect("there is a listener");
        address.parse().expect("it is no path")
    }

    /// The address of a listener.
    #[must_use]
    pub fn listener(&self, name: &str) -> SocketAddr {
        let found = self.listeners.iter().find(|(listener, _)| listener == name);
        let found = found.unwrap_or_else(|| panic!("there is no listener {name:?}"));
        found.1.parse().expect("it is no path")
    }

    /// The addresses of the listeners that serve now, by their names.
    pub async fn listening(&self) -> BTreeMap<String, String> {
        let status = self.status().await;
        serde_json::from_value(status["listeners"].clone()).expect("they are texts")
    }

    /// The process's id.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.pid().as_raw_nonzero().get().unsigned_abs()
    }

    /// The address of the admin listener.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The folder of its configuration and plugins.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Makes a call on a connection of its own.
    pub async fn call(&self, call: &Call) -> Answer {
        client::call(self.address(), call).await
    }

    /// `GET` on a connection of its own.
    pub async fn get(&self, path: &str) -> Answer {
        self.call(&Call::get(path)).await
    }

    /// An HTTP/1.1 connection to the first listener.
    pub async fn connect(&self) -> Connection {
        Connection::h1(self.address()).await
    }

    /// `/api/status` of the admin listener.
    pub async fn status(&self) -> Value {
        client::call(self.admin, &Call::get("/api/status"))
            .await
            .json()
    }

    /// The generation that serves.
    pub async fn generation(&self) -> u64 {
        self.status().await["generation"]
            .as_u64()
            .expect("it is a number")
    }

    /// The metrics page.
    pub async fn metrics(&self) -> String {
        client::call(self.admin, &Call::get("/metrics"))
            .await
            .text()
    }

    /// The value of one series, named with its labels as on the page.
    pub async fn metric(&self, series: &str) -> Option<f64> {
        let page = self.metrics().await;
        page.lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    /// The lines of the access log so far.
    #[must_use]
    pub fn access_log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder().join("access.log")).unwrap_or_default();
        // The last line may not be whole yet.
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// The lines of the log that contain a text. In this process all gateways share a log.
    #[must_use]
    pub fn log(&self, text: &str) -> Vec<String> {
        match &self.running {
            Running::Here(_) => log::lines_with(text),
            Running::Process { log, .. } => {
                let lines = log.lock().unwrap_or_else(PoisonError::into_inner);
                lines
                    .iter()
                    .filter(|line| line.contains(text))
                    .cloned()
                    .collect()
            }
        }
    }

    /// Writes a new configuration over the old one, in one step.
    pub fn edit(&self, fragment: &str) {
        setup::put_guests(self.folder(), fragment);
        replace(
            &self.config,
            setup::complete(fragment, self.workers).as_bytes(),
        );
    }

    /// Renames a new component over a plugin's file.
    pub fn replace(&self, file: &str, bytes: &[u8]) {
        replace(&self.folder().join(file), bytes);
    }

    /// Writes a file of the folder in place, as `cp` does.
    pub fn overwrite(&self, file: &str, bytes: &[u8]) {
        fs::write(self.folder().join(file), bytes).expect("the folder is writable");
    }

    /// Asks for a reload, whether files changed or not.
    pub fn reload(&self) {
        match &self.running {
            Running::Here(gateway) => gateway.as_ref().expect("it runs").reload(),
            Running::Process { .. } => self.signal(Signal::HUP),
        }
    }

    /// Drains a gateway of this process and waits for it.
    pub async fn drain(mut self) {
        let Running::Here(gateway) = &mut self.running else {
            panic!("a process is drained with a signal")
        };
        let gateway = gateway.take().expect("it runs");
        let drained = tokio::task::spawn_blocking(move || gateway.drain());
        within("drain", drained)
            .await
            .expect("the gateway does not panic");
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the process lives");
    }

    /// Waits until the process ends.
    pub async fn ended(&mut self) -> ExitStatus {
        let Running::Process { child, .. } = &mut self.running else {
            panic!("it is not a process")
        };
        within("the end of the process", async {
            loop {
                if let Some(status) = child.try_wait().expect("it is our child") {
                    return status;
                }
                pause().await;
            }
        })
        .await
    }

    /// The memory of the process, in bytes, as the kernel counts it.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid().as_raw_nonzero());
        let text = fs::read_to_string(path).expect("the process lives, on Linux");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("it is in the file");
        let kib: u64 = line
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("it is a number");
        kib * 1024
    }

    /// How many pieces of compiled plugins the process has mapped to run them. Of the same files, slots for instances keep
    /// the images of their memories mapped, which are not counted.
    #[must_use]
    pub fn mapped_code(&self) -> usize {
        let path = format!("/proc/{}/maps", self.pid().as_raw_nonzero());
        let maps = fs::read_to_string(path).expect("the process lives, on Linux");
        let code = |line: &&str| line.contains(" r-xp ") && line.ends_with(".cwasm");
        maps.lines().filter(code).count()
    }

    fn pid(&self) -> Pid {
        match &self.running {
            Running::Process { child, .. } => Pid::from_child(child),
            Running::Here(_) => {
                panic!("the gateway is no process of its own: start it with .process()")
            }
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Running::Process { child, .. } = &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn replace(path: &Path, bytes: &[u8]) {
    let partial = path.with_extension("partial");
    fs::write(&partial, bytes).expect("the folder is writable");
    fs::rename(&partial, path).expect("the folder is writable");
}

impl Setup {
    /// Starts it in this process.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(self) -> Gateway {
        self.try_start()
            .await
            .unwrap_or_else(|error| panic!("the gateway does not start: {error}"))
    }

    /// Starts it in this process.
    ///
    /// # Errors
    /// Why it does not start.
    pub async fn try_start(self) -> Result<Gateway, String> {
        log::capture();
        let config = self.write();
        assert!(
            self.environment.is_empty(),
            "only a process has an environment of its own"
        );
        let path = config.clone();
        // It has runtimes of its own, which must not begin or end inside of the test's.
        let started = tokio::task::spawn_blocking(move || {
            let config = postern::app::load(&path).map_err(|error| error.to_string())?;
            let metrics = Arc::new(postern::telemetry::Metrics::new());
            postern::app::Gateway::start(config, metrics).map_err(|error| error.to_string())
        });
        let gateway = started.await.expect("the gateway does not panic")?;
        let listeners = gateway
            .listeners()
            .iter()
            .map(|(name, address)| (name.to_string(), address.to_string()))
            .collect();
        let admin = gateway
            .admin()
            .expect("the harness asks for an admin listener");
        let workers = self.worker_count();
        Ok(Gateway {
            listeners,
            admin,
            config,
            workers,
            running: Running::Here(Some(Box::new(gateway))),
            folder: self.folder,
        })
    }

    /// Starts the program.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn process(self) -> Gateway {
        let config = self.write();
        let mut command = setup::program_by(&self.starter);
        command
            .current_dir(self.folder.path())
            .args(self.command)
            .arg("--config")
            .arg(&config);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stderr = BufReader::new(child.stderr.take().expect("it is a pipe"));
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                lines
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        let workers = self.worker_count();
        let running = Running::Process { child, log };
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut gateway = Gateway {
            listeners: Vec::new(),
            admin: nowhere,
            config,
            workers,
            running,
            folder: self.folder,
        };
        within("the program's first lines", async {
            while gateway.log("admin on").is_empty() {
                let Running::Process { child, .. } = &mut gateway.running else {
                    return;
                };
                if let Some(status) = child.try_wait().expect("it is our child") {
                    panic!(
                        "the program ended ({status}):\n{}",
                        gateway.log("").join("\n")
                    );
                }
                pause().await;
            }
        })
        .await;
        gateway.listeners = gateway
            .log("\"listening on")
            .iter()
            .map(|line| listening(line))
            .collect();
        gateway.admin = gateway
            .log("admin on")
            .first()
            .and_then(|line| address(line))
            .expect("it names an address");
        gateway
    }
}

/// Name and address in a line of the log.
fn listening(line: &str) -> (String, String) {
    let name = serde_json::from_str::<Value>(line).expect("the log is JSON")["listener"].clone();
    (
        name.as_str().unwrap_or_default().to_owned(),
        last_word(line).expect("it names an address"),
    )
}

fn address(line: &str) -> Option<SocketAddr> {
    last_word(line)?.parse().ok()
}

fn last_word(line: &str) -> Option<String> {
    let line = serde_json::from_str::<Value>(line).ok()?;
    let word = line["message"].as_str()?.rsplit(' ').next()?;
    Some(word.to_owned())
}
