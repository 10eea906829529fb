"""Drops a worker's rights before it runs a student's first line; this cannot be undone afterwards."""

from __future__ import annotations

import errno
import os
import resource
import signal

CLONE_THREAD = 0x10000
REFUSED = (
    *("fork", "vfork", "execve", "execveat"),  # one process, so that its limits are those of the submission
    *("socket", "bind", "connect", "accept", "accept4", "listen", "sendto", "sendmsg", "sendmmsg"),
    *("memfd_create", "memfd_secret", "shmget", "shmat", "msgget", "semget"),  # memory that no limit counts
    *("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_open", "pidfd_getfd", "kcmp"),
    *("unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen", "fsmount"),
    *("mount_setattr", "open_by_handle_at", "name_to_handle_at", "userfaultfd", "bpf", "perf_event_open"),
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl", "add_key", "request_key", "personality"),
)


def refuse_system_calls() -> None:
    """Block these system calls with libseccomp, in every thread; all others stay allowed."""
    import pyseccomp as seccomp

    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    rules.set_attr(seccomp.Attr.CTL_TSYNC, 1)
    for name in REFUSED:
        try:
            rules.add_rule(seccomp.ERRNO(errno.EPERM), name)
        except (ValueError, OSError):
            if name in ("fork", "vfork", "socket", "execve", "memfd_create"):
                raise
            continue  # unknown to this architecture or libseccomp
    rules.add_rule(seccomp.ERRNO(errno.EPERM), "clone", seccomp.Arg(0, seccomp.MASKED_EQ, CLONE_THREAD, 0))
    rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")  # a filter cannot read its flags; libc falls back to clone
    rules.load()


def limit(*, memory_mb: int, cpu_seconds: int, file_mb: int) -> None:
    with open("/proc/self/statm") as told:
        held = int(told.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    for what, most in (
        (resource.RLIMIT_AS, held + (memory_mb << 20)),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, file_mb << 20),
        (resource.RLIMIT_NOFILE, 256),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file over the limit then raises a readable OSError
