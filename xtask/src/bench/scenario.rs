//! What is measured: the scenarios, and which proxy takes part in which.

/// One kind of work under load.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) kind: Kind,
    pub(super) path: &'static str,
    /// Headers of every request, each as `Name: value`.
    pub(super) headers: &'static [&'static str],
    /// Whether each request has the token of the next consumer.
    pub(super) tokens: bool,
    /// The size of the request's body; without one it is a `GET`.
    pub(super) posts: Option<usize>,
    /// A response has at least this many bytes.
    pub(super) response: usize,
}

/// What a proxy is configured to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// Forwards.
    Plain,
    /// Adds and removes headers.
    Transform,
    /// CORS, token, limit, headers.
    Chain,
    /// Answers with several documents in one.
    Aggregate,
}

impl Kind {
    /// The name of the configuration file, without its extension.
    pub(super) fn config(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Transform => "transform",
            Self::Chain => "chain",
            Self::Aggregate => "agg",
        }
    }
}

/// A proxy that is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Peer {
    Postern,
    Nginx,
}

impl Peer {
    /// In the order in which they take turns.
    pub(super) const ALL: [Self; 2] = [Self::Postern, Self::Nginx];

    /// How it is called in reports, and the folder of its configurations.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Postern => "postern",
            Self::Nginx => "nginx",
        }
    }

    /// The extension of its configuration files.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Postern => "toml",
            Self::Nginx => "conf",
        }
    }

    /// Whether it can do this work: nginx has no directives for tokens and aggregation.
    pub(super) fn does(self, kind: Kind) -> bool {
        self == Self::Postern || matches!(kind, Kind::Plain | Kind::Transform)
    }
}

/// The page that the CORS scenario's requests come from.
pub(super) const ORIGIN: &str = "https://app.example.com";

/// Every scenario, in the order of the report.
pub(super) static ALL: [Scenario; 6] = [
    Scenario {
        name: "S0",
        title: "plain proxy, 1 KiB of JSON",
        kind: Kind::Plain,
        path: "/json",
        headers: &[],
        tokens: false,
        posts: None,
        response: 1024,
    },
    Scenario {
        name: "S1",
        title: "header transform: a request header more, one less, a response header more",
        kind: Kind::Transform,
        path: "/json",
        headers: &["X-Remove-Me: secret"],
        tokens: false,
        posts: None,
        response: 1024,
    },
    Scenario {
        name: "S2",
        title: "chain: CORS, JWT (HS256), a limit for each of 64 consumers, header transform",
        kind: Kind::Chain,
        path: "/json",
        // The origin is `ORIGIN`; a test holds them together.
        headers: &["X-Remove-Me: secret", "Origin: https://app.example.com"],
        tokens: true,
        posts: None,
        response: 1024,
    },
    Scenario {
        name: "S3",
        title: "aggregation of three documents of 400 bytes",
        kind: Kind::Aggregate,
        path: "/agg",
        headers: &[],
        tokens: false,
        posts: None,
        response: 1200,
    },
    Scenario {
        name: "S4a",
        title: "64 KiB response body",
        kind: Kind::Plain,
        path: "/64k",
        headers: &[],
        tokens: false,
        posts: None,
        response: 64 * 1024,
    },
    Scenario {
        name: "S5",
        title: "64 KiB request body",
        kind: Kind::Plain,
        path: "/post",
        headers: &[],
        tokens: false,
        posts: Some(64 * 1024),
        response: "{\"ok\":true}".len(),
    },
];

/// The scenario of a name, in any case.
pub(super) fn find(name: &str) -> Result<&'static Scenario, String> {
    ALL.iter()
        .find(|scenario| scenario.name.eq_ignore_ascii_case(name))
        .ok_or_else(|| {
            let known: Vec<_> = ALL.iter().map(|scenario| scenario.name).collect();
            format!("known are {}", known.join(", "))
        })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_scenario_is_found_by_its_name() {
        assert_eq!(find("s4A").expect("known").name, "S4a");
        let error = find("S9").expect_err("unknown");
        assert_eq!(error, "known are S0, S1, S2, S3, S4a, S5");
    }

    #[test]
    fn the_chain_is_called_from_the_origin_that_it_allows() {
        let chain = find("S2").expect("known");
        assert!(chain.headers.contains(&&*format!("Origin: {ORIGIN}")));
    }

    #[test]
    fn every_peer_has_a_configuration_for_what_it_does() {
        let bench = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench");
        for peer in Peer::ALL {
            for scenario in ALL.iter().filter(|scenario| peer.does(scenario.kind)) {
                let file = bench
                    .join(peer.name())
                    .join(scenario.kind.config())
                    .with_extension(peer.extension());
                assert!(file.is_file(), "{}", file.display());
            }
        }
    }
}
