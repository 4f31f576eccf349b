//! What the demo shows: each call, in one sentence, with what its answer must be.
//!
//! People read this as the printed page, `--check` runs it; there is no third place that says what the shop does.

use std::fmt::Write;

use serde_json::json;

use super::check::{Expect, Is};
use super::setup::{self, Addresses};
use crate::call::Call;

/// Calls that belong together.
pub(super) struct Group {
    pub(super) title: &'static str,
    pub(super) lines: Vec<Line>,
}

/// A call, why one would make it, and what it must bring.
pub(super) struct Line {
    pub(super) says: &'static str,
    pub(super) call: Call,
    /// How often it is made in a row; what is expected holds for the last answer.
    pub(super) times: usize,
    pub(super) expect: Vec<Expect>,
}

impl Line {
    fn once(says: &'static str, call: Call, expect: Vec<Expect>) -> Self {
        Self {
            says,
            call,
            times: 1,
            expect,
        }
    }
}

/// Everything that the demo shows, in order.
pub(super) fn groups(at: &Addresses) -> Vec<Group> {
    vec![
        tokens(at),
        headers(at),
        browsers(at),
        overview(at),
        keys(at),
        limits(at),
        metrics(at),
    ]
}

fn tokens(at: &Addresses) -> Group {
    let orders = || Call::get(at.public, "/api/orders");
    let order = r#"{"customer":"alice","product":"tea"}"#;
    let lines = vec![
        Line::once(
            "A call without a token is refused, and told what is missing.",
            orders(),
            vec![
                Expect::Status(401),
                Expect::Header("www-authenticate", Is::Containing("Bearer")),
            ],
        ),
        Line::once(
            "With a token it is answered.",
            orders().bearer(&setup::premium_token()),
            vec![
                Expect::Status(200),
                Expect::Json("/orders/0/product", json!("tea")),
            ],
        ),
        Line::once(
            "A token that has expired is refused.",
            orders().bearer(&setup::expired_token()),
            vec![
                Expect::Status(401),
                Expect::Header("www-authenticate", Is::Containing("invalid_token")),
            ],
        ),
        Line::once(
            "Bodies pass too: this orders a pot of tea.",
            Call::post(at.public, "/api/orders", order).bearer(&setup::premium_token()),
            vec![
                Expect::Status(201),
                Expect::Json("/customer", json!("alice")),
            ],
        ),
    ];
    Group {
        title: "Tokens (plugin jwt)",
        lines,
    }
}

fn headers(at: &Addresses) -> Group {
    let echo = || Call::get(at.public, "/api/orders/echo").bearer(&setup::premium_token());
    let lines = vec![
        Line::once(
            "What the service receives: x-shop-caller was added, x-debug removed.",
            echo()
                .header("X-Debug", "1")
                .header("X-Shop-Caller", "the owner"),
            vec![
                Expect::Status(200),
                Expect::Json("/received/x-shop-caller", json!("web-premium")),
                Expect::NoJson("/received/x-debug"),
                Expect::Json("/received/via", json!("1.1 postern")),
            ],
        ),
        Line::once(
            "What the client receives: x-served-by was added, x-powered-by removed.",
            Call::get(at.public, "/api/products/tea").bearer(&setup::premium_token()),
            vec![
                Expect::Status(200),
                Expect::Header("x-served-by", Is::Exactly("postern")),
                Expect::Header("x-powered-by", Is::Absent),
            ],
        ),
        Line::once(
            "Nobody names himself: a consumer header that a client sends is replaced.",
            echo().header("X-Consumer-Name", "warehouse"),
            vec![
                Expect::Status(200),
                Expect::Json("/received/x-consumer-name", json!("web-premium")),
            ],
        ),
        Line::once(
            "A request id is kept, passed on and answered.",
            echo().header("X-Request-Id", "demo-1"),
            vec![
                Expect::Status(200),
                Expect::Header("x-request-id", Is::Exactly("demo-1")),
                Expect::Json("/received/x-request-id", json!("demo-1")),
            ],
        ),
        Line::once(
            "Without one it is made, for refused requests too.",
            Call::get(at.public, "/api/orders"),
            vec![
                Expect::Status(401),
                Expect::Header("x-request-id", Is::Present),
            ],
        ),
    ];
    Group {
        title: "Headers (plugins header-transform, correlation-id)",
        lines,
    }
}

fn browsers(at: &Addresses) -> Group {
    let preflight = |origin| {
        Call::options(at.public, "/api/orders")
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "authorization")
    };
    let allowed = || {
        Expect::Header(
            "access-control-allow-origin",
            Is::Exactly("https://shop.example"),
        )
    };
    let lines = vec![
        Line::once(
            "A browser asks before it sends a token: no token is needed for that.",
            preflight("https://shop.example"),
            vec![
                Expect::StatusIn(&[200, 204]),
                allowed(),
                Expect::Header("access-control-allow-methods", Is::Containing("POST")),
            ],
        ),
        Line::once(
            "Pages of the shop may read refusals.",
            Call::get(at.public, "/api/orders").header("Origin", "https://shop.example"),
            vec![Expect::Status(401), allowed()],
        ),
        Line::once(
            "Other pages may not.",
            preflight("https://elsewhere.example"),
            vec![Expect::Header("access-control-allow-origin", Is::Absent)],
        ),
    ];
    Group {
        title: "Browsers (plugin cors)",
        lines,
    }
}

