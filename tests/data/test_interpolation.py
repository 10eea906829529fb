"""Linear interpolation on the CPU against torch's grid_sample, also far outside and at the border."""

import sys

import pytest
import torch

from dsnotes.data import warp

SPACES = {2: (9, 14), 3: (6, 9, 14)}


def channels_and_points(dims: int, channels: int = 3, points: int = 5000):
    g = torch.Generator().manual_seed(0)
    grid = 3 * torch.rand(points, *[1] * (dims - 1), dims, generator=g) - 1.5  # a third of each axis lies outside
    for at, value in enumerate((-1.0, 1.0, 0.0, 1 - 1 / 14, -100.0, 100.0)):
        grid[at] = value
    return torch.randn(channels, *SPACES[dims], generator=g), grid


def by_torch(channels: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.grid_sample(channels[None], grid[None], padding_mode="border", align_corners=False)[0]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dims", [2, 3])
def test_it_is_torchs_grid_sample(dims, threads, monkeypatch):
    channels, grid = channels_and_points(dims)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    expected = by_torch(channels, grid)
    monkeypatch.setattr(torch.nn.functional, "grid_sample", None)
    sampled = warp._sample(channels, grid)
    assert sampled.shape == expected.shape
    torch.testing.assert_close(sampled, expected, atol=1e-5, rtol=0)


def test_an_axis_of_one_voxel_is_left_to_torch():
    grid = channels_and_points(3)[1]
    for space in ((1, 9, 14), (6, 1, 14), (6, 9, 1)):
        thin = torch.randn(2, *space, generator=torch.Generator().manual_seed(1))
        assert torch.equal(warp._sample(thin, grid), by_torch(thin, grid))


def test_without_numba_torch_interpolates(monkeypatch):
    channels, grid = channels_and_points(3)
    monkeypatch.setitem(sys.modules, "dsnotes.data.interpolation", None)
    warp._compiled.cache_clear()
    try:
        assert torch.equal(warp._sample(channels, grid), by_torch(channels, grid))
    finally:
        warp._compiled.cache_clear()
