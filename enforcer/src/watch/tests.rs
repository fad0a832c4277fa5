use super::{BLIND, LONGEST, Watch, watch};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

const SOON: Duration = Duration::from_secs(5);
const LONG_QUIET: Duration = Duration::from_millis(300);

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn on(path: impl Into<PathBuf>) -> Watch {
    watch(&[path.into()]).unwrap()
}

async fn noticed(watch: &mut Watch, what: &str) {
    timeout(SOON, watch.changed()).await.unwrap_or_else(|_| panic!("not noticed: {what}"));
}

async fn quiet(watch: &mut Watch, what: &str) {
    assert!(timeout(LONG_QUIET, watch.changed()).await.is_err(), "noticed: {what}");
}

fn replace(path: &Path, text: &str) {
    let draft = path.with_extension("tmp");
    fs::write(&draft, text).unwrap();
    fs::rename(draft, path).unwrap();
}

#[tokio::test]
async fn an_editor_that_renames_is_noticed_each_time() {
    let folder = folder();
    let path = folder.path().join("policy.yaml");
    fs::write(&path, "1").unwrap();
    let mut watch = on(&path);
    quiet(&mut watch, "nothing").await;
    for round in 0..3 {
        replace(&path, &round.to_string());
        noticed(&mut watch, "rename").await;
        quiet(&mut watch, "nothing after a rename").await;
    }
}

#[tokio::test]
async fn writing_in_place_is_noticed_and_reading_is_not() {
    let folder = folder();
    let path = folder.path().join("policy.yaml");
    fs::write(&path, "1").unwrap();
    let mut watch = on(&path);
    fs::read(&path).unwrap();
    quiet(&mut watch, "reading").await;
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"2").unwrap();
    noticed(&mut watch, "appending").await;
    File::create(&path).unwrap();
    noticed(&mut watch, "truncating").await;
}

