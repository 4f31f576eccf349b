//! Sets of client addresses, for `config` tables: one is found in as many steps as their number has bits.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Networks, merged and sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges {
    /// First and last address of each.
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Ranges {
    /// Reads `192.0.2.0/24` and `192.0.2.7`. The error begins with the place in the list `key`.
    pub fn parse(key: &str, texts: &[String]) -> Result<Self, String> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (index, text) in texts.iter().enumerate() {
            let network = network(text).map_err(|reason| format!("{key}[{index}]: {reason}"))?;
            match network {
                IpNet::V4(network) => v4.push(network),
                IpNet::V6(network) => v6.push(network),
            }
        }
        let v4 = Ipv4Net::aggregate(&v4).into_iter();
        let v6 = Ipv6Net::aggregate(&v6).into_iter();
        let mut ranges = Ranges {
            v4: v4
                .map(|net| (net.network().to_bits(), net.broadcast().to_bits()))
                .collect(),
            v6: v6
                .map(|net| (net.network().to_bits(), net.broadcast().to_bits()))
                .collect(),
        };
        ranges.v4.sort_unstable();
        ranges.v6.sort_unstable();
        Ok(ranges)
    }

    /// Whether an address is in one of them. An IPv4 address that is written as an IPv6 one is an IPv4 address.
    pub fn holds(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => contains(&self.v4, address.to_bits()),
            IpAddr::V6(address) => contains(&self.v6, address.to_bits()),
        }
    }
}

fn contains<T: Ord + Copy>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= address);
    ranges[..after]
        .last()
        .is_some_and(|(_, last)| address <= *last)
}

fn network(text: &str) -> Result<IpNet, String> {
    let network: IpNet = match text.parse::<IpAddr>() {
        Ok(address) => address.into(),
        Err(_) => text.parse().map_err(|_| {
            format!("expected an address or a network such as \"192.0.2.0/24\", found {text:?}")
        })?,
    };
    // Somebody who writes 10.0.0.1/8 may have meant one address, or 16 million.
    if network.trunc() != network {
        return Err(format!(
            "{text:?} is an address within a network: write \"{}\" for the network, or the address alone",
            network.trunc()
        ));
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_or_overlap_are_one() {
        let texts = [
            "10.0.1.0/24",
            "10.0.0.0/24",
            "10.0.0.128/25",
            "::1",
            "10.0.3.0/24",
        ];
        let ranges = Ranges::parse("x", &texts.map(str::to_owned)).expect("is right");
        assert_eq!(
            ranges.v4,
            [(0x0a00_0000, 0x0a00_01ff), (0x0a00_0300, 0x0a00_03ff)]
        );
        assert_eq!(ranges.v6, [(1, 1)]);
    }

    #[test]
    fn what_is_found_is_what_a_search_through_all_finds() {
        let texts = [
            "10.0.0.0/30",
            "10.0.0.8/29",
            "10.0.0.17",
            "0.0.0.0/31",
            "255.255.255.255",
        ];
        let texts = texts.map(str::to_owned);
        let ranges = Ranges::parse("x", &texts).expect("is right");
        let networks: Vec<IpNet> = texts
            .iter()
            .map(|text| network(text).expect("is right"))
            .collect();
        for bits in (0..4)
            .chain(0x0a00_0000..0x0a00_0020)
            .chain(0xffff_fff0..=0xffff_ffff)
        {
            let address = IpAddr::V4(std::net::Ipv4Addr::from_bits(bits));
            let expected = networks.iter().any(|network| network.contains(&address));
            assert_eq!(ranges.holds(address), expected, "{address}");
        }
    }
}
