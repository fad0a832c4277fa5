//! `enforcer check` by its real binary: every mistake of many files in one run, each at its place.

#![expect(clippy::unwrap_used, reason = "helpers of tests may stop at the first surprise")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// How many files the directory holds.
const FILES: usize = 200;

/// A mistake: what of the text it replaces, with what, and what is found where.
struct Mistake {
    from: &'static str,
    to: &'static str,
    code: &'static str,
    line: u64,
    column: u64,
}

const fn mistake(
    from: &'static str,
    to: &'static str,
    code: &'static str,
    line: u64,
    column: u64,
) -> Mistake {
    Mistake { from, to, code, line, column }
}

const MISTAKES: [Mistake; 32] = [
    mistake("version: 1\n", "", "missing-key", 1, 1),
    mistake("version: 1", "version: 2", "unknown-version", 1, 10),
    mistake("version: 1", "version: !!int 1", "yaml-tag", 1, 10),
    mistake("name: policy", "name: ' policy", "syntax", 2, 7),
    mistake("name: policy", "nme: policy", "unknown-key", 2, 1),
    mistake("name: policy-", "name: \"\\n\"  #", "bad-label", 2, 7),
    mistake("- name: deny-", "- # ", "missing-key", 5, 5),
    mistake("name: deny-", "name: builtin #", "reserved-name", 4, 11),
    mistake("action: deny", "acton: deny", "unknown-key", 5, 5),
    mistake("action: deny", "action: drop", "unknown-value", 5, 13),
    mistake("    action: deny", "\taction: deny", "syntax", 5, 1),
    mistake("{ names: [\"host", "{ name: [\"host", "unknown-key", 6, 11),
    mistake("\"host-", "\"https://host-", "bad-name", 6, 19),
    mistake("[\"host-", "[\"203.0.113.7\", \"host-", "bad-name", 6, 19),
    mistake("[\"host-", "[\"*.com\", \"host-", "broad-name", 6, 19),
    mistake("[\"host-", "[*all, \"host-", "yaml-alias", 6, 19),
    mistake("names: [\"host", "lists: [\"lists/nowhere.txt\"], names: [\"host", "unreadable-list", 6, 19),
    mistake("203.0.113.0/24", "203.0.113.0/33", "bad-cidr", 7, 15),
    mistake("203.0.113.0/24", "203.0.113.1/24", "bad-cidr", 7, 15),
    mistake("ports: [443]", "ports: [70000]", "out-of-range", 8, 13),
    mistake("ports: [443]", "ports: [443, \"90-80\"]", "bad-port", 8, 18),
    mistake("ports: [443]", "ports: 443", "wrong-type", 8, 12),
    mistake("users: [www-data]", "users: [\"www data\"]", "bad-user", 9, 25),
    mistake("users: [www-data]", "units: [nginx]", "bad-unit", 9, 25),
    mistake("users: [www-data]", "cgroups: [ci/**]", "bad-glob", 9, 27),
    mistake("users: [www-data]", "", "empty-match", 9, 15),
    mistake("hold: { deny: 1h }", "hold: { deny: 1 hour }", "bad-duration", 10, 19),
    mistake("    hold: { deny: 1h }", "    ports: [80]", "duplicate-key", 10, 5),
    mistake("name: allow-", "name: deny-", "duplicate-rule", 11, 11),
    mistake("{ names: [\"ok-", "{ except: { names: [\"ok-", "syntax", 14, 5),
    mistake("    preResolve", "    errno: EPERM\n    preResolve", "misplaced-key", 14, 5),
    mistake("    preResolve: true\n", "---\nversion: 1\n", "several-documents", 15, 1),
];

