//! Memory of the program while large bodies pass through plugins.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use postern_tests::{Gateway, eventually};

const GIB: u64 = 1 << 30;
/// What passes before memory is looked at first: then the code is in memory, and each pool has what it keeps.
const WARM: u64 = 8 << 20;
/// What a body may cost, however long it is.
const ALLOWED: u64 = 8 << 20;
const PIECE: usize = 256 << 10;

/// A service that runs each connection in a thread of its own, and what it counts.
fn serve(
    converse: impl Fn(TcpStream, &AtomicU64) -> std::io::Result<()> + Send + Sync + 'static,
) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    let count: Arc<AtomicU64> = Arc::default();
    let (counter, converse) = (Arc::clone(&count), Arc::new(converse));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (counter, converse) = (Arc::clone(&counter), Arc::clone(&converse));
            // The peer may hang up; then the count says how far it came.
            std::thread::spawn(move || converse(stream?, &counter));
        }
    });
    (address, count)
}

/// A service that answers each connection's request with as many bytes as its path says, in chunks, and counts what it
/// could send.
fn flood() -> (SocketAddr, Arc<AtomicU64>) {
    serve(|mut stream, sent| {
        let mut request = [0; 4096];
        let count = stream.read(&mut request)?;
        let request = String::from_utf8_lossy(&request[..count]).into_owned();
        let length = request
            .split(['/', ' '])
            .nth(2)
            .and_then(|text| text.parse().ok());
        let mut left: u64 = length.expect("a path is a length");
        stream.write_all(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n",
        )?;
        let chunk = [format!("{PIECE:x}\r\n").as_bytes(), &[b'x'; PIECE], b"\r\n"].concat();
        while left > 0 {
            stream.write_all(&chunk)?;
            sent.fetch_add(PIECE as u64, Ordering::Relaxed);
            left -= PIECE as u64;
        }
        stream.write_all(b"0\r\n\r\n")
    })
}

/// A service that reads all it is sent, and answers when that ends in a last chunk.
fn drain() -> (SocketAddr, Arc<AtomicU64>) {
    serve(|mut stream, received| {
        let mut buffer = vec![0; 1 << 20];
        loop {
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            received.fetch_add(count as u64, Ordering::Relaxed);
            if buffer[..count].ends_with(b"0\r\n\r\n") {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")?;
            }
        }
    })
}

/// A gateway whose only route has this plugin.
async fn gateway(upstream: SocketAddr, plugin: &str) -> Gateway {
    let fragment = format!(
        r#"
        [[route]]
        name = "r"
        path = "/{{*rest}}"
        plugins = ["a"]
        upstream = "u"
        max-request-body = "2GiB"
        # Both include the body of the request, and without optimisation, on a busy machine, a gibibyte takes long.
        timeout = "1h"
        [upstream.u]
        targets = ["http://{upstream}"]
        read-timeout = "1h"
        [plugin.a]
        {plugin}
        "#
    );
    Gateway::with(fragment).process().await
}

fn streamer(side: &str) -> String {
    // Without optimisation, the host copies chunks byte by byte, which counts for the call.
    let budget = match cfg!(debug_assertions) {
        true => "budget = { cpu = \"200ms\" }",
        false => "",
    };
    format!("file = \"streamer.wasm\"\nconfig = {{ do = \"pass\", side = \"{side}\" }}\n{budget}\n")
}

fn ask(gateway: &Gateway, length: u64) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address()).expect("the gateway listens");
    let request = format!(
        "GET /{length} HTTP/1.1\r\nhost: x\r\naccept-encoding: gzip\r\nconnection: close\r\n\r\n"
    );
    stream
        .write_all(request.as_bytes())
        .expect("the gateway reads");
    stream
}

