//! Servers that we did not write, as upstreams: what the gateway passes on, nginx and HAProxy read as it was meant.

#[path = "raw_http1/table.rs"]
#[allow(dead_code, reason = "shared with the test of raw requests")]
mod table;

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use postern_tests::eventually::patience;
use postern_tests::pki::Authority;
use postern_tests::raw::RawAnswer;
use postern_tests::{Call, Connection, Gateway, Raw, tool};
use table::{Case, get};
use tempfile::TempDir;

/// Longer than any answer takes, shorter than any timeout of the gateway.
const PATIENCE: Duration = Duration::from_secs(5);
/// Enough for a body to be many reads.
const LARGE: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nginx,
    HaProxy,
}

/// A server, until it is dropped.
struct Server {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::HaProxy => "haproxy",
        }
    }

    /// Answers with the request line as it was read, without its version. `tls.pem` is its certificate. HAProxy has to wait
    /// for the body: it would answer before, and its reset would overtake the answer.
    fn config(self, port: u16, tls: bool) -> String {
        match self {
            Self::Nginx => {
                let tls = if tls {
                    "ssl; ssl_certificate tls.pem; ssl_certificate_key tls.pem"
                } else {
                    ""
                };
                format!(
                    r#"
                    daemon off; master_process off; pid nginx.pid; error_log nginx.log;
                    events {{ worker_connections 256; }}
                    http {{
                        access_log off; root .; client_body_temp_path body; proxy_temp_path proxy;
                        fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
                        keepalive_requests 20; underscores_in_headers on;
                        server {{
                            listen 127.0.0.1:{port} {tls};
                            location / {{ return 200 "$request_method $request_uri"; }}
                            location = /tls {{ return 200 "$ssl_server_name $server_protocol"; }}
                            location = /large {{ }}
                        }}
                    }}
                    "#
                )
            }
            Self::HaProxy => {
                let tls = if tls {
                    "ssl crt tls.pem alpn h2,http/1.1"
                } else {
                    ""
                };
                format!(
                    r#"
global
  maxconn 100
  tune.bufsize 2097152
defaults
  mode http
  option http-buffer-request
  timeout client 30s
  timeout server 30s
  timeout connect 1s
frontend all
  bind 127.0.0.1:{port} {tls}
  http-request return status 200 content-type text/plain file large if {{ path /large }}
  http-request return status 200 content-type text/plain lf-string "%[ssl_fc_sni] %HV" if {{ path /tls }}
  http-request return status 200 content-type text/plain lf-string "%HM %[pathq]"
"#
                )
            }
        }
    }

    /// None where it is not installed.
    fn start(self, tls: Option<&str>) -> Option<Server> {
        if !tool::is_there(self.program()) {
            return None;
        }
        // Between the choice of a port and its use another may take it.
        (0..5).find_map(|_| self.try_start(tls))
    }

    fn try_start(self, tls: Option<&str>) -> Option<Server> {
        let folder = tempfile::tempdir().expect("there is room");
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a port");
        let port = free.local_addr().expect("it is bound").port();
        drop(free);
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(folder.path().join(name), bytes).expect("the folder is ours");
        };
        write("config", self.config(port, tls.is_some()).as_bytes());
        write("tls.pem", tls.unwrap_or_default().as_bytes());
        write("large", &large());
        let mut command = Command::new(self.program());
        match self {
            Self::Nginx => command.arg("-p").arg(folder.path()).args(["-c", "config"]),
            Self::HaProxy => command.args(["-db", "-f", "config"]),
        };
        let child = command
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it is installed");
        let mut server = Server {
            child,
            port,
            folder,
        };
        let begun = Instant::now();
        while server.child.try_wait().expect("it is ours").is_none() {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Some(server);
            }
            assert!(begun.elapsed() < patience(), "{self:?} does not listen");
            std::thread::yield_now();
        }
        None
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking()
            && let Ok(log) = std::fs::read_to_string(self.folder.path().join("nginx.log"))
        {
            eprintln!("{log}");
        }
    }
}

fn large() -> Vec<u8> {
    (0..LARGE).map(|number| (number % 251) as u8).collect()
}

/// `METHOD TARGET` of a request as bytes.
fn asked(message: &[u8]) -> String {
    let line = message
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    line.rsplit_once(' ').unwrap_or_default().0.to_owned()
}

async fn answer(raw: &mut Raw, method: &str) -> Option<RawAnswer> {
    loop {
        match tokio::time::timeout(PATIENCE, raw.answer_to(method)).await {
            Ok(Some(answer)) if answer.status < 200 => {}
            answered => return answered.ok().flatten(),
        }
    }
}

