"""Whose scan a case is, read from its name, so that no split puts one patient on both sides.

Known are the names of the public sets that hold several cases of a patient. Other names are checked: where cases seem
to share a patient, such as p01_a and p01_b, a split refuses rather than guesses.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

Patient = Callable[[str], object] | str
KNOWN = (
    r"LIDC-IDRI-\d{4}",  # LIDC-IDRI-0001-0003 is a nodule of patient LIDC-IDRI-0001
    r"\d{6}(?=_\d\d_\d\d_\d{3})",  # DeepLesion: patient_study_series_slice
    r"sub-[0-9A-Za-z]+",  # BIDS: sub-rat3_sample-data10
    r"patient\d{3}(?=_frame\d)",  # ACDC: two frames a patient
    r"BraTS-[A-Za-z]+-\d{5}(?=-\d{3})",  # BraTS 2023 and later: patient-visit
    r"BraTS1\d_\w+_\d+$",  # BraTS 2017 to 2019: a patient each, although the name ends in _1
    r"radiopaedia_\d+(?=_\d)",  # COVID-19-CT-Seg: patient_study_series
    r"(lung|kidneys|abdomen|nodule)-\d+-\d{3}$",  # our phantoms, kind-seed-number: a patient each
)
_KNOWN = re.compile("|".join(f"(?:{pattern})" for pattern in KNOWN))


def patients(names: Sequence[str], patient: Patient | None = None) -> list[object]:
    """A patient for each name: by `patient`, a function or a regular expression, else by the set's known pattern.

    Where neither applies, every case is a patient of its own, unless names suggest otherwise.
    """
    if callable(patient):
        return [patient(name) for name in names]
    if patient:
        found = {name: re.match(patient, name) for name in names}
        missed = [name for name, match in found.items() if not match]
        if missed:
            raise ValueError(
                f"patient={patient!r} does not match the beginning of {missed[0]!r}. Pass a pattern that matches each "
                f"of the {len(names)} names, such as '[^_]+' for all before the first '_'."
            )
        return [match.group() for match in found.values() if match]
    known = {name: match.group() for name in names if (match := _KNOWN.match(name))}
    _check_alone([name for name in names if name not in known])
    return [known.get(name, name) for name in names]


def _check_alone(names: Sequence[str]) -> None:
    """Refuse where all but the last part of a name is a number that several names share, and others differ in it."""
    first = {name: re.sub(r"[^0-9A-Za-z]*(\d+|[A-Za-z]+)[^0-9A-Za-z]*$", "", name) for name in names}
    count = Counter(first.values())
    shared = [name for name in names if count[first[name]] > 1 and re.search(r"\d", first[name])]
    if shared and len(count) > 1:
        same = [name for name in shared if first[name] == first[shared[0]]]
        raise ValueError(
            f"{same[0]!r} and {same[1]!r} may be of one patient, and their names do not tell. Pass patient='[^_]+' for "
            f"all before the first '_', any other regular expression or function of a name, or patient='.+' if every "
            f"case is another patient."
        )
