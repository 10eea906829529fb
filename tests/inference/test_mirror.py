from __future__ import annotations

import pytest
import torch

from dsnotes.inference import mirror


@pytest.mark.parametrize("space", [(5, 6), (3, 4, 5)])
def test_an_equivariant_function_is_not_changed(space):
    image = torch.randn(2, 1, *space)
    pool = {2: torch.nn.functional.avg_pool2d, 3: torch.nn.functional.avg_pool3d}[len(space)]

    def blur(x):  # symmetric, so it commutes with every mirroring
        return pool(x, 3, stride=1, padding=1)

    torch.testing.assert_close(mirror(blur)(image), blur(image))


@pytest.mark.parametrize("n_axes", [2, 3])
def test_every_view_is_seen_once(n_axes):
    """A single voxel, put back after each mirroring where the identity sees it, and where it was before otherwise."""
    image = torch.arange(2.0**n_axes).reshape(1, 1, *[2] * n_axes)
    seen = []

    def corner(x):
        seen.append(x.flatten()[0].item())
        return x

    assert torch.equal(mirror(corner)(image), image)
    assert sorted(seen) == list(range(2**n_axes))


def test_only_the_named_axes_are_mirrored():
    """Of a 3-D image, axis 0 is depth: f(x) = x * z is averaged over z and its mirror image, nothing else."""
    ramp = torch.arange(4.0).view(1, 1, 4, 1, 1)
    ones = torch.ones(1, 1, 4, 3, 3)
    torch.testing.assert_close(mirror(lambda x: x * ramp, axes=(0,))(ones), torch.full_like(ones, 1.5))
    torch.testing.assert_close(mirror(lambda x: x * ramp, axes=(1, 2))(ones), ramp * ones)
    torch.testing.assert_close(mirror(lambda x: x * ramp, axes=())(ones), ramp * ones)


def test_the_mean_is_that_of_all_views_in_float32():
    net = torch.nn.Conv2d(1, 2, 3, padding=1)
    image = torch.randn(1, 1, 7, 8)
    with torch.no_grad():
        by_hand = sum(net(image.flip(view)).flip(view) for view in ([], [2], [3], [2, 3]))
        torch.testing.assert_close(mirror(net)(image), by_hand / 4)
        assert mirror(lambda x: x.bfloat16())(image).dtype == torch.float32


def test_what_the_predictor_returned_is_not_written_to():
    answer = torch.ones(1, 1, 4, 4)
    mirror(lambda x: answer)(torch.zeros(1, 1, 4, 4))
    assert (answer == 1).all()


def test_an_axis_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"axes=\(2,\) cannot all be mirrored.* Choose from \(0, 1\)"):
        mirror(torch.sigmoid, axes=(2,))(torch.zeros(1, 1, 4, 4))


def test_noise_is_drawn_anew_for_each_view_and_the_same_on_every_call():
    image, seen = torch.zeros(1, 1, 64, 64), []

    def keep(x):
        seen.append(x.clone())
        return x

    first = mirror(keep, noise=0.5)(image)
    assert len(seen) == 4
    assert all(view.std().item() == pytest.approx(0.5, rel=0.05) for view in seen)
    assert not torch.equal(seen[0], seen[1])
    assert first.std().item() == pytest.approx(0.5 / 4**0.5, rel=0.05)  # the mean of four independent draws
    assert torch.equal(mirror(keep, noise=0.5)(image), first)
    assert torch.equal(image, torch.zeros_like(image))
    with pytest.raises(ValueError, match=r"noise must be 0 or more, got -1"):
        mirror(keep, noise=-1)
