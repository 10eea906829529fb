"""What only a GPU can show; skipped elsewhere."""

import math
import re

import pytest
import torch

from dsnotes.training.batches import pinned
from dsnotes.training.fit import fit
from dsnotes.training.memory import Meter, allowed_share
from dsnotes.training.metric_accumulator import MetricAccumulator
from dsnotes.training.sizes import TooLargeError

pytestmark = pytest.mark.gpu


def test_stopping_changes_no_bit_on_a_gpu_either(tiny, discs, tmp_path):
    how = {"progress": False, "augment": True}
    straight, resumed = tiny(epochs=4), tiny(epochs=4)
    fit(straight, discs(6), **how)
    fit(resumed, discs(6), out=tmp_path, on_epoch=lambda history: len(history) == 2, **how)
    history = fit(resumed, discs(6), out=tmp_path, **how)
    assert "bfloat16" in history.notes[0]
    torch.testing.assert_close(resumed.network.state_dict(), straight.network.state_dict(), rtol=0, atol=0)


def test_a_nan_is_named_although_no_step_waits():
    ledger = MetricAccumulator(2, look_every=4)
    values = torch.ones(40, device="cuda")
    values[16:] = math.nan

    def train() -> None:
        for value in values:
            ledger.add({"dice": value, "loss": value})
        ledger.means()

    with pytest.raises(FloatingPointError, match="epoch 2, step 17: the term 'dice' became nan"):
        train()


def test_batches_wait_in_pinned_memory():
    batch = pinned({"image": torch.ones(2, 1, 4, 4)}, torch.device("cuda"))
    assert batch["image"].is_pinned()


def test_a_step_under_a_cap_is_refused_with_sizes_that_do_fit(tiny, discs):
    data = discs(2, size=512)
    with pytest.raises(TooLargeError) as caught:
        fit(tiny(epochs=1), data, batch=256, memory=0.5, progress=False)
    batch, accumulate = re.search(r"batch=(\d+), accumulate=(\d+) \(", str(caught.value)).groups()
    assert int(batch) * int(accumulate) == 256
    history = fit(
        tiny(epochs=1), data, batch=int(batch), accumulate=int(accumulate), memory=0.5, iterations=1, progress=False
    )
    said = next(note for note in history.notes if note.startswith("a step takes"))
    assert float(said.split()[3]) < 0.5
    assert allowed_share(torch.device("cuda", 0)) == 1


def test_the_meter_that_serves_a_cpu_agrees_with_the_gpus_own_allocator(tiny, discs):
    """Within what an allocator rounds up and a convolution's workspace takes."""
    system = tiny(batch=8)
    system.network.cuda()
    batch = {"image": torch.randn(8, 1, 512, 512).cuda(), "label": torch.zeros(8, 512, 512, dtype=torch.long).cuda()}
    step = system.make_step(system, system.settings)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    with Meter() as meter:
        step(batch)
    assert meter.highest == pytest.approx(torch.cuda.max_memory_allocated() - before, rel=0.25)
