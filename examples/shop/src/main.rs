//! The shop: orders, products, customers and payments, each a service on an address of its own.
//!
//! It exists to stand behind the gateway in the quick start and in tests. One process serves all four, so that there is
//! one thing to start; they share nothing.

mod customers;
mod orders;
mod payments;
mod products;
mod reply;
mod serve;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::customers::Customers;
use crate::orders::Orders;
use crate::payments::Payments;
use crate::products::Products;

/// Four small services to put a gateway in front of. Port 0 picks a free port.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// Where orders are served.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7001")]
    orders: SocketAddr,
    /// Where products are served.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7002")]
    products: SocketAddr,
    /// Where customers are served.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7003")]
    customers: SocketAddr,
    /// Where payments are served.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7004")]
    payments: SocketAddr,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shop: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> io::Result<()> {
    // All are bound before the first line is printed: whoever reads a line may call.
    let orders = bind("orders", options.orders).await?;
    let products = bind("products", options.products).await?;
    let customers = bind("customers", options.customers).await?;
    let payments = bind("payments", options.payments).await?;
    let mut output = io::stdout();
    for (name, listener) in [
        ("orders", &orders),
        ("products", &products),
        ("customers", &customers),
        ("payments", &payments),
    ] {
        writeln!(output, "{name} {}", listener.local_addr()?)?;
    }
    output.flush()?;

    let (stop, stopped) = watch::channel(());
    let services = [
        tokio::spawn(serve::serve(
            orders,
            Arc::new(Orders::default()),
            stopped.clone(),
        )),
        tokio::spawn(serve::serve(products, Arc::new(Products), stopped.clone())),
        tokio::spawn(serve::serve(
            customers,
            Arc::new(Customers),
            stopped.clone(),
        )),
        tokio::spawn(serve::serve(payments, Arc::new(Payments), stopped)),
    ];
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        result = tokio::signal::ctrl_c() => result?,
    }
    drop(stop);
    for service in services {
        service.await?;
    }
    Ok(())
}

async fn bind(service: &str, address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot serve {service} on {address}: {error}"),
        )
    })
}
