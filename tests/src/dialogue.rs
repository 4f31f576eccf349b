//! A server whose every answer the test writes, question by question.

use std::fmt;
use std::net::SocketAddr;

use tokio::sync::mpsc;

use crate::eventually::within;
use crate::upstream::{Received, Reply, Script, Upstream};

/// A server that asks the test what to answer.
pub struct Dialogue {
    server: Upstream,
    questions: mpsc::UnboundedReceiver<Question>,
}

/// A request that waits for its answer. Dropped, its connection is closed.
pub struct Question {
    /// The request's head.
    pub request: Received,
    answer: mpsc::UnboundedSender<Vec<u8>>,
}

impl Default for Dialogue {
    fn default() -> Self {
        let (sender, questions) = mpsc::unbounded_channel();
        let server = Upstream::start(move |request| {
            let (answer, bytes) = mpsc::unbounded_channel();
            let request = request.clone();
            // The test may be over.
            let _ = sender.send(Question { request, answer });
            Script::at_once().feed(bytes).close()
        });
        Self { server, questions }
    }
}

impl Dialogue {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The next question.
    pub async fn question(&mut self) -> Question {
        let question = within("a question", self.questions.recv()).await;
        question.expect("the server lives")
    }

    /// How many questions there were.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.server.count()
    }
}

/// `http://host:port`, as in the configuration.
impl fmt::Display for Dialogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}

impl Question {
    /// The value of a parameter of the query, as it stands there.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<String> {
        let (_, query) = self.request.target.split_once('?')?;
        let pairs = query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let mut found = pairs.filter(|(key, _)| *key == name);
        found.next().map(|(_, value)| value.to_owned())
    }

    /// Answers, and closes the connection.
    pub fn reply(self, reply: Reply) {
        self.send(reply.bytes());
    }

    /// Sends bytes as they are; the connection stays open for as long as this lives.
    pub fn send(&self, bytes: impl AsRef<[u8]>) {
        // Nobody may want to know any more.
        let _ = self.answer.send(bytes.as_ref().to_vec());
    }

    /// Begins an answer whose lines are sent later.
    pub fn stream(&self) {
        self.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    }

    /// Sends one line of such an answer.
    pub fn line(&self, line: &str) {
        self.send(format!("{:x}\r\n{line}\n\r\n", line.len() + 1));
    }

    /// Ends such an answer.
    pub fn end(self) {
        self.send("0\r\n\r\n");
    }

    /// Whether the asker has hung up.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.answer.is_closed()
    }
}
