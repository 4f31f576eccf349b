//! `postern drill`: faults on a gateway that runs, through its admin listener.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{EXIT_CONFIG, EXIT_START, fail, refuse};
use crate::admin::Order;
use crate::app;

const PATIENCE: Duration = Duration::from_secs(10);

/// What to do to whom; without anything, the drills under way are shown.
#[derive(Debug, Args)]
pub(super) struct Request {
    /// The configuration file, which names the admin listener.
    #[arg(long, value_name = "FILE", default_value = "postern.toml")]
    config: PathBuf,
    /// The admin listener, where it is not that of the configuration.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// The route whose requests are held or fail.
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Hold requests for so long, such as 200ms.
    #[arg(long, value_name = "DURATION", requires = "route", value_parser = humantime::parse_duration)]
    delay: Option<Duration>,
    /// Answer requests with this status.
    #[arg(long, value_name = "STATUS", requires = "route")]
    abort: Option<u16>,
    /// How many of the requests, in percent.
    #[arg(long, value_name = "PERCENT", default_value = "100%", value_parser = per_million)]
    share: u32,
    /// Only requests with this header, such as x-drill=1.
    #[arg(long, value_name = "NAME=VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// For how long, such as 5m.
    #[arg(long = "for", value_name = "DURATION", default_value = "5m", value_parser = humantime::parse_duration)]
    time: Duration,
    /// End the drill of the route, or all.
    #[arg(long, conflicts_with_all = ["delay", "abort"])]
    stop: bool,
}

fn per_million(text: &str) -> Result<u32, String> {
    let number: f64 = text
        .trim_end_matches('%')
        .parse()
        .map_err(|_| "expected a percentage like 10%".to_owned())?;
    match number > 0.0 && number <= 100.0 {
        true => Ok((number * 10_000.0).round() as u32),
        false => Err("expected more than 0% up to 100%".into()),
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_ascii_lowercase(), value.to_owned()))
}

pub(super) fn drill(request: &Request) -> ExitCode {
    let address = match request.admin {
        Some(address) => address,
        None => match app::load(&request.config) {
            Ok(config) => match config.admin {
                Some(admin) => reachable(admin.address),
                None => return fail(EXIT_CONFIG, "the configuration has no [admin] listener"),
            },
            Err(error) => return refuse(&error),
        },
    };
    match ask(address, request) {
        Ok((200, text)) => {
            report(&text);
            ExitCode::SUCCESS
        }
        Ok((_, text)) => fail(EXIT_START, text.trim_end()),
        Err(error) => fail(
            EXIT_START,
            format_args!("no answer from the admin listener {address}: {error}"),
        ),
    }
}

/// Whoever listens on all addresses is asked at this machine's own.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip().is_unspecified() {
        true => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port()),
        false => address,
    }
}

fn ask(address: SocketAddr, request: &Request) -> std::io::Result<(u16, String)> {
    let (method, query, body) = match (&request.route, request.stop) {
        (Some(route), true) => ("DELETE", format!("?route={route}"), String::new()),
        (None, true) => ("DELETE", String::new(), String::new()),
        (Some(route), false) => ("POST", String::new(), order(route, request)),
        (None, false) => ("GET", String::new(), String::new()),
    };
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "{method} /api/drills{query} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, text) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok((status.unwrap_or_default(), text.to_owned()))
}

fn order(route: &str, request: &Request) -> String {
    let order = Order {
        route: route.to_owned(),
        delay_ms: request
            .delay
            .map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
        abort: request.abort,
        per_million: request.share,
        headers: request.header.iter().cloned().collect(),
        seconds: request.time.as_secs(),
    };
    serde_json::to_string(&order).unwrap_or_default()
}

#[expect(clippy::print_stdout, reason = "the answer to the command")]
fn report(text: &str) {
    print!("{text}");
}
