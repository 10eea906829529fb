"""One process a run, and a dead one's run goes to the next."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from dsnotes.runs import locks
from dsnotes.runs.locks import BusyError, Lock, locked


def dead_process() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def write(folder, number, **owner):
    (folder / f"lock.{number}.json").write_text(json.dumps(owner), encoding="utf-8")


def test_a_lock_keeps_others_out_until_it_is_released(tmp_path):
    with locked(tmp_path / "run") as lock:
        assert lock.held()
        with pytest.raises(BusyError, match=rf"is being worked on by process {os.getpid()} on"):
            Lock.take(tmp_path / "run")
    with locked(tmp_path / "run") as second:
        assert second.held()
        assert not lock.held()
    assert [p.name for p in sorted((tmp_path / "run").iterdir())] == ["lock.1.json", "lock.2.json"]


def test_a_process_that_is_gone_holds_nothing(tmp_path):
    write(tmp_path, 1, host=locks.socket.gethostname(), pid=dead_process(), token="x")
    Lock.take(tmp_path)
    assert locks.latest(tmp_path)[0] == 2


def test_another_machine_holds_it_as_long_as_it_gives_a_sign(tmp_path):
    write(tmp_path, 1, host="elsewhere", pid=dead_process(), token="x")
    with pytest.raises(BusyError, match="on elsewhere"):
        Lock.take(tmp_path)
    silent = time.time() - locks.SILENT - 1
    os.utime(tmp_path / "lock.1.json", (silent, silent))
    Lock.take(tmp_path)


def test_the_owner_gives_signs(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "BEAT", 0.02)
    with locked(tmp_path) as lock:
        os.utime(lock.path, (0, 0))
        deadline = time.monotonic() + 10
        while lock.path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert lock.path.stat().st_mtime > 0


def test_of_many_that_reach_for_one_dead_lock_one_gets_it(tmp_path):
    """However they interleave: each would create the same number."""
    for turn in range(20):
        folder = tmp_path / str(turn)
        folder.mkdir()
        write(folder, 1, host=locks.socket.gethostname(), pid=dead_process() if turn == 0 else 2**22 + 7, token="x")
        got, barrier = [], threading.Barrier(4)

        def reach(folder=folder, got=got, barrier=barrier):
            barrier.wait()
            with contextlib.suppress(BusyError):
                got.append(Lock.take(folder))

        threads = [threading.Thread(target=reach) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 1
        assert not list(folder.glob("*.part"))
