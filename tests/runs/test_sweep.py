"""Sweeps with real schedulers and worker processes, some of which are killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from dsnotes.runs import cluster
from dsnotes.runs.export import as_csv
from dsnotes.runs.paper_tables import published
from dsnotes.runs.results_io import read_json
from dsnotes.runs.source import open_source
from dsnotes.runs.sweep import TRIMMING, work
from dsnotes.runs.tables import compare

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kill -9 needs Unix")
PATIENCE = 300.0  # seconds, for a machine with other things to do


def dsnotes(*words: object, cwd: Path, **how: object) -> subprocess.Popen:
    """What it says goes to a file: a pipe would stay open as long as any of its workers."""
    log = tempfile.NamedTemporaryFile("w+", dir=cwd, suffix=".log", delete=False)  # noqa: SIM115
    command = [sys.executable, "-m", "dsnotes", *map(str, words)]
    process = subprocess.Popen(command, cwd=cwd, stdout=log, stderr=subprocess.STDOUT, **how)
    process.log = Path(log.name)
    log.close()
    return process


def finish(process: subprocess.Popen) -> str:
    process.wait(timeout=PATIENCE)
    return process.log.read_text(encoding="utf-8")


def until(true, what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE} s"
        time.sleep(0.05)


def done(runs: Path) -> dict[str, float]:
    return {path.parent.name: path.stat().st_mtime for path in runs.glob("*/result.json")}


def executions(runs: Path) -> int:
    """Every start of a run leaves the next number behind."""
    return sum(max(int(p.name.split(".")[1]) for p in folder.glob("lock.*.json")) for folder in runs.glob("*/"))


def write_sweep(tiny: Path, **more: object) -> Path:
    path = tiny.with_name("sweep.yml")
    path.write_text(
        "notebook: tiny.py\ntable: mss-2\nparameters: {wait: 0.3}\ngrid: {fold: [0, 1, 2]}\n"
        + "".join(f"{key}: {value}\n" for key, value in more.items()),
        encoding="utf-8",
    )
    return path


def expected(result) -> str:
    """The table as it follows from the notebook's formula, without a notebook."""
    for system, base in (("mss-unet", 0.90), ("classic-unet-3d", 0.80)):
        for fold in range(3):
            cases = {f"case{i}": {"dice_kidney": base + 0.01 * i} for i in range(fold, 9, 3)}
            folder = result(cases, system=system, fold=fold)
    return as_csv(compare("mss-2", folder))


def test_a_driver_that_is_killed_leaves_nothing_running_and_the_next_goes_on(tiny, result, tmp_path):
    sweep, out = write_sweep(tiny), tmp_path / "out"
    driver = dsnotes("sweep", sweep, "--workers", 2, "--out", out, cwd=tmp_path)
    until(lambda: len(done(out)) >= 2, "two runs")
    driver.kill()
    driver.wait()
    before = done(out)
    told = finish(dsnotes("sweep", sweep, "--workers", 2, "--out", out, cwd=tmp_path))
    now, earlier = map(int, re.search(r"6 runs: (\d) done now, (\d) before, 0 failed", told).groups())
    assert now + earlier == 6
    assert earlier >= len(before)
    assert {name: at for name, at in done(out).items() if name in before} == before, "a run was done again"
    assert executions(out) <= 6 + 2, "more than the two in flight were lost"
    assert as_csv(compare("mss-2", out)) == expected(result)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_is_said_without_a_traceback_and_nothing_is_left_running(tiny, tmp_path):
    """A terminal sends it to the driver and to its workers."""
    out = tmp_path / "out"
    words = ["sweep", write_sweep(tiny), "--workers", 1, "-p", "wait=60", "--out", out]
    driver = dsnotes(*words, cwd=tmp_path, start_new_session=True)
    until(lambda: list(out.glob("*/progress.txt")), "a run")
    descendants = psutil.Process(driver.pid).children(recursive=True)
    os.killpg(driver.pid, signal.SIGINT)
    said = finish(driver)
    assert driver.returncode == 130
    assert said.strip().startswith("dsnotes sweep: stopped; run the same command again to resume")
    assert "Traceback" not in said
    until(lambda: not any(one.is_running() for one in descendants), "an end")
    (begun,) = (line for line in compare("mss-2", out).missing if "started" in line)
    assert re.fullmatch(r"mss-unet: started \S+, not finished; the same command resumes it \(\S+\)", begun)


