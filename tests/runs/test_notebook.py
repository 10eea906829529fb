"""A run: the folder it leaves, done, failed, interrupted or out of space."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from dsnotes import runs
from dsnotes.runs import notebook as running
from dsnotes.runs.kernel import last_line
from dsnotes.runs.results_io import read_json

# jupyter_client announces its own future defaults; nothing of it is ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client")


def test_a_run_leaves_everything_in_one_folder_and_is_not_done_twice(tiny, tmp_path):
    told = []
    first = runs.run(tiny, {"seed": 2, "fold": 1}, out=tmp_path / "runs", tell=told.append)
    assert first.fresh
    assert first.folder.parent == tmp_path / "runs"
    assert first.folder.name.startswith("tiny-")
    kept = read_json(first.folder / "result.json")
    assert kept["parameters"]["seed"] == 2
    assert list(kept["cases"]) == ["case1", "case4", "case7"]
    assert kept["cases"]["case1"]["dice_kidney"] == pytest.approx(0.916)
    assert kept["about"] == {"system": "mss-unet", "dataset": "phantoms"}
    assert kept["device"] == "cpu"
    assert kept["peak_memory_mb"] > 10
    assert kept["seconds"] > 0
    assert set(kept["versions"]) >= {"python", "dsnotes"}
    assert any("waiting" in line for line in told)
    assert told[0].startswith("cell 1/")
    cells = json.loads((first.folder / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    assert "seed = 2" in "".join(cells[2]["source"])
    again = runs.run(tiny.with_suffix(".ipynb"), {"seed": 2, "fold": 1}, out=tmp_path / "runs")
    assert not again.fresh
    assert again.result == {key: value for key, value in kept.items() if key != "sha256"}
    assert not (first.folder / "begun.json").exists()


def test_a_failed_run_keeps_notebook_and_traceback_and_may_be_tried_again(tiny, tmp_path):
    with pytest.raises(runs.FailedError, match="cell 4: ValueError: no luck") as caught:
        runs.run(tiny, {"fail": "no luck"}, out=tmp_path)
    folder = caught.value.folder
    assert "raise ValueError(fail)" in caught.value.traceback
    assert read_json(folder / "failure.json")["traceback"] == caught.value.traceback
    assert "no luck" in (folder / "failed.ipynb").read_text(encoding="utf-8")
    assert not (folder / "result.json").exists()
    assert not (folder / "running.ipynb").exists()
    assert not (folder / "begun.json").exists()


def test_a_run_that_takes_too_long_is_ended_and_says_so(tiny, tmp_path):
    with pytest.raises(runs.FailedError, match="not done after 2 s: allow more with --timeout"):
        runs.run(tiny, {"wait": 60.0}, out=tmp_path, timeout=2)


def test_a_run_that_another_process_is_at_is_left_alone(tiny, tmp_path):
    source = runs.open_source(tiny)
    folder = running.folder_of(source, source.check({}), tmp_path)
    with running.locked(folder), pytest.raises(runs.BusyError, match="is being worked on"):
        runs.run(tiny, out=tmp_path)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOSPC, "no space left for .*free some and run the same command again"),
        (errno.EPERM, "cannot write to .*give a writable folder with --out"),
        (errno.EACCES, "cannot write to .*give a writable folder with --out"),
    ],
)
def test_a_disk_that_is_full_or_closed_is_said_in_one_line(tiny, tmp_path, monkeypatch, code, said):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(running, "execute", refuse)
    with pytest.raises(runs.RefusedError, match=said) as caught:
        runs.run(tiny, out=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full to write to")
def test_a_disk_that_fills_up_within_a_cell_is_no_failure_of_the_notebook(tiny, tmp_path):
    full = tiny.read_text(encoding="utf-8").replace("raise ValueError(fail)", "open(fail, 'w').write('a' * 99_999)")
    tiny.write_text(full, encoding="utf-8")
    with pytest.raises(runs.RefusedError, match="no space left for .*free some and run the same command again"):
        runs.run(tiny, {"fail": "/dev/full"}, out=tmp_path)
    [folder] = (path for path in tmp_path.iterdir() if path.is_dir())
    assert not (folder / "failure.json").exists()
    assert runs.run(tiny, out=tmp_path).fresh


def test_what_a_notebook_records_outside_of_a_run_is_only_shown(tmp_path, monkeypatch):
    monkeypatch.delenv("DSNOTES_RUN", raising=False)
    monkeypatch.chdir(tmp_path)
    assert runs.folder() is None
    assert "case1 | 0.500" in repr(runs.record({"case1": {"dice": 0.5}}))
    assert list(tmp_path.iterdir()) == []


def test_records_add_up_and_infinity_survives(tmp_path, monkeypatch):
    import numpy as np

    monkeypatch.setenv("DSNOTES_RUN", str(tmp_path))
    runs.record({"a": {"dice": np.float32(0.5), "hausdorff": np.inf}}, system="fcn")
    runs.record({"b": {"dice": 1}}, shape=np.array([1, 2]), folder=tmp_path)
    kept = running.read_metrics(tmp_path)
    assert float(kept["cases"]["a"]["hausdorff"]) == np.inf
    assert kept["cases"]["b"] == {"dice": 1}
    assert kept["about"] == {"system": "fcn", "shape": [1, 2], "folder": str(tmp_path)}
    with pytest.raises(TypeError, match="needs a number per case for 'side', got 'left'"):
        runs.record({"a": {"side": "left"}})
    with pytest.raises(TypeError, match="keeps numbers, text, lists and dicts"):
        runs.record(what=object())


def test_only_the_first_of_several_processes_keeps(tmp_path, monkeypatch):
    monkeypatch.setenv("DSNOTES_RUN", str(tmp_path))
    monkeypatch.setenv("RANK", "1")
    runs.record({"a": {"dice": 0.5}})
    assert list(tmp_path.iterdir()) == []


def test_a_path_is_meant_from_where_the_command_was_typed(tmp_path, monkeypatch):
    monkeypatch.setenv("DSNOTES_STARTED_FROM", str(tmp_path))
    assert runs.path("data/kits19") == tmp_path / "data" / "kits19"
    assert runs.path(str(tmp_path)) == tmp_path


def test_pictures_are_kept_as_files(tmp_path):
    from dsnotes.runs.pictures import keep_figures

    pixel = "iVBORw0KGgo="
    shown = [{"data": {"image/png": pixel}}, {"data": {"text/plain": "x"}}, {"data": {"image/svg+xml": ["<svg", "/>"]}}]
    names = keep_figures({"cells": [{"cell_type": "markdown"}, {"outputs": shown}]}, tmp_path / "figures")
    assert names == ["01-1.png", "01-2.svg"]
    assert (tmp_path / "figures" / "01-1.png").read_bytes().startswith(b"\x89PNG")


def test_the_commit_is_kept_with_a_mark_where_files_were_changed(tmp_path):
    def git(*words):
        return subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words],
            cwd=tmp_path, check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip

    assert running._commit(tmp_path) is None or (tmp_path / ".git").exists()
    git("init", "-q")
    (tmp_path / "a").write_text("1", encoding="utf-8")
    git("add", "a")
    git("commit", "-qm", "a")
    assert running._commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "a").write_text("2", encoding="utf-8")
    assert running._commit(tmp_path) == git("rev-parse", "HEAD") + "+"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("one\ntwo\n", "two"),
        ("10%\r20%\r", "20%"),
        ("| epoch | loss |\n| --: | --: |\n| 2 | 0.5 |", "epoch 2, loss 0.5"),
        ("<IPython.core.display.Image object>", ""),
        ("", ""),
    ],
)
def test_the_line_beside_the_clock_is_what_was_said_last(text, said):
    assert last_line(text) == said


RESTS_IN_ITS_LAST_ANSWER = """
kernel = get_ipython().kernel
answer = kernel.shell_handlers["kernel_info_request"]


