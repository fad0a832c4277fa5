//! An explanation for people.

use super::report::{Live, LiveSighting, Other, Outcome, Report};
use policy_schema::{Mode, Protocol, Verdict};
use std::fmt;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, address, port, proto, outcome, others, live, notes } = self;
        let proto = match proto {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        match (name, address) {
            (Some(name), _) => writeln!(f, "{name} port {port}/{proto}, before its address is known")?,
            (None, Some(address)) => writeln!(f, "{address} port {port}/{proto}")?,
            (None, None) => {}
        }
        writeln!(
            f,
            "verdict:  {}",
            sentence(outcome.verdict, outcome.rule.as_deref(), outcome.policy.as_deref())
        )?;
        writeln!(f, "why:      {}", outcome.why.text)?;
        if let Some(location) = &outcome.location {
            writeln!(f, "rule at:  {location}")?;
        }
        writeln!(f, "happens:  {}", Happens(outcome))?;
        write_others(f, "matches too:", others.iter().filter(|other| other.matches))?;
        write_others(f, "does not match:", others.iter().filter(|other| !other.matches))?;
        if let Some(live) = live {
            write_live(f, name.is_some(), live)?;
        }
        notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}

/// Who says what: `deny, by rule `malware` of policy `ci-guard``.
fn sentence(verdict: Verdict, rule: Option<&str>, policy: Option<&str>) -> String {
    let verdict = match verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
    };
    match (rule, policy) {
        (None, _) => format!("{verdict}, by default"),
        (Some("builtin"), _) => format!("{verdict}, built in"),
        (Some(key @ ("literalAddresses" | "otherResolvers")), None) => format!("{verdict}, by `{key}`"),
        (Some(rule), Some(policy)) => format!("{verdict}, by rule `{rule}` of policy `{policy}`"),
        (Some(rule), None) => format!("{verdict}, by rule `{rule}`"),
    }
}

/// What happens in fact, and who makes it happen where that is somebody else.
struct Happens<'a>(&'a Outcome);

impl fmt::Display for Happens<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { verdict, effective, rule, policy, effective_rule, effective_policy, errno, .. } =
            self.0;
        match errno {
            Some(errno) => write!(f, "refused with {errno:?}")?,
            None => f.write_str("allowed")?,
        }
        if (verdict, rule, policy) == (effective, effective_rule, effective_policy) {
            return Ok(());
        }
        let by = sentence(*effective, effective_rule.as_deref(), effective_policy.as_deref());
        write!(f, "; what is enforced says {by}")
    }
}

fn write_others<'a>(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    others: impl Iterator<Item = &'a Other>,
) -> fmt::Result {
    let mut title = Some(title);
    for Other { policy, rule, action, mode, why, location, .. } in others {
        if let Some(title) = title.take() {
            writeln!(f, "{title}")?;
        }
        let action = sentence((*action).into(), Some(rule), Some(policy));
        let audit = if *mode == Mode::Audit { ", audit" } else { "" };
        writeln!(f, "  {action}{audit} ({location})\n    {}", why.text())?;
    }
    Ok(())
}

fn write_live(f: &mut fmt::Formatter<'_>, of_name: bool, live: &[Live]) -> fmt::Result {
    if live.iter().all(|live| live.sightings.is_empty()) {
        let what =
            if of_name { "no address of this name is known" } else { "no name of this address is known" };
        return writeln!(f, "live:     {what}: no answer was seen, or it is over");
    }
    writeln!(f, "live:")?;
    for Live { address, sightings, outcome } in live {
        let verdict = sentence(outcome.verdict, outcome.rule.as_deref(), outcome.policy.as_deref());
        writeln!(f, "  {address}: {verdict}; {}", Happens(outcome))?;
        for LiveSighting { names, trusted, deny_seconds_left, allow_seconds_left } in sightings {
            let names = names.join(" > ");
            write!(f, "    {names}: can deny for {deny_seconds_left} s")?;
            match trusted {
                true => writeln!(f, ", allow for {allow_seconds_left} s")?,
                false => writeln!(f, "; its server is not trusted, so it allows nothing")?,
            }
        }
    }
    Ok(())
}
