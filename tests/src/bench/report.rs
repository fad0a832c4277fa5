//! What was measured, and how it is told.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// What a figure counts.
#[derive(Clone, Copy, Debug)]
pub enum Unit {
    Bytes,
    Count,
    GigabitsPerSecond,
    Mebibytes,
    Microseconds,
    Milliseconds,
    Nanoseconds,
    Percent,
    PerSecond,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Bytes => format!("{value:.1} B"),
            Self::Count => format!("{value:.0}"),
            Self::GigabitsPerSecond => format!("{value:.2} Gbit/s"),
            Self::Mebibytes => format!("{value:.1} MiB"),
            Self::Microseconds if value.abs() < 10.0 => format!("{value:.2} us"),
            Self::Microseconds => format!("{value:.1} us"),
            Self::Milliseconds => format!("{value:.1} ms"),
            Self::Nanoseconds => format!("{value:.0} ns"),
            Self::Percent => format!("{value:.3} %"),
            Self::PerSecond => format!("{:.0} k/s", value / 1000.0),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Bytes => "B",
            Self::Count => "count",
            Self::GigabitsPerSecond => "Gbit/s",
            Self::Mebibytes => "MiB",
            Self::Microseconds => "us",
            Self::Milliseconds => "ms",
            Self::Nanoseconds => "ns",
            Self::Percent => "%",
            Self::PerSecond => "1/s",
        }
    }
}

/// One row: the same thing measured once a round.
#[derive(Clone, Debug)]
struct Series {
    group: &'static str,
    what: String,
    unit: Unit,
    values: Vec<f64>,
    /// The rows of the same group that this one is set against.
    baselines: Vec<String>,
}

/// All rows, in the order in which they were first measured.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Series>,
    /// What a reader of a group has to know.
    notes: Vec<(&'static str, String)>,
}

impl Report {
    /// Adds one round's figure to a row. Rows that are compared are measured equally often, each round once.
    pub fn add(&mut self, group: &'static str, what: &str, unit: Unit, value: f64) {
        match self.rows.iter_mut().find(|row| row.group == group && row.what == what) {
            Some(row) => row.values.push(value),
            None => self.rows.push(Series {
                group,
                what: what.to_owned(),
                unit,
                values: vec![value],
                baselines: Vec::new(),
            }),
        }
    }

    /// Sets rows of a group against another of its rows, beside those that they are set against already.
    pub fn against(&mut self, group: &'static str, baseline: &str, rows: &[&str]) {
        for row in self.rows.iter_mut().filter(|row| row.group == group) {
            if rows.contains(&row.what.as_str()) {
                row.baselines.push(baseline.to_owned());
            }
        }
    }

    /// Adds a row: what another one has more than its baseline, round by round, shared out among `among`.
    pub fn difference(&mut self, group: &'static str, row: &str, baseline: &str, among: f64, what: &str) {
        let values = |what: &str| {
            let row = self.rows.iter().find(|row| row.group == group && row.what == what)?;
            Some((row.unit, row.values.clone()))
        };
        let (Some((unit, more)), Some((_, less))) = (values(row), values(baseline)) else { return };
        for (more, less) in more.iter().zip(less) {
            self.add(group, what, unit, (more - less) / among);
        }
    }

    /// Says something below the table of a group.
    pub fn note(&mut self, group: &'static str, text: impl Into<String>) {
        self.notes.push((group, text.into()));
    }

    /// Ratios are taken within a round, since the rounds differ more than what is compared.
    fn ratios(&self, row: &Series, baseline: &str) -> Option<Vec<f64>> {
        let other = self.rows.iter().find(|other| other.group == row.group && other.what == baseline)?;
        Some(row.values.iter().zip(&other.values).map(|(value, base)| value / base).collect())
    }

    /// The tables, one a group, in the order of the numbers that the groups' names begin with.
    pub fn markdown(&self) -> String {
        let mut groups: Vec<&'static str> = Vec::new();
        for row in &self.rows {
            if !groups.contains(&row.group) {
                groups.push(row.group);
            }
        }
        groups.sort_by_key(|group| group.split_once('.').and_then(|(number, _)| number.parse::<u32>().ok()));
        let mut text = String::new();
        for group in groups {
            // Writing to a String does not fail.
            let _ = writeln!(
                text,
                "\n## {group}\n\n| | n | median | lowest .. highest | ratio | against |\n|---|---|---|---|---|---|"
            );
            for row in self.rows.iter().filter(|row| row.group == group) {
                let (low, middle, high) = spread(&row.values);
                let unit = row.unit;
                let _ = write!(
                    text,
                    "| {} | {} | {} | {} .. {} |",
                    row.what,
                    row.values.len(),
                    unit.show(middle),
                    unit.show(low),
                    unit.show(high),
                );
                let ratios =
                    row.baselines.iter().filter_map(|baseline| Some((self.ratios(row, baseline)?, baseline)));
                let ratios: Vec<_> = ratios
                    .map(|(ratios, baseline)| {
                        let (low, middle, high) = spread(&ratios);
                        format!(" **{middle:.2}** ({low:.2} .. {high:.2}) | {baseline} |")
                    })
                    .collect();
                // A second ratio has a line of its own.
                let ratios = if ratios.is_empty() { "  |  |".to_owned() } else { ratios.join("\n| | | | |") };
                let _ = writeln!(text, "{ratios}");
            }
            for (_, note) in self.notes.iter().filter(|(of, _)| *of == group) {
                let _ = writeln!(text, "\n{note}");
            }
        }
        text
    }

    /// Every figure of every round.
    pub fn json(&self) -> Value {
        let row = |row: &Series| {
            let Series { group, what, unit, values, baselines } = row;
            let (_, median, _) = spread(values);
            let ratio =
                |baseline: &String| Some((baseline.clone(), spread(&self.ratios(row, baseline)?).1.into()));
            let ratios: serde_json::Map<String, Value> = baselines.iter().filter_map(ratio).collect();
            json!({
                "group": group, "what": what, "unit": unit.word(), "rounds": values, "median": median, "ratios": ratios,
            })
        };
        self.rows.iter().map(row).collect()
    }
}

/// The lowest, the median and the highest; zeros where there are none.
pub fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
    let last = sorted.len().saturating_sub(1);
    (at(0), f64::midpoint(at(last / 2), at(sorted.len() / 2)), at(last))
}
