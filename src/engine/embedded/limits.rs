//! `--ulimit`, of this process and all that it starts.

use super::mounting::last_errno;
use super::task::TaskError;
use crate::plan::Ulimit;
use rustix::io::Errno;

/// Only who may do so on the whole machine can raise a hard limit.
pub(super) fn set(limit: &Ulimit) -> Result<(), TaskError> {
    let Some(resource) = resource(&limit.name) else {
        return Err(TaskError::input(format!("--ulimit {limit}: there is no such limit.")));
    };
    let value = |limit: Option<u64>| limit.unwrap_or(libc::RLIM_INFINITY);
    let limits = libc::rlimit { rlim_cur: value(limit.soft), rlim_max: value(limit.hard) };
    // SAFETY: the structure lives until the call returns, and the process has one thread.
    match unsafe { libc::setrlimit(resource, &raw const limits) } {
        0 => Ok(()),
        _ => Err(refused(limit, resource, last_errno())),
    }
}

fn refused(limit: &Ulimit, resource: Resource, errno: Errno) -> TaskError {
    let error = TaskError::input(format!("--ulimit {limit} cannot be set: {}.", std::io::Error::from(errno)));
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: as above.
    let known = unsafe { libc::getrlimit(resource, &raw mut now) } == 0 && now.rlim_max != libc::RLIM_INFINITY;
    match known && errno == Errno::PERM {
        true => error.with_help(format!(
            "It is {} here. Only root may raise it, and that of open files no further than /proc/sys/fs/nr_open.",
            now.rlim_max
        )),
        false => error,
    }
}

#[cfg(target_env = "gnu")]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
type Resource = libc::c_int;

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "core" => libc::RLIMIT_CORE,
        "cpu" => libc::RLIMIT_CPU,
        "data" => libc::RLIMIT_DATA,
        "fsize" => libc::RLIMIT_FSIZE,
        "locks" => libc::RLIMIT_LOCKS,
        "memlock" => libc::RLIMIT_MEMLOCK,
        "msgqueue" => libc::RLIMIT_MSGQUEUE,
        "nice" => libc::RLIMIT_NICE,
        "nofile" => libc::RLIMIT_NOFILE,
        "nproc" => libc::RLIMIT_NPROC,
        "rss" => libc::RLIMIT_RSS,
        "rtprio" => libc::RLIMIT_RTPRIO,
        "rttime" => libc::RLIMIT_RTTIME,
        "sigpending" => libc::RLIMIT_SIGPENDING,
        "stack" => libc::RLIMIT_STACK,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_limit_of_the_kernel() {
        let mut found: Vec<_> = crate::plan::ulimit::NAMES.map(|name| resource(name).expect(name)).to_vec();
        found.sort_unstable();
        // All but the one for address space, which Docker does not know.
        let expected: Vec<_> = (0..16).filter(|it| *it != libc::RLIMIT_AS).collect();
        assert_eq!(found, expected);
    }
}
