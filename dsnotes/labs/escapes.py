"""Attempts to escape from the sandbox, run in a real one by the tests and by `dsnotes labs doctor`.

The table in notebooks/labs/README.md is made from this list: python -m dsnotes.labs.escapes
"""

from __future__ import annotations

from dataclasses import dataclass

# The first lines of each attempt: `tried` reports what worked.
PRELUDE = """
import ctypes, errno, mmap, os, shutil, socket, subprocess, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def tried(do):
    try:
        result = do()
    except BaseException as error:
        return print("refused", type(error).__name__)
    through = result is not None and result is not False and result != -1
    print("THROUGH" if through else "refused", repr(result)[:2000])
"""


@dataclass(frozen=True)
class Escape:
    name: str
    stopped_by: str
    source: str  # with the bait's names in braces


ESCAPES = (
    Escape(
        "connect to a socket of the host: ssh-agent, Docker, the user's bus",
        "no such path inside; the call `socket` is refused",
        """
def connect(family, address, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as s:
        s.connect(address)
        return s.send(b"hello") or True
tried(lambda: connect(socket.AF_UNIX, "{socket}"))
tried(lambda: libc.socket(1, 1, 0))
tried(lambda: [p for p in ("/run", "/var/run", "/tmp/.X11-unix") if os.path.exists(p) and os.listdir(p)] or None)""",
    ),
    Escape(
        "reach the network: TCP, UDP, `sendmsg`, names",
        "a network namespace of its own; `socket` is refused",
        """
tried(lambda: socket.create_connection(("127.0.0.1", {tcp}), 2))
tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendmsg([b"hello"], [], 0, ("127.0.0.1", {udp})))
tried(lambda: socket.getaddrinfo("example.org", 80))
tried(lambda: socket.socket(socket.AF_INET6))""",
    ),
    Escape(
        "write to a FIFO or to the instructor's terminal",
        "no such path inside; a new session without a terminal",
        """
tried(lambda: os.write(os.open("{fifo}", os.O_WRONLY | os.O_NONBLOCK), b"hello"))
tried(lambda: os.write(os.open("{terminal}", os.O_WRONLY | os.O_NOCTTY), b"hello"))
tried(lambda: os.open("/dev/tty", os.O_RDWR))""",
    ),
    Escape(
        "read files of the instructor: keys, other submissions, grades, the labs' sources, the repository's history",
        "an empty root with Python, its libraries and /usr, read-only",
        """
for path in {files}:
    tried(lambda: open(path).read())
    tried(lambda: open(os.open(path, os.O_RDONLY)).read())
    tried(lambda: os.open(os.path.basename(path), os.O_RDONLY, dir_fd=os.open(os.path.dirname(path), os.O_RDONLY)))
tried(lambda: subprocess.run(["git", "-C", "{repository}", "log"], capture_output=True).stdout)
tried(lambda: os.listdir(os.path.expanduser("~root/.ssh")))
tried(lambda: [n for n in os.listdir("/home")] or None)
tried(lambda: open("/etc/passwd").read())""",
    ),
    Escape(
        "import or read the part of `dsnotes` that the lab has students write",
        "only what the lab names under `needs` is inside",
        """
import importlib
tried(lambda: importlib.import_module("dsnotes.losses"))
tried(lambda: importlib.import_module("dsnotes.softmask.matting"))
tried(lambda: [p for p in sys.path if p and os.path.exists(p + "/dsnotes/losses")] or None)""",
    ),
    Escape(
        "read tokens from the environment or from the host's /proc",
        "a cleared environment and a process namespace of its own",
        """
tried(lambda: dict(os.environ) if "{token}" in str(os.environ) else None)
for pid in [p for p in os.listdir("/proc") if p.isdigit()]:
    tried(lambda: (e := open(f"/proc/{{pid}}/environ").read()) if "{token}" in e else None)
tried(lambda: len([p for p in os.listdir("/proc") if p.isdigit()]) > 4)""",
    ),
    Escape(
        "write, delete or move files outside, by `dir_fd` too; change Python's libraries",
        "every mount but a /tmp of its own is read-only",
        """
folder, name = os.path.split("{victim}")
tried(lambda: open("{victim}", "w"))
tried(lambda: os.remove("{victim}") or True)
tried(lambda: os.unlink(name, dir_fd=os.open(folder, os.O_RDONLY)) or True)
tried(lambda: os.rename("{victim}", "/tmp/mine") or True)
for module in (os, sys.modules["dsnotes"], sys.modules["numpy"]):
    tried(lambda: open(module.__file__, "a"))
    tried(lambda: os.remove(module.__file__) or True)
for place in ("/usr/x", "/etc/x", "/opt/x", "/dev/x", "/x"):
    tried(lambda: open(place, "w"))""",
    ),
    Escape(
        "start a program or a second process",
        "`fork`, `vfork`, `clone` without a thread and `execve` are refused",
        """
import multiprocessing.util
tried(lambda: os.fork())
tried(lambda: os.forkpty())
tried(lambda: subprocess.run(["/bin/sh", "-c", "true"]))
tried(lambda: os.posix_spawn("/bin/sh", ["sh"], {{}}))
tried(lambda: multiprocessing.util.spawnv_passfds(b"/bin/sh", [b"sh", b"-c", b"true"], []))
tried(lambda: libc.execv(b"/bin/true", (ctypes.c_char_p * 2)(b"true", None)))
tried(lambda: ctypes.pythonapi.system(b"touch /tmp/here") and os.path.exists("/tmp/here"))""",
    ),
    Escape(
        "outlive the grading, or end somebody else's process",
        "a second process is refused; the process namespace ends with the grader",
        """
libc.prctl(1, 0, 0, 0, 0)
libc.prctl(15, b"{left}", 0, 0, 0)
tried(lambda: os.kill({parent}, 9) or True)
tried(lambda: os.kill(os.getppid(), 9) and True)
def last():
    os.setsid()
    time.sleep(600)
tried(lambda: os.fork() == 0 and last())""",
    ),
    Escape(
        "hold memory that no limit counts: memfd, System V, shared and locked memory",
        "`memfd_create` and `shmget` are refused; one process with an address-space limit; a watchdog outside",
        """
def fill(descriptor):
    for _ in range(48):
        os.write(descriptor, bytes(64 << 20))
    return True
tried(lambda: fill(os.memfd_create("x")))
tried(lambda: libc.shmget(0, ctypes.c_size_t(3 << 30), 0o1600))
tried(lambda: len(bytearray(3 << 30)))
tried(lambda: mmap.mmap(-1, 3 << 30))
tried(lambda: fill(os.open("/dev/shm/x", os.O_RDWR | os.O_CREAT)))""",
    ),
    Escape(
        "fill the disk",
        "/tmp is small and in memory, the rest is read-only",
        """
def files():
    for at in range(20):
        with open(f"/tmp/{{at}}", "wb") as f:
            f.write(bytes(20 << 20))
    return True
tried(files)
tried(lambda: open("/tmp/large", "wb").write(bytes(200 << 20)))
for name in os.listdir("/tmp"):
    if name.isdigit() or name == "large":
        os.remove("/tmp/" + name)""",
    ),
    Escape(
        "get rights back: new namespaces, mounts, tracing, keys, io_uring",
        "no capabilities, no new privileges; these calls are refused",
        """
tried(lambda: libc.unshare(0x10000000))
tried(lambda: libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))
tried(lambda: libc.chroot(b"/tmp"))
tried(lambda: libc.ptrace(16, 1, 0, 0))
tried(lambda: libc.setns(os.open("/proc/1/ns/mnt", os.O_RDONLY), 0))
tried(lambda: libc.syscall(425, 8, ctypes.create_string_buffer(120)))
tried(lambda: libc.setuid(0))""",
    ),
)

