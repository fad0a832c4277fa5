//! Names as a table that fits a terminal.

use crate::listing::{Row, RowRule};
use policy_schema::Action;
use std::{fmt::Write as _, io::IsTerminal as _, net::IpAddr};

const TITLES: [&str; COLUMNS] = ["NAME", "ADDRESS", "LEFT", "TRUST", "ASKED BY", "RULES"];
const COLUMNS: usize = 6;
/// The columns whose texts may be cut, with the least width that is left of them.
const CUT: [(usize, usize); 3] = [(4, 12), (0, 20), (5, 20)];
/// Between two columns.
const GAP: usize = 2;

/// The widths so far: columns that only ever get wider keep later pages below the earlier ones.
pub(super) struct Table {
    /// Characters of a line; `None` = as many as it takes.
    line: Option<usize>,
    widths: [usize; COLUMNS],
    titled: bool,
}

impl Table {
    /// As wide as the terminal, if standard output is one.
    pub fn for_terminal() -> Self {
        let out = std::io::stdout();
        let size = out.is_terminal().then(|| rustix::termios::tcgetwinsize(&out).ok()).flatten();
        Self::new(size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0))
    }

    fn new(line: Option<usize>) -> Self {
        Self { line, widths: TITLES.map(str::len), titled: false }
    }

    /// Lays out some rows, with the titles above the first.
    pub fn page(&mut self, rows: &[Row]) -> String {
        let mut lines: Vec<[String; COLUMNS]> = Vec::new();
        if !self.titled && !rows.is_empty() {
            self.titled = true;
            lines.push(TITLES.map(str::to_owned));
        }
        lines.extend(rows.iter().map(cells));
        for cells in &lines {
            for (width, cell) in self.widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let widths = self.fitting();
        let mut text = String::new();
        for cells in lines {
            let mut line = String::new();
            for (cell, width) in cells.iter().zip(widths) {
                let _ = write!(line, "{:<width$}{:GAP$}", cut(cell, width), "");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// The widths, cut where the line is too short for them.
    fn fitting(&self) -> [usize; COLUMNS] {
        let mut widths = self.widths;
        let Some(line) = self.line else { return widths };
        for (column, least) in CUT {
            let over = (widths.iter().sum::<usize>() + GAP * (COLUMNS - 1)).saturating_sub(line);
            if let Some(width) = widths.get_mut(column) {
                *width = width.saturating_sub(over).max(least.min(*width));
            }
        }
        widths
    }
}

fn cells(row: &Row) -> [String; COLUMNS] {
    let Row { name, aliases, address, trusted, seconds_left, asked_by, rules, .. } = row;
    let name = match aliases.last() {
        Some(last) => format!("{name} -> {last}"),
        None => name.clone(),
    };
    let address: &IpAddr = address;
    let asked_by = match asked_by.as_slice() {
        [] => "-".to_owned(),
        [only] => printable(only),
        [latest, others @ ..] => format!("{} +{}", printable(latest), others.len()),
    };
    let rules: Vec<String> = rules.iter().map(rule).collect();
    let rules = if rules.is_empty() { "-".to_owned() } else { rules.join(", ") };
    let trust = if *trusted { "yes" } else { "no" };
    [name, address.to_string(), left(*seconds_left), trust.to_owned(), asked_by, rules]
}

fn rule(RowRule { policy, rule, action, .. }: &RowRule) -> String {
    let action = match action {
        Action::Allow => "allow",
        Action::Deny => "deny",
    };
    format!("{action} {policy}/{rule}")
}

/// `59s`, `59m`, `23h`, `7d`.
fn left(seconds: Option<u64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds @ 0..120) => format!("{seconds}s"),
        Some(seconds @ 120..7200) => format!("{}m", seconds / 60),
        Some(seconds @ 7200..172_800) => format!("{}h", seconds / 3600),
        Some(seconds) => format!("{}d", seconds / 86_400),
    }
}

/// Paths of cgroups are named by whoever may make one.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() || c.is_alphanumeric() { c } else { '?' }).collect()
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, aliases: &[&str], rules: &[(&str, Action)]) -> Row {
        let rules = rules.iter().map(|(rule, action)| RowRule {
            policy: "ci-guard".to_owned(),
            rule: (*rule).to_owned(),
            action: *action,
            seconds_left: Some(5),
        });
        Row {
            name: name.to_owned(),
            aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            address: "203.0.113.7".parse().unwrap(),
            hosts_file: false,
            trusted: true,
            seconds_ago: 0,
            ttl: 60,
            seconds_left: Some(3599),
            asked_by: vec!["/ci/job".to_owned(), "/b\u{1b}[2J".to_owned()],
            rules: rules.collect(),
        }
    }

    #[test]
    fn rows_stand_below_their_titles() {
        let rows = [
            row("www.evil.example", &["x.test", "y.test"], &[("malware", Action::Deny)]),
            row("a.test", &[], &[]),
        ];
        let expected = "\
NAME                        ADDRESS      LEFT  TRUST  ASKED BY    RULES
www.evil.example -> y.test  203.0.113.7  59m   yes    /ci/job +1  deny ci-guard/malware
a.test                      203.0.113.7  59m   yes    /ci/job +1  -
";
        let mut table = Table::new(None);
        assert_eq!(table.page(&rows), expected);
        // The next page has no titles, and keeps the columns.
        assert_eq!(table.page(&rows[1..]), expected.lines().last().unwrap().to_owned() + "\n");
        assert_eq!(Table::new(None).page(&[]), "");
    }

    #[test]
    fn a_line_fits_the_terminal() {
        let rows = [row(&"a.".repeat(100), &[], &[("malware", Action::Deny), ("other", Action::Allow)])];
        let text = Table::new(Some(100)).page(&rows);
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
        assert!(text.contains('…') && text.contains("203.0.113.7"), "{text}");
    }

    #[test]
    fn what_steers_a_terminal_is_not_printed() {
        let mut one = row("a.test", &[], &[]);
        one.asked_by = vec!["/b\u{1b}[2J".to_owned()];
        assert!(Table::new(None).page(&[one]).contains("/b?[2J"));
    }
}
