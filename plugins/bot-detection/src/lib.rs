//! Keeps scanners and pretended crawlers out, and addresses that send more than people do.

mod config;
mod rules;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};

use config::Config;
use postern_plugin::limits::{self, Limit};
use postern_plugin::{Interest, Plugin, Reply, RequestHead, RequestPhase, RequestVerdict, log};
use rules::{Looks, Rules};

struct BotDetection {
    rules: Rules,
    burst: Option<Limit>,
}

impl Plugin for BotDetection {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        if config.burst == Some(0) {
            return Err(String::from("burst: expected at least 1"));
        }
        if !(1_000..=86_400_000).contains(&config.burst_window.as_millis()) {
            return Err(String::from("burst-window: expected 1s to 1day"));
        }
        Ok(BotDetection {
            rules: Rules::new(&config)?,
            burst: config
                .burst
                .map(|amount| Limit::new(amount, config.burst_window)),
        })
    }

    fn interest(&self) -> Interest {
        Interest::new().request_headers(self.rules.headers())
    }
}

impl RequestPhase for BotDetection {
    fn on_request(&self, head: RequestHead) -> RequestVerdict {
        let code = match self.rules.judge(&head) {
            Looks::Crawler => return RequestVerdict::Next,
            Looks::Ordinary => return self.burst(&head),
            Looks::Pretended => "crawler-pretended",
            Looks::Denied => "bot-denied",
            Looks::Odd => "bot-suspected",
        };
        Reply::problem(403, code, "Requests like this one are not served.").into()
    }
}

impl BotDetection {
    fn burst(&self, head: &RequestHead) -> RequestVerdict {
        let Some(limit) = self.burst else {
            return RequestVerdict::Next;
        };
        match limits::take(&address(head.client_ip()), &[limit], 1) {
            Ok(decisions) => match decisions.first() {
                Some(decision) if !decision.allowed => too_many(decision.reset_ms),
                _ => RequestVerdict::Next,
            },
            Err(reason) => {
                log::error(format_args!("requests cannot be counted: {reason}"));
                Reply::problem(503, "limits-unavailable", "Requests cannot be counted now.").into()
            }
        }
    }
}

fn too_many(reset_ms: u64) -> RequestVerdict {
    let detail = "There are too many requests from this address.";
    Reply::problem(429, "bot-burst", detail)
        .header("retry-after", reset_ms.div_ceil(1_000).max(1).to_string())
        .into()
}

/// What counts together: an address, and of IPv6 the network that a provider gives to one customer.
fn address(client: IpAddr) -> String {
    match client.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let mut key = String::new();
            let network = Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64));
            // Writing to a string cannot fail.
            let _ = write!(key, "{network}/64");
            key
        }
    }
}

postern_plugin::export!(BotDetection: request);

#[cfg(test)]
mod tests;
