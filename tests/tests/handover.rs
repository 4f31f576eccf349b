//! The gateway as a service: replaced by a new process, started with sockets by a service manager, and stopped behind a
//! balancer; and nobody who sends requests meanwhile loses one.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postern_tests::load::Load;
use postern_tests::setup::{one_route, program};
use postern_tests::{Call, Connection, Gate, Gateway, Script, Upstream, client, eventually};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::{TcpStream, UnixStream};

fn fragment(upstream: &Upstream) -> String {
    one_route(upstream, "[listen.local]\naddress = \"unix:s\"")
}

/// A process that is not our child. It ends with the test.
struct Process(Pid);

impl Process {
    fn signal(&self, signal: Signal) {
        kill_process(self.0, signal).expect("it lives");
    }

    fn lives(&self) -> bool {
        rustix::process::test_kill_process(self.0).is_ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

/// The processes that took over so far, the last one at the end.
fn successors(gateway: &Gateway) -> Vec<Pid> {
    let lines = gateway.log("serves: draining");
    let number = |line: &String| {
        line.split("process ")
            .nth(1)?
            .split(' ')
            .next()?
            .parse()
            .ok()
    };
    lines
        .iter()
        .filter_map(number)
        .filter_map(Pid::from_raw)
        .collect()
}

/// Calls on a connection each, until it is stopped. Returns how many were answered, and what went wrong.
async fn knock(address: SocketAddr, stop: Arc<AtomicBool>) -> (usize, Vec<String>) {
    let (mut answered, mut failures) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let connected = TcpStream::connect(address).await;
        let answer = match connected {
            Ok(stream) => Connection::over(stream)
                .await
                .try_call(&Call::get("/"))
                .await
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match answer {
            Ok(answer) if answer.text() == "ok" => answered += 1,
            other => failures.push(format!("{other:?}")),
        }
    }
    (answered, failures)
}

#[tokio::test]
async fn a_new_process_takes_over_and_no_request_is_lost() {
    let upstream = Upstream::says("ok");
    let mut gateway = Gateway::with(fragment(&upstream))
        .workers(2)
        .process()
        .await;
    let (address, admin) = (gateway.address(), gateway.admin());
    let load = Load::start(address, 4, vec![Call::get("/")], |answer| {
        answer.text() == "ok"
    });
    let stop = Arc::new(AtomicBool::new(false));
    let knocking = tokio::spawn(knock(address, Arc::clone(&stop)));

    gateway.signal(Signal::USR2);
    assert_eq!(
        gateway.ended().await.code(),
        Some(0),
        "{:#?}",
        gateway.log("")
    );
    let second = Process(*successors(&gateway).last().expect("it says who took over"));
    assert!(second.lives());
    // And that one is replaced as well.
    second.signal(Signal::USR2);
    let all = eventually!(successors(&gateway), |all| all.len() == 2);
    let third = Process(*all.last().expect("there are two"));
    eventually!(second.lives(), |lives| !lives);
    assert_eq!(client::call(admin, &Call::get("/readyz")).await.status, 200);
    stop.store(true, Ordering::Relaxed);
    let (answered, failures) = knocking.await.expect("no panic");
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(answered > 0);
    let report = load.stop().await;
    assert!(report.failures.is_empty(), "{:#?}", report.failures);
    assert!(report.answered > 0);

    let path = gateway.folder().join("s");
    let stream = UnixStream::connect(&path)
        .await
        .expect("the file was not removed");
    assert_eq!(
        Connection::over(stream)
            .await
            .call(&Call::get("/"))
            .await
            .text(),
        "ok"
    );
    third.signal(Signal::TERM);
    eventually!(path.exists(), |exists| !exists);
    eventually!(TcpStream::connect(address).await.is_err(), |refused| {
        *refused
    });
}

#[tokio::test]
async fn what_the_old_process_has_begun_it_finishes() {
    let gate = Gate::default();
    let held = gate.clone();
    let upstream = Upstream::start(move |request| {
        let script = Script::after_body();
        let script = if request.target == "/slow" {
            script.wait(&held)
        } else {
            script
        };
        script.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    });
    let mut gateway = Gateway::with(fragment(&upstream)).process().await;
    let mut connection = gateway.connect().await;
    let slow = tokio::spawn(async move { connection.try_call(&Call::get("/slow")).await });
    eventually!(upstream.count(), |count| *count == 1);
    gateway.signal(Signal::USR2);
    let successor = eventually!(successors(&gateway), |all| all.len() == 1);
    let _successor = Process(successor[0]);
    assert_eq!(
        gateway.get("/").await.text(),
        "ok",
        "the new one serves while the old one drains"
    );
    gate.open();
    let answer = slow.await.expect("no panic").expect("it is finished");
    assert_eq!(answer.header("connection").as_deref(), Some("close"));
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_process_that_cannot_start_replaces_nobody() {
    let upstream = Upstream::says("ok");
    let gateway = Gateway::with(fragment(&upstream)).process().await;
    let mut kept = gateway.connect().await;
    gateway.edit("route = 5");
    gateway.signal(Signal::USR2);
    eventually!(
        gateway.log("not replaced, this process serves on"),
        |lines| !lines.is_empty()
    );
    assert_eq!(kept.call(&Call::get("/")).await.text(), "ok");
    assert_eq!(gateway.get("/").await.text(), "ok");
    assert!(gateway.folder().join("s").exists());
    // It may be tried again.
    gateway.edit(&fragment(&upstream));
    gateway.signal(Signal::USR2);
    let successor = eventually!(successors(&gateway), |all| all.len() == 1);
    let _successor = Process(successor[0]);
    eventually!(gateway.get("/").await.text(), |text| text == "ok");
}

/// A child that ends with the test.
struct Service {
    child: Child,
    manager: UnixDatagram,
}

impl Service {
    /// The next thing that it tells the service manager.
    async fn told(&self) -> String {
        let mut buffer = [0; 512];
        let length = eventually!(self.manager.recv(&mut buffer), |received| received.is_ok());
        let length = length.expect("it was received");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it lives");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder with a configuration.
fn folder(config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("there is room");
    std::fs::write(folder.path().join("postern.toml"), config).expect("there is room");
    folder
}

#[tokio::test]
async fn a_service_manager_passes_sockets_and_is_told_what_happens() {
    let upstream = Upstream::says("ok");
    let sockets = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("there is a port"));
    let [by_name, by_address] = &sockets;
    let by_name = by_name.local_addr().expect("it is bound");
    let by_address = by_address.local_addr().expect("it is bound");
    // It is not ours: had it to be opened, the start would fail.
    let config = format!(
        r#"
        version = 1
        upstream.u.targets = ["{upstream}"]
        route = [{{ name = "r", path = "/{{*rest}}", upstream = "u" }}]
        [access-log]
        format = "off"
        [listen.public]
        address = "{}"
        [listen.other]
        address = "{by_address}"
        "#,
        upstream.address()
    );
    let folder = folder(&config);
    let manager = UnixDatagram::bind(folder.path().join("notify")).expect("there is room");
    manager.set_nonblocking(true).expect("it is a socket");
    let [first, second] = sockets.map(|socket| Stdio::from(OwnedFd::from(socket)));
    // As a service manager does it: descriptors from 3 on, and the process's own number.
    let script =
        "LISTEN_PID=$$ exec \"$0\" run --config postern.toml 3<&0 4<&1 </dev/null >/dev/null";
    let child = Command::new("sh")
        .args(["-c", script])
        .arg(program().get_program())
        .current_dir(folder.path())
        .env("LISTEN_FDS", "2")
        .env("LISTEN_FDNAMES", "public:connection")
        .env("NOTIFY_SOCKET", folder.path().join("notify"))
        .stdin(first)
        .stdout(second)
        .spawn()
        .expect("there is a shell");
    let service = Service { child, manager };
    assert_eq!(service.told().await, "READY=1\n");
    for address in [by_name, by_address] {
        assert_eq!(client::call(address, &Call::get("/")).await.text(), "ok");
    }
    service.signal(Signal::HUP);
    let reloading = service.told().await;
    assert!(
        reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{reloading}"
    );
    assert_eq!(service.told().await, "READY=1\n");

    service.signal(Signal::USR2);
    // The new process says that it is ready, too; a manager that waits for the main process does not listen to it.
    let mut told = Vec::new();
    while !told
        .iter()
        .any(|text: &String| text.starts_with("MAINPID="))
    {
        told.push(service.told().await);
    }
    let main = told.last().expect("it is there").clone();
    let number = main
        .trim_start_matches("MAINPID=")
        .lines()
        .next()
        .and_then(|pid| pid.parse().ok());
    let successor = Process(number.and_then(Pid::from_raw).expect("it is a process"));
    assert!(main.ends_with("\nREADY=1\n"), "{main}");
    for address in [by_name, by_address] {
        assert_eq!(client::call(address, &Call::get("/")).await.text(), "ok");
    }
    successor.signal(Signal::TERM);
    let mut told = service.told().await;
    while told == "READY=1\n" {
        told = service.told().await;
    }
    assert_eq!(told, "STOPPING=1\n");
}

#[tokio::test]
async fn systemds_own_activation_works() {
    let upstream = Upstream::says("ok");
    let folder = folder(&format!(
        "version = 1\nupstream.u.targets = [\"{upstream}\"]\naccess-log.format = \"off\"\n\
         route = [{{ name = \"r\", path = \"/{{*rest}}\", upstream = \"u\" }}]\nlisten.public.address = \"127.0.0.1:0\"\n"
    ));
    let path = folder.path().join("s");
    let child = Command::new("systemd-socket-activate")
        .arg("--listen")
        .arg(&path)
        .args(["--fdname", "public"])
        .arg(program().get_program())
        .args(["run", "--config"])
        .arg(folder.path().join("postern.toml"))
        .stdout(Stdio::null())
        .spawn();
    let child = match child {
        Ok(child) => child,
        Err(error) => {
            println!(
                "skipped: systemd-socket-activate cannot be started ({error}); Debian has it in the package systemd"
            );
            return;
        }
    };
    let (manager, _) = UnixDatagram::pair().expect("there are sockets");
    let _service = Service { child, manager };
    let stream = eventually!(UnixStream::connect(&path).await, |stream| stream.is_ok());
    let stream = stream.expect("it is connected");
    assert_eq!(
        Connection::over(stream)
            .await
            .call(&Call::get("/"))
            .await
            .text(),
        "ok"
    );
    let request = upstream.last();
    assert_eq!(
        request.header("x-forwarded-for").as_deref(),
        Some("127.0.0.1")
    );
}

#[tokio::test]
async fn during_the_readiness_delay_everything_is_served() {
    let upstream = Upstream::says("ok");
    let server = "[server]\nworkers = 1\nreadiness-delay = \"1500ms\"\n";
    let fragment = format!("{}{server}", fragment(&upstream));
    let mut gateway = Gateway::with(fragment).process().await;
    let begun = std::time::Instant::now();
    gateway.signal(Signal::TERM);
    let ready = Call::get("/readyz");
    eventually!(
        client::call(gateway.admin(), &ready).await.status,
        |status| *status == 503
    );
    let mut kept = gateway.connect().await;
    let answer = kept.call(&Call::get("/")).await;
    assert_eq!(
        (answer.status, answer.header("connection")),
        (200, None),
        "nothing is drained yet"
    );
    eventually!(
        TcpStream::connect(gateway.address()).await.is_err(),
        |refused| *refused
    );
    assert!(
        begun.elapsed() >= Duration::from_millis(1_400),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_drain_tells_clients_that_are_busy_before_it_closes_their_connections() {
    let upstream = Upstream::says("ok");
    let mut gateway = Gateway::with(fragment(&upstream))
        .workers(2)
        .process()
        .await;
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let address = gateway.address();
            tokio::spawn(async move {
                let mut connection = Connection::h1(address).await;
                for answered in 1.. {
                    let answer = connection.try_call(&Call::get("/")).await;
                    let answer =
                        answer.map_err(|error| format!("after {answered} answers: {error}"))?;
                    assert_eq!(answer.text(), "ok");
                    if answer.header("connection").as_deref() == Some("close") {
                        return Ok(answered);
                    }
                }
                Err("it was never told".to_owned())
            })
        })
        .collect();
    eventually!(upstream.count(), |count| *count > 100);
    gateway.signal(Signal::TERM);
    for client in clients {
        let told: Result<usize, String> = client.await.expect("no panic");
        assert!(told.is_ok(), "{told:?}");
    }
    assert_eq!(gateway.ended().await.code(), Some(0));
}