async def slowly(*message):
    await answer(*message)
    time.sleep(0.5)


kernel.shell_handlers["kernel_info_request"] = slowly
"""


def test_a_kernel_that_is_through_goes_without_a_word(tiny, tmp_path, capfd):
    """However slow the machine: interrupted as it answers, ipykernel would call it an error, at the terminal."""
    tiny.write_text(tiny.read_text(encoding="utf-8") + RESTS_IN_ITS_LAST_ANSWER, encoding="utf-8")
    assert runs.run(tiny, out=tmp_path).fresh
    assert "IPKernelApp" not in capfd.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is a signal on Unix")
@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_the_kernel_before_the_command_ends(tiny, tmp_path):
    """Nothing is left running, and nothing but one line is said."""
    tiny.write_text(tiny.read_text(encoding="utf-8").replace('print("waiting")', 'open("waiting", "w").close()'))
    command = [sys.executable, "-m", "dsnotes", "run", str(tiny), "-p", "wait=60"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "waiting").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        kernels = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGINT)
        said = [line for line in process.stderr.read().splitlines() if line and "  cell 1/" not in line]
    assert process.returncode == 130
    assert said == ["dsnotes run: stopped; run the same command again to resume"]
    assert len(kernels) == 1
    assert not kernels[0].is_running()


STOPPED_AS_IT_COMES_UP = """
import sys

import psutil
from jupyter_client.asynchronous import AsyncKernelClient

from dsnotes.cli import main


async def interrupted(*_, **__):
    raise KeyboardInterrupt


AsyncKernelClient.wait_for_ready = interrupted
print(main(["run", sys.argv[1]]), psutil.Process().children())
"""


def test_ctrl_c_as_the_kernel_comes_up_leaves_none(tiny, tmp_path):
    command = [sys.executable, "-c", STOPPED_AS_IT_COMES_UP, str(tiny)]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert said.stdout == "130 []\n"
    assert said.stderr.strip() == "dsnotes run: stopped; run the same command again to resume"
