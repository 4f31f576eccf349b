//! An upstream that does what a test tells it to, over a real socket, and remembers what it was sent.

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};

use crate::wire::{self, BodyReader};

type Handler = dyn Fn(&Received) -> Script + Send + Sync;

/// A service that answers as a closure says.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    _stop: oneshot::Sender<()>,
}

#[derive(Default)]
struct Shared {
    requests: Mutex<Vec<Received>>,
    connections: AtomicUsize,
    hung_up: AtomicUsize,
}

/// A request as it arrived.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// Number of the connection that it came on, from 0.
    pub connection: usize,
    /// Request line and headers, byte for byte.
    pub head: String,
    /// Method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names and values in the order and case in which they came.
    pub headers: Vec<(String, String)>,
    /// What has come of the body, without chunk framing.
    pub body: Vec<u8>,
    /// Whether the body has come to its end.
    pub complete: bool,
}

impl Received {
    /// All values of a header, joined as a list.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self
            .headers
            .iter()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    }
}

impl Upstream {
    /// Starts a service. It stops when it is dropped.
    pub fn start(handler: impl Fn(&Received) -> Script + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        Self::serve(listener, handler)
    }

    /// Starts a service at an address of this machine. A port of 0 is any that is free.
    ///
    /// # Panics
    /// When the address is not to be had.
    pub fn at(
        address: SocketAddr,
        handler: impl Fn(&Received) -> Script + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address);
        let listener = listener.unwrap_or_else(|error| panic!("{address}: {error}"));
        Self::serve(listener, handler)
    }

    /// Services on addresses of their own, 127.0.0.2 and those after it, but on one port: each says its text.
    pub fn on_one_port<const N: usize>(texts: [&'static str; N]) -> [Self; N] {
        let bind =
            |last: usize, port: u16| TcpListener::bind(format!("127.0.0.{}:{port}", last + 2));
        let all = || -> Option<Vec<TcpListener>> {
            let first = bind(0, 0).ok()?;
            let port = first.local_addr().ok()?.port();
            let others = (1..N).map(|last| bind(last, port).ok());
            std::iter::once(Some(first)).chain(others).collect()
        };
        // A port that is free at one address may be taken at another.
        let listeners = (0..20)
            .find_map(|_| all())
            .expect("some port is free everywhere");
        let mut services = listeners
            .into_iter()
            .zip(texts)
            .map(|(listener, text)| Self::serve(listener, move |_| reply(200).body(text).into()));
        std::array::from_fn(|_| services.next().expect("there are as many"))
    }

    fn serve(
        listener: TcpListener,
        handler: impl Fn(&Received) -> Script + Send + Sync + 'static,
    ) -> Self {
        listener
            .set_nonblocking(true)
            .expect("sockets can be non-blocking");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = oneshot::channel();
        let serving = serve(listener, Arc::clone(&shared), Arc::new(handler));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime starts").block_on(async {
                tokio::select! {
                    () = serving => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            address,
            shared,
            _stop: stop,
        }
    }

    /// A service that answers everything with 200 and this text.
    pub fn says(text: &'static str) -> Self {
        Self::start(move |_| reply(200).body(text).into())
    }

    /// A service that answers everything with 200 and this text, when the gate is open.
    pub fn held(gate: &Gate, text: &'static str) -> Self {
        let gate = gate.clone();
        let answer = reply(200).body(text).bytes();
        Self::start(move |_| Script::after_body().wait(&gate).send(&answer))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests whose head has arrived.
    #[must_use]
    pub fn requests(&self) -> Vec<Received> {
        self.shared.lock().clone()
    }

    /// How many requests have arrived.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.lock().len()
    }

    /// The last request.
    ///
    /// # Panics
    /// When there was none.
    #[must_use]
    pub fn last(&self) -> Received {
        self.shared
            .lock()
            .last()
            .cloned()
            .expect("a request reached the upstream")
    }

    /// How many connections were made to it.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many times the peer hung up before an answer was complete.
    #[must_use]
    pub fn hung_up(&self) -> usize {
        self.shared.hung_up.load(Ordering::SeqCst)
    }
}

/// `http://host:port`, as in the configuration.
impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.address)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Received>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn received(&self, index: usize, part: Option<&[u8]>) {
        if let Some(request) = self.lock().get_mut(index) {
            match part {
                Some(part) => request.body.extend_from_slice(part),
                None => request.complete = true,
            }
        }
    }
}

/// What an upstream does with one request, step by step.
#[derive(Clone, Default)]
pub struct Script(Vec<Step>);