/// Reads to the end, and looks at the gateway's memory now and then: bytes, the most memory, and the last bytes.
fn read_all(mut stream: TcpStream, gateway: &Gateway) -> (u64, u64, Vec<u8>) {
    let mut buffer = vec![0; 1 << 20];
    let (mut total, mut looked, mut most) = (0_u64, 0_u64, 0);
    let mut last = Vec::new();
    loop {
        let count = match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => panic!("after {total} bytes: {error}; {:?}", gateway.log("plugin")),
        };
        total += count as u64;
        last.extend_from_slice(&buffer[count.saturating_sub(5)..count]);
        last.drain(..last.len().saturating_sub(5));
        if total - looked > 16 << 20 {
            looked = total;
            most = most.max(gateway.resident_bytes());
        }
    }
    (total, most.max(gateway.resident_bytes()), last)
}

/// Sends a body of this length, and reads the answer. The most memory meanwhile.
fn post(gateway: &Gateway, length: u64) -> u64 {
    let mut stream = TcpStream::connect(gateway.address()).expect("the gateway listens");
    let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("it reads");
    let piece = vec![b'y'; PIECE];
    let mut most = 0;
    for number in 0..length / PIECE as u64 {
        if let Err(error) = stream.write_all(&piece) {
            panic!(
                "after {number} pieces: {error}; {:?}",
                gateway.log("plugin")
            );
        }
        if number % 64 == 0 {
            most = most.max(gateway.resident_bytes());
        }
    }
    let mut answer = [0; 4096];
    let count = stream.read(&mut answer).expect("it answers");
    assert!(
        answer[..count].starts_with(b"HTTP/1.1 200"),
        "{:?}",
        gateway.log("plugin")
    );
    most.max(gateway.resident_bytes())
}

fn assert_little(before: u64, most: u64) {
    let more = most.saturating_sub(before);
    assert!(more < ALLOWED, "{} KiB more than before", more >> 10);
}

#[tokio::test]
async fn a_response_of_one_gib_takes_no_more_memory_than_a_small_one() {
    let (upstream, _) = flood();
    let gateway = gateway(upstream, &streamer("response")).await;
    read_all(ask(&gateway, WARM), &gateway);
    let before = gateway.resident_bytes();
    let (total, most, last) = read_all(ask(&gateway, GIB), &gateway);
    let log = eventually!(gateway.access_log(), |lines| lines.len() == 2);
    assert!(
        total > GIB && last == b"0\r\n\r\n",
        "{total} bytes, {last:?}: {} {:?}",
        log[1],
        gateway.log("plugin")
    );
    assert_little(before, most);
    assert_eq!(log[1]["bytes_out"], GIB);
}

#[tokio::test]
async fn a_request_of_one_gib_takes_no_more_memory_than_a_small_one() {
    let (upstream, received) = drain();
    let gateway = gateway(upstream, &streamer("request")).await;
    post(&gateway, WARM);
    let (before, warm) = (gateway.resident_bytes(), received.load(Ordering::Relaxed));
    let most = post(&gateway, GIB);
    assert!(received.load(Ordering::Relaxed) - warm > GIB);
    assert_little(before, most);
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_upstream() {
    let (upstream, sent) = flood();
    let gateway = gateway(upstream, &streamer("response")).await;
    read_all(ask(&gateway, WARM), &gateway);
    let (before, warm) = (gateway.resident_bytes(), sent.load(Ordering::Relaxed));
    let client = ask(&gateway, GIB);
    // What fits into sockets and buffers goes, and then nothing for as long as nobody reads.
    let mut last = warm;
    let stopped = eventually!(
        {
            let (was, now) = (last, sent.load(Ordering::Relaxed));
            last = now;
            tokio::time::timeout(Duration::from_millis(300), std::future::pending::<()>())
                .await
                .expect_err("it is a pause");
            (was, now, sent.load(Ordering::Relaxed))
        },
        |(was, now, later)| *now > warm && was == now && now == later
    );
    let stuck = stopped.2 - warm;
    assert!(stuck < 64 << 20, "{stuck} bytes went nowhere");
    assert_little(before, gateway.resident_bytes());
    drop(client);
    let instances = r#"postern_plugin_instances{plugin="a"}"#;
    eventually!(gateway.metric(instances).await, |count| *count == Some(0.0));
}
