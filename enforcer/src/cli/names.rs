//! `names`: which names have which addresses, for how long, and which rules match.

use super::{Failure, Instance, OutputFormat};
use crate::{
    control::{self, Request},
    listing::{self, Page, Query},
};
use clap::Args;
use std::{io::Write as _, process::ExitCode};

mod table;

/// Arguments of `names`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  enforcer names                                 everything, in the order of the addresses
  enforcer names '*.evil.example'                names below evil.example, and what is an alias of one
  enforcer names --address 203.0.113.0/24        who has an address there
  enforcer names --rule ci-guard/malware         what this rule matches at present
  enforcer names --denied --format json          what deny rules match, for machines

A name stands here from the moment that somebody's lookup was answered, or the hosts file names it, until max(TTL, the \
longest `hold` of a rule) after the last answer. LEFT is the time until then, `-` for the hosts file. TRUST is `no` \
for an answer of a server that is no trusted resolver: it can deny and not allow. ASKED BY is the cgroup that asked last, \
with the number of others. RULES are those that the name matches; ports and subjects are not looked at. What becomes of \
a connection tells `enforcer explain`.

JSON is one object a line with `name`, `aliases`, `address`, `hostsFile`, `trusted`, `secondsAgo`, `ttl`, `secondsLeft`, \
`askedBy` and `rules`, a list of `policy`, `rule`, `action` and `secondsLeft`; `secondsLeft` is null where no end is known.

Exit status: 0 listed, be it nothing; 1 it did not work, for example no daemon runs; 2 wrong usage.")]
pub(super) struct Names {
    /// Only names that this name or pattern matches, written as in policies.
    #[arg(value_parser = pattern)]
    pattern: Option<String>,
    /// Only this address, or addresses of this network.
    #[arg(long, value_name = "IP|CIDR", value_parser = network)]
    address: Option<String>,
    /// Only what this rule matches: its name, or POLICY/NAME.
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// Only what some deny rule matches.
    #[arg(long)]
    denied: bool,
    #[command(flatten)]
    instance: Instance,
    /// How it is printed.
    #[arg(long, default_value = "text")]
    format: OutputFormat,
}

/// Prints the names, page by page as they come.
pub(super) async fn main(names: Names) -> Result<ExitCode, Failure> {
    let Names { pattern, address, rule, denied, instance: Instance { instance }, format } = names;
    let mut query = Query { pattern, network: address, rule, denied, after: None };
    let mut out = std::io::stdout().lock();
    let mut table = table::Table::for_terminal();
    loop {
        let answer = control::ask(&instance, Request::List(query.clone())).await?;
        let page: Page = serde_json::from_value(answer).map_err(Failure::unknown_answer)?;
        if let Some(error) = page.error {
            return Err(Failure::bad_query(error));
        }
        let text: String = match format {
            OutputFormat::Json => {
                let lines = page.rows.iter().filter_map(|row| serde_json::to_string(row).ok());
                lines.map(|line| line + "\n").collect()
            }
            OutputFormat::Text => table.page(&page.rows),
        };
        // Whoever reads may have seen enough.
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() || page.next.is_none() {
            return Ok(ExitCode::SUCCESS);
        }
        query.after = page.next;
    }
}

fn network(text: &str) -> Result<String, String> {
    listing::network(text).map(|network| network.to_string())
}

fn pattern(text: &str) -> Result<String, String> {
    listing::check_pattern(text).map(|()| text.to_owned())
}
