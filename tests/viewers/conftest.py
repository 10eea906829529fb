"""Small cases whose every distance is known."""

from __future__ import annotations

import numpy as np
import pytest

from dsnotes.data.case import Case


@pytest.fixture
def volume() -> Case:
    """A box of 6 x 10 x 14 voxels in a volume with three different spacings: 15 x 10 x 7 mm."""
    image = np.random.default_rng(0).normal(-800, 30, (20, 32, 40)).astype(np.float32)
    label = np.zeros(image.shape, np.uint8)
    label[8:14, 10:20, 22:36] = 1
    image[label > 0] = 40
    return Case("box", image, label, (2.5, 1.0, 0.5))


@pytest.fixture
def slice_(volume: Case) -> Case:
    return Case("plane", volume.image[10], volume.label[10], volume.spacing[1:])
