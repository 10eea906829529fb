"""The patient of a case, read from its name, so that no split puts one patient into two parts.

The names of public datasets with several cases per patient are known. Other names are checked: where cases seem to
share a patient, such as p01_a and p01_b, an error asks for the pattern instead of guessing.
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
    r"patient\d{3}(?=_frame\d)",  # ACDC: two frames per patient
    r"BraTS-[A-Za-z]+-\d{5}(?=-\d{3})",  # BraTS 2023 and later: patient-visit
    r"BraTS1\d_\w+_\d+$",  # BraTS 2017 to 2019: one case per patient, although names end in _1
    r"radiopaedia_\d+(?=_\d)",  # COVID-19-CT-Seg: patient_study_series
    r"(lung|kidneys|abdomen|nodule)-\d+-\d{3}$",  # phantoms, kind-seed-number: one case per patient
)
_KNOWN = re.compile("|".join(f"(?:{pattern})" for pattern in KNOWN))


def patients(names: Sequence[str], patient: Patient | None = None) -> list[object]:
    """The patient of each name: by `patient`, a function or a regular expression, else by a known dataset's pattern.

    Otherwise every case counts as a separate patient, or an error is raised if the names suggest shared patients.
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
    """Raise an error where several names share a numbered beginning and differ only in the last part."""
    first = {name: re.sub(r"[^0-9A-Za-z]*(\d+|[A-Za-z]+)[^0-9A-Za-z]*$", "", name) for name in names}
    count = Counter(first.values())
    shared = [name for name in names if count[first[name]] > 1 and re.search(r"\d", first[name])]
    if shared and len(count) > 1:
        same = [name for name in shared if first[name] == first[shared[0]]]
        raise ValueError(
            f"{same[0]!r} and {same[1]!r} may belong to one patient. Pass patient='[^_]+' if the patient is the part "
            f"before the first '_', another regular expression or a function of the name, or patient='.+' if every "
            f"case is a different patient."
        )
