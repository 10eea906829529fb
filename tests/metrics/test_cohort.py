"""What a dataset is made of, counted by hand; and the papers' tables that such counts fill."""

import numpy as np
import pytest

from dsnotes.data.case import Case
from dsnotes.metrics import cohort


def volume(name, shape, blocks, spacing=(2.0, 1.0, 1.0)):
    label = np.zeros(shape, np.uint8)
    for value, at in blocks:
        label[at] = value
    return Case(name, np.zeros(shape, np.float32), label, spacing)


def three_cases():
    """Two nodules of one patient and one of another."""
    return [
        volume("LIDC-IDRI-0001-0001", (4, 16, 16), [(1, np.s_[0:2, 0:4, 0:4])]),  # 64 mm3: 5 mm across
        volume("LIDC-IDRI-0001-0002", (6, 40, 40), [(1, np.s_[0:5, 0:20, 0:30]), (2, np.s_[5:6, 36:, 36:])]),
        volume("LIDC-IDRI-0002-0001", (5, 20, 24), [], spacing=(1.0, 1.0, 1.0)),
    ]


def test_a_dataset_counted_by_hand():
    found = cohort(three_cases(), patch=(2, 8, 8))
    assert (found.cases, found.patients) == (3, 2)
    assert found.slices == (2 + 6, 2 + 5)
    assert found.tumours == {"small": 2, "medium": 1, "large": 0}  # 5, 22 and 4 mm across
    assert (found.min_size, found.max_size, found.median_size) == ((4, 16, 16), (6, 40, 40), (5, 20, 24))
    assert found.median_spacing == (2, 1, 1)
    assert sum(found.patches) == 2 * 2 * 2 + 3 * 5 * 5 + 3 * 3 * 3
    assert found.patches[0] == 1 + 3 * 3 * 4 + 1
    assert cohort(three_cases(), target=2).slices == (1, 14)
    assert cohort(three_cases()).patches is None


def test_images_are_slices():
    image = Case("a", np.zeros((4, 4), np.float32), np.eye(4, dtype=np.uint8), (1.0, 1.0))
    assert cohort([image]).slices == (1, 0)
    with pytest.raises(ValueError, match=r"some cases are 2-D images and others volumes"):
        cohort([image, three_cases()[0]])


def test_nothing_to_count_is_said():
    with pytest.raises(ValueError, match=r"no cases came. Pass at least one labelled case"):
        cohort([])
    with pytest.raises(ValueError, match=r"label"):
        cohort([Case("a", np.zeros((4, 4), np.float32), None, (1.0, 1.0))])