def test_a_worker_and_a_driver_of_a_real_cluster_are_killed(tiny, result, tmp_path):
    """Scheduler and two workers are processes of their own, as on a cluster."""
    address = tmp_path / "scheduler.json"
    quiet = {"cwd": tmp_path, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m", "dask"]
    scheduler = [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    worker = [*dask, "worker", "--scheduler-file", str(address), "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    started = [subprocess.Popen([*scheduler, "--scheduler-file", str(address)], **quiet)]
    try:
        started += [subprocess.Popen(worker, **quiet) for _ in range(2)]
        until(address.exists, "the scheduler")
        where = read_json(address)["address"]
        count = f"from distributed import Client; print(len(Client({where!r}).nthreads()))"
        ask = [sys.executable, "-c", count]
        until(lambda: subprocess.run(ask, capture_output=True, text=True).stdout.strip() == "2", "both workers")
        sweep, out = write_sweep(tiny), tmp_path / "out"
        driver = dsnotes("sweep", sweep, "--scheduler", where, "--out", out, cwd=tmp_path)
        until(lambda: done(out), "a run")
        started[1].kill()  # with its run
        until(lambda: len(done(out)) >= 3, "three runs")
        driver.kill()
        driver.wait()
        before = done(out)
        told = finish(dsnotes("sweep", sweep, "--scheduler", where, "--out", out, cwd=tmp_path))
        assert re.search(r"6 runs: \d done now, \d before, 0 failed", told), told
        assert {name: at for name, at in done(out).items() if name in before} == before, "a run was done again"
        assert executions(out) <= 6 + 3, "more than what was in flight was lost"
        assert as_csv(compare("mss-2", out)) == expected(result)
    finally:
        for process in started:
            process.send_signal(signal.SIGKILL)
            process.wait()


def test_two_sweeps_into_one_folder_share_the_work_and_a_failed_run_is_tried_twice(tiny, tmp_path):
    sweep, out = write_sweep(tiny, list="[{system: mss-unet}, {fail: no luck, wait: 0}]"), tmp_path / "out"
    both = [dsnotes("sweep", sweep, "--workers", 1, "--out", out, cwd=tmp_path) for _ in range(2)]
    told = [finish(process) for process in both]
    assert [process.returncode for process in both] == [1, 1]
    shared = [tuple(map(int, re.search(r"6 runs: (\d) done now, (\d) before, 3 failed", one).groups())) for one in told]
    assert [sum(one) for one in shared] == [3, 3]
    assert sum(now for now, _ in shared) == 3, "a run was done twice"
    for one in told:
        assert one.count("failed twice:") == 3
        assert "cell 4: ValueError: no luck" in one
    failures = list(out.glob("*/failure.json"))
    assert len(failures) == 3
    assert all(executions(path.parent.parent) >= 3 + 2 * 3 for path in failures)


def test_each_gpu_goes_to_one_worker(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 5")
    assert cluster.gpus_here() == ["2", "5"]
    started = {}

    class Seen:
        def __init__(self, **how):
            started.update(how)

    import distributed

    monkeypatch.setattr(distributed, "SpecCluster", Seen)
    cluster._local(None)
    assert [one["options"]["env"]["CUDA_VISIBLE_DEVICES"] for one in started["workers"].values()] == ["2", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert cluster.gpus_here() == []


def test_with_more_workers_than_gpus_they_take_turns(monkeypatch):
    import distributed

    started = {}
    monkeypatch.setattr(distributed, "SpecCluster", lambda **how: started.update(how))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    cluster._local(3)
    assert [one["options"]["env"]["CUDA_VISIBLE_DEVICES"] for one in started["workers"].values()] == [
        "GPU-a", "GPU-b", "GPU-a",
    ]  # fmt: skip


def test_real_workers_see_one_gpu_each(monkeypatch):
    """Of two GPUs that are only said to be there: what a worker's process has in its environment decides."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    with cluster.connected(None, None) as client:
        client.wait_for_workers(2, timeout=PATIENCE)
        seen = client.run(lambda: os.environ["CUDA_VISIBLE_DEVICES"])
    assert sorted(seen.values()) == ["2", "5"]


def test_a_run_keeps_the_memory_that_a_worker_gives_back(tiny, tmp_path):
    looks = f"\n# %%\nimport os\n\nassert {TRIMMING!r} not in os.environ\n"
    tiny.write_text(tiny.read_text(encoding="utf-8") + looks, encoding="utf-8")
    complete = open_source(tiny).check({})
    with cluster.connected(1, None) as client:
        assert client.run(lambda: TRIMMING in os.environ).popitem()[1], "else there is nothing to take away any more"
        state, error, _ = client.submit(work, tiny, complete, tmp_path / "runs", None, tmp_path).result(PATIENCE)
    assert (state, error) == ("done", "")


def test_the_driver_is_asked_where_nobody_names_gpus(monkeypatch, tmp_path):
    driver = tmp_path / "nvidia-smi"
    driver.write_text('#!/bin/sh\n[ "$1" = -L ] && echo "GPU 0: A (UUID: x)" && echo "GPU 1: B (UUID: y)"\n')
    driver.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert cluster.gpus_here() == ["0", "1"]
    driver.write_text("#!/bin/sh\nexit 9\n")  # a driver that does not answer
    assert cluster.gpus_here() == []


def test_the_tiny_notebook_is_a_row_of_the_table():
    assert set(published("mss-2").fillers) == {"mss-unet", "classic-unet-3d"}