#[derive(Clone)]
enum Step {
    Read,
    Send(Vec<u8>),
    EchoChunks,
    Wait(Gate),
    Pause(Duration),
    UntilHungUp,
    Feed(Feed),
    Close,
    Reset,
}

/// What a test sends later.
type Feed = Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Vec<u8>>>>;

impl Script {
    /// Does not read the request's body before it answers.
    #[must_use]
    pub fn at_once() -> Self {
        Self::default()
    }

    /// Reads the request's body first.
    #[must_use]
    pub fn after_body() -> Self {
        Self(vec![Step::Read])
    }

    /// Sends bytes as they are.
    #[must_use]
    pub fn send(self, bytes: impl AsRef<[u8]>) -> Self {
        self.then(Step::Send(bytes.as_ref().to_vec()))
    }

    /// Sends one chunk of a chunked body.
    #[must_use]
    pub fn chunk(self, bytes: &str) -> Self {
        self.send(format!("{:x}\r\n{bytes}\r\n", bytes.len()))
    }

    /// Sends each part of the request's body as a chunk as soon as it arrives, and the last chunk at its end.
    #[must_use]
    pub fn echo_chunks(self) -> Self {
        self.then(Step::EchoChunks)
    }

    /// Waits until the test opens the gate.
    #[must_use]
    pub fn wait(self, gate: &Gate) -> Self {
        self.then(Step::Wait(gate.clone()))
    }

    /// Is slow.
    #[must_use]
    pub fn pause(self, time: Duration) -> Self {
        self.then(Step::Pause(time))
    }

    /// Waits until the peer closes the connection, and counts that as hung up.
    #[must_use]
    pub fn until_hung_up(self) -> Self {
        self.then(Step::UntilHungUp)
    }

    /// Sends what the test says, until it has no more to say.
    #[must_use]
    pub fn feed(self, bytes: mpsc::UnboundedReceiver<Vec<u8>>) -> Self {
        self.then(Step::Feed(Arc::new(tokio::sync::Mutex::new(bytes))))
    }

    /// Closes the connection.
    #[must_use]
    pub fn close(self) -> Self {
        self.then(Step::Close)
    }

    /// Ends the connection as a process that dies does: with a reset, which overtakes what was sent.
    #[must_use]
    pub fn reset(self) -> Self {
        self.then(Step::Reset)
    }

    fn then(mut self, step: Step) -> Self {
        self.0.push(step);
        self
    }
}

/// An answer with a body of known length.
#[must_use]
pub fn reply(status: u16) -> Reply {
    Reply {
        status,
        headers: String::new(),
        body: Vec::new(),
    }
}

/// An answer with a body of known length.
#[derive(Debug, Clone)]
pub struct Reply {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

impl Reply {
    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers += &format!("{name}: {value}\r\n");
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// As it goes over the wire.
    #[must_use]
    pub fn bytes(self) -> Vec<u8> {
        let Self {
            status,
            headers,
            body,
        } = self;
        let length = match status {
            204 | 304 => String::new(),
            _ => format!("content-length: {}\r\n", body.len()),
        };
        let head = format!("HTTP/1.1 {status} Status\r\n{headers}{length}\r\n");
        [head.as_bytes(), &body].concat()
    }
}

impl From<Reply> for Script {
    fn from(reply: Reply) -> Self {
        Self::after_body().send(reply.bytes())
    }
}

/// Holds scripts back until the test opens it.
#[derive(Debug, Clone)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Gate {
    /// Lets everybody through from now on.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Waits until it is open.
    pub async fn pass(&self) {
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, handler: Arc<Handler>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("the runtime takes sockets");
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let number = shared.connections.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(converse(
            stream,
            number,
            Arc::clone(&shared),
            Arc::clone(&handler),
        ));
    }
}

/// Serves a connection until one side closes it.
async fn converse(
    mut stream: TcpStream,
    number: usize,
    shared: Arc<Shared>,
    handler: Arc<Handler>,
) {
    let mut buffer = Vec::new();
    while let Some(head) = wire::read_head(&mut stream, &mut buffer).await {
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut body = BodyReader::of_request(&head);
        let mut words = head.split(' ').map(str::to_owned);
        let request = Received {
            connection: number,
            method: words.next().unwrap_or_default(),
            target: words.next().unwrap_or_default(),
            headers: wire::headers(&head),
            body: Vec::new(),
            complete: body.is_complete(),
            head,
        };
        let index = {
            let mut requests = shared.lock();
            requests.push(request.clone());
            requests.len() - 1
        };
        let mut talk = Talk {
            stream: &mut stream,
            buffer: &mut buffer,
            body: &mut body,
            shared: &shared,
            index,
        };
        match talk.perform(handler(&request)).await {
            Outcome::Done => {}
            Outcome::Close => return,
            Outcome::HungUp => {
                shared.hung_up.fetch_add(1, Ordering::SeqCst);
                return;
            }
        }
    }
}

