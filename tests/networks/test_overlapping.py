"""What patches share is what each has by itself: zeros at its border, its own segments."""

import pytest
import torch
from torch import nn

from dsnotes.networks.baselines.cf_cnn import CentralPool, segments, unit
from dsnotes.networks.overlapping import Overlapping


@pytest.mark.parametrize(("side", "size"), [(35, (41, 37)), (35, (35, 60)), (36, (36, 36))])
def test_a_shared_patch_is_the_patch_by_itself(side, size):
    torch.manual_seed(0)
    convolutions, pool = nn.Sequential(*unit(2, 3), *unit(3, 4)).eval(), CentralPool(side)
    image = torch.randn(1, 2, *size)
    starts = torch.cartesian_prod(*(torch.arange(n - side + 1) for n in size))
    patches = torch.cat([image[..., y : y + side, x : x + side] for y, x in starts.tolist()])
    expected = pool(convolutions(patches))
    shared = Overlapping(convolutions, image, segments(side))(starts)
    torch.testing.assert_close(shared, expected, rtol=1e-5, atol=1e-5)
    assert shared.is_contiguous(memory_format=torch.channels_last)


def test_zeros_must_not_reach_beyond_the_edges():
    with pytest.raises(AssertionError, match="zeros must not reach beyond the first and last segment"):
        Overlapping(nn.Identity(), torch.zeros(1, 1, 16, 16), segments(8))
