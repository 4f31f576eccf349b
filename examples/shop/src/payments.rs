//! How it was paid. Its documents hold what must never leave the house: the gateway takes that out.

use http::Method;
use serde_json::{Value, json};

use crate::reply::{self, Reply};
use crate::serve::Service;

/// `GET /api/payments/by-customer/{customer}`
pub(crate) struct Payments;

impl Service for Payments {
    const NAME: &'static str = "payments";

    fn answer(&self, method: &Method, path: &[&str], _body: &Value) -> Reply {
        match (method, path) {
            (&Method::GET, ["payments", "by-customer", customer]) => {
                reply::ok(&by_customer(customer))
            }
            (_, ["payments", ..]) => reply::method_not_allowed(),
            _ => reply::not_found(),
        }
    }
}

fn by_customer(customer: &str) -> Value {
    let payments = match customer {
        "alice" => json!([
            { "order": 1, "cents": 450, "method": "card" },
            { "order": 3, "cents": 780, "method": "card" },
        ]),
        "bob" => json!([{ "order": 2, "cents": 620, "method": "transfer" }]),
        _ => json!([]),
    };
    let account = json!({ "card-number": "4000 0000 0000 0002", "card-holder": customer });
    json!({ "customer": customer, "account": account, "payments": payments })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payments_come_with_something_to_hide() {
        let document = by_customer("alice");
        assert_eq!(document["payments"][1]["cents"], 780);
        assert!(document["account"]["card-number"].is_string());
    }
}
