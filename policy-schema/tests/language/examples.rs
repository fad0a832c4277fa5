//! The examples of the pages are judged by the reference evaluator.

use crate::corpus::case::{ANYWHERE, Case};
use crate::corpus::line;
use crate::page::{Example, Page};

pub const PAGES: [&str; 2] = ["POLICY.md", "COMING-FROM.md"];

#[test]
fn examples_do_what_the_pages_say() {
    let (mut faults, mut judged) = (Vec::new(), 0);
    for page in PAGES.map(Page::read) {
        for example in page.examples() {
            faults.extend(check(&example.case, example, &page.name));
            judged += example.lines.len();
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(judged > 100, "the pages lost their cases: {judged}");
}

/// What a table says is written here stands in an example below it.
#[test]
fn what_is_written_here_is_in_an_example() {
    let page = Page::read("COMING-FROM.md");
    let mut compared = 0;
    for section in &page.sections {
        let policies: Vec<&String> =
            section.examples.iter().flat_map(|example| example.case.policies.values()).collect();
        for here in &section.here {
            assert!(policies.iter().any(|text| text.contains(here)), "{}: `{here}`", section.title);
            compared += 1;
        }
    }
    assert!(compared > 20, "the tables were not read: {compared}");
}

/// What is wrong with a page's example, read with these policies.
pub fn check(case: &Case, example: &Example, page: &str) -> Vec<String> {
    let (set, found) = case.load("");
    let at = format!("{page}:{}", example.line);
    let mut faults: Vec<String> =
        found.iter().map(|found| format!("{at}: {}: {found}", line(found))).collect();
    let Some(set) = set else { return faults };
    for (attempt, line) in example.case.connections.iter().zip(&example.lines) {
        let found = attempt.faults(&set, &attempt.connection(ANYWHERE));
        faults.extend(found.into_iter().map(|fault| format!("{page}:{line}: {fault}")));
    }
    faults
}

/// Links within a page lead to one of its headings, and the page a link names is there.
#[test]
fn links_lead_somewhere() {
    let mut dead = Vec::new();
    for page in PAGES.map(Page::read) {
        for link in page.text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let other = match file {
                _ if file.starts_with("http") => continue,
                "" => Page::read(&page.name),
                _ if !file.ends_with(".md") => continue,
                _ => Page::read(file),
            };
            let found =
                anchor.is_empty() || other.sections.iter().any(|section| slug(&section.title) == anchor);
            if !found {
                dead.push(format!("{}: {link}", page.name));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

/// The anchor that GitHub gives a heading.
fn slug(title: &str) -> String {
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}
