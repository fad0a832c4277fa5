use super::*;
use std::{
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt as _,
    time::{Duration, Instant},
};

/// On tmpfs, which is there everywhere and knows leases.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn long_file(directory: &Path) -> std::path::PathBuf {
    let path = directory.join("list.txt");
    fs::write(&path, "a.test\n".repeat(20_000)).unwrap();
    path
}

#[test]
fn whoever_writes_waits_until_the_list_is_let_go() {
    let directory = directory();
    let path = long_file(directory.path());
    let mapped = Mapped::new(File::open(&path).unwrap()).expect("this file system knows leases");
    let impatient = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&path);
    assert_eq!(impatient.unwrap_err().kind(), io::ErrorKind::WouldBlock);

    let writer = std::thread::spawn(move || {
        let began = Instant::now();
        fs::write(&path, "b.test\n").unwrap();
        began.elapsed()
    });
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(*mapped.as_ref(), *"a.test\n".repeat(20_000).as_bytes());
    drop(mapped);
    let waited = writer.join().unwrap();
    assert!(waited > Duration::from_millis(200) && waited < Duration::from_secs(20), "{waited:?}");
}

#[test]
fn a_file_that_is_being_written_is_copied() {
    let directory = directory();
    let path = long_file(directory.path());
    let writer = OpenOptions::new().append(true).open(&path).unwrap();
    assert!(Mapped::new(File::open(&path).unwrap()).is_none());
    let bytes = read(&path).unwrap();
    writer.set_len(0).unwrap();
    assert_eq!((*bytes).as_ref().len(), 140_000);
}

#[test]
fn an_empty_and_a_missing_file() {
    let directory = directory();
    let path = directory.path().join("empty");
    fs::write(&path, "").unwrap();
    assert!((*read(&path).unwrap()).as_ref().is_empty());
    assert_eq!(
        read(&directory.path().join("missing")).err().map(|error| error.kind()),
        Some(io::ErrorKind::NotFound)
    );
}
