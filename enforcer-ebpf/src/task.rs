//! Who is calling: what the hook can know is captured in the hook, because a process may be gone a millisecond later.

use crate::{repeat::BpfLoop, settings::setting};
use aya_ebpf::helpers::{
    bpf_get_current_task, bpf_get_current_uid_gid, bpf_probe_read_kernel,
    generated::bpf_probe_read_kernel_str,
};
use core::ops::ControlFlow;
use enforcer_common::{
    bound::masked,
    event::ConnectEvent,
    repeat::{Repeat, Step},
};

/// Real user id.
#[inline(always)]
pub(crate) fn uid() -> u32 {
    bpf_get_current_uid_gid() as u32
}

/// Process id of the parent, 0 if it cannot be read.
#[inline(always)]
pub(crate) fn parent() -> u32 {
    // SAFETY: plain helper call.
    let task = unsafe { bpf_get_current_task() };
    let parent: u64 = read(task + u64::from(setting!(task_real_parent)));
    read(parent + u64::from(setting!(task_tgid)))
}

/// Fills `event.exe` with the components of the executable's path, the last one first.
#[inline(always)]
pub(crate) fn executable(event: &mut ConnectEvent) {
    // SAFETY: plain helper call.
    let task = unsafe { bpf_get_current_task() };
    let mm: u64 = read(task + u64::from(setting!(task_mm)));
    let file: u64 = read(mm + u64::from(setting!(mm_exe_file)));
    let path = file + u64::from(setting!(file_path));
    event.exe_length = 0;
    event.exe_whole = 0;
    event.walk = [0; 3];
    // A kernel thread has no executable: the read of a small address fails and leaves 0.
    if mm != 0 && file != 0 {
        let vfsmount: u64 = read(path + u64::from(setting!(path_mnt)));
        event.walk = [read(path + u64::from(setting!(path_dentry))), vfsmount, root(vfsmount)];
        BpfLoop::repeat(COMPONENTS, &mut Walk { event: &mut *event });
    }
    event.walk = [0; 3];
}

/// Most steps up: components and mounts.
const COMPONENTS: u32 = 40;
/// Bytes kept of one component, with the NUL.
const COMPONENT_MAX: u32 = 64;

struct Walk<'a> {
    event: &'a mut ConnectEvent,
}

impl Step for Walk<'_> {
    /// One component, or one mount point crossed (`fs/d_path.c` `prepend_path`).
    #[inline(always)]
    fn step(&mut self, _: u32) -> ControlFlow<()> {
        let event = &mut *self.event;
        let [dentry, vfsmount, end] = event.walk;
        let [parent, name] = parent_and_name(dentry);
        if dentry == end || dentry == parent {
            let mount = vfsmount - u64::from(setting!(mount_mnt));
            let above: u64 = read(mount + u64::from(setting!(mount_parent)));
            if above == mount || above == 0 {
                event.exe_whole = 1;
                return ControlFlow::Break(());
            }
            let vfsmount = above + u64::from(setting!(mount_mnt));
            event.walk = [read(mount + u64::from(setting!(mount_mountpoint))), vfsmount, root(vfsmount)];
            return ControlFlow::Continue(());
        }
        let used = masked::<0xff>(u64::from(event.exe_length));
        if used > event.exe.len() - COMPONENT_MAX as usize {
            return ControlFlow::Break(());
        }
        let to = event.exe.as_mut_ptr().wrapping_add(used);
        // SAFETY: at most `COMPONENT_MAX` bytes are written, and `used` leaves room for them; the helper checks `name`.
        let length = unsafe { bpf_probe_read_kernel_str(to.cast(), COMPONENT_MAX, name as *const _) };
        if length <= 0 || length >= i64::from(COMPONENT_MAX) {
            // Unreadable, or cut: the path is not whole.
            return ControlFlow::Break(());
        }
        event.exe_length = used as u32 + length as u32;
        event.walk = [parent, vfsmount, end];
        ControlFlow::Continue(())
    }
}

/// The dentry at which a mount ends.
#[inline(always)]
fn root(vfsmount: u64) -> u64 {
    read(vfsmount + u64::from(setting!(vfsmount_root)))
}

/// The parent of a dentry, and where its name is: at one go where they lie together, as in every kernel that does not shuffle
/// its structures (`include/linux/dcache.h`).
#[inline(always)]
fn parent_and_name(dentry: u64) -> [u64; 2] {
    let (parent, name) = (u64::from(setting!(dentry_parent)), u64::from(setting!(dentry_name)));
    if name == parent + 16 {
        let [parent, _, name]: [u64; 3] = read(dentry + parent);
        [parent, name]
    } else {
        [read(dentry + parent), read(dentry + name)]
    }
}

/// Reads kernel memory; what cannot be read is zero.
#[inline(always)]
fn read<T: Default>(address: u64) -> T {
    // SAFETY: the helper checks the address; `T` is an integer, of which every bit pattern is valid.
    unsafe { bpf_probe_read_kernel(address as *const T) }.unwrap_or_default()
}
