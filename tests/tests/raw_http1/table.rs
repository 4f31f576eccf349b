//! Tables of raw requests: text files in `tests/fixtures/raw`, whose README says how they are written.

use std::fmt::Display;
use std::fs;
use std::path::PathBuf;

use postern_tests::Gateway;

/// A gateway with the limits that the tables know.
pub(crate) async fn gateway(target: impl Display) -> Gateway {
    Gateway::with(format!(
        r#"
        upstream.u.targets = ["{target}"]
        route = [{{ name = "all", path = "/{{*rest}}", upstream = "u", max-request-body = "64KiB" }}]
        [listen.public]
        address = "127.0.0.1:0"
        max-header-bytes = "8KiB"
        max-headers = 50
        "#
    ))
    .start()
    .await
}

/// A request that is good.
pub(crate) fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: probe\r\n\r\n")
}

/// One case of a table.
#[derive(Debug, Default)]
pub(crate) struct Case {
    /// File and name.
    pub(crate) name: String,
    /// The section that the expectation comes from.
    pub(crate) source: String,
    /// What is sent.
    pub(crate) sent: Vec<u8>,
    /// What is wanted of the gateway.
    pub(crate) want: Want,
    /// What is wanted at the other end: one entry for each message.
    pub(crate) beyond: Vec<Vec<u8>>,
    /// Of an upstream: the method of the request that it answers.
    pub(crate) method: Option<String>,
    /// Of an upstream: whether it closes the connection after that.
    pub(crate) end: bool,
    /// Of an upstream: fields that do not reach the client.
    pub(crate) lack: Vec<String>,
}

/// What the gateway is to do.
#[derive(Debug, Default)]
pub(crate) struct Want {
    /// The statuses of its answers, in order. A place may have alternatives.
    pub(crate) statuses: Vec<Vec<u16>>,
    /// Whether it may close the connection instead of answering.
    pub(crate) silent: bool,
    /// Whether it closes the connection after its answers. If not, the connection serves another request.
    pub(crate) close: bool,
    /// Whether a part of the request may have been passed on; never the whole of it.
    pub(crate) partial: bool,
}

/// All cases of a table.
pub(crate) fn load(name: &str) -> Vec<Case> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/raw");
    let text = fs::read_to_string(folder.join(name)).expect("the table exists");
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = format!("{name}:{}", number + 1);
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        if mark == "case" {
            cases.push(Case {
                name: format!("{place} {rest}"),
                ..Case::default()
            });
            continue;
        }
        if mark.is_empty() || mark.starts_with('#') {
            continue;
        }
        let case = cases
            .last_mut()
            .unwrap_or_else(|| panic!("{place}: no case yet"));
        match mark {
            "from" => case.source = rest.into(),
            ">" => case.sent.extend(bytes(rest)),
            "want" => case.want = want(rest, &place),
            "ask" => case.method = Some(rest.into()),
            "end" => case.end = true,
            "lack" => case.lack = rest.split_whitespace().map(str::to_owned).collect(),
            "|" if rest == "--" => case.beyond.push(Vec::new()),
            "|" => {
                if case.beyond.is_empty() {
                    case.beyond.push(Vec::new());
                }
                let message = case.beyond.last_mut().expect("there is one");
                message.extend(bytes(rest));
            }
            _ => panic!("{place}: what is {mark:?}?"),
        }
    }
    for case in &cases {
        let whole = case.source.contains(", ") && (case.end || !case.sent.is_empty());
        assert!(
            whole && (case.want.silent || !case.want.statuses.is_empty()),
            "{} is not complete",
            case.name
        );
    }
    cases
}

fn want(words: &str, place: &str) -> Want {
    let mut want = Want::default();
    for word in words.split_whitespace() {
        match word {
            "close" => want.close = true,
            "partial" => want.partial = true,
            "or-silent" => want.silent = true,
            statuses => {
                let status = |text: &str| {
                    text.parse::<u16>()
                        .unwrap_or_else(|_| panic!("{place}: what is {word:?}?"))
                };
                want.statuses
                    .push(statuses.split('/').map(status).collect());
            }
        }
    }
    // A refusal always ends the connection: what follows it cannot be trusted.
    let refused = |status: &u16| matches!(status, 400 | 408 | 414 | 417 | 431 | 501 | 505);
    want.close |= want
        .statuses
        .last()
        .is_none_or(|all| all.iter().all(refused));
    want
}

/// A line of a table as bytes: with its escapes resolved and its end, unless it ends with `\c`.
fn bytes(line: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = line;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        out.extend(plain.bytes());
        let mut characters = escaped.chars();
        match characters.next().expect("something is escaped") {
            'r' => out.push(b'\r'),
            'n' => out.push(b'\n'),
            't' => out.push(b'\t'),
            '0' => out.push(0),
            '\\' => out.push(b'\\'),
            's' => out.push(b' '),
            'x' => {
                out.push(u8::from_str_radix(&escaped[1..3], 16).expect("two digits"));
                characters = escaped[3..].chars();
            }
            // `\{COUNT*TEXT}`: the text, so many times.
            '{' => {
                let (repeated, after) = escaped[1..].split_once('}').expect("a closing brace");
                let (count, text) = repeated.split_once('*').expect("COUNT*TEXT");
                let count = count.parse().expect("a number");
                out.extend(bytes(&format!("{text}\\c")).repeat(count));
                characters = after.chars();
            }
            'c' => return out,
            other => panic!("what is \\{other}?"),
        }
        rest = characters.as_str();
    }
    out.extend(rest.bytes());
    out.extend(b"\r\n");
    out
}
