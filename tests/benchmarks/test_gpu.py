"""The GPU's benchmark runs on a CPU too, at sizes that show nothing else; on a GPU its verdicts are tested."""

from __future__ import annotations

import importlib
import os
import re
import signal
import sys
import time
from types import SimpleNamespace

import gpu
import gpu_correct
import gpu_peer
import gpu_speed
import pytest
import torch
from gpu_systems import OWN, SUBJECTS, Scale, batch_for, system_for
from gpu_worker import Job, Worker

from dsnotes.papers import msds_unet, mss_unet, mu_net
from dsnotes.supervision import loss_terms

TINY, FULL = Scale(tiny=True), Scale(tiny=False)
JOBS = [
    pytest.param(
        section, job, id=f"{section.title}, {job.about}",
        marks=[pytest.mark.slow] if section.title == "Many" else [],  # it starts two processes more
    )
    for section in gpu.sections("cpu", TINY)
    for job in section.jobs[:1]  # one system each: the others differ in their numbers
]  # fmt: skip


@pytest.mark.parametrize(("section", "job"), JOBS)
def test_every_section_runs(section, job, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda forward, mode=None: forward)  # a compiler takes minutes
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    module, name = job.call.split(":")
    rows = list(getattr(importlib.import_module(module), name)(**job.arguments))
    assert rows
    for row in rows:
        assert len(row) == len(section.columns)
        assert "**" not in "".join(map(str, row)), "a verdict that says it is wrong"


def test_the_papers_sizes_are_theirs():
    """DSNet's 256² is the grid that its mask is found on; from images of 64²."""
    for key, settings in (("mss", mss_unet.SETTINGS), ("msds", msds_unet.SETTINGS), ("mu", mu_net.SETTINGS)):
        assert (SUBJECTS[key].patch, SUBJECTS[key].batch) == (settings.patch, settings.batch)
    small = system_for(SUBJECTS["dsnet"], width=2, critic_width=2, small=True)
    fine = small.network(batch_for(small.settings, samples=1)["image"]).fine
    assert fine.shape[-1] == 4 * small.settings.patch[-1]


@pytest.mark.parametrize("quick", [False, True])
def test_the_full_plan_names_every_own_system_and_both_sizes_of_dsnet(quick):
    plan = {section.title: section for section in gpu.sections("cuda:0", Scale(tiny=False, quick=quick))}
    assert [job.arguments["key"] for job in plan["Correct: one step"].jobs] == list(OWN)
    timed = [job.arguments["key"] for job in plan["Fast: a step"].jobs]
    assert set(timed) <= set(SUBJECTS)
    assert quick or {"dsnet", "dsnet16"} <= set(timed)


def test_a_way_that_fails_is_a_row_and_the_next_way_has_its_turn(monkeypatch):
    def one_way(subject, device, scale, **how):
        if how.get("channels_last"):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        if how.get("deterministic"):
            raise TypeError("no such kernel\nand a long story")
        return {"seconds": 0.5, "bytes": 2_000_000_000, "loss": 1.0 if how.get("checkpointing") else 2.0}

    monkeypatch.setattr(gpu_speed, "one_way", one_way)
    monkeypatch.setattr(gpu_speed, "counted", lambda *given: 10**12)
    rows = {row[1]: row[2:] for row in gpu_speed.ways("mss", "cpu", TINY, compiled=False)}
    assert rows["bfloat16"] == ["500", "2", "2", "2", "unknown card", "2.0000"]
    assert rows["bfloat16, channels last"][0] == "out of memory"
    assert rows["bfloat16, deterministic"][0] == "TypeError: no such kernel"
    assert rows["bfloat16, checkpointing"][-1] == "1.0000 **(another)**"
    monkeypatch.setattr(
        gpu_speed, "one_way", lambda *given, **how: (_ for _ in ()).throw(RuntimeError("CUDA error: x"))
    )
    with pytest.raises(RuntimeError, match="CUDA error"):
        list(gpu_speed.ways("mss", "cpu", TINY, compiled=False))


