//! A service as a process of its own, which can be killed, stopped and put into moods.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use postern_tests::eventually::{pause, within};
use postern_tests::{Call, Script, Upstream, client, reply};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Where the process listens, and where it writes what it has seen.
const ADDRESS: &str = "POSTERN_FAULTS_ADDRESS";
const SEEN: &str = "POSTERN_FAULTS_SEEN";

/// What it answers with.
pub(super) const BODY: &str = "an answer that is long enough to be cut in two";

/// How it answers. Health checks are answered well in every mood.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mood {
    Well,
    Slow,
    Failing,
    Resetting,
    ResettingMidBody,
}

const MOODS: [Mood; 5] = [
    Mood::Well,
    Mood::Slow,
    Mood::Failing,
    Mood::Resetting,
    Mood::ResettingMidBody,
];

impl Mood {
    fn script(self) -> Script {
        let well = reply(200).body(BODY);
        let script = Script::after_body();
        match self {
            Self::Well => well.into(),
            Self::Slow => script.pause(Duration::from_millis(300)).send(well.bytes()),
            Self::Failing => reply(503).into(),
            Self::Resetting => script.reset(),
            Self::ResettingMidBody => {
                let bytes = well.bytes();
                let half = &bytes[..bytes.len() - BODY.len() / 2];
                // What was sent must have been read before a reset overtakes it.
                script.send(half).pause(Duration::from_millis(20)).reset()
            }
        }
    }
}

/// Not a test: the process that [`Service`] starts. It ends with its standard input.
#[test]
#[ignore = "the comparison starts it"]
fn process() {
    let (Ok(address), Ok(seen)) = (std::env::var(ADDRESS), std::env::var(SEEN)) else {
        return;
    };
    let address: SocketAddr = address.parse().expect("it is an address");
    let seen = OpenOptions::new().append(true).create(true).open(seen);
    let seen: File = seen.expect("the folder is writable");
    let mood = AtomicU8::new(0);
    let _service = Upstream::at(address, move |request| {
        if let Some(number) = request.target.strip_prefix("/mood/") {
            mood.store(number.parse().expect("it is a number"), Ordering::SeqCst);
            return reply(204).into();
        }
        if request.target == "/healthz" {
            return reply(200).into();
        }
        let line = format!("{} {}\n", request.method, request.target);
        (&seen).write_all(line.as_bytes()).expect("there is room");
        MOODS[usize::from(mood.load(Ordering::SeqCst))].script()
    });
    let mut nothing = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut nothing);
}

/// Such a process. It ends when it is dropped.
pub(super) struct Service {
    folder: TempDir,
    address: SocketAddr,
    child: Child,
}

impl Service {
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("there is room");
        let free = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let address = free.local_addr().expect("it is bound");
        drop(free);
        let child = spawn(folder.path(), address);
        let service = Self {
            folder,
            address,
            child,
        };
        service.answers().await;
        service
    }

    async fn answers(&self) {
        within("the service's first answer", async {
            while tokio::net::TcpStream::connect(self.address).await.is_err() {
                pause().await;
            }
        })
        .await;
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) async fn put_into(&self, mood: Mood) {
        let call = Call::get(&format!("/mood/{}", mood as u8));
        assert_eq!(client::call(self.address, &call).await.status, 204);
    }

    pub(super) fn stop(&self) {
        self.signal(Signal::STOP);
    }

    pub(super) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    pub(super) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().expect("it is our child");
    }

    pub(super) async fn start_again(&mut self) {
        self.child = spawn(self.folder.path(), self.address);
        self.answers().await;
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it lives");
    }

    /// Method and target of each request that it has seen.
    pub(super) fn seen(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("seen")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path, address: SocketAddr) -> Child {
    let program = std::env::current_exe().expect("a test is a program");
    Command::new(program)
        .args(["faults::service::process", "--exact", "--ignored"])
        .env(ADDRESS, address.to_string())
        .env(SEEN, folder.join("seen"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program starts")
}
