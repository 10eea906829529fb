"""Splits by patient: no patient is in two parts, and a seed gives the same parts on every machine."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

from dsnotes.data.case import Case
from dsnotes.data.patients import Patient, patients


def split(
    cases: Sequence[Case] | Sequence[str],
    shares: tuple[float, ...] = (0.7, 0.1, 0.2),
    *,
    seed: int,
    patient: Patient | None = None,
) -> tuple[Sequence, ...]:
    """Split cases into parts with the given shares of the patients; each part has the type and order of `cases`.

    `patient` maps a case's name to its patient: a regular expression such as "[^_]+", or a function. Without it, names
    of public datasets are recognised, and ambiguous names raise an error (see `patients`). Patients are shuffled by a
    hash of seed and patient, so the split is the same on every machine and for any order of the cases.
    """
    if min(shares, default=0) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"shares {shares} came; pass positive ones that sum to 1, such as (0.7, 0.1, 0.2).")
    names = names_of(cases)
    whose = patients(names, patient)
    order = _by_lot(whose, seed)
    if len(order) < len(shares):
        raise ValueError(
            f"{len(order)} patients cannot be split into {len(shares)} parts. Pass more cases, fewer shares, or check "
            f"that `patient` distinguishes patients."
        )
    ends = _part_ends(len(order), shares)
    sides = {who: sum(rank >= end for end in ends) for rank, who in enumerate(order)}
    return tuple(_part(cases, whose, {w for w in order if sides[w] == side}) for side in range(len(shares)))


def k_fold(
    cases: Sequence[Case] | Sequence[str], k: int, *, seed: int, patient: Patient | None = None
) -> list[tuple[Sequence, Sequence]]:
    """k pairs (train, test) in which every case is tested exactly once; fold sizes differ by at most one patient."""
    names = names_of(cases)
    whose = patients(names, patient)
    order = _by_lot(whose, seed)
    if not 2 <= k <= len(order):
        raise ValueError(
            f"{k} folds came for {len(order)} patients ({len(names)} cases). Pass k from 2 to {len(order)}, or check "
            f"that `patient` distinguishes patients."
        )
    folds = [set(order[fold::k]) for fold in range(k)]
    return [(_part(cases, whose, set(order) - fold), _part(cases, whose, fold)) for fold in folds]


def printed_folds(
    cases: Sequence[Case] | Sequence[str], counts: Sequence[Sequence[int]], *, seed: int, patient: Patient | None = None
) -> list[tuple[Sequence, Sequence, Sequence]]:
    """(train, validation, test) of each fold, with the numbers of cases a paper gives, such as [[134, 34, 42]].

    No patient is in two parts, and none is tested twice before all have been tested. Where patients have several
    cases, a part may differ from its number by less than one patient. With more or fewer cases the numbers are scaled.
    """
    names = names_of(cases)
    whose = patients(names, patient)
    size = Counter(whose)
    order = _by_lot(whose, seed)
    for one in counts:
        if len(one) != 3 or min(one) < 1:
            raise ValueError(f"counts={list(map(list, counts))}: pass three numbers per fold, such as [[134, 34, 42]].")
    if len(order) < 3:
        raise ValueError(f"{len(order)} patients cannot be split into 3 parts. Pass more cases, or check `patient`.")
    found = []
    for one in counts:
        train, validation, test = _scaled(one, len(names))
        left, parts = {"test": test, "validation": validation}, {"test": set(), "validation": set()}
        for who in order:
            for part in left:
                if size[who] <= left[part]:
                    parts[part].add(who)
                    left[part] -= size[who]
                    break
        order = [who for who in order if who not in parts["test"]] + [who for who in order if who in parts["test"]]
        rest = set(order) - parts["test"] - parts["validation"]
        found.append(tuple(_part(cases, whose, members) for members in (rest, parts["validation"], parts["test"])))
    return found


def _scaled(counts: Sequence[int], n: int) -> list[int]:
    if sum(counts) == n:
        return list(counts)
    ends = _part_ends(n, [count / sum(counts) for count in counts])
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def names_of(cases: Sequence[Case] | Sequence[str]) -> list[str]:
    """Their names, without opening a file where `cases` is a `Dataset`; each must occur once."""
    names = getattr(cases, "names", None) or [case if isinstance(case, str) else case.name for case in cases]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise ValueError(f"the name {twice[0]!r} occurs more than once: give every case its own, by Case(name=…).")
    return list(names)


def _by_lot(whose: Sequence[object], seed: int) -> list[object]:
    return sorted(set(whose), key=lambda who: hashlib.sha256(f"{seed}/{who}".encode()).digest())


def _part_ends(n: int, shares: Sequence[float]) -> list[int]:
    """Where each part ends: whole patients by the largest-remainder method, at least one per part."""
    counts = [max(1, int(share * n + 1e-9)) for share in shares]
    while sum(counts) != n:
        step = 1 if sum(counts) < n else -1
        movable = [i for i in range(len(shares)) if counts[i] + step >= 1]
        counts[max(movable, key=lambda i: step * (shares[i] * n - counts[i]))] += step
    return [sum(counts[: i + 1]) for i in range(len(counts))]


def _part(cases: Sequence[Case] | Sequence[str], whose: Sequence[object], members: set[object]) -> Sequence:
    indices = [i for i, patient in enumerate(whose) if patient in members]
    subset = getattr(cases, "subset", None)
    return subset(indices) if subset else [cases[i] for i in indices]
