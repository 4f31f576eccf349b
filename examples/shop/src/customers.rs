//! Who buys.

use http::Method;
use serde_json::{Value, json};

use crate::reply::{self, Reply};
use crate::serve::Service;

/// `GET /api/customers/{id}`
pub(crate) struct Customers;

impl Service for Customers {
    const NAME: &'static str = "customers";

    fn answer(&self, method: &Method, path: &[&str], _body: &Value) -> Reply {
        match (method, path) {
            (&Method::GET, ["customers", id]) => reply::ok_or_not_found(find(id).as_ref()),
            (_, ["customers", _]) => reply::method_not_allowed(),
            _ => reply::not_found(),
        }
    }
}

fn find(id: &str) -> Option<Value> {
    let (name, city) = match id {
        "alice" => ("Alice Arden", "Ghent"),
        "bob" => ("Bob Bell", "Turku"),
        "carol" => ("Carol Cobb", "Porto"),
        _ => return None,
    };
    let email = format!("{id}@customers.example");
    Some(json!({ "id": id, "name": name, "city": city, "email": email, "internal-score": 17 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_customers_are_found() {
        let status = |path: &[&str]| {
            Customers
                .answer(&Method::GET, path, &Value::Null)
                .status()
                .as_u16()
        };
        assert_eq!(status(&["customers", "alice"]), 200);
        assert_eq!(status(&["customers", "mallory"]), 404);
        assert_eq!(status(&["customers"]), 404);
    }
}
