//! The user database.

use std::ffi::{CStr, CString, OsStr};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use miette::Diagnostic;
use thiserror::Error;

/// A user, as far as a process needs it to become that user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The number.
    pub uid: u32,
    /// The number of the primary group.
    pub gid: u32,
    /// The numbers of all groups, the primary one among them.
    pub groups: Vec<u32>,
    /// The home directory.
    pub home: PathBuf,
    /// The login shell.
    pub shell: PathBuf,
}

/// Why a user was not found.
#[derive(Debug, Diagnostic, Error)]
pub enum UserError {
    /// The database could not answer.
    #[error("the user `{user}` cannot be looked up")]
    LookUp {
        /// Name or number.
        user: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The database does not know the user.
    #[error("there is no user `{0}`")]
    #[diagnostic(help("`getent passwd` lists the users of this machine"))]
    Unknown(String),
}

/// Longest answer of the database that is asked for.
const ANSWER_MAX: usize = 1 << 20;
/// Most groups of a user (`NGROUPS_MAX`, include/uapi/linux/limits.h).
const GROUPS_MAX: usize = 65_536;

/// The number of a user: from `/etc/passwd`, else from wherever the system keeps its users.
pub fn user_id(name: &str) -> Option<u32> {
    let local =
        fs::read("/etc/passwd").ok().and_then(|bytes| passwd_id(&String::from_utf8_lossy(&bytes), name));
    local.or_else(|| User::by_name(name).ok().map(|user| user.uid))
}

fn passwd_id(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (user, _password, id) = (fields.next()?, fields.next()?, fields.next()?);
        if user == name { id.parse().ok() } else { None }
    })
}

impl User {
    /// Looks a user up by name.
    pub fn by_name(name: &str) -> Result<Self, UserError> {
        let Ok(key) = CString::new(name) else { return Err(UserError::Unknown(name.into())) };
        look_up(name, |entry, buffer, found| {
            // SAFETY: `key` is NUL-terminated and lives through the call; the pointers come from references to an entry,
            // a buffer and a result that live as long, and the length is the buffer's.
            unsafe { libc::getpwnam_r(key.as_ptr(), entry, buffer.as_mut_ptr().cast(), buffer.len(), found) }
        })
    }

    /// Looks a user up by number.
    pub fn by_id(uid: u32) -> Result<Self, UserError> {
        look_up(&uid.to_string(), |entry, buffer, found| {
            // SAFETY: the pointers come from references to an entry, a buffer and a result that live through the call,
            // and the length is the buffer's.
            unsafe { libc::getpwuid_r(uid, entry, buffer.as_mut_ptr().cast(), buffer.len(), found) }
        })
    }
}

/// Calls one of the two functions with more and more memory.
fn look_up(
    user: &str,
    ask: impl Fn(&mut libc::passwd, &mut [u8], &mut *mut libc::passwd) -> libc::c_int,
) -> Result<User, UserError> {
    let fail = |source| UserError::LookUp { user: user.into(), source };
    let mut buffer = vec![0_u8; 4096];
    loop {
        // SAFETY: `passwd` is a C structure of integers and pointers, for which zeroes are a value.
        let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
        let mut found = std::ptr::null_mut();
        match ask(&mut entry, &mut buffer, &mut found) {
            // The functions report "no such user" as no entry, or as one of these (getpwnam_r(3)).
            0 | libc::ENOENT | libc::ESRCH if found.is_null() => return Err(UserError::Unknown(user.into())),
            0 => {
                // SAFETY: the call succeeded, so each pointer of `entry` is null or a NUL-terminated string in `buffer`,
                // which is not touched before they are copied.
                let user = unsafe { copy(&entry) };
                return user.map_err(fail);
            }
            libc::EINTR => {}
            libc::ERANGE if buffer.len() < ANSWER_MAX => buffer.resize(buffer.len() * 2, 0),
            error => return Err(fail(io::Error::from_raw_os_error(error))),
        }
    }
}

/// Copies an entry of the database.
///
/// # Safety
/// Each pointer of `entry` is null or points to a NUL-terminated string.
unsafe fn copy(entry: &libc::passwd) -> io::Result<User> {
    let text = |pointer: *const libc::c_char| -> &CStr {
        if pointer.is_null() {
            return c"";
        }
        // SAFETY: the caller promises a NUL-terminated string, which lives as long as `entry`'s memory.
        unsafe { CStr::from_ptr(pointer) }
    };
    let path = |text: &CStr| PathBuf::from(OsStr::from_bytes(text.to_bytes()));
    let name = text(entry.pw_name);
    Ok(User {
        name: name.to_string_lossy().into_owned(),
        uid: entry.pw_uid,
        gid: entry.pw_gid,
        groups: groups(name, entry.pw_gid)?,
        home: path(text(entry.pw_dir)),
        shell: path(text(entry.pw_shell)),
    })
}

fn groups(name: &CStr, primary: u32) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; 64];
    loop {
        let mut count = groups.len() as libc::c_int;
        // SAFETY: `name` is NUL-terminated, and `groups` has room for `count` numbers.
        let result =
            unsafe { libc::getgrouplist(name.as_ptr(), primary, groups.as_mut_ptr(), &raw mut count) };
        let count = usize::try_from(count).unwrap_or(0);
        if result >= 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        if groups.len() >= GROUPS_MAX {
            return Err(io::Error::from_raw_os_error(libc::E2BIG));
        }
        groups.resize(count.max(groups.len() * 2).min(GROUPS_MAX), 0);
    }
}
