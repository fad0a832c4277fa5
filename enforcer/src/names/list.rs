//! The name table, page by page.

use super::{NameTable, sighting::Sighting};
use crate::{
    compile::Compiled,
    listing::{Filter, Page, Row, RowRule},
};
use enforcer_common::{Address, Vector};
use std::ops::Bound;

/// Rows of a page, but for the last address's.
const ROWS: usize = 256;
/// Characters of names on a page, but for the last address's.
const CHARACTERS: usize = 64 << 10;
/// Addresses looked at for one page: the daemon has other things to do.
const LOOKED_AT: usize = 20_000;

const SECOND: u64 = 1_000_000_000;

impl NameTable {
    /// A page of what is live and meant by `filter`, from behind the address `after`. `path` finds the cgroup of an id.
    pub fn list(
        &self,
        filter: &Filter,
        after: Option<Address>,
        policy: &Compiled,
        now: u64,
        path: impl Fn(u64) -> Option<String>,
    ) -> Page {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = Page { policy_version: policy.version, ..Page::default() };
        let mut characters = 0;
        for (looked_at, (address, sightings)) in self.addresses.range((from, Bound::Unbounded)).enumerate() {
            if looked_at == LOOKED_AT || page.rows.len() >= ROWS || characters >= CHARACTERS {
                return page;
            }
            page.next = Some((*address).into());
            let of_address = filter.has_address(address);
            let meant = |sighting: &&Sighting| {
                sighting.end(policy.longest_hold()) > now
                    && (of_address || filter.has_address(&sighting.answered))
                    && filter.has_name(&sighting.chain)
            };
            let mut meant = sightings.iter().filter(meant).peekable();
            if meant.peek().is_none() {
                continue;
            }
            let allowed = policy.allowed(address);
            for sighting in meant {
                let rules = sighting.rules(policy, &allowed, now);
                let mut matching = Vector::EMPTY;
                rules.iter().for_each(|(class, _)| matching.insert(*class));
                if filter.has_rules(&matching) {
                    let row = row(sighting, &rules, policy, now, &path);
                    characters += row.name.len() + row.aliases.iter().map(String::len).sum::<usize>();
                    page.rows.push(row);
                }
            }
        }
        page.next = None;
        page
    }
}

fn row(
    sighting: &Sighting,
    rules: &[(u16, u64)],
    policy: &Compiled,
    now: u64,
    path: &impl Fn(u64) -> Option<String>,
) -> Row {
    let Sighting { chain, trusted, seen, ttl, lasting, said: _, asked, answered } = sighting;
    let left = |end: u64| (!lasting).then(|| end.saturating_sub(now) / SECOND);
    let rules = rules.iter().filter_map(|(class, end)| {
        let rule = policy.policy.rules().get(usize::from(*class))?;
        Some(RowRule {
            policy: rule.policy().to_owned(),
            rule: rule.name().to_owned(),
            action: rule.action(),
            seconds_left: left(*end),
        })
    });
    let mut names = chain.iter().map(ToString::to_string);
    Row {
        name: names.next().unwrap_or_default(),
        aliases: names.collect(),
        address: (*answered).into(),
        hosts_file: *lasting,
        trusted: *trusted,
        seconds_ago: now.saturating_sub(*seen) / SECOND,
        ttl: ttl / SECOND,
        seconds_left: left(sighting.end(policy.longest_hold())),
        // The latest first. A cgroup that is gone has no path any more.
        asked_by: asked.iter().rev().map(|id| path(*id).unwrap_or_else(|| format!("#{id}"))).collect(),
        rules: rules.collect(),
    }
}
