use super::*;

const POLICY: &str =
    "version: 1\nrules:\n  - name: one\n    action: deny\n    to: { names: [evil.example] }\n";

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

#[test]
fn a_directory_stands_for_its_visible_policy_files() {
    let directory =
        directory(&[("b.yaml", POLICY), ("a.yml", POLICY), ("notes.txt", "x"), (".hidden.yaml", "x")]);
    let found = files(&[directory.path().to_path_buf()]).unwrap();
    assert_eq!(found, [directory.path().join("a.yml"), directory.path().join("b.yaml")]);
}

#[test]
fn findings_of_several_files_come_together() {
    let directory = directory(&[("a.yaml", "version: 1\nrule: []\n"), ("b.yaml", "version: 2\nrules: []\n")]);
    let error = load(&[directory.path().to_path_buf()], None).unwrap_err();
    let files: std::collections::BTreeSet<_> =
        error.diagnostics().iter().map(|found| found.file.clone()).collect();
    assert_eq!(files.len(), 2, "{error:?}");
}

#[test]
fn a_missing_path_and_an_empty_directory_are_findings_with_a_hint() {
    let empty = directory(&[]);
    let missing = empty.path().join("missing");
    let error = load(&[empty.path().to_path_buf(), missing], None).unwrap_err();
    let codes: Vec<_> = error.diagnostics().iter().map(|found| (found.code, found.hint.is_some())).collect();
    assert_eq!(codes, [("no-policy-file", true), ("unreadable-file", true)]);
}

#[test]
fn warnings_stay_beside_errors() {
    let twice = POLICY.replace("[evil.example]", "[evil.example, evil.example]");
    let directory = directory(&[("a.yaml", &twice), ("b.yaml", "version: 2\nrules: []\ndefault: deny\n")]);
    let error = load(&[directory.path().to_path_buf()], None).unwrap_err();
    let codes: Vec<_> = error.diagnostics().iter().map(|found| found.code).collect();
    assert_eq!(codes, ["duplicate-name", "unknown-version"]);
}

#[test]
fn lists_are_among_the_paths_to_watch() {
    let list = "version: 1\nrules:\n  - name: one\n    action: deny\n    to: { lists: [bad.txt] }\n";
    let directory = directory(&[("a.yaml", list), ("bad.txt", "evil.example\n")]);
    let loaded = load(&[directory.path().join("a.yaml")], None).unwrap();
    assert!(loaded.paths.contains(&directory.path().join("bad.txt")), "{:?}", loaded.paths);
    assert_eq!(loaded.policy.rules()[0].names().count(), 1);
}
