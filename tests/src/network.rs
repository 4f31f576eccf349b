//! Networks of a test's own, whose wires can be cut (Linux's network namespaces).

use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

use crate::tool;

/// Set in a process that is in a network of its own.
const MARK: &str = "POSTERN_TEST_OWN_NETWORK";
/// Addresses for tests of networks (RFC 2544, C.2.2).
const NEAR: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

/// Whether this process is in a network of its own. If it is not, the test of this name is run once more, in one; whoever gets
/// `false` has nothing left to do. Where networks may not be made, it says so.
///
/// # Panics
/// When the test fails there.
#[must_use]
pub fn is_own(test: &str) -> bool {
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    if !["unshare", "nsenter", "ip"].into_iter().all(tool::is_there) {
        return false;
    }
    let allowed = [vec!["--net"], vec!["--net", "--map-root-user"]];
    let Some(arguments) = allowed.into_iter().find(|arguments| is_allowed(arguments)) else {
        println!("SKIPPED: networks may not be made on this machine");
        return false;
    };
    let program = std::env::current_exe().expect("a test is a program");
    let output = Command::new("unshare")
        .args(arguments)
        .arg(program)
        .args(["--exact", test, "--nocapture"])
        .env(MARK, "1")
        .output()
        .expect("the program starts");
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(
        output.status.success() && told.contains("1 passed"),
        "in a network of its own:\n{told}"
    );
    false
}

fn is_allowed(arguments: &[&str]) -> bool {
    let tried = Command::new("unshare")
        .args(arguments)
        .args(["ip", "link", "set", "lo", "up"])
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

/// Another network, at the far end of a wire. Both end when it is dropped.
pub struct FarNetwork {
    /// A process that does nothing but be there.
    holder: Child,
}

impl FarNetwork {
    /// Lays a wire from this process's own network to another.
    ///
    /// # Panics
    /// When that is not possible.
    #[must_use]
    pub fn connected() -> Self {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo here; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let output = holder.stdout.take().expect("it is a pipe");
        let mut line = String::new();
        // From here on its network is there.
        let read = BufReader::new(output).read_line(&mut line);
        read.expect("it is text");
        let far = Self { holder };
        let id = far.holder.id().to_string();
        ip(&[], "link set lo up");
        ip(
            &[],
            &format!("link add wire type veth peer name wire netns {id}"),
        );
        ip(&[], &format!("address add {NEAR}/24 dev wire"));
        ip(&[], "link set wire up");
        far.ip(&format!("address add {FAR}/24 dev wire"));
        far.ip("link set lo up");
        far.mend();
        far
    }

    /// Our address.
    #[must_use]
    pub fn near(&self) -> Ipv4Addr {
        NEAR
    }

    /// The address at the other end.
    #[must_use]
    pub fn far(&self) -> Ipv4Addr {
        FAR
    }

    /// What starts a program there.
    #[must_use]
    pub fn starter(&self) -> Vec<String> {
        let network = format!("--net=/proc/{}/ns/net", self.holder.id());
        vec!["nsenter".into(), network]
    }

    /// Nothing comes through any more, and nobody is told.
    pub fn cut(&self) {
        self.ip("link set wire down");
    }

    /// Everything comes through.
    pub fn mend(&self) {
        self.ip("link set wire up");
    }

    fn ip(&self, arguments: &str) {
        ip(&self.starter(), arguments);
    }
}

impl Drop for FarNetwork {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn ip(starter: &[String], arguments: &str) {
    let words = starter.iter().map(String::as_str);
    let mut words = words.chain(["ip"]).chain(arguments.split(' '));
    let mut command = Command::new(words.next().expect("there is a word"));
    let output = command.args(words).output().expect("the program starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {told}");
}
