"""Whether a step fits is known before the first one, and what is recommended instead does fit."""

import re
from dataclasses import replace

import pytest
import torch

from dsnotes.supervision.plain import Plain
from dsnotes.training import sizes
from dsnotes.training.fit import fit
from dsnotes.training.gradnorm_step import GradNormStep
from dsnotes.training.memory import Meter
from dsnotes.training.sizes import Sizes, TooLargeError, fewer_at_a_time, smaller_patches

QUIET = {"progress": False, "device": "cpu", "amp": False}


def ask(discs, system, *, gigabytes: float, **how):
    return fit(system, discs(8, size=32), epochs=1, memory=gigabytes, **QUIET, **how)


def needed(discs, system, **how) -> float:
    """Gigabytes, as `fit` says them."""
    (said,) = ask(discs, system, gigabytes=100, **how).notes[1:]
    return float(re.fullmatch(r"a step takes (\S+) of 100 GB", said)[1])


def test_what_fit_says_is_the_steps_own_peak(tiny, discs):
    """Counted here by hand over a real step: the weights were there before, all else is made inside."""
    system = tiny(batch=8)
    said = needed(discs, tiny(batch=8))
    cases = [torch.from_numpy(case.image) for case in discs(8, size=32)]
    batch = {"image": torch.stack(cases)[:, None], "label": torch.ones(8, 32, 32, dtype=torch.long)}
    with Meter() as meter:
        system.make_step(system, system.settings)(batch)
    weights = sum(p.nbytes for p in system.network.parameters())
    assert said == pytest.approx((meter.highest + weights) / 1e9, rel=0.05)


def test_more_samples_take_more_and_computing_again_takes_less(tiny, discs):
    few, many = needed(discs, tiny(batch=2)), needed(discs, tiny(batch=8))
    assert many > 2 * few
    assert needed(discs, tiny(batch=8), checkpointing=True) < 0.8 * many
    assert needed(discs, tiny(batch=2, accumulate=4)) < 1.3 * few


def test_a_step_that_does_not_fit_is_refused_with_sizes_that_do(tiny, discs):
    room = 0.6 * needed(discs, tiny(batch=8))
    system = tiny(batch=8)
    before = [p.clone() for p in system.network.parameters()]
    with pytest.raises(TooLargeError) as caught:
        ask(discs, system, gigabytes=room)
    said = str(caught.value)
    assert said.startswith("a step of patch=(32, 32), batch=8, accumulate=1 does not fit into the ")
    assert f"GB that memory={room} allows. These do: patch=(32, 32), batch=" in said
    torch.testing.assert_close(list(system.network.parameters()), before, rtol=0, atol=0)

    recommended = re.findall(r"patch=\((\d+), (\d+)\), batch=(\d+), accumulate=(\d+)(, checkpointing=True)?", said)[1:]
    assert len(recommended) == 3
    assert recommended[-1][:3] != ("32", "32", "8"), "the last one is a smaller patch"
    assert recommended[-1][2:] == ("8", "1", "")
    for height, width, batch, accumulate, again in recommended:
        how = {"patch": (int(height), int(width)), "batch": int(batch), "accumulate": int(accumulate)}
        ask(discs, tiny(), gigabytes=room, checkpointing=bool(again), **how)
    assert {int(b) * int(a) for h, w, b, a, _ in recommended if (h, w) == ("32", "32")} == {8}


def test_where_nothing_fits_the_network_is_to_blame(tiny, discs):
    with pytest.raises(TooLargeError, match=r"Nothing smaller does: build it narrower, width=…\.$"):
        ask(discs, tiny(batch=8), gigabytes=1e-5)
    with pytest.raises(ValueError, match=r"memory=0 GB hold nothing\. Pass a positive number"):
        ask(discs, tiny(), gigabytes=0)


def test_the_dry_step_leaves_no_trace(tiny, discs):
    """Also where the step keeps a state of its own, as GradNorm does."""
    ends = []
    for limit in (None, 100):
        torch.manual_seed(3)
        system = replace(tiny(), make_step=GradNormStep)
        history = fit(system, discs(4), epochs=2, memory=limit, **QUIET)
        ends.append((history.column("loss"), list(system.network.state_dict().values()), torch.rand(3)))
    torch.testing.assert_close(*ends, rtol=0, atol=0)


def test_small_steps_are_not_tried_on_a_cpu(tiny, discs, monkeypatch):
    monkeypatch.setattr(sizes, "step_bytes", lambda *a, **k: pytest.fail("a dry step"))
    monkeypatch.setattr(sizes, "free", lambda device: 10_000_000_000)
    assert fit(tiny(), discs(4), epochs=1, **QUIET).notes[1:] == []


def test_large_ones_are_and_answered_with_what_is_free(tiny, discs, monkeypatch):
    monkeypatch.setattr(sizes, "free", lambda device: 1_000_000)
    with pytest.raises(TooLargeError, match=r"does not fit into the 0\.001 GB that cpu has free\."):
        fit(tiny(), discs(4), epochs=1, batch=32, **QUIET)
    monkeypatch.setattr(sizes, "free", lambda device: None)
    assert fit(tiny(), discs(4), epochs=1, **QUIET).notes[1:] == []


def test_a_patch_that_cannot_be_trained_on_is_not_recommended(tiny, discs):
    class OneSize(Plain):
        def __call__(self, network, batch):
            if batch["image"].shape[-2:] != (32, 32):
                raise ValueError("made for 32 × 32")
            return super().__call__(network, batch)

    room = 0.3 * needed(discs, tiny(OneSize(), batch=1))
    with pytest.raises(TooLargeError) as caught:
        ask(discs, tiny(OneSize(), batch=1), gigabytes=room)
    assert "16" not in str(caught.value).partition("These do")[2]


def test_the_ways_to_need_less_start_with_the_mildest():
    asked = Sizes((48, 64), 6, 2, checkpointing=False)
    assert [(s.batch, s.accumulate) for s in fewer_at_a_time(asked)] == [(3, 4), (1, 12)]
    assert [s.patch for s in smaller_patches(asked, (16, 16))] == [(48, 32), (32, 32), (16, 32), (16, 16)]
