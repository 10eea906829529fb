"""A sweep that is no published table, shown by its own rows and columns."""

from __future__ import annotations

import pytest

from dsnotes.runs.notebook import folder_of
from dsnotes.runs.plan import open_plan
from dsnotes.runs.results_io import RefusedError, write_result
from dsnotes.runs.sweep_table import sweep_table


def test_rows_are_means_over_cases_of_what_is_done(tiny, tmp_path):
    path = tiny.with_name("some.yml")
    path.write_text(
        "notebook: tiny.py\nrows:\n  none: {}\n  more: {scale: 2}\ngrid: {seed: [0, 1]}\ncolumns: {Dice: dice}\n",
        encoding="utf-8",
    )
    plan = open_plan(path)
    for seed, dice in enumerate((0.2, 0.4)):  # two seeds of "none", none of "more"
        folder = folder_of(plan.source, plan.rows[0].runs[seed], tmp_path / "runs")
        folder.mkdir(parents=True)
        cases = {"a": {"dice": dice}, "b": {"dice": dice + 0.2}, "c": {"dice": None}}
        result = {"cases": cases, "parameters": plan.rows[0].runs[seed], "started": "", "seconds": 1.0, "about": {}}
        write_result(folder / "result.json", result)
    head, first, second = sweep_table(plan, tmp_path / "runs").splitlines()
    assert head.split() == ["row", "runs", "Dice"]
    assert first.split() == ["none", "2", "of", "2", "0.4", "±", "0.14"], "a: .3, b: .5"
    assert second.split() == ["more", "0", "of", "2"]


def test_rows_are_compared_with_the_row_that_the_sweep_names(tiny, tmp_path):
    path = tiny.with_name("some.yml")
    path.write_text(
        "notebook: tiny.py\nrows:\n  none: {}\n  more: {scale: 2}\n  most: {scale: 3}\nagainst: {most: more}\n"
        "grid: {seed: [0, 1]}\ncolumns: {Dice: dice}\n",
        encoding="utf-8",
    )
    plan = open_plan(path)
    for row, dice in zip(plan.rows, (0.2, 0.3, 0.35), strict=True):
        for values in row.runs:
            cases = {name: {"dice": dice + 0.01 * n * values["seed"]} for n, name in enumerate("abc")}
            folder = folder_of(plan.source, values, tmp_path / "runs")
            folder.mkdir(parents=True)
            result = {"cases": cases, "parameters": values, "started": "", "seconds": 1.0, "about": {}}
            write_result(folder / "result.json", result)
    more, most = sweep_table(plan, tmp_path / "runs").splitlines()[-2:]
    assert more.split()[:2] == ["more", "+0.1000"]
    assert most.split()[:4] == ["most", "(against", "more)", "+0.0500"]


def test_without_columns_it_says_what_to_add(tiny):
    path = tiny.with_name("some.yml")
    path.write_text("notebook: tiny.py\n", encoding="utf-8")
    with pytest.raises(RefusedError, match=r"names no columns; add for instance columns: \{dice: dice\}"):
        sweep_table(open_plan(path))
