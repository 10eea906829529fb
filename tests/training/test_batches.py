"""Which batch comes hangs on (seed, epoch, iteration); when it is drawn, on the threads."""

import threading
import time
from collections import Counter
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import torch

from dsnotes.data.augment import Augmentation, apply, draw
from dsnotes.data.case import Case
from dsnotes.data.patches import draw_batch
from dsnotes.training.batches import Draw, for_validation, prefetched, seed_of
from dsnotes.training.devices import World
from dsnotes.training.settings import Settings

CPU = torch.device("cpu")
SETTINGS = Settings(patch=(8, 8), batch=2, accumulate=2, foreground=1 / 3)


def test_neighbouring_moments_have_nothing_in_common():
    seeds = {seed_of(s, r, e, i) for s in range(3) for r in range(3) for e in range(1, 5) for i in range(50)}
    assert len(seeds) == 3 * 3 * 4 * 50
    assert seed_of(1, 0, 2, 3) == seed_of(1, 0, 2, 3)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_batch_is_that_of_its_moment_whoever_asks_and_when(discs):
    make = Draw(discs(5), SETTINGS, 2, Augmentation(p_rotation=1.0), 0, 0, CPU)
    later, first = make(2, 7)[0], make(1, 0)[0]
    again = Draw(discs(5), SETTINGS, 2, Augmentation(p_rotation=1.0), 0, 0, CPU)
    torch.testing.assert_close(again(1, 0)[0], first, rtol=0, atol=0)
    torch.testing.assert_close(again(2, 7)[0], later, rtol=0, atol=0)
    for other in (replace(make, seed=1), replace(make, rank=1)):
        assert not torch.equal(other(1, 0)[0]["image"], first["image"])


def test_micro_batches_are_drawn_each_by_itself_then_augmented_together(discs):
    """Each with its own share of foreground: what is drawn is what data and augment would give by hand."""
    cases, augmentation = discs(5), Augmentation(p_rotation=1.0, p_gamma=1.0)
    generator = torch.Generator().manual_seed(seed_of(3, 0, 1, 4))
    parts = [draw_batch(cases, patch=(8, 8), batch=2, foreground=1 / 3, generator=generator) for _ in range(2)]
    drawn = draw(augmentation, batch=4, space=(8, 8), generator=generator, spacing=(1.0, 1.0))
    image, label, _ = apply(drawn, *(torch.cat([part[name] for part in parts]) for name in ("image", "label")))
    batch, left = Draw(cases, SETTINGS, 2, augmentation, 3, 0, CPU)(1, 4)
    assert left is None, "on a CPU the thread that draws augments too"
    torch.testing.assert_close(batch, {"image": image, "label": label}, rtol=0, atol=0)


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_results_come_in_order_however_long_each_takes(workers):
    def job(i: int) -> int:
        time.sleep(0.01 * (i % 3 == 0))
        return i * i

    assert list(prefetched(job, ((i,) for i in range(12)), workers=workers, prefetch=3)) == [i * i for i in range(12)]


def test_no_more_is_drawn_ahead_than_asked_and_closing_ends_the_threads():
    asked, threads = [], threading.active_count()
    results = prefetched(asked.append, ((i,) for i in count()), workers=1, prefetch=3)
    next(results)
    time.sleep(0.05)
    assert len(asked) <= 4
    results.close()
    assert threading.active_count() == threads


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_while_drawing_reaches_the_loop(workers):
    def job(i: int) -> float:
        return 1 / (2 - i)

    results = prefetched(job, ((i,) for i in range(5)), workers=workers, prefetch=2)
    assert [next(results), next(results)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)


def volumes(n: int = 3, slices: int = 5) -> list[Case]:
    """Slice z of case c is c + z / 10 all over."""
    space = (slices, 8, 8)
    grey = [np.broadcast_to(np.arange(slices)[:, None, None] / 10, space).astype(np.float32) + c for c in range(n)]
    return [Case(f"v-{c}", image, np.ones(space, np.uint8), (1.0, 1.0, 1.0)) for c, image in enumerate(grey)]