# Bytes written to the worker's stream instead of an answer: each ends its own submission only.
SEND = """
import os, struct
def send(content):
    for fd in range(3, 20):
        try: os.write(fd, content)
        except OSError: pass
"""
MALFORMED = {
    "another kind of value": "send(struct.pack('<I', 1) + b'n')",
    "lists within lists": "send(struct.pack('<I', 500000) + (b'l' + struct.pack('<I', 1)) * 100000)",
    "half a message": "send(struct.pack('<I', 1000) + b'm'); import time; time.sleep(600)",
    "a length of 4 GB": "send(struct.pack('<I', 2**32 - 1))",
    "a huge array": "send(struct.pack('<I', 18) + b'N' + bytes([7, 2]) + struct.pack('<QQ', 2**62, 0)[:15])",
    "an answer to another question": "send(struct.pack('<I', 29) + b'm' + struct.pack('<I', 2) "
    "+ b's\\2\\0\\0\\0id' + b'i' + struct.pack('<q', 99) + b's\\2\\0\\0\\0ok' + b'n')",
    "pickled code": "import pickle; send(struct.pack('<I', 60) + pickle.dumps(print).ljust(60))",
    "the end": "import os; os._exit(0)",
}

NOT_STOPPED = (
    "a bug in the Linux kernel or in bubblewrap; for strangers' code use a separate machine",
    "importing another installed library that computes the same; the cell shows it",
    "use of processor time up to `--seconds`",
    "a correct answer that somebody else wrote",
)


def readme_table() -> str:
    """What the sandbox stops and what it does not, in Markdown."""
    rows = [f"| {escape.name} | {escape.stopped_by} |" for escape in ESCAPES]
    answers = f"| answer with something else: {', '.join(MALFORMED)} | bounded messages, read under a deadline |"
    rest = "\n".join(f"- {each}" for each in NOT_STOPPED)
    return "\n".join(
        [
            "| a submission tries to | what stops it |",
            "|---|---|",
            *rows,
            answers,
            "",
            "The sandbox does not stop:",
            "",
            rest,
        ]
    )


if __name__ == "__main__":
    print(readme_table())