/// A valid policy; no two say the same.
fn policy(number: usize) -> String {
    format!(
        "version: 1
name: policy-{number:03}
rules:
  - name: deny-{number:03}
    action: deny
    to: {{ names: [\"host-{number:03}.example\"],
      cidrs: [\"203.0.113.0/24\"] }}
    ports: [443]
    subjects: {{ users: [www-data] }}
    hold: {{ deny: 1h }}
  - name: allow-{number:03}
    action: allow
    to: {{ names: [\"ok-{number:03}.example\"] }}
    preResolve: true
"
    )
}

fn file(number: usize) -> String {
    format!("{number:03}.yaml")
}

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for number in 0..FILES {
        fs::write(directory.path().join(file(number)), policy(number)).unwrap();
    }
    directory
}

fn check(directory: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_enforcer"))
        .arg("check")
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

/// `severity code file:line:column`.
fn place(found: &Value) -> String {
    let text = |key: &str| found[key].as_str().unwrap().to_owned();
    assert!(found["message"].is_string() && found["hint"].is_string(), "{found}");
    format!("{} {} {}:{}:{}", text("severity"), text("code"), text("file"), found["line"], found["column"])
}

/// Plants the mistakes; says what has to be found, in order.
fn plant(directory: &Path) -> Vec<String> {
    let mut expected = Vec::new();
    for (Mistake { from, to, code, line, column }, number) in MISTAKES.iter().zip((0..).step_by(3)) {
        let text = policy(number);
        let wrong = text.replacen(from, to, 1);
        assert_ne!(text, wrong, "{from}");
        fs::write(directory.join(file(number)), wrong).unwrap();
        expected.push(format!("error {code} ./{}:{line}:{column}", file(number)));
    }

    // What no replacement in one text makes.
    let write = |number, bytes: &[u8]| fs::write(directory.join(file(number)), bytes).unwrap();
    write(150, b"version: 1\n# \xc3\xbc \xfc\nrules: []\n");
    expected.push("error not-utf8 ./150.yaml:2:5".to_owned());
    write(151, b"# nothing but this\n");
    expected.push("error empty-file ./151.yaml:1:1".to_owned());
    fs::remove_file(directory.join(file(152))).unwrap();
    symlink("nowhere", directory.join(file(152))).unwrap();
    expected.push("error unreadable-file ./152.yaml:1:1".to_owned());
    for (number, value) in [(153, "allow"), (154, "deny")] {
        write(number, policy(number).replace("rules:", &format!("onError: {value}\nrules:")).as_bytes());
    }
    expected.push("error conflict ./154.yaml:3:10".to_owned());
    write(155, policy(155).replace("[\"host-155.example\"]", "[a.example, a.example]").as_bytes());
    expected.push("warning duplicate-name ./155.yaml:6:30".to_owned());
    fs::create_dir(directory.join("lists")).unwrap();
    fs::write(directory.join("lists/bad.txt"), "one.example\n\nnot one\n").unwrap();
    let strict = "onBadLine: refuse\n    to: { lists: [\"lists/bad.txt\"], names";
    write(156, policy(156).replacen("to: { names", strict, 1).as_bytes());
    expected.push("error bad-list-line ./lists/bad.txt:3:1".to_owned());
    expected
}

#[test]
fn files_without_mistakes_have_no_findings() {
    let directory = directory();
    let text = check(directory.path(), &["."]);
    assert_eq!(stdout(&text), "400 rules, 0 warnings, 0 errors\n");
    let json = check(directory.path(), &["--format", "json", "."]);
    assert_eq!(stdout(&json), "{\"diagnostics\":[],\"rules\":400}\n");
    assert_eq!((text.status.code(), json.status.code()), (Some(0), Some(0)));
}

#[test]
fn every_mistake_is_found_in_one_run_at_its_place() {
    let directory = directory();
    let expected = plant(directory.path());
    let (errors, warnings): (Vec<_>, Vec<_>) = expected.iter().partition(|line| line.starts_with("error "));
    assert!(errors.len() >= 20 && warnings.len() == 1);

    let output = check(directory.path(), &["--format", "json", "."]);
    assert_eq!(output.status.code(), Some(2));
    let json: Value = serde_json::from_str(stdout(&output)).unwrap();
    let found: Vec<String> = json["diagnostics"].as_array().unwrap().iter().map(place).collect();
    assert_eq!(found, expected);
    assert_eq!(json["rules"], Value::Null);

    let output = check(directory.path(), &["."]);
    assert_eq!(output.status.code(), Some(2));
    let mut rest = stdout(&output);
    for line in &expected {
        let [severity, code, place] = line.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let (before, after) =
            rest.split_once(&format!("\n  --> {place}\n")).unwrap_or_else(|| panic!("{line}"));
        assert!(
            before.trim_start().rsplit('\n').next().unwrap().starts_with(&format!("{severity}[{code}]: ")),
            "{before}"
        );
        assert!(after.contains("= hint: "), "{line}");
        rest = after;
    }
    assert!(rest.ends_with(&format!("\n1 warnings, {} errors\n", errors.len())), "{rest}");

    let output = check(directory.path(), &["--format", "github", "."]);
    assert_eq!((output.status.code(), stdout(&output).lines().count()), (Some(2), expected.len()));
    let conflict = "::error file=./154.yaml,line=3,col=10,title=conflict::`onError` is set in ./154.yaml and, \
                    differently, in ./153.yaml:3%0Ahint: set it in one file, or to the same value in both";
    assert!(stdout(&output).lines().any(|line| line == conflict), "{}", stdout(&output));
}

#[test]
fn a_wrong_path_is_one_finding_among_the_others() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("empty")).unwrap();
    fs::write(directory.path().join("a,b.yaml"), policy(1).replace("443", "0")).unwrap();
    let output = check(directory.path(), &["--format", "github", "empty", "missing.yaml", "a,b.yaml"]);
    let lines: Vec<&str> = stdout(&output).lines().collect();
    assert_eq!(output.status.code(), Some(2));
    let [port, empty, missing] = lines[..] else { panic!("{lines:#?}") };
    assert!(port.starts_with("::error file=a%2Cb.yaml,line=8,col=13,title=bad-port::"), "{port}");
    assert!(empty.starts_with("::error file=empty,line=1,col=1,title=no-policy-file::"), "{empty}");
    assert!(
        missing.starts_with("::error file=missing.yaml,line=1,col=1,title=unreadable-file::"),
        "{missing}"
    );
}

/// The page shows what is printed.
#[test]
fn the_findings_in_the_reference_are_real() {
    let directory = tempfile::tempdir().unwrap();
    let bad = "version: 1\nrules:\n  - name: bad\n    acton: deny\n    to: { names: [\"*.com\"] }\n";
    fs::write(directory.path().join("bad.yaml"), bad).unwrap();
    let printed = check(directory.path(), &["bad.yaml"]);
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/POLICY.md")).unwrap();
    let shown = format!("```console\n$ enforcer check bad.yaml\n{}```\n", stdout(&printed));
    assert!(page.contains(&shown), "docs/POLICY.md does not show\n{shown}");
}
