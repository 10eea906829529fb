"""µ-Net's stopping rule with its ε = 1 rewards a network that marks nothing; `stop_dice` waits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import dsnotes
from dsnotes.data import phantoms
from dsnotes.papers.protocol import under
from dsnotes.training.validate import metrics


def test_silence_has_a_perfect_ppv_and_the_first_marks_lose_it():
    """Eq. 14 on 400 true voxels: (TP, marked, true)."""
    silent, first = (metrics(torch.tensor([[tp], [marked], [400]])) for tp, marked in ((0, 0), (5, 50)))
    means = [float(torch.stack([value.mean() for value in found.values()]).mean()) for found in (silent, first)]
    assert float(silent["ppv"]) == 1
    assert means[0] > 0.25 > means[1]


@pytest.fixture(scope="module")
def runs() -> dict[tuple[int, float], object]:
    """A U-Net under µ-Net's recipe, at its rate; three seeds, with the guard and without."""
    cases = phantoms.nodules(24, seed=0)
    found = {}
    for seed in range(3):
        for guard in (0.0, 0.1):
            torch.manual_seed(seed)
            system = under(dsnotes.build("unet-2d", width=2), "mu-net-brats")
            settings = replace(system.settings, patch=(64, 64), batch=4, epochs=6, stop_dice=guard)
            found[seed, guard] = dsnotes.fit(
                system, cases[:16], cases[16:], settings=settings, seed=seed, progress=False, device="cpu", amp=False
            )
    return found


def test_the_rule_as_printed_ends_runs_that_segment_nothing(runs):
    for seed in range(3):
        literal = runs[seed, 0.0]
        assert literal.stopped == "stop='twice_best'"
        assert len(literal) < 6
        assert max(literal["val_dice"]) < 0.1, "it ended before anything was segmented"


def test_the_guard_lets_them_go_on(runs):
    for seed in range(3):
        guarded = runs[seed, 0.1]
        assert len(guarded) > len(runs[seed, 0.0])
        assert guarded.stopped == "epochs" or max(guarded["val_dice"]) >= 0.1
