//! Who bought what. The only service that remembers anything, until it stops.

use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::reply::{self, Reply};
use crate::serve::Service;

/// New orders beyond these are refused: a demo that runs for weeks must not grow.
const MAX_ORDERS: usize = 10_000;

/// `GET` and `POST /api/orders`, `GET /api/orders/{id}`, `GET /api/orders/by-customer/{customer}`.
pub(crate) struct Orders {
    all: Mutex<Vec<Order>>,
}

#[derive(Clone)]
struct Order {
    id: usize,
    customer: String,
    product: String,
}

impl Default for Orders {
    fn default() -> Self {
        let bought = [
            ("alice", "tea"),
            ("bob", "coffee"),
            ("alice", "honey"),
            ("carol", "cups"),
        ];
        let order = |(index, (customer, product)): (usize, &(&str, &str))| Order {
            id: index + 1,
            customer: (*customer).to_owned(),
            product: (*product).to_owned(),
        };
        Self {
            all: Mutex::new(bought.iter().enumerate().map(order).collect()),
        }
    }
}

impl Service for Orders {
    const NAME: &'static str = "orders";

    fn answer(&self, method: &Method, path: &[&str], body: &Value) -> Reply {
        match (method, path) {
            (&Method::GET, ["orders"]) => reply::ok(&list(self.lock().iter())),
            (&Method::POST, ["orders"]) => self.place(body),
            (&Method::GET, ["orders", "by-customer", customer]) => reply::ok(&list(
                self.lock()
                    .iter()
                    .filter(|order| order.customer == *customer),
            )),
            (&Method::GET, ["orders", id]) => {
                let found = self
                    .lock()
                    .iter()
                    .find(|order| order.id.to_string() == *id)
                    .map(document);
                reply::ok_or_not_found(found.as_ref())
            }
            (_, ["orders", ..]) => reply::method_not_allowed(),
            _ => reply::not_found(),
        }
    }
}

impl Orders {
    fn place(&self, body: &Value) -> Reply {
        let (Some(customer), Some(product)) = (body["customer"].as_str(), body["product"].as_str())
        else {
            return reply::problem(
                StatusCode::BAD_REQUEST,
                r#"expected a body such as {"customer":"alice","product":"tea"}"#,
            );
        };
        let mut all = self.lock();
        if all.len() >= MAX_ORDERS {
            return reply::problem(
                StatusCode::INSUFFICIENT_STORAGE,
                "there are too many orders already",
            );
        }
        let order = Order {
            id: all.len() + 1,
            customer: customer.to_owned(),
            product: product.to_owned(),
        };
        let mut reply = reply::with_status(StatusCode::CREATED, &document(&order));
        if let Ok(location) = header::HeaderValue::try_from(format!("/api/orders/{}", order.id)) {
            reply.headers_mut().insert(header::LOCATION, location);
        }
        all.push(order);
        reply
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Order>> {
        // Orders are pushed whole: a panic elsewhere cannot have left half of one.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn list<'a>(orders: impl Iterator<Item = &'a Order>) -> Value {
    json!({ "orders": orders.map(document).collect::<Vec<_>>() })
}

fn document(order: &Order) -> Value {
    json!({ "id": order.id, "customer": order.customer, "product": order.product })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placed_order_is_found_afterwards() {
        let orders = Orders::default();
        let placed = orders.answer(
            &Method::POST,
            &["orders"],
            &json!({ "customer": "bob", "product": "tea" }),
        );
        assert_eq!(placed.status(), StatusCode::CREATED);
        assert_eq!(placed.headers()[header::LOCATION], "/api/orders/5");
        assert_eq!(
            orders
                .answer(&Method::GET, &["orders", "5"], &Value::Null)
                .status(),
            StatusCode::OK
        );
    }

    #[test]
    fn an_order_without_a_customer_is_refused() {
        let refused =
            Orders::default().answer(&Method::POST, &["orders"], &json!({ "product": "tea" }));
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    }
}