def shown(draw: Draw, epoch: int, iterations: int | None = None) -> list[float]:
    batches = [draw(epoch, i)[0]["image"] for i in range(iterations or draw.iterations)]
    return torch.cat(batches).amax((1, 2, 3)).tolist()


def test_an_epoch_of_slices_is_every_slice_once_in_another_order_each_time():
    """µ-Net, Avg.T: "the time needed to train all samples once"."""
    draw = Draw(volumes(), Settings(patch=(8, 8), batch=5, epoch="slices"), 2, None, 0, 0, CPU)
    every = sorted(round(c + z / 10, 4) for c in range(3) for z in range(5))
    assert draw.iterations == 3
    first, second = ([round(v, 4) for v in shown(draw, epoch)] for epoch in (1, 2))
    assert sorted(first) == sorted(second) == every
    assert first != second
    again = Draw(volumes(), draw.settings, 2, None, 0, 0, CPU)
    assert [round(v, 4) for v in shown(again, 2)] == second, "a later epoch needs no earlier one"


def test_a_last_batch_is_filled_up_and_iterations_remain_a_choice():
    draw = Draw(volumes(), Settings(patch=(8, 8), batch=4, accumulate=2, epoch="slices"), 2, None, 0, 0, CPU)
    assert draw.iterations == 2, "15 slices in steps of 8"
    found = shown(draw, 1)
    assert len(found) == 16
    assert len({round(v, 4) for v in found[:15]}) == 15
    longer = replace(draw, settings=replace(draw.settings, iterations=5))
    assert longer.iterations == 5
    counts = Counter(round(v, 4) for v in shown(longer, 1))
    assert set(counts.values()) == {2, 3}, "40 samples of 15 slices"


def test_processes_share_an_epoch_of_slices_without_showing_any_twice():
    settings = Settings(patch=(8, 8), batch=2, epoch="slices")
    both = [Draw(volumes(4, 4), settings, 2, None, 0, rank, CPU, processes=2) for rank in (0, 1)]
    assert [draw.iterations for draw in both] == [4, 4]
    assert len({round(v, 4) for draw in both for v in shown(draw, 1)}) == 16


def test_one_patch_of_each_case_is_still_the_default():
    assert Draw(volumes(), Settings(patch=(8, 8), batch=2), 2, None, 0, 0, CPU).iterations == 2


def test_soft_masks_travel_with_their_images(discs):
    cases = [replace(case, extras={"soft": case.label[None].astype("float32")}) for case in discs(3)]
    batch, _ = Draw(cases, SETTINGS, 2, Augmentation(p_rotation=1.0, p_mirror=1.0), 0, 0, CPU)(1, 0)
    assert batch["soft"].shape == (4, 1, 8, 8)
    assert ((batch["soft"][:, 0] > 0.5).long() == batch["label"]).float().mean() > 0.95


def test_the_whole_of_the_validation_cases_is_seen(discs):
    batches = list(for_validation(discs(3), Settings(patch=(8, 8), batch=5), seed=0))
    assert [len(batch["image"]) for batch in batches] == [5, 5, 2], "3 images of 16² in tiles of 8²"
    total = sum(batch["image"].sum() for batch in batches)
    torch.testing.assert_close(total, torch.tensor(sum(case.image.sum() for case in discs(3))))


@pytest.mark.parametrize("iterations", [None, 3])
def test_validation_is_the_same_in_every_epoch_and_shared_out_over_processes(discs, iterations):
    settings = Settings(patch=(8, 8), batch=2, validation_iterations=iterations)
    alone, again = (list(for_validation(discs(3), settings, seed=1)) for _ in range(2))
    assert len(alone) == (iterations or 6)
    torch.testing.assert_close(alone, again, rtol=0, atol=0)
    shares = [list(for_validation(discs(3), settings, seed=1, world=World(rank, 2))) for rank in (0, 1)]
    torch.testing.assert_close(shares[0] + shares[1], alone[0::2] + alone[1::2], rtol=0, atol=0)
