"""The attempts of `dsnotes.labs.escapes` in a real sandbox, and what a submission's end does to the next one."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from coursework import LABS, ROOT, graded, handed_in, real

from dsnotes.cli import main
from dsnotes.labs.channel import Channel, EndedError
from dsnotes.labs.doctor import try_escapes, try_malformed
from dsnotes.labs.escapes import ESCAPES, MALFORMED, readme_table
from dsnotes.labs.sandbox import Limits, Sandbox, choose
from dsnotes.runs.source import RefusedError

LAB = LABS["lab1_dice"]


def test_no_attempt_gets_through():
    assert {tried.name: tried.through for tried in try_escapes(real()) if tried.through} == {}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_answer_ends_its_own_submission(name):
    assert try_malformed(real(), name).through == []


def test_the_bait_is_real():
    """Without a sandbox the same attempts get through: a test that nothing can fail would show nothing."""
    reading = [each for each in ESCAPES if each.name.startswith(("connect", "reach", "write to a FIFO", "read"))]
    found = {tried.name: tried.through for tried in try_escapes(Sandbox("none"), reading)}
    assert all(found[each.name] for each in reading)
    assert "a socket was connected" in found[reading[0].name]
    assert "TCP was connected" in found[reading[1].name]
    assert "a FIFO was written" in found[reading[2].name]


def test_the_next_one_is_graded_as_if_nothing_had_been():
    endless = "import time\nwhile True:\n    try:\n        time.sleep(600)\n    except BaseException: pass"
    files = {"endless": endless, "gone": "import os; os._exit(0)", "bomb": "x = bytearray(8 << 30)"}
    ran = graded(
        LAB, {k: handed_in(LAB, {"dice": v}) for k, v in files.items()}, limits=Limits(seconds=25, cell_seconds=2)
    )
    good = graded(LAB, {"good": handed_in(LAB)})["good"]
    assert "In dice the process ended: " in ran["endless"].notes[0]
    assert "it was gone" in ran["gone"].notes[0]
    assert "MemoryError" in ran["bomb"].notes[0]
    assert ran["endless"].messages["test-dice"] == "not run"
    assert (good.points, good.notes) == (LAB.tests, [])


def test_a_loop_that_does_not_end_costs_its_own_tests_only():
    loop = LAB.cells["best"]["source"].replace("    target, tried", "    while True: pass\n    target, tried")
    attempt = graded(LAB, {"ada": handed_in(LAB, {"best": loop})}, limits=Limits(cell_seconds=1))["ada"]
    assert "is there a loop that does not end?" in attempt.messages["test-best"]
    assert {name for name, points in attempt.points.items() if points < LAB.tests[name]} == {"test-best"}


def test_the_watchdog_ends_what_the_limits_of_a_process_do_not():
    with Channel(Sandbox("none"), Limits(memory_mb=200, file_mb=1, cell_seconds=20)) as channel:
        with pytest.raises(EndedError, match="MB of memory, more than its limit"):
            channel.ask("run", name="hold", source="import time\nheld = bytes(range(256)) * (4 << 20)\ntime.sleep(20)")
        assert channel.process.wait(10) != 0


def test_the_readme_says_what_the_attempts_say():
    assert readme_table() in (ROOT / "notebooks" / "labs" / "README.md").read_text("utf-8")


def test_without_a_sandbox_nothing_is_graded(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in" / "ada").mkdir(parents=True)
    (tmp_path / "in" / "ada" / f"{LAB.name}.ipynb").write_bytes(handed_in(LAB))
    monkeypatch.setenv("PATH", str(tmp_path))
    for words in (["grade", "in"], ["doctor"], ["grade", "in", "--sandbox", "podman", "--image", "x"]):
        assert main(["labs", *words]) == 2
        said = capsys.readouterr().err
        assert "is not installed, so nothing was graded: install bubblewrap" in said
        assert "--unsafe-no-sandbox" in said
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho no namespaces here >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    with pytest.raises(RefusedError, match="bubblewrap does not start here .no namespaces here."):
        choose()


def test_a_container_has_no_network_no_rights_and_bounded_memory():
    command = Sandbox("docker", "/usr/bin/docker", "lab").command(Limits(), ("networks",), "label")
    text = " ".join(command)
    for flags in ("--network none", "--read-only", "--cap-drop ALL", "--pids-limit 64", "--name label", "--ipc none"):
        assert flags in text
    assert "--memory 2048m --memory-swap 2048m" in text
    assert "dsnotes/networks:/opt/lab/dsnotes/networks:ro" in text
    assert "dsnotes/losses" not in text
    assert command[command.index("lab") + 1] == "python"


def test_ending_a_container_ends_it_at_the_engine(tmp_path):
    log = tmp_path / "log"
    engine = tmp_path / "docker"
    engine.write_text(f"#!/bin/sh\necho $1 $2 >> {log}\n")
    engine.chmod(0o755)
    with pytest.raises(RuntimeError, match="nothing was graded"):
        Channel(Sandbox("docker", str(engine), "image"), Limits())
    assert log.read_text().splitlines()[1].startswith("kill dsnotes-lab-")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_grader_leaves_no_worker_behind(tmp_path):
    """bubblewrap dies with its parent, and with it everything inside."""
    real()
    source = (
        "from coursework import *\nfrom dsnotes.labs.channel import Channel\nimport time\n"
        "c = Channel(real(), Limits()); print(c.process.pid, flush=True); time.sleep(60)"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "labs")])
    grader = subprocess.Popen(
        [sys.executable, "-c", source], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}
    )
    pid = int(grader.stdout.readline())
    assert os.path.exists(f"/proc/{pid}")
    grader.kill()
    grader.communicate()
    until = time.monotonic() + 20
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < until:
        time.sleep(0.1)
    assert not os.path.exists(f"/proc/{pid}")
