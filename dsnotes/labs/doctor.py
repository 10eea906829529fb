"""Tests a sandbox on this machine: makes every attempt in `escapes` inside it, with bait outside."""

from __future__ import annotations

import contextlib
import os
import pty
import secrets
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsnotes.labs.channel import Channel, EndedError, StudentError
from dsnotes.labs.escapes import ESCAPES, MALFORMED, PRELUDE, SEND, Escape
from dsnotes.labs.sandbox import PACKAGE, Limits, Sandbox


@dataclass(frozen=True)
class Tried:
    name: str
    through: list[str]  # what worked; should be empty


class Bait:
    """Files, sockets and processes that an escape would reach, and whether one did."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.token, self.left = folder, secrets.token_hex(8), f"left{secrets.token_hex(4)}"
        self.victim = folder / "gradebook"
        self.victim.write_text(self.token)
        self.unix, self.tcp = socket.socket(socket.AF_UNIX), socket.create_server(("127.0.0.1", 0))
        self.unix.bind(str(folder / "agent"))
        self.unix.listen()
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        os.mkfifo(folder / "fifo")
        self.fifo = os.open(folder / "fifo", os.O_RDWR | os.O_NONBLOCK)
        self.master, self.slave = pty.openpty()
        os.set_blocking(self.master, False)
        for listener in (self.unix, self.tcp, self.udp):
            listener.setblocking(False)

    def names(self) -> dict[str, object]:
        labs = PACKAGE.parent / "notebooks" / "labs"
        files = [str(self.victim), str(Path.home() / ".ssh" / "id_rsa"), *map(str, sorted(labs.glob("*.py")))]
        return {
            **{"socket": self.folder / "agent", "fifo": self.folder / "fifo", "terminal": os.ttyname(self.slave)},
            **{"tcp": self.tcp.getsockname()[1], "udp": self.udp.getsockname()[1], "files": files, "token": self.token},
            **{"victim": self.victim, "repository": PACKAGE.parent, "parent": os.getpid(), "left": self.left},
        }

    def reached(self) -> Iterator[str]:
        for name, read in (
            ("a socket was connected", lambda: self.unix.accept()[0].close()),
            ("TCP was connected", lambda: self.tcp.accept()[0].close()),
            ("UDP arrived", lambda: self.udp.recv(9)),
            ("a FIFO was written", lambda: os.read(self.fifo, 9)),
            ("the terminal was written", lambda: os.read(self.master, 9)),
        ):
            with contextlib.suppress(BlockingIOError):
                read()
                yield name
        if not self.victim.is_file() or self.victim.read_text() != self.token:
            yield "a file outside was changed"

    def close(self) -> None:
        for each in (self.unix, self.tcp, self.udp):
            each.close()
        for descriptor in (self.fifo, self.master, self.slave):
            os.close(descriptor)


def try_escapes(sandbox: Sandbox, escapes: Sequence[Escape] = ESCAPES) -> Iterator[Tried]:
    """Make every attempt in one worker; success is reported by the attempt itself or seen from outside."""
    with tempfile.TemporaryDirectory() as folder:
        bait = Bait(Path(folder))
        before = os.environ.get("DSNOTES_BAIT")
        os.environ["DSNOTES_BAIT"] = bait.token
        try:
            with Channel(sandbox, Limits(cell_seconds=20)) as channel:
                channel.ask("run", name="prelude", source=PRELUDE)
                for escape in escapes:
                    yield Tried(escape.name, _tried(escape, bait, channel))
            time.sleep(0.5)
            yield Tried("a process is left after grading", [bait.left] if _alive(bait.left) else [])
        finally:
            bait.close()
            os.environ.pop("DSNOTES_BAIT") if before is None else os.environ.update(DSNOTES_BAIT=before)


def _tried(escape: Escape, bait: Bait, channel: Channel) -> list[str]:
    try:
        shown = channel.ask("run", name="escape", source=escape.source.format(**bait.names()))
    except EndedError as error:
        return [f"the worker ended: {error}"]
    lines = [line for output in shown for line in str(output.get("text", "")).splitlines()]
    errors = [str(output["error"]) for output in shown if "error" in output]
    attempts = [line for line in lines if line.startswith(("refused", "THROUGH"))]
    silent = [] if attempts or errors else ["nothing was tried"]
    leaked = [line for line in lines if bait.token in line]
    return [*(line for line in lines if line.startswith("THROUGH")), *leaked, *errors, *silent, *bait.reached()]


def try_malformed(sandbox: Sandbox, name: str) -> Tried:
    """Check that a malformed answer ends its submission soon, so that one student cannot block a class."""
    with Channel(sandbox, Limits(seconds=60, cell_seconds=1)) as channel:
        began = time.monotonic()
        try:
            channel.ask("run", name="send", source=SEND + MALFORMED[name])
            channel.ask("value", name="send")
        except EndedError:
            slow = time.monotonic() - began > 60
            return Tried(f"answer with {name}", ["it blocked the grading"] if slow else [])
        except StudentError:
            pass
    return Tried(f"answer with {name}", ["it was accepted as an answer"])


def _alive(name: str) -> bool:
    for comm in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):  # the process has ended
            if comm.read_text().strip() == name:
                return True
    return False
