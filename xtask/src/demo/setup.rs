//! What a demo needs to know before it starts: addresses, secrets, and a config file that fits them.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::token;
use crate::workspace::Workspace;

/// The gateway's configuration, relative to the root.
pub(super) const CONFIG: &str = "examples/shop/postern.toml";
/// Where that file expects the plugins.
const CONFIG_PLUGINS: &str = "../../target/plugins/";
/// What all addresses in that file begin with.
const CONFIG_HOST: &str = "127.0.0.1:";

/// The addresses in the checked-in configuration.
pub(super) const DEFAULT_ADDRESSES: Addresses = Addresses {
    public: local(8080),
    admin: local(9901),
    orders: local(7001),
    products: local(7002),
    customers: local(7003),
    payments: local(7004),
};

/// A secret of the configuration: its environment variable and its value in the demo.
pub(super) struct Secret {
    pub(super) variable: &'static str,
    pub(super) value: &'static str,
}

/// Signs the tokens of the consumer of tier `free`.
pub(super) const MOBILE_FREE: Secret = Secret {
    variable: "SHOP_MOBILE_FREE_SECRET",
    value: "demo-only-secret-of-mobile-free-0001",
};
/// Signs the tokens of the consumer of tier `premium`.
pub(super) const WEB_PREMIUM: Secret = Secret {
    variable: "SHOP_WEB_PREMIUM_SECRET",
    value: "demo-only-secret-of-web-premium-0002",
};
/// Signs the tokens of the consumer of tier `internal`.
pub(super) const WAREHOUSE: Secret = Secret {
    variable: "SHOP_WAREHOUSE_SECRET",
    value: "demo-only-secret-of-warehouse-000003",
};
/// The API key of the consumer of tier `internal`.
pub(super) const WAREHOUSE_KEY: Secret = Secret {
    variable: "SHOP_WAREHOUSE_KEY",
    value: "demo-only-key-of-warehouse-000000004",
};

/// Every variable that the configuration refers to.
pub(super) const SECRETS: [Secret; 4] = [MOBILE_FREE, WEB_PREMIUM, WAREHOUSE, WAREHOUSE_KEY];

/// A token of the free consumer.
pub(super) fn free_token() -> String {
    token::mint("mobile-free", token::FAR_AWAY, MOBILE_FREE.value)
}

/// A token of the premium consumer.
pub(super) fn premium_token() -> String {
    token::mint("web-premium", token::FAR_AWAY, WEB_PREMIUM.value)
}

/// A token of the internal consumer.
pub(super) fn internal_token() -> String {
    token::mint("warehouse", token::FAR_AWAY, WAREHOUSE.value)
}

/// A token that was good once.
pub(super) fn expired_token() -> String {
    token::mint("web-premium", token::LONG_AGO, WEB_PREMIUM.value)
}

/// Where each listener of the demo is.
#[derive(Clone, Copy)]
pub(super) struct Addresses {
    pub(super) public: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) orders: SocketAddr,
    pub(super) products: SocketAddr,
    pub(super) customers: SocketAddr,
    pub(super) payments: SocketAddr,
}

impl Addresses {
    /// Six consecutive ports.
    pub(super) fn from_port(first: u16) -> Self {
        Self {
            public: local(first),
            admin: local(first + 1),
            orders: local(first + 2),
            products: local(first + 3),
            customers: local(first + 4),
            payments: local(first + 5),
        }
    }

    /// Six ports that nobody listens on at the moment.
    pub(super) fn free() -> Result<Self> {
        // All are held until the last is chosen, so that they differ.
        let held = [0; 6].map(|port| TcpListener::bind(local(port)));
        let mut chosen = Vec::with_capacity(held.len());
        for listener in &held {
            let listener = listener
                .as_ref()
                .map_err(|error| anyhow::anyhow!("no free port: {error}"))?;
            chosen.push(listener.local_addr()?);
        }
        let [public, admin, orders, products, customers, payments] = chosen[..] else {
            unreachable!("six were held")
        };
        Ok(Self {
            public,
            admin,
            orders,
            products,
            customers,
            payments,
        })
    }

