//! dnsmasq, with the records of a test.

use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::eventually::{pause, within};

/// The exit code for problems with network access (dnsmasq(8)).
const ADDRESS_TAKEN: i32 = 2;

/// A DNS server. It ends when it is dropped.
pub struct Dnsmasq {
    folder: TempDir,
    address: SocketAddr,
    child: Option<Child>,
}

impl Dnsmasq {
    /// Starts it with hosts, as in the hosts file, and arguments of its own.
    pub async fn start(hosts: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("there is room for temporary files");
        let mut server = Self {
            folder,
            address: free_address(),
            child: None,
        };
        server.write(hosts);
        while !server.begin(arguments).await {
            server.address = free_address();
        }
        server
    }

    /// Where it is asked.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From here on these are its hosts.
    pub fn hosts(&self, hosts: &str) {
        self.write(hosts);
        let child = self.child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), Signal::HUP).expect("it lives");
    }

    /// Ends it, without a word to anybody.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again at the same address, with other arguments.
    pub async fn restart(&mut self, arguments: &[&str]) {
        self.kill();
        assert!(self.begin(arguments).await, "its address is taken");
    }

    /// Starts it and waits for its first answer. False if its address is taken.
    async fn begin(&mut self, arguments: &[&str]) -> bool {
        let port = self.address.port();
        let mut command = Command::new("dnsmasq");
        command
            .args([
                "--no-daemon",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
            ])
            .args([
                "--bind-interfaces",
                "--listen-address=127.0.0.1",
                "--cache-size=0",
            ])
            .args(["--local=/test/", &format!("--port={port}")])
            .arg(format!("--addn-hosts={}", self.file().display()))
            .arg("--log-queries")
            .arg(format!("--log-facility={}", self.log().display()))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.child = Some(command.spawn().expect("dnsmasq starts"));
        within("dnsmasq's first answer", async {
            while !self.answers() {
                let child = self.child.as_mut().expect("it was started");
                match child.try_wait().expect("it is our child") {
                    Some(status) if status.code() == Some(ADDRESS_TAKEN) => return false,
                    Some(status) => panic!("dnsmasq ended: {status}"),
                    None => pause().await,
                }
            }
            true
        })
        .await
    }

    /// Whether it answers a question, whatever it says.
    fn answers(&self) -> bool {
        // A query of the name `test`, class IN, type A (RFC 1035, 4).
        const QUERY: &[u8] =
            b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04test\x00\x00\x01\x00\x01";
        let asked = || -> std::io::Result<usize> {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.set_read_timeout(Some(std::time::Duration::from_millis(100)))?;
            socket.connect(self.address)?;
            socket.send(QUERY)?;
            socket.recv(&mut [0; 512])
        };
        asked().is_ok()
    }

    /// How often it was asked for the IPv4 addresses of a name.
    #[must_use]
    pub fn queries(&self, name: &str) -> usize {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        log.matches(&format!("query[A] {name} ")).count()
    }

    fn log(&self) -> std::path::PathBuf {
        self.folder.path().join("log")
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("hosts")
    }

    /// These are its hosts when it starts again.
    pub fn write(&self, hosts: &str) {
        fs::write(self.file(), hosts).expect("the folder is writable");
    }
}

/// An address that is free at this moment, for UDP and TCP.
fn free_address() -> SocketAddr {
    let is_free = |udp: UdpSocket| {
        let address = udp.local_addr().ok()?;
        TcpListener::bind(address).is_ok().then_some(address)
    };
    let any = || UdpSocket::bind("127.0.0.1:0").ok().and_then(is_free);
    (0..20).find_map(|_| any()).expect("there is a free port")
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        self.kill();
    }
}
