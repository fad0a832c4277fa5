//! Policies from files.

use policy_schema::{Cases, Diagnostic, ListFile, Mode, Policy, PolicySet, ReadList, Report, Source};
use std::{
    cell::RefCell,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Why no policy could be made of the files.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file or directory cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A directory without policies.
    #[error("`{}` has no policy file", .0.display())]
    Empty(PathBuf),
    /// A directory without files of cases.
    #[error("`{}` has no test file", .0.display())]
    NoCases(PathBuf),
    /// The files say something wrong.
    #[error("{0}")]
    Policy(Report),
}

impl LoadError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("check the path; examples are in `examples/policies/`".to_owned())
            }
            Self::Read { .. } | Self::Policy(_) => None,
            Self::Empty(_) => Some("policy files end in `.yaml` or `.yml`".to_owned()),
            Self::NoCases(_) => Some("test files are called `NAME.test.yaml`".to_owned()),
        }
    }

    /// The findings, if the files could be read.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            Self::Policy(report) => report.diagnostics(),
            Self::Read { .. } | Self::Empty(_) | Self::NoCases(_) => &[],
        }
    }
}

/// Policies that could be loaded.
#[derive(Debug)]
pub struct Loaded {
    /// All of them, joined.
    pub policy: PolicySet,
    /// What is doubtful about them.
    pub warnings: Vec<Diagnostic>,
    /// Every file and directory that the policy depends on.
    pub paths: Vec<PathBuf>,
    /// The same for the same bytes in the same files.
    pub fingerprint: u64,
    /// When reading them began.
    pub began: SystemTime,
}

/// Loads policy files, and directories of policy files. `mode` overrides what the files say.
///
/// # Errors
/// [`LoadError`]: with every finding of every file, not only the first.
pub fn load(paths: &[PathBuf], mode: Option<Mode>) -> Result<Loaded, LoadError> {
    let began = SystemTime::now();
    let lists = Lists::default();
    let (mut policies, mut warnings, mut findings) = (Vec::new(), Vec::new(), Vec::new());
    for path in files(paths)? {
        let text =
            fs::read_to_string(&path).map_err(|source| LoadError::Read { path: path.clone(), source })?;
        (&path, &text).hash(&mut *lists.hasher.borrow_mut());
        match Policy::parse(&Source { path, text }, &lists) {
            Ok((policy, doubts)) => {
                policies.push(policy);
                warnings.extend(doubts);
            }
            Err(report) => findings.extend(report.into_diagnostics()),
        }
    }
    if !findings.is_empty() {
        return Err(LoadError::Policy(Report::from(findings)));
    }
    let (policy, doubts) = PolicySet::new(policies, mode).map_err(LoadError::Policy)?;
    warnings.extend(doubts);
    let mut all = paths.to_vec();
    all.extend(lists.read.into_inner());
    Ok(Loaded { policy, warnings, paths: all, fingerprint: lists.hasher.into_inner().finish(), began })
}

/// The policy files that the paths stand for: a directory stands for its `.yaml` and `.yml` files, sorted. Hidden entries
/// are left out: Kubernetes keeps the versions of a volume in them. So are cases, `NAME.test.yaml`.
pub fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, LoadError> {
    visible(paths, |path| is_yaml(path) && !is_cases(path), LoadError::Empty)
}

/// The files of cases that the paths stand for, in the same way.
pub fn case_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, LoadError> {
    visible(paths, |path| is_yaml(path) && is_cases(path), LoadError::NoCases)
}

/// Reads a file of cases.
pub fn cases(path: &Path) -> Result<Cases, LoadError> {
    let failed = |source| LoadError::Read { path: path.to_path_buf(), source };
    let text = fs::read_to_string(path).map_err(failed)?;
    Cases::parse(&Source { path: path.to_path_buf(), text }).map_err(LoadError::Policy)
}

fn visible(
    paths: &[PathBuf],
    wanted: impl Fn(&Path) -> bool,
    empty: fn(PathBuf) -> LoadError,
) -> Result<Vec<PathBuf>, LoadError> {
    let mut files = Vec::new();
    for path in paths {
        let failed = |source| LoadError::Read { path: path.clone(), source };
        if !fs::metadata(path).map_err(failed)?.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?.path();
            if wanted(&entry) {
                found.push(entry);
            }
        }
        if found.is_empty() {
            return Err(empty(path.clone()));
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

/// Whether a file holds cases for policies: `NAME.test.yaml`.
fn is_cases(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem.as_encoded_bytes().ends_with(b".test"))
}

fn is_yaml(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden
        && path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
        && path.is_file()
}

/// Reads name lists, and remembers which and what.
#[derive(Default)]
struct Lists {
    read: RefCell<Vec<PathBuf>>,
    hasher: RefCell<DefaultHasher>,
}

impl ReadList for Lists {
    fn read(&self, path: &Path) -> io::Result<Vec<ListFile>> {
        self.read.borrow_mut().push(path.to_path_buf());
        let mut paths = vec![path.to_path_buf()];
        if fs::metadata(path)?.is_dir() {
            paths = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
            paths.retain(|path| {
                path.is_file()
                    && path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."))
            });
            paths.sort();
        }
        let mut files = Vec::new();
        for path in paths {
            let bytes = fs::read(&path)?;
            (&path, &bytes).hash(&mut *self.hasher.borrow_mut());
            files.push(ListFile { bytes: Box::new(bytes), path });
        }
        Ok(files)
    }
}

#[cfg(test)]
mod tests;
