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


MEMORY = """
import os, resource, torch
from dsnotes.training import devices

def pages_cleared():  # that the system provides for a tensor of 64 MiB, more than glibc keeps by itself
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

pages_cleared()
outside = min(pages_cleared() for _ in range(5))
with devices.keep_freed_memory(torch.device("cpu")):
    pages_cleared()
    inside = min(pages_cleared() for _ in range(5))
    held = resident()
print(outside, inside, held - resident())
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc can be told to keep memory"
)
def test_memory_once_cleared_is_kept_until_the_run_ends():
    """In a process of its own: what others have left in the heap would be used first."""
    told = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True).stdout
    outside, inside, given_back = map(int, told.split())
    assert inside * 10 < outside
    assert given_back > 2**25