/// Whether the next request on this connection gets its own answer.
async fn serves(raw: &mut Raw, target: &str) -> Result<(), String> {
    raw.send(get(target)).await;
    let text = answer(raw, "GET").await.map(|answer| answer.text());
    match text.as_deref().and_then(|text| text.strip_prefix("GET ")) {
        Some(got) if got == target => Ok(()),
        _ => Err(format!("{target} gets {text:?}")),
    }
}

/// What became of a case: how many of its requests the server itself refused, or what is wrong.
async fn outcome(case: &Case, gateway: &Gateway) -> Result<usize, String> {
    let mut raw = Raw::connect(gateway.address()).await;
    raw.send(&case.sent).await;
    let (mut passed, mut refused) = (case.beyond.iter().map(|message| asked(message)), 0);
    let is_passed = |wanted: &&Vec<u16>| wanted.contains(&200) && !case.want.partial;
    for _ in case.want.statuses.iter().take_while(is_passed) {
        let request = passed.next().unwrap_or_default();
        let method = request.split(' ').next().unwrap_or_default();
        match answer(&mut raw, method).await {
            Some(answer) if answer.status == 200 => {
                let text = answer.text();
                if method != "HEAD" && text != request {
                    return Err(format!("{request:?} was read as {text:?}"));
                }
            }
            // What is unusual may be too much for the server; it must only not be taken for something else.
            Some(answer) if matches!(answer.status, 400 | 403 | 405 | 414 | 501) => refused += 1,
            other => return Err(format!("{request:?} gets {other:?}")),
        }
    }
    if !case.want.close && !case.want.silent && refused == 0 {
        serves(&mut raw, "/after").await?;
    }
    // Whoever is next on a connection to the server gets its own answer.
    let mut probe = Raw::connect(gateway.address()).await;
    serves(&mut probe, "/probe").await.map(|()| refused)
}

async fn reads_all_as_meant(kind: Kind) {
    let Some(server) = kind.start(None) else {
        return;
    };
    let target = format!("http://127.0.0.1:{}", server.port);
    let gateway = table::gateway(target).await;
    let tables = ["framing", "chunks", "lines", "targets", "fields"];
    let cases = tables.map(|name| table::load(&format!("{name}.txt")));
    let (mut wrong, mut refused) = (Vec::new(), Vec::new());
    for case in cases.iter().flatten() {
        match outcome(case, &gateway).await {
            Ok(0) => {}
            Ok(_) => refused.push(case.name.as_str()),
            Err(error) => wrong.push(format!("{}: {error}", case.name)),
        }
    }
    assert!(wrong.is_empty(), "{kind:?}:\n{}", wrong.join("\n"));
    // Else this would show nothing.
    assert!(refused.len() < 20, "{kind:?} refuses {refused:#?}");
}

#[tokio::test]
async fn nginx_reads_what_is_passed_on_as_it_was_meant() {
    reads_all_as_meant(Kind::Nginx).await;
}

#[tokio::test]
async fn haproxy_reads_what_is_passed_on_as_it_was_meant() {
    reads_all_as_meant(Kind::HaProxy).await;
}

#[tokio::test]
async fn both_are_spoken_to_over_tls_in_their_best_version() {
    let authority = Authority::default();
    let identity = authority.issue(&["service.example"]).both();
    for (kind, version) in [(Kind::Nginx, "HTTP/1.1"), (Kind::HaProxy, "HTTP/2.0")] {
        let Some(server) = kind.start(Some(&identity)) else {
            continue;
        };
        let gateway = Gateway::with(format!(
            r#"
            [upstream.u]
            targets = ["https://127.0.0.1:{}"]
            tls = {{ ca = "ca.pem", server-name = "service.example" }}

            [[route]]
            name = "all"
            path = "/{{*rest}}"
            upstream = "u"
            "#,
            server.port
        ))
        .file("ca.pem", authority.pem())
        .start()
        .await;
        let mut connection = Connection::h1(gateway.address()).await;
        // More than one connection to nginx can take.
        for number in 0..50 {
            let answer = connection.call(&Call::get("/tls")).await;
            let said = format!("service.example {version}");
            assert_eq!(answer.text(), said, "{kind:?}, {number}");
            let posted = connection.call(&Call::post("/p", vec![b'x'; 10_000])).await;
            assert_eq!(posted.text(), "POST /p", "{kind:?}, {number}");
        }
        let mut second = Connection::h2(gateway.address()).await;
        for connection in [&mut connection, &mut second] {
            let answer = connection.call(&Call::get("/large")).await;
            assert_eq!(answer.status, 200, "{kind:?}");
            assert!(answer.body == large(), "{kind:?}: another body");
        }
    }
}
