//! A Markdown page as the tests read it: sections, the keys that its tables name, and examples.
//!
//! An example is a policy in a block marked `yaml` (or several, `yaml FILE`), the lists it reads (`text FILE`), and
//! connections with what must become of them (`yaml cases`), in this order.

#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests may stop at the first surprise")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_yaml::{Mapping, Value};

use crate::corpus::case::{Attempt, Case};

/// Stands for any address that only its name leads to.
const SOME_ADDRESS: &str = "198.18.0.1";

#[derive(Default)]
pub struct Page {
    pub name: String,
    pub text: String,
    pub sections: Vec<Section>,
}

#[derive(Default)]
pub struct Section {
    /// How many `#` the heading has.
    pub level: usize,
    pub title: String,
    /// The code spans in the first cells of tables whose first column is called `key`.
    pub keys: Vec<String>,
    /// The code spans in the second cells of tables whose second column is called `here`.
    pub here: Vec<String>,
    pub examples: Vec<Example>,
}

#[derive(Default)]
pub struct Example {
    /// Where its first block starts.
    pub line: usize,
    pub case: Case,
    /// Where each connection stands.
    pub lines: Vec<usize>,
}

impl Page {
    /// Reads a page below `docs`.
    pub fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
        let text = fs::read_to_string(path).unwrap();
        let mut page = Self { name: name.to_owned(), sections: vec![Section::default()], ..Self::default() };
        let mut lines = text.lines().zip(1..);
        let (mut keys, mut here) = (false, false);
        while let Some((line, number)) = lines.next() {
            if let Some(info) = line.strip_prefix("```") {
                let block: Vec<&str> = lines
                    .by_ref()
                    .map(|(line, _)| line)
                    .take_while(|line| !line.starts_with("```"))
                    .collect();
                page.block(info, number, &block);
            } else if line.starts_with('#') {
                page.check_finished();
                let title = line.trim_start_matches('#');
                let level = line.len() - title.len();
                page.sections.push(Section { level, title: title.trim().to_owned(), ..Section::default() });
            } else if line.starts_with("| ") {
                let mut cells = line.split('|').skip(1).map(str::trim);
                let (first, second) = (cells.next().unwrap(), cells.next().unwrap());
                (keys, here) = (keys || first == "key", here || second == "here");
                if keys {
                    page.section().keys.extend(code_spans(first));
                }
                if here {
                    page.section().here.extend(code_spans(second));
                }
            } else if !line.starts_with('|') {
                (keys, here) = (false, false);
            }
        }
        page.check_finished();
        page.text = text;
        page
    }

    /// All examples, with the place of each for failures.
    pub fn examples(&self) -> impl Iterator<Item = &Example> {
        self.sections.iter().flat_map(|section| &section.examples)
    }

    fn section(&mut self) -> &mut Section {
        self.sections.last_mut().unwrap()
    }

    /// The example that the next block belongs to: its cases end one.
    fn open(&mut self, line: usize) -> &mut Example {
        let examples = &mut self.section().examples;
        if examples.last().is_none_or(|last| !last.case.connections.is_empty()) {
            examples.push(Example { line, ..Example::default() });
        }
        examples.last_mut().unwrap()
    }

    fn block(&mut self, info: &str, line: usize, lines: &[&str]) {
        let at = format!("{}:{line}", self.name);
        let text = lines.join("\n") + "\n";
        match info.split_once(' ').unwrap_or((info, "")) {
            ("yaml", "cases") => {
                let (values, numbers) = cases(lines, line, &at);
                let example = self.open(line);
                example.lines = numbers;
                example.case.connections = values;
                let complete = example.lines.len() > 1 && !example.case.policies.is_empty();
                assert!(complete, "{at}: a policy and two cases make an example");
            }
            ("yaml", file) => {
                let file = PathBuf::from(if file.is_empty() { "policy.yaml" } else { file });
                assert!(
                    file.extension().is_some_and(|end| end == "yaml"),
                    "{at}: {} is no policy",
                    file.display()
                );
                let before = self.open(line).case.policies.insert(file, text);
                assert!(before.is_none(), "{at}: the policy before this one has no cases");
            }
            ("text", file) if !file.is_empty() => {
                self.open(line).case.lists.insert(file.into(), text);
            }
            _ => {}
        }
    }

    fn check_finished(&mut self) {
        let name = self.name.clone();
        if let Some(last) = self.section().examples.last() {
            assert!(!last.case.connections.is_empty(), "{name}:{}: the example has no cases", last.line);
        }
    }
}

/// What stands between backticks.
pub fn code_spans(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// One case a line, and where it stands.
fn cases(lines: &[&str], first: usize, at: &str) -> (Vec<Attempt>, Vec<usize>) {
    let starts = lines.iter().zip(first + 1..).filter(|(line, _)| line.starts_with("- "));
    let numbers: Vec<usize> = starts.map(|(_, number)| number).collect();
    let values: Vec<Mapping> =
        serde_yaml::from_str(&lines.join("\n")).unwrap_or_else(|error| panic!("{at}: {error}"));
    assert_eq!(values.len(), numbers.len(), "{at}: a case starts a line");
    let attempts = values.into_iter().zip(&numbers).map(|(mut value, line)| {
        assert!(value.contains_key("rule"), "{at}: the case in line {line} has no `rule`");
        for key in ["rule", "effectiveRule"] {
            if value.get(key).and_then(Value::as_str) == Some("default") {
                value.remove(key);
            }
        }
        name_to_address(&mut value);
        serde_yaml::from_value(Value::Mapping(value))
            .unwrap_or_else(|error| panic!("{at}: line {line}: {error}"))
    });
    (attempts.collect(), numbers)
}

/// A name that a case goes to is an address that was just looked up.
fn name_to_address(case: &mut Mapping) {
    let to = case.get("to").and_then(Value::as_str).map(str::to_owned).unwrap_or_default();
    if to.parse::<std::net::IpAddr>().is_err() {
        case.insert("to".into(), SOME_ADDRESS.into());
        case.insert("seen".into(), vec![to].into());
    }
}