fn overview(at: &Addresses) -> Group {
    let call = Call::get(at.public, "/api/overview/alice").bearer(&setup::premium_token());
    let line = Line::once(
        "Customer, orders and payments in one document; card numbers stay inside.",
        call,
        vec![
            Expect::Status(200),
            Expect::Json("/customer/name", json!("Alice Arden")),
            Expect::Json("/orders/0/product", json!("tea")),
            Expect::Json("/payments/0/method", json!("card")),
            Expect::NotInBody("card-number"),
            Expect::NotInBody("4000"),
        ],
    );
    Group {
        title: "One document from three services (plugin aggregate)",
        lines: vec![line],
    }
}

fn keys(at: &Addresses) -> Group {
    let stock = |path| Call::get(at.public, path);
    let lines = vec![
        Line::once(
            "The warehouse has a key instead of a token.",
            stock("/api/stock/tea").header("X-Api-Key", setup::WAREHOUSE_KEY.value),
            vec![Expect::Status(200), Expect::Json("/in-stock", json!(120))],
        ),
        Line::once(
            "A wrong key is refused.",
            stock("/api/stock/tea").header("X-Api-Key", "guessed"),
            vec![
                Expect::Status(401),
                Expect::Header("www-authenticate", Is::Present),
            ],
        ),
        Line::once(
            "The service learns who called, not the key.",
            stock("/api/stock/echo").header("X-Api-Key", setup::WAREHOUSE_KEY.value),
            vec![
                Expect::Status(200),
                Expect::Json("/received/x-consumer-name", json!("warehouse")),
                Expect::NoJson("/received/x-api-key"),
            ],
        ),
    ];
    Group {
        title: "Keys (plugin api-key)",
        lines,
    }
}

fn limits(at: &Addresses) -> Group {
    // The free consumer appears nowhere else: its hundred calls are all here.
    let free = Call::get(at.public, "/api/products/tea").bearer(&setup::free_token());
    let premium = Call::get(at.public, "/api/products/tea").bearer(&setup::premium_token());
    let lines = vec![
        Line {
            says: "100 calls in a minute are free ...",
            call: free.clone(),
            times: 100,
            expect: vec![
                Expect::Status(200),
                Expect::Header("ratelimit", Is::Present),
                Expect::Header("ratelimit-policy", Is::Present),
            ],
        },
        Line::once(
            "... the 101st is one too many.",
            free,
            vec![
                Expect::Status(429),
                Expect::Header("retry-after", Is::Present),
                Expect::Header("ratelimit", Is::Present),
                Expect::Header("ratelimit-policy", Is::Present),
            ],
        ),
        Line {
            says: "A premium consumer is not stopped by that.",
            call: premium,
            times: 101,
            expect: vec![Expect::Status(200)],
        },
    ];
    Group {
        title: "Limits (plugin rate-limit)",
        lines,
    }
}

fn metrics(at: &Addresses) -> Group {
    let line = Line::once(
        "What happened so far, for Prometheus.",
        Call::get(at.admin, "/metrics"),
        vec![
            Expect::Status(200),
            Expect::InBody("postern_requests_total"),
            Expect::InBody("rate-limit"),
        ],
    );
    Group {
        title: "Metrics",
        lines: vec![line],
    }
}

/// The page that a person reads.
pub(super) fn page(groups: &[Group], at: &Addresses) -> String {
    let mut page = format!(
        "\nPostern is on http://{}, its metrics on http://{}/metrics.\n",
        at.public, at.admin
    );
    for group in groups {
        page.push_str(&format!(
            "\n{}\n{}\n",
            group.title,
            "-".repeat(group.title.len())
        ));
        for line in &group.lines {
            write!(page, "# {}\n{}\n", line.says, command(line))
                .expect("writing to a String does not fail");
        }
    }
    page.push_str(
        "\nEdit a plugin's source, run `cargo xtask build-plugins` beside this, and the next answers are the new \
         plugin's.\nCtrl-C stops the demo; the gateway's log follows.\n\n",
    );
    page
}

fn command(line: &Line) -> String {
    if line.times == 1 {
        return line.call.curl("-si");
    }
    let call = line.call.curl(r"-so /dev/null -w '%{http_code}\n'");
    format!(
        "for i in $(seq {}); do {call}; done | sort | uniq -c",
        line.times
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_sentence_and_a_command_for_each_line() {
        let groups = groups(&setup::DEFAULT_ADDRESSES);
        let page = page(&groups, &setup::DEFAULT_ADDRESSES);
        for line in groups.iter().flat_map(|group| &group.lines) {
            assert!(
                page.contains(&format!("# {}\n{}\n", line.says, command(line))),
                "{}",
                line.says
            );
            assert!(!line.expect.is_empty(), "{} expects nothing", line.says);
        }
        assert!(page.contains("for i in $(seq 100); do curl -so /dev/null"));
    }
}
