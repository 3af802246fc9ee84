//! What root may do in a sandbox.

use super::mounting::last_errno;
use rustix::io::Errno;

/// Docker's default: by their numbers in linux/capability.h.
const DEFAULT: [u32; 14] = [
    0,  // CHOWN
    1,  // DAC_OVERRIDE
    3,  // FOWNER
    4,  // FSETID
    5,  // KILL
    6,  // SETGID
    7,  // SETUID
    8,  // SETPCAP
    10, // NET_BIND_SERVICE
    13, // NET_RAW
    18, // SYS_CHROOT
    27, // MKNOD
    29, // AUDIT_WRITE
    31, // SETFCAP
];

/// Takes everything from this process' bounding set that is not Docker's default, so that no program, whoever owns it,
/// can have it again.
pub(super) fn limit() -> Result<(), Errno> {
    for capability in 0..64 {
        if DEFAULT.contains(&capability) {
            continue;
        }
        // SAFETY: prctl with plain numbers.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) };
        if result != 0 {
            match last_errno() {
                // The kernel knows no more capabilities.
                Errno::INVAL => break,
                errno => return Err(errno),
            }
        }
    }
    // SAFETY: prctl with plain numbers.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    Ok(())
}

/// What this process itself keeps until it becomes the command: the default at most, and nothing to inherit.
pub(super) fn keep_default() -> Result<(), Errno> {
    use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
    let default =
        DEFAULT.iter().fold(CapabilitySet::empty(), |set, number| set | CapabilitySet::from_bits_retain(1 << number));
    let now = capabilities(None)?;
    let sets = CapabilitySets {
        effective: now.effective & default,
        permitted: now.permitted & default,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets)
}
