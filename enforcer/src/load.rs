//! Policies from files.

use crate::{
    compile::{CompileError, Compiled},
    process,
};
use policy_schema::{
    Cases, Diagnostic, ListFile, Location, Mode, Policy, PolicySet, ReadList, Report, Source,
};
use std::{
    cell::RefCell,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    path::{Path, PathBuf},
    slice,
    time::{Instant, SystemTime},
};

mod mapped;

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
    /// The policy is too large.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// No randomness for the key of the name hash.
    #[error("the system gives no random numbers: {0}")]
    Random(io::Error),
}

impl LoadError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("check the path; examples are in `examples/policies/`".to_owned())
            }
            Self::Compile(error) => error.help().map(str::to_owned),
            Self::Read { .. } | Self::Policy(_) | Self::Random(_) => None,
            Self::Empty(_) => Some("policy files end in `.yaml` or `.yml`".to_owned()),
            Self::NoCases(_) => Some("test files are called `NAME.test.yaml`".to_owned()),
        }
    }

    /// The findings; none if a path alone is wrong.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            Self::Policy(report) => report.diagnostics(),
            Self::Read { .. } | Self::Empty(_) | Self::NoCases(_) | Self::Compile(_) | Self::Random(_) => &[],
        }
    }

    /// The same as findings: a path that is wrong is one more.
    pub fn into_diagnostics(self) -> Vec<Diagnostic> {
        let (help, message) = (self.help(), self.to_string());
        let mut at = None;
        let (path, code) = match self {
            Self::Policy(report) => return report.into_diagnostics(),
            Self::Read { path, .. } => (path, "unreadable-file"),
            Self::Empty(path) => (path, "no-policy-file"),
            Self::NoCases(path) => (path, "no-test-file"),
            Self::Compile(CompileError::TooManyGlobs {
                location: Location { file, line, column }, ..
            }) => {
                at = Some((line, column));
                (file, "too-many-globs")
            }
            // It is about all files together.
            Self::Compile(CompileError::Image(_)) | Self::Random(_) => (PathBuf::from("."), "not-compiled"),
        };
        let mut found = Diagnostic::of_file(path, code, message);
        if let Some(at) = at {
            (found.line, found.column) = at;
        }
        found.hint = help;
        vec![found]
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
/// [`LoadError::Policy`]: with every finding of every path, not only the first, and the warnings too.
pub fn load(paths: &[PathBuf], mode: Option<Mode>) -> Result<Loaded, LoadError> {
    let began = SystemTime::now();
    let lists = Lists::default();
    let (mut policies, mut warnings, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for path in paths {
        let files = files(slice::from_ref(path)).unwrap_or_else(|error| {
            errors.extend(error.into_diagnostics());
            Vec::new()
        });
        for path in files {
            match policy(path, &lists) {
                Ok((policy, doubts)) => {
                    policies.push(policy);
                    warnings.extend(doubts);
                }
                Err(error) => errors.extend(error.into_diagnostics()),
            }
        }
    }
    match PolicySet::new(policies, mode) {
        Ok((policy, doubts)) if errors.is_empty() => {
            warnings.extend(doubts);
            let mut all = paths.to_vec();
            all.extend(lists.read.into_inner());
            let fingerprint = lists.hasher.into_inner().finish();
            Ok(Loaded { policy, warnings, paths: all, fingerprint, began })
        }
        // What is doubtful about some of the files need not be about all of them.
        joined => {
            errors.extend(warnings);
            errors.extend(joined.err().into_iter().flat_map(Report::into_diagnostics));
            Err(LoadError::Policy(Report::from(errors)))
        }
    }
}

/// Loads policies, and compiles them to see whether they fit.
///
/// # Errors
/// [`LoadError`].
pub fn check(paths: &[PathBuf]) -> Result<Loaded, LoadError> {
    let mut loaded = load(paths, None)?;
    loaded.policy = compile(loaded.policy)?.policy;
    Ok(loaded)
}

/// Compiles a policy for this machine: with its users, and a new key.
///
/// # Errors
/// [`LoadError`].
pub fn compile(policy: PolicySet) -> Result<Compiled, LoadError> {
    let mut random = [0_u64; 8];
    for word in &mut random {
        let mut bytes = [0; 8];
        let read = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty());
        read.map_err(|error| LoadError::Random(error.into()))?;
        *word = u64::from_ne_bytes(bytes);
    }
    let began = Instant::now();
    let compiled = Compiled::new(policy, random, process::user_id)?;
    tracing::debug!(
        micros = began.elapsed().as_micros(),
        buckets = compiled.image.len(),
        "the policy is compiled"
    );
    Ok(compiled.without_names())
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

fn policy(path: PathBuf, lists: &Lists) -> Result<(Policy, Vec<Diagnostic>), LoadError> {
    let bytes = fs::read(&path).map_err(|source| LoadError::Read { path: path.clone(), source })?;
    lists.note(&path, &bytes);
    let source = Source::from_bytes(path, bytes).map_err(LoadError::Policy)?;
    Policy::parse(&source, lists).map_err(LoadError::Policy)
}

/// Whether a file holds cases for policies: `NAME.test.yaml`.
fn is_cases(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem.as_encoded_bytes().ends_with(b".test"))
}

fn is_yaml(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden
        && path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
        // What cannot be looked at, such as a link to nothing, is told when it is read.
        && fs::metadata(path).map_or(true, |metadata| metadata.is_file())
}

/// Reads name lists, and remembers which and what.
#[derive(Default)]
struct Lists {
    read: RefCell<Vec<PathBuf>>,
    hasher: RefCell<DefaultHasher>,
}

impl Lists {
    /// Takes a file into the fingerprint, whichever way its path is written.
    fn note(&self, path: &Path, bytes: &[u8]) {
        let absolute = std::path::absolute(path);
        (absolute.as_deref().unwrap_or(path), bytes).hash(&mut *self.hasher.borrow_mut());
    }
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
            let bytes = mapped::read(&path)?;
            self.note(&path, (*bytes).as_ref());
            files.push(ListFile { bytes, path });
        }
        Ok(files)
    }
}

#[cfg(test)]
mod tests;
