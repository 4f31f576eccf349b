//! What is sold.

use http::Method;
use serde_json::{Value, json};

use crate::reply::{self, Reply};
use crate::serve::Service;

/// Name, price in cents, how many are left.
const PRODUCTS: [(&str, u32, u32); 4] = [
    ("tea", 450, 120),
    ("coffee", 620, 80),
    ("honey", 780, 14),
    ("cups", 1200, 0),
];

/// `GET /api/products`, `GET /api/products/{name}`, `GET /api/products/recommended/{customer}`, and for the warehouse
/// `GET /api/stock/{name}`.
pub(crate) struct Products;

impl Service for Products {
    const NAME: &'static str = "products";

    fn answer(&self, method: &Method, path: &[&str], _body: &Value) -> Reply {
        if method != Method::GET {
            return reply::method_not_allowed();
        }
        match *path {
            ["products"] => {
                reply::ok(&json!({ "products": PRODUCTS.map(|(name, ..)| document(name)) }))
            }
            ["products", name] => reply::ok_or_not_found(document(name).as_ref()),
            ["products", "recommended", customer] => reply::ok(&recommended(customer)),
            ["stock", name] => reply::ok_or_not_found(stock(name).as_ref()),
            _ => reply::not_found(),
        }
    }
}

fn document(name: &str) -> Option<Value> {
    let (name, price, _) = PRODUCTS.iter().find(|product| product.0 == name)?;
    Some(json!({ "name": name, "price": price }))
}

fn stock(name: &str) -> Option<Value> {
    let (name, _, left) = PRODUCTS.iter().find(|product| product.0 == name)?;
    Some(json!({ "name": name, "in-stock": left }))
}

/// The same two for the same customer.
fn recommended(customer: &str) -> Value {
    let first = customer.len() % PRODUCTS.len();
    let second = (first + 1) % PRODUCTS.len();
    json!({ "customer": customer, "products": [document(PRODUCTS[first].0), document(PRODUCTS[second].0)] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_stock_and_recommendations_have_paths_of_their_own() {
        let status = |path: &[&str]| {
            Products
                .answer(&Method::GET, path, &Value::Null)
                .status()
                .as_u16()
        };
        assert_eq!(status(&["products"]), 200);
        assert_eq!(status(&["products", "tea"]), 200);
        assert_eq!(status(&["products", "gold"]), 404);
        assert_eq!(status(&["products", "recommended", "alice"]), 200);
        assert_eq!(status(&["stock", "tea"]), 200);
        assert_eq!(
            Products
                .answer(&Method::PUT, &["products", "tea"], &Value::Null)
                .status()
                .as_u16(),
            405
        );
    }
}
