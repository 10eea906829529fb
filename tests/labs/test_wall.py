"""Hostile submissions: what they attempt fails, and the next one is graded as if nothing had been."""

from __future__ import annotations

import contextlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from coursework import LABS, SOURCE, handed_in, needs_linux, points_by_test

from dsnotes.labs.examine import Sitting, examine
from dsnotes.labs.source import id_of
from dsnotes.labs.submission import paper_of
from dsnotes.labs.wall import Limits

pytestmark = needs_linux
LAB = LABS["lab1_dice"]
LIMITS = Limits(seconds=120, cell_seconds=4)
both_walls = pytest.mark.parametrize("namespaces", [True, False], ids=["namespaces", "audit hook"])

ATTEMPTS = """
import os, shutil, socket, subprocess
def attempt(name, do):
    try:
        print(name, "DONE", do())
    except BaseException as error:
        print(name, "refused", type(error).__name__)
def bomb():
    born = 0
    for _ in range(1000):
        if os.fork() == 0:
            import time
            time.sleep(600)
        born += 1
    return born
attempt("remove", lambda: os.remove(VICTIM))
attempt("remove all", lambda: shutil.rmtree(os.path.dirname(VICTIM)))
attempt("overwrite", lambda: open(VICTIM, "w"))
attempt("network", lambda: socket.create_connection(("127.0.0.1", PORT), 2))
attempt("kill", lambda: os.kill(PARENT, 9))
attempt("memory", lambda: len(bytearray(8 << 30)))
attempt("disk", lambda: open("large", "wb").write(bytes(200 << 20)))
attempt("bomb", bomb)
attempt("shell", lambda: subprocess.run(["true"], check=True))
attempt("own file", lambda: open("small", "w").write("1"))
"""


def run_one(source: str, *, namespaces: bool = True, limits: Limits = LIMITS) -> Sitting:
    (sitting,) = examine([paper_of("eve", LAB, handed_in(LAB, {"dice": source}))], limits=limits, namespaces=namespaces)
    return sitting


def printed(sitting: Sitting, name: str) -> str:
    (cell,) = (cell for cell in sitting.paper.notebook["cells"] if id_of(cell) == name)
    return "".join(o.get("text", "") or "\n".join(o.get("traceback", [])) for o in cell["outputs"])


@both_walls
def test_what_a_hostile_one_attempts_is_refused(tmp_path, namespaces):
    import socket

    victim = tmp_path / "gradebook.db"
    victim.write_text("points")
    with socket.create_server(("127.0.0.1", 0)) as server:
        names = f"VICTIM, PORT, PARENT = {str(victim)!r}, {server.getsockname()[1]}, {os.getpid()}\n"
        sitting = run_one(names + ATTEMPTS, namespaces=namespaces)
    lines = dict(line.rsplit(" refused ", 1) for line in printed(sitting, "dice").splitlines() if " refused " in line)
    assert set(lines) == {"remove", "remove all", "overwrite", "network", "kill", "memory", "disk", "bomb", "shell"}
    assert "own file DONE 1" in printed(sitting, "dice")
    assert victim.read_text() == "points"


@both_walls
def test_the_next_one_is_graded_as_if_nothing_had_been(namespaces):
    endless = "import time\nwhile True:\n    try:\n        time.sleep(600)\n    except BaseException: pass"
    files = {"endless": endless, "gone": "import os; os._exit(0)", "good": LAB.cells["dice"]["source"]}
    papers = [paper_of(name, LAB, handed_in(LAB, {"dice": source})) for name, source in files.items()]
    short = Limits(seconds=6, cell_seconds=2)
    ran = {s.paper.student: s for s in examine(papers[:2], limits=short, workers=2, namespaces=namespaces)}
    ran |= {s.paper.student: s for s in examine(papers[2:], namespaces=namespaces)}
    assert "process ended: it gave no answer within" in ran["endless"].paper.happened[0]
    assert "process ended: it was gone" in ran["gone"].paper.happened[0]
    assert printed(ran["endless"], "test-dice") == "NotRun: the process had ended in the cell dice"
    assert ran["good"].paper.happened == []
    assert all(printed(ran["good"], test) == "" for test in points_by_test(LAB))


def test_a_loop_that_does_not_end_costs_its_own_tests_only():
    loop = LAB.cells["best"]["source"].replace("    target, tried", "    while True: pass\n    target, tried")
    (sitting,) = examine([paper_of("ada", LAB, handed_in(LAB, {"best": loop}))], limits=Limits(cell_seconds=1))
    assert "is there a loop that does not end?" in printed(sitting, "test-best")
    assert printed(sitting, "test-pull") == ""
    assert "In the cell test-best: TimeUp: not done after " in sitting.paper.happened[0]


def test_nothing_that_was_started_outlives_the_submission():
    """With namespaces even what has left its session ends with number 1 of its world."""
    name = f"left{os.getpid()}"
    source = f"""
import ctypes, os, time
if os.fork() == 0:
    os.setsid()
    ctypes.CDLL(None).prctl(15, {name.encode()!r})  # PR_SET_NAME
    time.sleep(600)
time.sleep(2)
"""
    with ThreadPoolExecutor(1) as desk:
        sitting, seen = desk.submit(run_one, source), False
        while not sitting.done():
            seen |= called(name)
            time.sleep(0.05)
    if sitting.result().wall != "own namespaces":
        pytest.skip("this machine grants no namespaces")
    assert seen
    until = time.monotonic() + 30
    while called(name) and time.monotonic() < until:
        time.sleep(0.1)
    assert not called(name)


def called(name: str) -> bool:
    """Whether a process of this name lives."""
    for comm in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):  # it ended while we looked
            if comm.read_text().strip() == name:
                return True
    return False


def test_what_was_replaced_in_the_libraries_is_put_back_and_told():
    cheat = "import torch\ntorch.allclose = torch.isclose = lambda *_, **__: torch.tensor(True)\n"
    cheat += "def dice(p, t, squared=True, eps=0):\n    return torch.zeros(p.shape[:2])"
    sitting = run_one(cheat)
    assert "Replaced in the libraries, and put back before test-dice" in sitting.paper.happened[0]
    assert "torch.allclose" in sitting.paper.happened[0]
    assert "two halves that share a quarter" in printed(sitting, "test-dice")


def test_solutions_and_hidden_tests_cannot_be_read():
    source = f"import os\nprint(os.listdir({str(SOURCE)!r}))"
    file = handed_in(LAB, {"dice": source})
    (sitting,) = examine([paper_of("eve", LAB, file)], hidden=[SOURCE])
    if sitting.wall != "own namespaces":
        pytest.skip("this machine grants no namespaces")
    assert printed(sitting, "dice").startswith("[]")