    /// Each address with what it is for.
    pub(super) fn named(&self) -> [(&'static str, SocketAddr); 6] {
        [
            ("gateway", self.public),
            ("admin", self.admin),
            ("orders", self.orders),
            ("products", self.products),
            ("customers", self.customers),
            ("payments", self.payments),
        ]
    }

    /// An error with the remedy when somebody else listens on one of them.
    pub(super) fn ensure_free(&self) -> Result<()> {
        let taken: Vec<_> = self
            .named()
            .iter()
            .filter_map(|(name, address)| {
                TcpListener::bind(address)
                    .err()
                    .map(|error| format!("  {address} for {name}: {error}"))
            })
            .collect();
        ensure!(
            taken.is_empty(),
            "the demo cannot listen on\n{}\nstop what uses it (another demo?), or give the first of six other ports: \
             cargo xtask demo --port 18080",
            taken.join("\n")
        );
        Ok(())
    }

    fn is_default(&self) -> bool {
        self.named() == DEFAULT_ADDRESSES.named()
    }
}

/// The configuration to run with: the checked-in file where it fits, otherwise a copy with other addresses and paths.
pub(super) fn config(
    workspace: &Workspace,
    addresses: &Addresses,
    folder: &Path,
) -> Result<PathBuf> {
    let original = workspace.root.join(CONFIG);
    if addresses.is_default() && workspace.target == workspace.root.join("target") {
        return Ok(original);
    }
    let text =
        std::fs::read_to_string(&original).with_context(|| format!("cannot read {CONFIG}"))?;
    let plugins = workspace.plugins();
    let plugins = plugins
        .to_str()
        .context("the target directory's path is not Unicode")?;
    let copy = folder.join("postern.toml");
    std::fs::write(
        &copy,
        relocate(&text, addresses).replace(CONFIG_PLUGINS, &format!("{plugins}/")),
    )?;
    Ok(copy)
}

/// Replaces the default addresses, in one pass: a new address may equal another default.
fn relocate(text: &str, addresses: &Addresses) -> String {
    let mut pieces = text.split(CONFIG_HOST);
    let mut relocated = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
        let (port, rest) = piece.split_at(digits);
        let default = DEFAULT_ADDRESSES
            .named()
            .iter()
            .position(|(_, address)| address.port().to_string() == port);
        let port = default.map_or(port.to_owned(), |index| {
            addresses.named()[index].1.port().to_string()
        });
        relocated.extend([CONFIG_HOST, &port, rest]);
    }
    relocated
}

const fn local(port: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relocating_swaps_ports_in_one_pass_and_leaves_others_alone() {
        let addresses = Addresses {
            public: local(9901),
            admin: local(8080),
            ..DEFAULT_ADDRESSES
        };
        let text = "a = \"127.0.0.1:8080\" b = \"http://127.0.0.1:9901\" c = \"127.0.0.1:80801\"";
        let expected =
            "a = \"127.0.0.1:9901\" b = \"http://127.0.0.1:8080\" c = \"127.0.0.1:80801\"";
        assert_eq!(relocate(text, &addresses), expected);
    }

    #[test]
    fn the_checked_in_configuration_has_every_default_address_secret_and_the_plugin_folder() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(CONFIG);
        let text = std::fs::read_to_string(file).expect("the example is checked in");
        for (name, address) in DEFAULT_ADDRESSES.named() {
            assert!(text.contains(&format!("{address}\"")), "{name}: {address}");
        }
        for secret in SECRETS {
            assert!(
                text.contains(&format!("\"env:{}\"", secret.variable)),
                "{}",
                secret.variable
            );
        }
        assert!(text.contains(CONFIG_PLUGINS));
    }

    #[test]
    fn a_taken_port_is_named_with_the_remedy() {
        let held = TcpListener::bind(local(0)).expect("a port is free");
        let orders = held.local_addr().expect("bound");
        let addresses = Addresses {
            orders,
            ..Addresses::free().expect("ports are free")
        };
        let error = addresses
            .ensure_free()
            .expect_err("the port is held")
            .to_string();
        assert!(
            error.contains(&format!("{orders} for orders")) && error.contains("--port"),
            "{error}"
        );
    }
}