def test_a_gradient_that_is_wrong_is_called_so(monkeypatch):
    true = gpu_correct.stepped

    def stepped(system, batch, device, dtype, **how):
        loss, gradients, weights = true(system, batch, device, dtype, **how)
        return loss, gradients * (1.02 if dtype == torch.float32 and not how.get("amp") else 1), weights

    monkeypatch.setattr(gpu_correct, "stepped", stepped)
    verdicts = {row[1]: row[-1] for row in gpu_correct.one_step("mu", "cpu", TINY)}
    assert verdicts["float32"] == "**too far**: loss ≤ 0.0001, gradients ≤ 0.01"
    assert verdicts["bfloat16"] == "as it should be"


@pytest.mark.parametrize(
    ("card", "peak"),
    [
        ("NVIDIA H200", 989), ("NVIDIA H100 80GB HBM3", 989), ("NVIDIA H100 PCIe", 756), ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA GeForce RTX 4090", 165), ("NVIDIA L4", 121), ("NVIDIA L40S", 362), ("Tesla T4", None),
    ],
)  # fmt: skip
def test_the_data_sheet_is_the_cards_own(card, peak):
    assert gpu_speed.peak_tflops(card) == peak


def test_operations_are_those_counted_by_hand():
    """µ-Net's first convolution alone is 9 · 4 multiply-adds a pixel; forward and backward of all, three times more."""
    flops = gpu_speed.counted(SUBJECTS["mu"], torch.device("cpu"), TINY)
    first = 2 * 9 * 4 * 32 * 32 * 2
    assert 50 * first < flops < 5000 * first


def test_nnunets_own_step_is_the_peer_where_it_is_installed(monkeypatch):
    """A module that stands for it, with a step that does what theirs does to the trainer's parts."""
    steps = []

    class nnUNetTrainer:  # noqa: N801
        def train_step(self, batch):
            data, target = batch["data"].to(self.device), batch["target"].to(self.device)
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.loss(self.network(data), target)
            assert self.grad_scaler is None
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 12)
            self.optimizer.step()
            steps.append(loss.item())

    inside = "nnunetv2.training.nnUNetTrainer.nnUNetTrainer"
    for end in range(1, 5):
        monkeypatch.setitem(sys.modules, ".".join(inside.split(".")[:end]), SimpleNamespace(__path__=[], __spec__=None))
    monkeypatch.setitem(sys.modules, inside, SimpleNamespace(nnUNetTrainer=nnUNetTrainer))
    monkeypatch.setattr(gpu_peer.importlib.util, "find_spec", lambda name: object())
    ((_, name, *_),) = gpu_peer.against_peer("mss", "cpu", TINY)
    assert name == "nnU-Net's `train_step`"
    assert steps[-1] < steps[0]


def test_the_peer_computes_the_same_loss():
    system = system_for(SUBJECTS["msds"], width=4, small=True)
    batch = batch_for(system.settings)
    system.network.train()
    ours = sum(loss_terms(system.objective, system.network, batch).values())
    theirs = gpu_peer.loss_of(system, system.network(batch["image"]), batch["label"])
    torch.testing.assert_close(theirs, ours)


def rows_of(worker: Worker, name: str, seconds: float = 120.0) -> list:
    return list(worker.rows(Job("a system", f"misbehaving:{name}"), seconds))


@pytest.fixture
def worker(tmp_path, monkeypatch):
    (tmp_path / "misbehaving.py").write_text(MISBEHAVING)
    monkeypatch.syspath_prepend(tmp_path)  # which a spawned process is told
    made = Worker(quiet=True)
    yield made
    made.stop()


