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
    let directory = directory(&[
        ("b.yaml", POLICY),
        ("a.yml", POLICY),
        ("notes.txt", "x"),
        (".hidden.yaml", "x"),
        ("b.test.yaml", "x"),
        (".h.test.yaml", "x"),
    ]);
    let found = files(&[directory.path().to_path_buf()]).unwrap();
    assert_eq!(found, [directory.path().join("a.yml"), directory.path().join("b.yaml")]);
    let cases = case_files(&[directory.path().to_path_buf()]).unwrap();
    assert_eq!(cases, [directory.path().join("b.test.yaml")]);
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

#[test]
fn too_many_globs_are_a_finding_at_the_rule() {
    let rule = |letter: char| {
        format!(
            "  - {{ name: {letter}, action: deny, to: {{ names: [\"*{letter}{letter}{letter}*.example\"] }} }}\n"
        )
    };
    let text = format!("version: 1\nrules:\n{}", ('a'..='t').map(rule).collect::<String>());
    let directory = directory(&[("a.yaml", &text)]);
    let found = check(&[directory.path().to_path_buf()]).unwrap_err().into_diagnostics();
    let [found] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((found.code, found.file.ends_with("a.yaml"), found.line > 2), ("too-many-globs", true, true));
    assert!(found.message.contains("rule `"), "{found:?}");
    assert!(found.hint.as_ref().unwrap().contains("merge"), "{found:?}");
}
