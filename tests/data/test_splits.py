"""Splits keep patients whole: properties over random names, and the paper's own numbers."""

import csv
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsnotes.data.annotators import open_reader_archive
from dsnotes.data.case import Case
from dsnotes.data.patients import patients
from dsnotes.data.splits import k_fold, printed_folds, split

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
    assert [set(part) for part in split(names, seed=3, patient=str)] == [
        set(part) for part in split(shuffled, seed=3, patient=str)
    ]


def test_another_seed_is_another_split_and_the_same_the_same():
    names = [f"case_{i}" for i in range(100)]
    assert split(names, seed=1) == split(names, seed=1)
    assert split(names, seed=1) != split(names, seed=2)


def test_the_split_of_a_seed_never_changes():
    """Published results depend on it: a hash decides, not a generator that a new Python may change."""
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
    with pytest.raises(ValueError, match=r"2 patients cannot be split into 3 parts\. .*fewer shares.*`patient`"):
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


def lidc_names() -> list[str]:
    """As data_scripts/lidc_idri.py writes them: a case is a nodule, and most patients have several."""
    return [f"LIDC-IDRI-{patient:04d}-{nodule:04d}" for patient in range(1, 41) for nodule in range(1 + patient % 5)]


def test_lidc_nodules_of_a_patient_stay_together():
    for train, test in k_fold(lidc_names(), 4, seed=0):
        assert not {name[:14] for name in train} & {name[:14] for name in test}
    train, val, test = split(lidc_names(), seed=0)
    assert not {name[:14] for name in train} & {name[:14] for name in (*val, *test)}
    assert split(lidc_names(), seed=0) == split(lidc_names(), seed=0, patient=r".{14}")


def test_the_real_nodules_of_a_patient_stay_together(real_data):
    """The nodules with four readers, 896 of 554 patients; their patients as the index of the outlines has them."""
    folder = real_data("lidc_readers")
    with (folder / "lidc_4reader_index.csv").open(encoding="utf-8") as rows:
        patients_of = [row["patient_id"] for row in csv.DictReader(rows)]
    whose = dict(zip((case.name for case in open_reader_archive(folder)), patients_of, strict=True))
    assert (len(whose), len(set(whose.values()))) == (896, 554)
    names = list(whose)
    for folds in (k_fold(names, 4, seed=0), printed_folds(names, [[387, 55, 544]], seed=0), [split(names, seed=0)]):
        for parts in folds:
            assert sorted(name for part in parts for name in part) == sorted(names)
            sides = [{whose[name] for name in part} for part in parts]
            assert sum(map(len, sides)) == 554
    tested = [whose[name] for _, test in k_fold(names, 4, seed=0) for name in test]
    assert sorted(tested) == sorted(whose.values())


@pytest.mark.parametrize(
    ("one", "other", "patient"),
    [
        ("LIDC-IDRI-0001_nodule2", "LIDC-IDRI-0002_nodule2", "LIDC-IDRI-0001"),
        ("LIDC-IDRI-0132-048281-01", "LIDC-IDRI-0133-048281-01", "LIDC-IDRI-0132"),
        ("000001_03_01_088-0", "000002_03_01_088-0", "000001"),
        ("sub-rat3_sample-data10_SEM", "sub-rat4_sample-data10_SEM", "sub-rat3"),
        ("patient001_frame12", "patient002_frame12", "patient001"),
        ("BraTS-GLI-00005-001", "BraTS-GLI-00006-001", "BraTS-GLI-00005"),
        ("radiopaedia_29_86491_1", "radiopaedia_7_85703_0", "radiopaedia_29"),
        ("BraTS19_CBICA_AAB_1", "BraTS19_2013_10_1", "BraTS19_CBICA_AAB_1"),
        ("kidneys-0-001", "kidneys-1-001", "kidneys-0-001"),
    ],
)
def test_names_of_public_sets(one, other, patient):
    assert patients([one, other])[0] == patient
    assert len(set(patients([one, other]))) == 2


@pytest.mark.parametrize("form", ["case_{:05d}", "pancreas_{:03d}", "LUNG1-{:03d}", "Case{:02d}", "spleen_{}_crop"])
def test_sets_of_one_case_a_patient(form):
    names = [form.format(number) for number in range(30)]
    assert patients(names) == names
    assert patients(["SC-HF-I-01", "SC-HF-I-02", "SC-HF-NI-01", "SC-HYP-01"])[1] == "SC-HF-I-02"


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (["p01_a", "p01_b", "p02_a"], "[^_]+"),
        (["p1s1", "p1s2", "p2s1"], r"p\d+"),
        (["case_001_left", "case_001_right", "case_002_left"], ".{8}"),
    ],
)
def test_names_that_do_not_tell_the_patient_are_refused(names, pattern):
    with pytest.raises(ValueError, match=rf"'{names[0]}' and '{names[1]}'.*patient='\[\^_\]\+'.*patient='\.\+'"):
        k_fold(names, 2, seed=0)
    assert sorted(map(len, next(zip(*k_fold(names, 2, seed=0, patient=pattern), strict=True)))) == [1, 2]
    assert len(k_fold(names, 3, seed=0, patient=".+")) == 3


def test_a_pattern_that_matches_not_every_name():
    with pytest.raises(ValueError, match=r"'x1'.*each of the 3 names.*'\[\^_\]\+'"):
        split(["p1", "p2", "x1"], seed=0, patient=r"p\d+")


PRINTED = [[296, 60, 66], [297, 60, 65], [296, 60, 66]]


def test_printed_folds_have_the_printed_numbers_and_test_nobody_twice():
    """MSDS-UNet, Table 9: 422 patients of Lung1."""
    names = [f"LUNG1-{n:03d}" for n in range(1, 423)]
    folds = printed_folds(names, PRINTED, seed=0)
    assert [[len(part) for part in fold] for fold in folds] == PRINTED
    for parts in folds:
        assert sorted(name for part in parts for name in part) == names
    tested = [name for *_, test in folds for name in test]
    assert len(set(tested)) == len(tested) == 66 + 65 + 66
    assert folds == printed_folds(names[::-1], PRINTED, seed=0)[0:3] or [set(f[2]) for f in folds] == [
        set(f[2]) for f in printed_folds(names[::-1], PRINTED, seed=0)
    ]


def test_a_patient_with_several_cases_stays_in_one_part_and_numbers_of_cases_hold():
    """DSNet: 387, 55 and 544 nodules of LIDC, of which a patient has up to a dozen."""
    names = [f"LIDC-IDRI-{p:04d}-{n:02d}" for p in range(400) for n in range(1 + p % 5)]
    ((train, validation, test),) = printed_folds(names, [[387, 55, 544]], seed=0)
    whose = [{name[:14] for name in part} for part in (train, validation, test)]
    assert all(not one & other for one, other in combinations(whose, 2))
    n = len(names)
    for part, count in zip((train, validation, test), (387, 55, 544), strict=True):
        assert len(part) == pytest.approx(count / 986 * n, abs=1)


def test_printed_numbers_are_scaled_to_a_smaller_set_and_odd_ones_refused():
    ((train, validation, test),) = printed_folds([f"case_{n:05d}" for n in range(21)], [[134, 34, 42]], seed=0)
    assert [len(train), len(validation), len(test)] == [13, 4, 4] or [len(train), len(validation), len(test)] == [
        14,
        3,
        4,
    ]
    with pytest.raises(ValueError, match=r"pass three numbers per fold, such as \[\[134, 34, 42\]\]"):
        printed_folds(list("abcdef"), [[1, 2]], seed=0)
