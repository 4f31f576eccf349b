//! Three gateways in front of the same services, each with its own words for the same protection: two repetitions of what is
//! idempotent, at another target, half a second for each attempt, a health check a second, ejection after five failures.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use postern_tests::eventually::{pause, within};
use postern_tests::{Gateway, tool};
use tempfile::TempDir;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Postern,
    HaProxy,
    Envoy,
}

pub(super) const KINDS: [Kind; 3] = [Kind::Postern, Kind::HaProxy, Kind::Envoy];

/// A gateway that serves. It ends when it is dropped.
pub(super) enum Running {
    Postern(Gateway),
    Other(Other),
}

pub(super) struct Other {
    child: Child,
    address: SocketAddr,
    #[expect(dead_code, reason = "held, for its configuration")]
    folder: TempDir,
}

impl Running {
    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Self::Postern(gateway) => gateway.address(),
            Self::Other(other) => other.address,
        }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Kind {
    /// Starts it, if it is installed.
    pub(super) async fn start(self, targets: [SocketAddr; 3]) -> Option<Running> {
        let (program, config) = match self {
            Self::Postern => {
                let gateway = Gateway::with(postern(targets)).process().await;
                return Some(Running::Postern(gateway));
            }
            Self::HaProxy => (program("HAPROXY_BIN", "haproxy")?, haproxy as Writer),
            Self::Envoy => (program("ENVOY_BIN", "envoy")?, envoy as Writer),
        };
        let folder = tempfile::tempdir().expect("there is room");
        let free = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let address = free.local_addr().expect("it is bound");
        drop(free);
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, config(address.port(), targets)).expect("the folder is ours");
        let mut command = Command::new(program);
        match self {
            Self::Envoy => command
                .args([
                    "--concurrency",
                    "1",
                    "--use-dynamic-base-id",
                    "-l",
                    "error",
                    "-c",
                ])
                .arg(&file),
            _ => command.args(["-db", "-f"]).arg(&file),
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the program starts");
        let other = Other {
            child,
            address,
            folder,
        };
        within("its first connection", async {
            while tokio::net::TcpStream::connect(address).await.is_err() {
                pause().await;
            }
        })
        .await;
        Some(Running::Other(other))
    }
}

type Writer = fn(u16, [SocketAddr; 3]) -> String;

/// The program that a variable names, or the one that is installed.
fn program(variable: &str, name: &str) -> Option<PathBuf> {
    match std::env::var_os(variable) {
        Some(path) => Some(path.into()),
        None => tool::is_there(name).then(|| name.into()),
    }
}

fn postern(targets: [SocketAddr; 3]) -> String {
    let targets = targets.map(|target| format!("\"http://{target}\""));
    format!(
        r#"
        [upstream.u]
        targets = [{}]
        connect-timeout = "250ms"
        retry-budget = "20%"
        retry-budget-min = 10
        balance = "round-robin"
        [upstream.u.retry]
        retries = 2
        on = ["connect-failure", "refused-stream", "reset", "timeout"]
        statuses = [502, 503, 504]
        per-try-timeout = "500ms"
        [upstream.u.health]
        path = "/healthz"
        interval = "1s"
        timeout = "500ms"
        fall = 2
        rise = 1
        [upstream.u.outlier]
        consecutive-5xx = 5
        interval = "500ms"
        base-ejection-time = "1s"
        max-ejected = "50%"
        [[route]]
        name = "r"
        path = "/{{*rest}}"
        upstream = "u"
        "#,
        targets.join(", ")
    )
}

fn haproxy(port: u16, targets: [SocketAddr; 3]) -> String {
    let servers: String = targets
        .iter()
        .enumerate()
        .map(|(number, target)| format!("  server s{number} {target}\n"))
        .collect();
    format!(
        "
global
  nbthread 1
defaults
  mode http
  timeout connect 250ms
  timeout client 30s
  timeout server 500ms
  timeout check 500ms
  retries 2
  option redispatch 1
  retry-on conn-failure empty-response response-timeout 502 503 504
frontend all
  bind 127.0.0.1:{port}
  http-request disable-l7-retry if METH_POST
  default_backend services
backend services
  balance roundrobin
  option httpchk GET /healthz
  default-server check inter 1s fall 2 rise 1 observe layer7 error-limit 5 on-error mark-down
{servers}"
    )
}

fn envoy(port: u16, targets: [SocketAddr; 3]) -> String {
    let endpoint = |target: &SocketAddr| {
        format!(
            "{{ endpoint: {{ address: {{ socket_address: {{ address: {}, port_value: {} }} }} }} }}",
            target.ip(),
            target.port()
        )
    };
    let endpoints: Vec<String> = targets.iter().map(endpoint).collect();
    let retry = |on: &str| {
        format!(
            "{{ retry_on: \"{on}\", num_retries: 2, per_try_timeout: 0.5s, host_selection_retry_max_attempts: 3, \
             retry_host_predicate: [{{ name: envoy.retry_host_predicates.previous_hosts, typed_config: {{ \
             \"@type\": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate }} }}] }}"
        )
    };
    let (orders, others) = (
        retry("connect-failure,refused-stream"),
        retry("connect-failure,refused-stream,reset,gateway-error"),
    );
    format!(
        r#"
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: clients
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{ prefix: "/", headers: [{{ name: ":method", string_match: {{ exact: POST }} }}] }}
                route: {{ cluster: services, retry_policy: {orders} }}
              - match: {{ prefix: "/" }}
                route: {{ cluster: services, retry_policy: {others} }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
  clusters:
  - name: services
    type: STATIC
    connect_timeout: 0.25s
    load_assignment:
      cluster_name: services
      endpoints: [{{ lb_endpoints: [{}] }}]
    health_checks:
    - {{ timeout: 0.5s, interval: 1s, unhealthy_threshold: 2, healthy_threshold: 1, http_health_check: {{ path: /healthz }} }}
    outlier_detection: {{ consecutive_5xx: 5, interval: 0.5s, base_ejection_time: 1s, max_ejection_percent: 50 }}
    circuit_breakers:
      thresholds:
      - retry_budget: {{ budget_percent: {{ value: 20 }}, min_retry_concurrency: 10 }}
"#,
        endpoints.join(", ")
    )
}