MISBEHAVING = """
import os, time
def fine():
    yield ["a system", 1]
    yield ["a system", os.getpid()]
def full():
    import torch
    yield ["a system", "before"]
    raise torch.OutOfMemoryError("CUDA out of memory.")
def wrong():
    raise RuntimeError("CUDA error: an illegal memory access")
    yield
def dies():
    yield ["a system", "before"]
    os._exit(3)
def hangs():
    yield ["a system", os.getpid()]
    time.sleep(600)
"""


def test_what_goes_wrong_is_a_row_and_the_next_job_runs(worker):
    _, (_, first) = rows_of(worker, "fine")
    assert rows_of(worker, "full") == [["a system", "before"], ["a system", "out of memory: CUDA out of memory."]]
    assert rows_of(worker, "fine")[1][1] == first, "one process for all of them"
    assert rows_of(worker, "dies") == [["a system", "before"], ["a system", "its process ended with exit code 3"]]
    assert rows_of(worker, "wrong") == [["a system", "RuntimeError: CUDA error: an illegal memory access"]]
    assert worker.process is None, "a broken CUDA context computes nothing any more"


@pytest.mark.skipif(os.name != "posix", reason="asks a process whether it lives")
def test_what_takes_too_long_is_stopped_with_its_process(worker):
    (_, process), row = rows_of(worker, "hangs", seconds=1.0)
    assert row == ["a system", "stopped after 1 s"]
    for _ in range(100):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        os.kill(process, signal.SIGKILL)
        pytest.fail("it lives on")


def test_the_file_is_whole_after_every_row_and_says_what_there_was_no_time_for(tmp_path):
    """A worker that takes all the time of the first of two jobs."""
    plan = [
        gpu.Section("First", "Says.", ["system", "figure", "verdict"], [Job("one", "x:y"), Job("two", "x:y")], 1.0),
        gpu.Section("Second", "Says.", ["system", "figure"], [Job("three", "x:y")], 1.0),
    ]
    written = []

    class Slow:
        def rows(self, job, seconds):
            yield [job.about, "7"]
            time.sleep(0.7)

    gpu.measure(plan, Slow(), 1 / 60, lambda text: written.append("\n\n".join(text)))
    assert "| one | 7 |  |" in written[0]
    assert "| two | not run: the time was spent |  |" in written[1]
    assert "| three | 7 |" in written[-1]
    assert written[-1].startswith("### First\n\nSays.\n\n| system | figure | verdict |")


def test_the_script_writes_a_table(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TORCH_COMPILE_DISABLE", "1")  # as the script has it, and given back to the tests after this one
    out = tmp_path / "gpu-cpu.md"
    gpu.main(["--device", "cpu", "--only", "augmentation", "--out", str(out)])
    text = out.read_text(encoding="utf-8")
    assert re.search(r"`python benchmarks/gpu.py --device cpu .*`, \d{4}-\d\d-\d\d\.", text)
    assert "**No GPU" in text
    assert text.count("| equal |") == 2
    assert "### Correct: augmentation" in text
    assert f"written to {out}" in capsys.readouterr().out


@pytest.mark.gpu
@pytest.mark.parametrize("key", OWN)
def test_a_gpu_computes_what_a_cpu_computes(key):
    rows = list(gpu_correct.one_step(key, "cuda:0", FULL))
    assert [row[-1] for row in rows] == ["as it should be"] * 3, rows


@pytest.mark.gpu
@pytest.mark.parametrize("dims", [2, 3])
def test_a_gpu_augments_as_a_cpu_does(dims):
    ((*_, verdict),) = gpu_correct.augmented(dims, "cuda:0", FULL)
    assert verdict == "equal"


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:.*deterministic")
@pytest.mark.parametrize("key", ["msds", "dsms", "mu"])
def test_a_run_resumed_on_a_gpu_is_the_same(key):
    rows = list(gpu_correct.resumed(key, "cuda:0", FULL))
    assert [row[-1] for row in rows] == ["to the last bit"] * 2, rows
