//! `explain`, `test` and `schema`, as they are called.

#![expect(clippy::unwrap_used, reason = "helpers of tests may stop at the first surprise")]

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const POLICY: &str = "version: 1
name: guard
rules:
  - { name: site, action: allow, to: { names: [\".good.example\"] } }
  - { name: evil, action: deny, errno: EACCES, to: { names: [\".evil.example\"] }, ports: [443] }
";

fn enforcer(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_enforcer")).args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    str::from_utf8(&output.stderr).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// A directory with files in it, and its path as text.
fn directory(files: &[(&str, &str)]) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let path = directory.path().to_str().unwrap().to_owned();
    (directory, path)
}

#[test]
fn explain_says_the_same_as_text_and_as_json() {
    let (_directory, path) = directory(&[("guard.yaml", POLICY), ("guard.test.yaml", "not read here")]);
    // No daemon has this name, so nothing live is told.
    let ask = |more: &[&str]| {
        let arguments = ["explain", "--policy", &path, "--instance", "nobody-runs-this"];
        enforcer(&[&arguments[..], more].concat())
    };
    let text = ask(&["https://someone@WWW.Evil.Example./path"]);
    assert_eq!(text.status.code(), Some(0), "{text:?}");
    for line in [
        "www.evil.example port 443/tcp",
        "verdict:  deny, by rule `evil` of policy `guard`",
        "happens:  refused with EACCES",
        "guard.yaml:5",
    ] {
        assert!(stdout(&text).contains(line), "{line}: {}", stdout(&text));
    }
    let answer = json(&ask(&["www.evil.example", "--format", "json"]));
    assert_eq!((&answer["verdict"], &answer["rule"]), (&"deny".into(), &"evil".into()), "{answer}");
    assert_eq!((&answer["errno"], &answer["live"]), (&"EACCES".into(), &Value::Null), "{answer}");

    let answer = json(&ask(&["www.evil.example:80", "--format", "json"]));
    assert_eq!((&answer["verdict"], &answer["rule"]), (&"allow".into(), &Value::Null), "{answer}");
    assert_eq!(answer["others"][0]["why"]["because"], "port", "{answer}");
    let answer = json(&ask(&["127.0.0.1", "--uid", "0", "--cgroup", "/ci/job", "--format", "json"]));
    assert_eq!(answer["rule"], "builtin", "{answer}");
}

#[test]
fn explain_without_a_policy_or_with_a_wrong_destination_says_what_to_do() {
    let none = enforcer(&["explain", "www.evil.example", "--instance", "nobody-runs-this"]);
    assert_eq!(none.status.code(), Some(1), "{none:?}");
    assert!(stderr(&none).contains("`nobody-runs-this`") && stderr(&none).contains("--policy"), "{none:?}");
    let (_directory, path) = directory(&[("guard.yaml", POLICY)]);
    for (arguments, part) in [
        (&["*.evil.example"][..], "one name that the pattern shall match"),
        (&["203.0.113.0/24"], "one address of the network"),
        (&["www.evil.example:80", "--port", "81"], "`--port` says 81"),
        (&["www.evil.example", "--cgroup", "ci"], "/ci/job"),
    ] {
        let output = enforcer(&[&["explain", "--policy", &path], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(stderr(&output).contains(part), "{arguments:?}: {output:?}");
    }
}

#[test]
fn test_tells_failures_by_line_and_rules_without_a_case() {
    let cases = "cases:
  - { to: www.evil.example, verdict: deny, rule: evil }
  - { to: www.evil.example, port: 80, verdict: deny }
";
    let (_directory, path) = directory(&[("guard.yaml", POLICY), ("guard.test.yaml", cases)]);
    let output = enforcer(&["test", &path]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(
        stdout(&output),
        format!(
            "{path}/guard.test.yaml:3: www.evil.example port 80/tcp, verdict is allow, expected deny
  why: no rule matches
  rule `evil`: `www.evil.example` matches `.evil.example`, but port 80/tcp is not among 443
rules without a case: site
1 passed, 1 failed
"
        )
    );
    let answer = json(&enforcer(&["test", &path, "--format", "json"]));
    assert_eq!((&answer["passed"], &answer["failed"]), (&1.into(), &1.into()), "{answer}");
    assert_eq!(answer["failures"][0]["faults"][0]["key"], "verdict", "{answer}");
    assert_eq!(answer["uncovered"][0]["rule"], "site", "{answer}");
}

#[test]
fn test_goes_on_after_a_file_with_errors_and_ends_with_2() {
    let (_directory, path) = directory(&[
        ("guard.yaml", POLICY),
        ("guard.test.yaml", "cases: [{ to: www.evil.example, verdict: deny, rule: evil }]\n"),
        ("typo.test.yaml", "policies: [guard.yaml]\ncases: [{ to: a.example, verdikt: deny }]\n"),
        ("lost.test.yaml", "cases: [{ to: a.example, verdict: deny }]\n"),
    ]);
    let output = enforcer(&["test", &path]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    for part in [
        "typo.test.yaml:2:26",
        "did you mean `verdict`?",
        "lost.yaml",
        "1 passed, 0 failed, 2 files with errors",
    ] {
        assert!(stdout(&output).contains(part), "{part}: {}", stdout(&output));
    }
    let (_empty, empty) = directory(&[("guard.yaml", POLICY)]);
    let output = enforcer(&["test", &empty]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(stderr(&output).contains("NAME.test.yaml"), "{output:?}");
}

#[test]
fn the_mode_of_a_test_file_overrides_that_of_the_policy() {
    let cases = "mode: audit\ncases: [{ to: www.evil.example, verdict: deny, effective: allow }]\n";
    let (_directory, path) = directory(&[("guard.yaml", POLICY), ("guard.test.yaml", cases)]);
    let output = enforcer(&["test", &path]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn the_cases_of_the_examples_pass_and_leave_out_no_rule() {
    let output = enforcer(&["test", repository().join("examples/policies").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stdout(&output).ends_with("33 passed, 0 failed\n"), "{}", stdout(&output));
    assert!(!stdout(&output).contains("without a case"), "{}", stdout(&output));
}

#[test]
fn the_example_of_the_reference_passes() {
    let page = fs::read_to_string(repository().join("docs/POLICY.md")).unwrap();
    let section = page.split("## Testing a policy").nth(1).unwrap();
    let mut blocks = section.split("```yml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let files = [("ci-guard.yaml", blocks.next().unwrap()), ("ci-guard.test.yaml", blocks.next().unwrap())];
    let (_directory, path) = directory(&files);
    let output = enforcer(&["test", &format!("{path}/ci-guard.test.yaml")]);
    assert_eq!(stdout(&output), "5 passed, 0 failed\n", "{output:?}");

    // .. and so does what it shows of `explain`.
    let shown = section.split("x.tracker.example\n").nth(1).unwrap().split("```").next().unwrap();
    let policy = format!("{path}/ci-guard.yaml");
    let output =
        enforcer(&["explain", "--policy", &policy, "--instance", "nobody-runs-this", "x.tracker.example"]);
    assert_eq!(stdout(&output).replace(&policy, "ci-guard.yaml"), shown);
}

#[test]
fn the_schemas_in_docs_are_those_of_this_version_and_the_examples_name_them() {
    for (kind, file) in [("policies", "policy.json"), ("tests", "tests.json")] {
        let path = repository().join("docs/schema").join(file);
        let output = enforcer(&["schema", "--for", kind]);
        assert_eq!(
            stdout(&output),
            fs::read_to_string(&path).unwrap(),
            "write it anew: enforcer schema --for {kind} > docs/schema/{file}"
        );
    }
    for entry in fs::read_dir(repository().join("examples/policies")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.ends_with(".yaml") {
            let schema = if name.ends_with(".test.yaml") { "tests" } else { "policy" };
            let line = format!("# yaml-language-server: $schema=../../docs/schema/{schema}.json\n");
            assert!(fs::read_to_string(&path).unwrap().starts_with(&line), "{name}");
        }
    }
}
