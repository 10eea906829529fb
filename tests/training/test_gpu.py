"""What only a GPU can show; skipped elsewhere."""

import math

import pytest
import torch

from dsnotes.training.batches import pinned
from dsnotes.training.fit import fit
from dsnotes.training.history import MetricAccumulator

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


def test_a_step_that_does_not_fit_is_answered_with_sizes_to_try(tiny, discs):
    torch.cuda.set_per_process_memory_fraction(0.01)
    try:
        with pytest.raises(torch.OutOfMemoryError, match=r"has too little memory for .*Try batch=128, accumulate=2"):
            fit(tiny(epochs=1), discs(2, size=512), batch=256, progress=False)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
