"""Two real processes started by torchrun; what they check stands in two_processes.py."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dsnotes.training import devices
from dsnotes.training.devices import World
from dsnotes.training.history import History


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch has no distributed package")
@pytest.mark.skipif(sys.platform == "win32", reason="torchrun's rendezvous needs libuv, which Windows wheels lack")
def test_two_gloo_processes_train_as_one(tmp_path):
    here = Path(__file__).parent
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(here / "two_processes.py"), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(here.parents[1]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert (tmp_path / "done-0").exists()
    assert (tmp_path / "done-1").exists()
    assert len(History.read(tmp_path / "run" / "history.jsonl")) == 2
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        ".lock", "best.pt", "checkpoint.previous.pt", "checkpoint.pt", "history.jsonl", "settings.json",
    ]  # fmt: skip
    said = done.stdout + done.stderr
    assert said.count("does not pay off for steps this small") == 2, "the first process alone speaks, once a run"


def test_one_process_is_alone_and_pays_nothing(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    assert devices.world_from_env() == World(0, 1, 0)
    module = torch.nn.Linear(1, 1)
    assert devices.parallel(module, lambda: 1 / 0) is module
    assert devices.average({"loss": 0.1}, torch.device("cpu")) == {"loss": 0.1}
    assert devices.from_first("mine") == "mine"


def test_torchrun_says_which_process_this_is(monkeypatch):
    told = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert devices.world_from_env() == World(rank=3, size=4, local=1)
    assert not devices.world_from_env().first


def pages_cleared_for(size: int, times: int = 5) -> int:
    """Pages that the system provides while a tensor of so many bytes is made and freed again and again."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(size // 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc can be told to keep memory"
)
def test_memory_once_cleared_is_kept_until_the_run_ends():
    size = 2**26  # more than glibc keeps by itself
    with devices.memory_kept(torch.device("cpu")):
        pages_cleared_for(size, times=2)
        inside = pages_cleared_for(size)
        held = resident()
    assert inside * 10 < pages_cleared_for(size)
    assert resident() < held - size / 2, "given back"


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
