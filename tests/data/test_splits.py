"""Splits keep patients whole: properties over random names, and the paper's own numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsnotes.data.case import Case
from dsnotes.data.splits import k_fold, split

SCANS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), min_size=1, max_size=60, unique=True)


def names_of(scans) -> list[str]:
    return [f"p{patient:03d}_{scan}" for patient, scan in scans]


def patient_of(name: str) -> str:
    return name.split("_")[0]


def require_partition(parts, names):
    assert sorted(name for part in parts for name in part) == sorted(names)
    sides = [{patient_of(name) for name in part} for part in parts]
    assert sum(map(len, sides)) == len(set.union(*sides))


@given(SCANS, st.integers(0, 1000))
def test_every_scan_on_one_side_and_no_patient_on_two(scans, seed):
    names = names_of(scans)
    if len({patient_of(name) for name in names}) < 3:
        return
    parts = split(names, (0.7, 0.1, 0.2), seed=seed, patient=patient_of)
    require_partition(parts, names)
    assert all(parts)
    assert all(part == sorted(part, key=names.index) for part in parts)


@given(SCANS, st.integers(2, 5), st.integers(0, 1000))
def test_every_scan_is_tested_once(scans, k, seed):
    names = names_of(scans)
    patients = {patient_of(name) for name in names}
    if len(patients) < k:
        return
    folds = k_fold(names, k, seed=seed, patient=patient_of)
    require_partition([test for _, test in folds], names)
    for train, test in folds:
        require_partition([train, test], names)
    sizes = [len({patient_of(name) for name in test}) for _, test in folds]
    assert max(sizes) - min(sizes) <= 1


@given(SCANS, st.randoms(use_true_random=False))
def test_the_order_of_the_cases_does_not_matter(scans, random):
    names = names_of(scans)
    if len(names) < 3:
        return
    shuffled = random.sample(names, len(names))
    assert [set(part) for part in split(names, seed=3)] == [set(part) for part in split(shuffled, seed=3)]


def test_another_seed_is_another_split_and_the_same_the_same():
    names = [f"case_{i}" for i in range(100)]
    assert split(names, seed=1) == split(names, seed=1)
    assert split(names, seed=1) != split(names, seed=2)


def test_the_split_of_a_seed_never_changes():
    """Published results hang on it: a hash decides, not a generator that a new Python may change."""
    assert split(list("abcdefghij"), seed=0)[2] == ["a", "h"]


def test_kits_as_the_paper_splits_it():
    """MSS U-Net: 210 patients into 134 for training, 34 for validation, 42 for the test."""
    names = [f"case_{i:05d}" for i in range(210)]
    assert [len(part) for part in split(names, (0.64, 0.16, 0.2), seed=0)] == [134, 34, 42]


def test_small_shares_still_get_a_patient():
    assert [len(part) for part in split(list("abcd"), (0.9, 0.05, 0.05), seed=0)] == [2, 1, 1]


def test_cases_come_back_as_cases():
    cases = [Case(f"c{i}", np.zeros((2, 2), "f4"), None, (1.0, 1.0)) for i in range(10)]
    train, validation, test = split(cases, seed=0)
    assert [len(train), len(validation), len(test)] == [7, 1, 2]
    assert {id(case) for case in (*train, *validation, *test)} == {id(case) for case in cases}


def test_too_few_patients():
    with pytest.raises(ValueError, match=r"2 patients cannot go to 3 parts\. .*fewer shares.*`patient`"):
        split(["p1_a", "p1_b", "p2_a"], seed=0, patient=patient_of)
    with pytest.raises(ValueError, match=r"5 folds came for 2 patients \(3 cases\)\. Pass k from 2 to 2"):
        k_fold(["p1_a", "p1_b", "p2_a"], 5, seed=0, patient=patient_of)
    with pytest.raises(ValueError, match=r"1 folds came"):
        k_fold(["a", "b"], 1, seed=0)


@pytest.mark.parametrize("shares", [(0.5, 0.4), (0.7, 0.3, 0.0), (), (1.2, -0.2)])
def test_shares(shares):
    with pytest.raises(ValueError, match=r"pass positive ones that sum to 1, such as \(0\.7, 0\.1, 0\.2\)"):
        split(["a", "b", "c"], shares, seed=0)


def test_two_cases_of_one_name():
    with pytest.raises(ValueError, match=r"the name 'a' occurs more than once"):
        split(["a", "b", "a"], seed=0)
