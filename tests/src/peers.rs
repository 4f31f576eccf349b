//! Programs that we did not write, to speak with: they are in `tests/peers`, and run by the machine's Python.
//!
//! Where Python or a package is missing, a test says that it was skipped. With `POSTERN_PEERS=required`, as in the checks
//! before a change lands, it fails instead.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::eventually::patience;

/// A script, which can be run.
#[derive(Debug, Clone)]
pub struct Peer(PathBuf);

/// A script that serves, until it is dropped.
pub struct Server {
    process: Child,
    address: SocketAddr,
}

impl Peer {
    /// A script of `tests/peers` that needs a package. `None` where that is missing.
    ///
    /// # Panics
    /// Where it is missing and must not be.
    #[must_use]
    pub fn find(script: &str, package: &str) -> Option<Self> {
        let import = format!("import {package}");
        let found = Command::new("python3")
            .args(["-c", &import])
            .stderr(Stdio::null())
            .status();
        if found.is_ok_and(|status| status.success()) {
            return Some(Self(
                PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                    .join("peers")
                    .join(script),
            ));
        }
        assert!(
            std::env::var("POSTERN_PEERS").as_deref() != Ok("required"),
            "python3 cannot {import}, and POSTERN_PEERS=required"
        );
        eprintln!(
            "SKIPPED: python3 cannot {import}: python3 -m pip install -r tests/peers/requirements.txt"
        );
        None
    }

    fn command(&self) -> Command {
        let mut command = Command::new("python3");
        command.arg(&self.0);
        command
    }

    /// Starts it as a server.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn serve(&self) -> Server {
        let mut command = self.command();
        // It ends when we do, however we do: then its standard input ends.
        let command = command
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = command.spawn().expect("it starts");
        let mut line = String::new();
        let output = process.stdout.take().expect("it is a pipe");
        BufReader::new(output)
            .read_line(&mut line)
            .expect("it is text");
        let port: u16 = line.trim().parse().expect("it prints its port");
        Server {
            process,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        }
    }

    /// Runs it as a client. It prints what it saw.
    pub async fn call(&self, arguments: &[&str]) -> Value {
        let mut command = self.command();
        command.args(arguments).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output());
        // Python takes seconds to start where many do at once.
        let output = tokio::time::timeout(4 * patience(), output).await;
        let output = output
            .expect("it ends")
            .expect("no panic")
            .expect("it starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr))
        })
    }
}

impl Server {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
