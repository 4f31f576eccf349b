//! The first plugin of the README, made as it says: its files are written, its tests run, its component is built; and where a
//! gateway is built (`target/debug/postern`, or the one that `POSTERN_BIN` names), its answers are those of the README.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

const README: &str = include_str!("../README.md");
const UPSTREAM: &str = "127.0.0.1:9000";
const GATEWAY: &str = "127.0.0.1:8080";

/// A fenced block, and the file whose name stands above it.
struct Block {
    file: Option<&'static str>,
    language: &'static str,
    text: String,
}

fn blocks() -> Vec<Block> {
    let (mut blocks, mut file) = (Vec::new(), None);
    let mut lines = README.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("**`") {
            file = name.strip_suffix("`**");
        } else if let Some(language) = line.strip_prefix("```") {
            let inner = lines.by_ref().take_while(|line| *line != "```");
            let text = inner.map(|line| format!("{line}\n")).collect();
            let file = file.take();
            blocks.push(Block {
                file,
                language,
                text,
            });
        }
    }
    blocks
}

/// The lines of all shell blocks that begin so.
fn commands(blocks: &[Block], program: &str) -> Vec<String> {
    let shell = blocks.iter().filter(|block| block.language == "sh");
    let lines = shell.flat_map(|block| block.text.lines());
    lines
        .filter(|line| line.starts_with(program))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_first_plugin_works_as_the_readme_says() {
    let blocks = blocks();
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("agent-filter");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap();
    std::os::unix::fs::symlink(&repository, folder.path().join("postern")).unwrap();
    for block in &blocks {
        let Some(file) = block.file else { continue };
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &block.text).unwrap();
    }
    // The versions that are here already: a test does not download.
    fs::copy(repository.join("Cargo.lock"), project.join("Cargo.lock")).unwrap();

    // Those of the clone are for the gateway; these two are for the plugin.
    let builds = commands(&blocks, "cargo ");
    let builds: Vec<&String> = builds
        .iter()
        .filter(|line| !line.contains("-p postern"))
        .collect();
    assert_eq!(builds.len(), 2, "tests and component: {builds:?}");
    for line in builds {
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(line.split(' ').skip(1))
            .arg("--offline")
            .current_dir(&project);
        cargo.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
        let done = cargo.output().unwrap();
        assert!(
            done.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }

    let Some(binary) = gateway_binary(&repository) else {
        eprintln!("no gateway is built: what it answers was not compared");
        return;
    };
    let (upstream, seen) = upstream();
    let config = fs::read_to_string(project.join("postern.toml")).unwrap();
    assert!(
        config.contains(UPSTREAM) && config.contains(GATEWAY),
        "the README's addresses changed"
    );
    let config = config
        .replace(UPSTREAM, &upstream)
        .replace(GATEWAY, "127.0.0.1:0");
    let config = format!("{config}\n[plugins]\ncache = \"cache\"\n");
    fs::write(project.join("postern.toml"), config).unwrap();
    let gateway = Gateway::start(&binary, &project);

    let curls = commands(&blocks, "curl ");
    let [welcome, refused] = &curls[..] else {
        panic!("two requests: {curls:?}")
    };
    assert!(gateway.answer(welcome).starts_with("HTTP/1.1 200 "));
    let request = seen.recv().unwrap().to_ascii_lowercase();
    assert!(
        request.contains("\r\nx-agent-checked: yes\r\n"),
        "{request}"
    );

    let answer = gateway.answer(refused);
    let body = &blocks
        .iter()
        .find(|block| block.language == "json")
        .unwrap()
        .text;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.ends_with(body.trim_end()), "{answer}");
    assert!(
        seen.try_recv().is_err(),
        "the upstream does not see a refused request"
    );
}

fn gateway_binary(repository: &Path) -> Option<PathBuf> {
    let named = std::env::var_os("POSTERN_BIN").map(PathBuf::from);
    let built = || Some(repository.join("target/debug/postern")).filter(|path| path.is_file());
    named.or_else(built)
}

/// An upstream that answers everything, and tells the heads that it was sent.
fn upstream() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, seen) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(&stream).lines().map(Result::unwrap);
            let head: String = lines
                .take_while(|line| !line.is_empty())
                .map(|line| line + "\r\n")
                .collect();
            let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(answer).unwrap();
            if tell.send(head).is_err() {
                return;
            }
        }
    });
    (address, seen)
}

/// Stopped when dropped.
struct Gateway {
    process: Child,
    address: String,
}

impl Gateway {
    fn start(binary: &Path, folder: &Path) -> Self {
        let mut command = Command::new(binary);
        command
            .args(["run", "--config", "postern.toml"])
            .current_dir(folder);
        let mut process = command
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut lines = String::new();
        let address = loop {
            let begins = lines.len();
            assert!(
                log.read_line(&mut lines).unwrap() > 0,
                "the gateway did not start:\n{lines}"
            );
            if let Some((_, rest)) = lines[begins..].split_once("listening on ") {
                break rest.split_whitespace().next().unwrap().to_owned();
            }
        };
        // Whoever does not read its log would stop it in the end.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Gateway { process, address }
    }

    /// The answer to a `curl` line of the README, head and body.
    fn answer(&self, curl: &str) -> String {
        let words: Vec<&str> = curl.split(' ').collect();
        let agent = words
            .iter()
            .position(|word| *word == "-A")
            .map_or("curl", |at| words[at + 1]);
        let url = words
            .last()
            .and_then(|url| url.strip_prefix("http://"))
            .unwrap();
        let path = url.strip_prefix(GATEWAY).unwrap();
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let host = &self.address;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: {agent}\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