#[tokio::test]
async fn a_file_that_goes_and_comes_back_is_noticed() {
    let folder = folder();
    let path = folder.path().join("deep/er/policy.yaml");
    let mut watch = on(&path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    noticed(&mut watch, "directories").await;
    fs::write(&path, "1").unwrap();
    noticed(&mut watch, "creation").await;
    fs::remove_file(&path).unwrap();
    noticed(&mut watch, "removal").await;
    fs::write(&path, "2").unwrap();
    noticed(&mut watch, "return").await;
}

#[tokio::test]
async fn a_replaced_directory_is_noticed_and_followed() {
    let folder = folder();
    let path = folder.path().join("etc/policy.yaml");
    fs::create_dir_all(folder.path().join("etc")).unwrap();
    fs::create_dir_all(folder.path().join("next")).unwrap();
    fs::write(&path, "1").unwrap();
    fs::write(folder.path().join("next/policy.yaml"), "2").unwrap();
    let mut watch = on(&path);
    fs::rename(folder.path().join("etc"), folder.path().join("former")).unwrap();
    fs::rename(folder.path().join("next"), folder.path().join("etc")).unwrap();
    noticed(&mut watch, "replaced directory").await;
    fs::write(&path, "3").unwrap();
    noticed(&mut watch, "change in the new directory").await;
}

/// The layout of a Kubernetes ConfigMap volume: `policy.yaml -> ..data/policy.yaml`, `..data -> ..1`.
#[tokio::test]
async fn a_kubernetes_volume_is_followed() {
    for subject in ["policy.yaml", ""] {
        let folder = folder();
        let at = |path: &str| folder.path().join(path);
        let publish = |round: u32| {
            let data = format!("..{round}");
            fs::create_dir(at(&data)).unwrap();
            fs::write(at(&data).join("policy.yaml"), round.to_string()).unwrap();
            symlink(&data, at("..data_tmp")).unwrap();
            fs::rename(at("..data_tmp"), at("..data")).unwrap();
        };
        publish(0);
        symlink("..data/policy.yaml", at("policy.yaml")).unwrap();
        let mut watch = on(at(subject));
        for round in 1..4 {
            publish(round);
            noticed(&mut watch, "swapped link").await;
            assert_eq!(fs::read_to_string(at("policy.yaml")).unwrap(), round.to_string());
            fs::remove_dir_all(at(&format!("..{}", round - 1))).unwrap();
            let _ = timeout(LONG_QUIET, watch.changed()).await;
        }
    }
}

#[tokio::test]
async fn a_link_to_another_place_is_followed() {
    let (folder, elsewhere) = (folder(), folder());
    let target = elsewhere.path().join("real.yaml");
    fs::write(&target, "1").unwrap();
    symlink(&target, folder.path().join("policy.yaml")).unwrap();
    for subject in [folder.path().join("policy.yaml"), folder.path().to_owned()] {
        let mut watch = on(subject);
        fs::write(&target, "2").unwrap();
        noticed(&mut watch, "the end of the link").await;
    }
    symlink("loop", folder.path().join("loop")).unwrap();
    let mut watch = on(folder.path().join("loop"));
    fs::remove_file(folder.path().join("loop")).unwrap();
    noticed(&mut watch, "the end of a loop").await;
}

#[tokio::test]
async fn a_directory_counts_with_all_in_it() {
    let folder = folder();
    fs::create_dir(folder.path().join("lists")).unwrap();
    let mut watch = on(folder.path());
    fs::write(folder.path().join("a.yaml"), "1").unwrap();
    noticed(&mut watch, "a new file").await;
    fs::write(folder.path().join("lists/bad.txt"), "1").unwrap();
    noticed(&mut watch, "a file below").await;
    fs::remove_file(folder.path().join("a.yaml")).unwrap();
    noticed(&mut watch, "a removed file").await;
}

#[tokio::test]
async fn other_paths_can_be_watched() {
    let (folder, elsewhere) = (folder(), folder());
    let (policy, list) = (folder.path().join("p.yaml"), elsewhere.path().join("bad.txt"));
    fs::write(&policy, "1").unwrap();
    fs::write(&list, "1").unwrap();
    sleep(Duration::from_millis(50)).await;
    let mut watch = on(&policy);
    watch.set_paths(&[policy.clone(), list.clone()], SystemTime::now()).unwrap();
    quiet(&mut watch, "a list that did not change").await;
    fs::write(&list, "2").unwrap();
    noticed(&mut watch, "the list").await;
    watch.set_paths(std::slice::from_ref(&policy), SystemTime::now()).unwrap();
    fs::write(&list, "3").unwrap();
    quiet(&mut watch, "a list no longer watched").await;
    let read = SystemTime::now();
    fs::write(&list, "4").unwrap();
    watch.set_paths(&[policy, list], read).unwrap();
    noticed(&mut watch, "a change between reading and watching").await;
}

#[tokio::test]
async fn a_neighbour_of_a_file_is_none_of_its_business() {
    let folder = folder();
    let path = folder.path().join("policy.yaml");
    let mut watch = on(&path);
    fs::write(folder.path().join("other"), "1").unwrap();
    quiet(&mut watch, "a neighbour").await;
    fs::write(&path, "1").unwrap();
    noticed(&mut watch, "the file").await;
}

#[tokio::test]
async fn a_busy_writer_delays_the_report_only_so_long() {
    let folder = folder();
    let path = folder.path().join("policy.yaml");
    let mut watch = on(&path);
    let writer = tokio::spawn(async move {
        loop {
            fs::write(&path, "1").unwrap();
            sleep(Duration::from_millis(10)).await;
        }
    });
    let start = Instant::now();
    noticed(&mut watch, "a busy writer").await;
    assert!(start.elapsed() < LONGEST * 3, "{:?}", start.elapsed());
    writer.abort();
}

#[tokio::test]
async fn a_dropped_future_loses_no_change() {
    let folder = folder();
    let path = folder.path().join("policy.yaml");
    let mut watch = on(&path);
    fs::write(&path, "1").unwrap();
    for _ in 0..20 {
        if timeout(Duration::from_millis(5), watch.changed()).await.is_ok() {
            return;
        }
    }
    assert!(BLIND > SOON);
    noticed(&mut watch, "a change seen by a dropped future").await;
}
