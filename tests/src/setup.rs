//! A gateway before it starts: its folder, its configuration, and the plugins that the configuration names.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::guests;

/// The main file's name in the gateway's folder.
const CONFIG: &str = "postern.toml";

/// A gateway to be.
pub struct Setup {
    pub(crate) folder: TempDir,
    fragment: String,
    workers: usize,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) command: Option<&'static str>,
    /// The program that starts it, and that program's arguments.
    pub(crate) starter: Vec<String>,
}

impl Setup {
    /// Takes the part of a configuration that a test is about. What it does not say is filled in: a listener and an admin
    /// listener on free ports, one worker, an access log of JSON in the folder. Plugins that it names as `"NAME.wasm"` are
    /// put into the folder.
    pub fn new(fragment: impl Into<String>) -> Self {
        let folder = tempfile::tempdir().expect("there is room for temporary files");
        Self {
            folder,
            fragment: fragment.into(),
            workers: 1,
            environment: Vec::new(),
            command: Some("run"),
            starter: Vec::new(),
        }
    }

    /// With more workers than one.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// With a variable in the environment of the process.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Started as `postern --config FILE`.
    #[must_use]
    pub fn without_command(mut self) -> Self {
        self.command = None;
        self
    }

    /// Started by another program, which becomes it.
    #[must_use]
    pub fn started_by(mut self, starter: Vec<String>) -> Self {
        self.starter = starter;
        self
    }

    /// With a file in its folder.
    #[must_use]
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().expect("it is in the folder"))
            .expect("the folder is writable");
        fs::write(path, content).expect("the folder is writable");
        self
    }

    /// With a symbolic link in its folder.
    #[must_use]
    pub fn link(self, to: &str, name: &str) -> Self {
        std::os::unix::fs::symlink(to, self.folder.path().join(name))
            .expect("the folder is writable");
        self
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn worker_count(&self) -> usize {
        self.workers
    }

    /// Writes everything to the folder. Returns the path of the configuration.
    pub(crate) fn write(&self) -> PathBuf {
        let path = self.folder.path().join(CONFIG);
        fs::write(&path, complete(&self.fragment, self.workers)).expect("the folder is writable");
        put_guests(self.folder.path(), &self.fragment);
        path
    }

    /// `postern check`, to its end.
    #[must_use]
    pub fn check(&self) -> Finished {
        self.ask(&["check"])
    }

    /// `postern run`, which must not get as far as serving.
    #[must_use]
    pub fn run(&self) -> Finished {
        self.ask(&["run"])
    }

    /// A command about its configuration, to its end.
    #[must_use]
    pub fn ask(&self, arguments: &[&str]) -> Finished {
        self.write();
        let mut command = program();
        command
            .current_dir(self.folder.path())
            .args(arguments)
            .args(["--config", CONFIG]);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Finished::of(&command.output().expect("the program starts"))
    }
}

/// A configuration with one route, `r`: everything goes to the upstream `u`, which has this target. The only listener,
/// `public`, has these lines besides its address.
#[must_use]
pub fn one_route(target: impl Display, listener: &str) -> String {
    format!(
        r#"
        upstream.u.targets = ["{target}"]
        route = [{{ name = "r", path = "/{{*rest}}", upstream = "u" }}]
        [listen.public]
        address = "127.0.0.1:0"
        {listener}
        "#
    )
}

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Finished {
    /// What a program left behind.
    #[must_use]
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}

/// The program `postern`: that of `POSTERN_BIN`, or the one that cargo built along with the tests.
#[must_use]
pub fn program() -> Command {
    if let Some(path) = std::env::var_os("POSTERN_BIN") {
        return Command::new(path);
    }
    let test = std::env::current_exe().expect("a test is a program");
    // TARGET/PROFILE/deps/TEST
    let folder = test
        .parent()
        .and_then(Path::parent)
        .expect("cargo puts tests two folders deep");
    let path = folder.join(format!(
        "postern-under-test{}",
        std::env::consts::EXE_SUFFIX
    ));
    assert!(
        path.is_file(),
        "there is no {}; name the program in POSTERN_BIN",
        path.display()
    );
    Command::new(path)
}

/// The same, started by another program if there is one.
pub(crate) fn program_by(starter: &[String]) -> Command {
    let Some((first, arguments)) = starter.split_first() else {
        return program();
    };
    let mut command = Command::new(first);
    command.args(arguments).arg(program().get_program());
    command
}

/// Compiled plugins are kept here, for all tests of this user on this machine.
fn cache() -> PathBuf {
    let user = rustix::process::getuid().as_raw();
    std::env::temp_dir().join(format!("postern-tests-cache-{user}"))
}

/// A fragment and the tables that it lacks, which come after it so that its lines keep their numbers but one.
pub(crate) fn complete(fragment: &str, workers: usize) -> String {
    let mut text = match fragment.contains("version =") {
        true => fragment.to_owned(),
        false => format!("version = 1\n{fragment}"),
    };
    let tables = [
        (
            "[server]",
            format!("workers = {workers}\ndrain-timeout = \"5s\"\n"),
        ),
        ("[admin]", "address = \"127.0.0.1:0\"\n".into()),
        (
            "[access-log]",
            "format = \"json\"\nfile = \"access.log\"\n".into(),
        ),
        (
            "[plugins]",
            format!("cache = {:?}\nmax-instances = 200\n", cache()),
        ),
        ("[log]", "format = \"json\"\n".into()),
        ("[listen.", "public]\naddress = \"127.0.0.1:0\"\n".into()),
    ];
    for (table, content) in tables {
        if !fragment.contains(table) {
            let line = if table.ends_with(']') { "\n" } else { "" };
            text += &format!("\n{table}{line}{content}");
        }
    }
    text
}

/// Copies the guests that a fragment names as `"NAME.wasm"` to the folder, unless something of the name is there.
pub(crate) fn put_guests(folder: &Path, fragment: &str) {
    for quoted in fragment.split('"').filter(|text| text.ends_with(".wasm")) {
        let wanted = folder.join(quoted);
        let name = quoted.trim_end_matches(".wasm");
        let named = name.split('/').count() == 1;
        if named && !wanted.exists() {
            fs::copy(guests::path(name), wanted).expect("the folder is writable");
        }
    }
}
