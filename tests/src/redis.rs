//! A Redis server of a test's own.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::eventually::{pause, within};
use crate::pki::Identity;

/// A server that keeps nothing on disk. It ends when it is dropped.
pub struct Redis {
    folder: TempDir,
    address: SocketAddr,
    arguments: Vec<String>,
    secure: bool,
    child: Option<Child>,
}

impl Redis {
    /// Starts it, with arguments of its own.
    pub async fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("there is room for temporary files");
        let arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
        Self::begin_anywhere(folder, arguments, false).await
    }

    /// Starts it so that it speaks only TLS, as this identity, with arguments of its own.
    pub async fn start_tls(identity: &Identity, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("there is room for temporary files");
        let file = |name: &str, content: &str| {
            let path = folder.path().join(name);
            fs::write(&path, content).expect("the folder is writable");
            path.display().to_string()
        };
        let (cert, key) = (
            file("cert.pem", &identity.certificate),
            file("key.pem", &identity.key),
        );
        let of_tls = ["--tls-cert-file", &cert, "--tls-key-file", &key];
        let rest = ["--tls-ca-cert-file", &cert, "--tls-auth-clients", "no"];
        let all = of_tls.iter().chain(&rest).chain(arguments);
        let arguments = all.map(|text| (*text).to_owned()).collect();
        Self::begin_anywhere(folder, arguments, true).await
    }

    async fn begin_anywhere(folder: TempDir, arguments: Vec<String>, secure: bool) -> Self {
        let mut server = Self {
            folder,
            address: free_address(),
            arguments,
            secure,
            child: None,
        };
        while !server.begin().await {
            server.address = free_address();
        }
        server
    }

    /// `redis://127.0.0.1:PORT`, or `rediss`.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.secure { "rediss" } else { "redis" };
        format!("{scheme}://{}", self.address)
    }

    /// What it answers to a command, which must be a line.
    ///
    /// # Panics
    /// When it does not answer, or speaks TLS.
    pub fn ask(&self, command: &[&str]) -> Vec<String> {
        self.try_ask(command).expect("it answers")
    }

    /// Ends it, without a word to anybody.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again at the same address, with nothing in it.
    pub async fn restart(&mut self) {
        self.kill();
        within("its address", async {
            while !self.begin().await {
                pause().await;
            }
        })
        .await;
    }

    /// Stops it: connections stay, and nothing is answered.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), signal).expect("it lives");
    }

    /// Starts it and waits until it listens. False if it ended, for example because its address is taken.
    async fn begin(&mut self) -> bool {
        let port = self.address.port().to_string();
        let ports = match self.secure {
            false => ["--port", &port, "--tls-port", "0"],
            true => ["--port", "0", "--tls-port", &port],
        };
        let child = Command::new("redis-server")
            .current_dir(self.folder.path())
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(ports)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.expect("redis-server starts"));
        within("the first connection to Redis", async {
            loop {
                let child = self.child.as_mut().expect("it was started");
                if child.try_wait().expect("it is our child").is_some() {
                    return false;
                }
                // Over TLS nothing is asked, but that somebody listens.
                let answers = match self.secure {
                    false => self
                        .try_ask(&["PING"])
                        .is_ok_and(|answer| !answer.is_empty()),
                    true => TcpStream::connect(self.address).is_ok(),
                };
                if answers {
                    return true;
                }
                pause().await;
            }
        })
        .await
    }

    fn try_ask(&self, command: &[&str]) -> std::io::Result<Vec<String>> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "*{}\r\n", command.len())?;
        for part in command {
            write!(stream, "${}\r\n{part}\r\n", part.len())?;
        }
        let mut answer = Vec::new();
        read(&mut BufReader::new(stream), &mut answer)?;
        Ok(answer)
    }
}

/// Reads one answer (RESP 2), and all that is in it, as texts.
fn read(stream: &mut BufReader<TcpStream>, answer: &mut Vec<String>) -> std::io::Result<()> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let line = line.trim_end();
    let (kind, rest) = line.split_at(line.len().min(1));
    let length: i64 = rest.parse().unwrap_or(-1);
    match kind {
        "*" => {
            for _ in 0..length {
                read(stream, answer)?;
            }
        }
        "$" if length >= 0 => {
            let mut bytes = vec![0; usize::try_from(length).unwrap_or_default() + 2];
            stream.read_exact(&mut bytes)?;
            bytes.truncate(bytes.len() - 2);
            answer.push(String::from_utf8_lossy(&bytes).into_owned());
        }
        _ => answer.push(rest.to_owned()),
    }
    Ok(())
}

/// An address that is free at this moment.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("it is bound")
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
