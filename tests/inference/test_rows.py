"""Rows as a sliding window finishes them are those of the whole window, in the memory of one row of windows."""

import numpy as np
import pytest
import torch

from dsnotes.inference.rows import finished_rows
from dsnotes.inference.sliding_window import sliding_window


def slope(x: torch.Tensor) -> torch.Tensor:
    """Two classes that depend on the place within the window, so that the weights matter."""
    ramp = torch.linspace(0, 1, x.shape[-1]).expand_as(x)
    return torch.cat([(x + ramp).sigmoid(), (x * ramp).sigmoid()], 1)


@pytest.mark.parametrize("space", [(20, 13, 17), (8, 12, 12), (33, 12, 30)])
@pytest.mark.parametrize("overlap", [0.5, 0.25, 0.0])
def test_a_volume(space, overlap):
    image = np.random.default_rng(0).normal(size=(1, 1, *space)).astype("f4")
    how = {"patch": (8, 12, 12), "overlap": overlap, "batch": 3}
    parts = [(at, p.copy()) for at, p in finished_rows(slope, image, **how, progress=False)]
    rows = [row for at, _ in parts for row in range(at.start, at.stop)]
    assert rows == list(range(space[0]))
    whole = sliding_window(slope, image, **how)[0].numpy()
    np.testing.assert_allclose(np.concatenate([p for _, p in parts], 1), whole, rtol=0, atol=1e-5)


def test_slices_of_a_flat_system():
    images = np.random.default_rng(0).normal(size=(5, 1, 20, 14)).astype("f4")
    parts = [(at, p.copy()) for at, p in finished_rows(slope, images, patch=(16, 14), progress=False)]
    assert [at.start for at, _ in parts] == [0, 1, 2, 3, 4]
    whole = sliding_window(slope, images, patch=(16, 14)).transpose(0, 1).numpy()
    np.testing.assert_allclose(np.concatenate([p for _, p in parts], 1), whole, rtol=0, atol=1e-5)
