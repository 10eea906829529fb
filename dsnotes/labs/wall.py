"""What a submission may use and touch: limits of a process, and on Linux a world of its own around it.

Behind the whole wall a process is alone: no other process to signal, no network but its own silence, every file
read-only but those of one small folder that is gone afterwards. Where the kernel grants no namespaces, an audit hook
refuses the same things within Python; that stops accidents and plain malice, not somebody who writes machine code.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

NOBODY = 65534
NEW = {"mount": 0x20000, "ipc": 0x8000000, "user": 0x10000000, "pid": 0x20000000, "net": 0x40000000}
PRIVATE, READ_ONLY, RECURSIVE, HERE = 1 << 18, 1, 0x8000, -100
MOUNT_SETATTR = 442  # the same number on every architecture
DEATH_SIGNAL, NO_NEW_PRIVILEGES, CAPABILITIES_V3 = 1, 38, 0x20080522


@dataclass(frozen=True)
class Limits:
    """Of one submission. Memory comes on top of what the libraries hold before the first cell."""

    seconds: float | int = 600  # by the clock, for the whole notebook
    cell_seconds: float | int = 60  # of computing, for one cell: a busy machine is nobody's fault
    cpu_seconds: int = 180
    memory_mb: int = 1024
    file_mb: int = 64
    processes: int = 24  # and threads

    @property
    def cell_clock(self) -> float:
        """By the clock, for a cell that sleeps rather than computes."""
        return 10.0 * self.cell_seconds


def possible() -> bool:
    """Whether this machine has limits of a process at all."""
    return sys.platform == "linux"


def enclose(folder: Path, limits: Limits, hidden: tuple[Path, ...] = (), *, namespaces: bool = True) -> str:
    """Build the wall around this process, which then lives in `folder`; says which wall it is.

    With namespaces this process forks: the caller goes on as number 1 of its own world, whose end ends everything it
    has started, and the first process waits for it.
    """
    os.setsid()
    _silence()
    with contextlib.suppress(OSError):  # where memory runs out all the same, the grader survives; a bonus, no wall
        Path("/proc/self/oom_score_adj").write_text("1000")
    import resource  # noqa: F401  before the files that it lies in may be out of reach

    libc = ctypes.CDLL(None, use_errno=True)
    if (
        os.getuid() == 0
    ):  # RLIMIT_NPROC counts by the real user, and never root's; files are opened as the effective one
        os.setresuid(NOBODY, 0, 0)
    whole = namespaces and _own_world(libc, folder, limits, hidden)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    header, nothing = (ctypes.c_uint32 * 2)(CAPABILITIES_V3, 0), (ctypes.c_uint32 * 6)()
    _done(libc.capset(header, nothing), "capset")
    os.chdir(folder)
    for name in ("HOME", "TMPDIR", "MPLCONFIGDIR", "IPYTHONDIR", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"):
        os.environ[name] = str(folder)
    _limit(limits, alone=whole)
    if not whole:
        _refuse_within_python(folder)
    return "own namespaces" if whole else "limits and an audit hook"


def _silence() -> None:
    """The standard streams lead nowhere: what is printed beside the notebook is no business of the terminal's."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    os.close(nothing)


def _own_world(libc, folder: Path, limits: Limits, hidden: tuple[Path, ...]) -> bool:
    uid, gid = os.geteuid(), os.getegid()
    allowed = _trial(lambda: _unshare(libc, uid, gid, folder, limits, hidden))
    if not allowed:
        return False
    _unshare(libc, uid, gid, folder, limits, hidden)
    first = os.fork()
    if first:
        for descriptor in range(3, 256):  # else the conversation would seem to go on when the examined is gone
            with contextlib.suppress(OSError):  # most of them are not open
                os.close(descriptor)
        _, status = os.waitpid(first, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    libc.prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    return True


def _trial(attempt) -> bool:
    """Whether it works, tried in a process that ends with the answer: half a wall could not be taken down again."""
    child = os.fork()
    if child == 0:
        try:
            attempt()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _unshare(libc, uid: int, gid: int, folder: Path, limits: Limits, hidden: tuple[Path, ...]) -> None:
    _done(libc.unshare(sum(NEW.values())), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    _done(libc.mount(b"none", b"/", None, PRIVATE | 0x4000, None), "mount private")
    sealed = (ctypes.c_uint64 * 4)(READ_ONLY, 0, 0, 0)
    _done(libc.syscall(MOUNT_SETATTR, HERE, b"/", RECURSIVE, sealed, 32), "mount_setattr")
    for each in hidden:  # solutions, hidden tests, other people's work
        if each.is_dir():
            _done(libc.mount(b"none", bytes(each.resolve()), b"tmpfs", READ_ONLY, b"size=4k"), f"hide {each}")
    options = f"size={limits.file_mb}m,nr_inodes=4096,mode=700".encode()
    _done(libc.mount(b"none", bytes(folder.resolve()), b"tmpfs", 0, options), f"mount {folder}")


def _done(answer: int, what: str) -> None:
    if answer != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _limit(limits: Limits, *, alone: bool) -> None:
    import resource

    own = 0 if alone else _threads_of(os.getuid())  # in a world of its own the count begins anew
    held = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    file = limits.file_mb << 20
    for what, most in (
        (resource.RLIMIT_AS, held + (limits.memory_mb << 20)),
        (resource.RLIMIT_CPU, limits.cpu_seconds),
        (resource.RLIMIT_FSIZE, file),
        (resource.RLIMIT_NPROC, own + limits.processes),
        (resource.RLIMIT_NOFILE, 256),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file too large is an OSError that can be read


def _threads_of(uid: int) -> int:
    found = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found += len(os.listdir(process / "task")) if process.stat().st_uid == uid else 0
        except OSError:
            continue  # it ended while we looked
    return found


REFUSED = {
    "socket.connect": "no network",
    "socket.bind": "no network",
    "socket.sendto": "no network",
    "socket.getaddrinfo": "no network",
    "os.fork": "no further processes",
    "os.forkpty": "no further processes",
    "os.exec": "no further processes",
    "os.posix_spawn": "no further processes",
    "os.system": "no further processes",
    "subprocess.Popen": "no further processes",
    "os.kill": "no signals to other processes",
    "os.killpg": "no signals to other processes",
    "signal.pthread_kill": "no signals to other processes",
    "ctypes.dlopen": "no foreign code",
}
CHANGES = {"os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
CHANGES |= {"os.chown", "shutil.rmtree", "sqlite3.connect"}


def _refuse_within_python(folder: Path) -> None:
    """An audit hook cannot be taken out again; it asks before each of these, whoever calls."""
    inside = os.path.realpath(folder)

    def outside(path) -> bool:
        if isinstance(path, int) or path is None:
            return False
        full = os.path.realpath(os.fsdecode(path))
        return full != os.devnull and full != inside and not full.startswith(inside + os.sep)

    def hook(event: str, given: tuple) -> None:
        if event in REFUSED:
            raise PermissionError(f"{REFUSED[event]} while a submission is graded ({event})")
        writes = event == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        named = given[:2] if event in ("os.rename", "os.link") else given[:1]
        if (writes or event in CHANGES) and any(map(outside, named)):
            raise PermissionError(f"only the working folder may be written while a submission is graded ({named})")

    sys.addaudithook(hook)