enum Outcome {
    Done,
    Close,
    HungUp,
}

struct Talk<'a> {
    stream: &'a mut TcpStream,
    buffer: &'a mut Vec<u8>,
    body: &'a mut BodyReader,
    shared: &'a Shared,
    index: usize,
}

impl Talk<'_> {
    async fn perform(&mut self, script: Script) -> Outcome {
        for step in script.0 {
            match step {
                Step::Read => while self.part().await.is_some() {},
                Step::Send(bytes) => {
                    if self.stream.write_all(&bytes).await.is_err() {
                        return Outcome::HungUp;
                    }
                }
                Step::EchoChunks => {
                    while let Some(part) = self.part().await {
                        let framed =
                            [format!("{:x}\r\n", part.len()).as_bytes(), &part, b"\r\n"].concat();
                        if self.stream.write_all(&framed).await.is_err() {
                            return Outcome::HungUp;
                        }
                    }
                    if self.stream.write_all(b"0\r\n\r\n").await.is_err() {
                        return Outcome::HungUp;
                    }
                }
                Step::Wait(gate) => gate.pass().await,
                Step::Pause(time) => tokio::time::sleep(time).await,
                Step::UntilHungUp => {
                    while self.stream.read_buf(self.buffer).await.unwrap_or(0) > 0 {}
                    return Outcome::HungUp;
                }
                Step::Feed(feed) => {
                    let mut feed = feed.lock().await;
                    loop {
                        let bytes = tokio::select! {
                            bytes = feed.recv() => bytes,
                            read = self.stream.read_buf(self.buffer) => match read {
                                Ok(1..) => continue,
                                Ok(0) | Err(_) => return Outcome::HungUp,
                            },
                        };
                        let Some(bytes) = bytes else { break };
                        if self.stream.write_all(&bytes).await.is_err() {
                            return Outcome::HungUp;
                        }
                    }
                }
                Step::Close => return Outcome::Close,
                Step::Reset => {
                    // With nothing to linger for, closing resets.
                    let _ = SockRef::from(&*self.stream).set_linger(Some(Duration::ZERO));
                    return Outcome::Close;
                }
            }
        }
        while self.part().await.is_some() {}
        if self.body.is_complete() {
            Outcome::Done
        } else {
            Outcome::HungUp
        }
    }

    async fn part(&mut self) -> Option<Vec<u8>> {
        let part = self.body.next(self.stream, self.buffer).await;
        if let Some(part) = &part {
            self.shared.received(self.index, Some(part));
        }
        if self.body.is_complete() {
            self.shared.received(self.index, None);
        }
        part
    }
}

/// An address at which connections are refused, for as long as this is held.
pub struct Refusing(
    #[expect(dead_code, reason = "held, so that nobody else gets the port")] Socket,
    SocketAddr,
);

/// An address at which nobody answers a connection attempt, for as long as this is held.
pub struct Silent(
    #[expect(dead_code, reason = "held, so that its queue stays full")] Vec<Socket>,
    SocketAddr,
);

fn bound() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("sockets can be made");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("it is an address");
    socket.bind(&any.into()).expect("there is a free port");
    let address = socket
        .local_addr()
        .ok()
        .and_then(|address| address.as_socket())
        .expect("it is bound");
    (socket, address)
}

impl Default for Refusing {
    fn default() -> Self {
        // Bound, but not listening.
        let (socket, address) = bound();
        Self(socket, address)
    }
}

impl Default for Silent {
    fn default() -> Self {
        let (socket, address) = bound();
        // Room for one that is not accepted; the kernel drops what comes after it.
        socket.listen(0).expect("it is bound");
        let mut held = vec![socket];
        for _ in 0..3 {
            let client =
                Socket::new(Domain::IPV4, Type::STREAM, None).expect("sockets can be made");
            client
                .set_nonblocking(true)
                .expect("sockets can be non-blocking");
            // In progress, or refused because the queue is full: both are what is wanted.
            let _ = client.connect(&address.into());
            held.push(client);
        }
        Self(held, address)
    }
}

impl fmt::Display for Refusing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.1)
    }
}

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.1)
    }
}
