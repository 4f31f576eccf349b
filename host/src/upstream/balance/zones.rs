//! Zones that share requests by weights of their own, as Envoy's locality-weighted balancing does.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::config::Placement;

/// What a zone is trusted to carry, compared with its part.
const OVERPROVISIONING: f64 = 1.4;

/// By which factor the weights of each zone's targets are multiplied. `used` are the targets that get requests, `all` those
/// that would if they could be used: a zone of which less than 72 % can be used gets less.
pub(super) fn zone_factors(
    weights: &BTreeMap<Arc<str>, u32>,
    used: &[&Placement],
    all: &[&Placement],
) -> HashMap<Option<Arc<str>>, f64> {
    let sum = |list: &[&Placement]| {
        let mut sums: HashMap<Option<Arc<str>>, (f64, f64)> = HashMap::new();
        for placement in list {
            let sum = sums.entry(placement.zone.clone()).or_default();
            sum.0 += 1.0;
            sum.1 += f64::from(placement.weight);
        }
        sums
    };
    let all = sum(all);
    let factor = |(zone, (count, weight)): (Option<Arc<str>>, (f64, f64))| {
        let named = zone.as_ref().and_then(|zone| weights.get(zone)).copied();
        let whole = all.get(&zone).map_or(count, |(count, _)| *count);
        let able = (count / whole.max(1.0) * OVERPROVISIONING).min(1.0);
        (zone, f64::from(named.unwrap_or(1)) * able / weight)
    };
    sum(used).into_iter().map(factor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_zone(zone: &str, weight: u32) -> Placement {
        Placement {
            zone: Some(zone.into()),
            weight,
            ..Placement::default()
        }
    }

    #[test]
    fn zones_have_their_parts_however_many_targets_they_have() {
        let all = [in_zone("a", 1), in_zone("b", 1), in_zone("b", 3)];
        let all: Vec<&Placement> = all.iter().collect();
        let weights = BTreeMap::from([("a".into(), 3)]);
        let factors = zone_factors(&weights, &all, &all);
        assert_eq!(factors[&Some("a".into())], 3.0);
        assert_eq!(factors[&Some("b".into())] * 4.0, 1.0);
    }

    #[test]
    fn a_zone_that_loses_targets_gets_less() {
        let all = [
            in_zone("a", 1),
            in_zone("a", 1),
            in_zone("b", 1),
            in_zone("b", 1),
        ];
        let all: Vec<&Placement> = all.iter().collect();
        let factors = zone_factors(&BTreeMap::new(), &all[1..], &all);
        assert!((factors[&Some("a".into())] - 0.7).abs() < 1e-9);
        assert!((factors[&Some("b".into())] * 2.0 - 1.0).abs() < 1e-9);
    }
}
