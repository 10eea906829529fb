"""What stored runs say: read, compared, written as a table, a summary and a figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dsnotes.runs.plan import open_plan
from dsnotes.runs.results_io import RefusedError, read_result, write_result
from dsnotes.runs.verdict import (
    BRIEF,
    COMPARISON,
    NOT_RUN,
    brief_rows,
    markdown,
    questions,
    stored,
    summary,
    verdict_rows,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def repository(tiny, tmp_path):
    """Two questions, one with runs: `better` gains .1 on every case and seed, `same` nothing but noise, `late` is not
    run."""
    sweeps = tmp_path / "sweeps"
    sweeps.mkdir()
    text = "# Does it help?\nnotebook: {}\nparameters: {{data: lung}}\nrows:\n"
    text = text.format(tiny) + "  none: {}\n  better: {scale: 2.0}\n  same: {scale: 3.0}\n  late: {scale: 4.0}\n"
    text += "grid: {fold: [0, 1], seed: [0, 1, 2]}\ncolumns: {Dice: dice, surface Dice: surface_dice}\n"
    for name in ("one", "other"):
        (sweeps / f"verdict-{name}.yml").write_text(text, encoding="utf-8")
    folder = tmp_path / "benchmarks" / "verdict" / "verdict-one"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    hard = {f"case{c}": 0.6 + 0.02 * c for c in range(8)}  # of a fold: four each
    for row, gain in {"none": 0, "better": 0.1, "same": 0}.items():
        for fold in (0, 1):
            for seed in range(3):
                names = [f"case{c}" for c in range(8) if c % 2 == fold]
                cases = {c: {"dice": hard[c] + gain + rng.normal(0, 0.004), "surface_dice": 0.5} for c in names}
                run = {"steps": 400, "training seconds": 30.0 + seed, "peak MiB": 700, "loss": 0.1}
                kept = {"row": row, "parameters": {"seed": seed, "fold": fold}, "about": {"run": run}, "cases": cases}
                write_result(folder / f"{row}-fold{fold}-seed{seed}.json", kept)
    return tmp_path


def test_effects_pool_the_folds_and_pair_seeds_and_cases(repository):
    one, other = questions(repository / "benchmarks" / "verdict", repository / "sweeps")
    assert (one.name, one.text, one.first, one.runs, one.planned) == ("one", "Does it help?", "none", 18, 24)
    found = one.effects()
    assert list(found) == ["better", "same"]
    assert found["better"].cases == 8
    assert found["better"].mean == pytest.approx(0.1, abs=0.01)
    assert found["better"].verdict().startswith("helps: +0.1")
    assert found["same"].verdict().startswith("no difference larger than 0.0")
    assert other.effects() == {}


def test_rows_name_cost_effect_and_what_is_missing(repository):
    rows = {row["row"]: row for row in verdict_rows(stored("one", repository))}
    assert rows["none"]["verdict"] == ""
    assert rows["better"]["verdict"] == "helps"
    assert (rows["better"]["steps"], rows["better"]["seconds"], rows["better"]["peak MiB"]) == ("400", "31", "700")
    assert rows["better"]["win/draw/loss"] == "8/0/0"
    assert rows["better"]["Dice"].startswith("0.77")
    assert rows["late"]["verdict"] == NOT_RUN
    assert set(rows["late"]) == set(rows["none"]) >= set(COMPARISON)


def test_the_output_alone_has_a_column_where_runs_merge_several_maps(repository):
    assert "Dice, output alone" not in verdict_rows(stored("one", repository))[0]
    for path in (repository / "benchmarks" / "verdict" / "verdict-one").glob("better-*.json"):
        run = read_result(path)
        for case in run["cases"].values():
            case["output_dice"] = 0.25
        write_result(path, run)
    rows = {row["row"]: row["Dice, output alone"] for row in verdict_rows(stored("one", repository))}
    assert (rows["none"], rows["better"]) == ("", "0.250 ± 0.000")


def test_a_row_is_compared_with_the_row_that_the_sweep_names(repository):
    sweep = repository / "sweeps" / "verdict-one.yml"
    sweep.write_text(sweep.read_text(encoding="utf-8") + "against: {better: same}\n", encoding="utf-8")
    one = stored("one", repository)
    assert one.base("better") == "same"
    assert [row["row"] for row in verdict_rows(one)] == ["none", "better (against same)", "same", "late"]
    wrong = sweep.read_text(encoding="utf-8").replace("better: same", "better: sane")
    sweep.write_text(wrong, encoding="utf-8")
    with pytest.raises(RefusedError, match=r"names 'sane', which is no row; write .* with two of none, better, same"):
        open_plan(sweep)


def test_page_and_summary_say_what_was_not_run(repository):
    one, other = questions(repository / "benchmarks" / "verdict", repository / "sweeps")
    assert "18 of 24 runs" in markdown(one)
    assert "Not run yet: 24 runs on `lung` (none; better; same; late)" in markdown(other)
    lines = summary([one, other]).splitlines()
    assert lines[0] == "**Does it help?**"
    assert lines[4].startswith("| better | 0.670 → 0.77")
    assert lines[5].startswith("| same | 0.670 → 0.67")
    assert lines[-1] == "Not run yet: Does it help?"
    assert summary([other]) == "Not run yet: Does it help?"


def test_an_unknown_question_is_answered_with_the_nearest(repository):
    with pytest.raises(RefusedError, match=r"there is no sweep .*the nearest .*one"):
        stored("onee", repository)


def test_the_repositorys_questions_are_planned_and_what_is_stored_belongs_to_them():
    for one in questions(ROOT / "benchmarks" / "verdict", ROOT / "sweeps"):
        assert one.planned == len(open_plan(one.plan.path).runs)
        assert one.runs <= one.planned
        for row, scores in one.scores["dice"].items():
            assert all(0 <= x <= 1 for of in scores.values() for x in of.values()), row


def test_a_notebook_gets_the_columns_that_answer_the_question(repository):
    rows = {row["row"]: row for row in brief_rows(stored("one", repository))}
    assert list(rows["better"]) == ["row", *BRIEF]
    assert rows["better"]["verdict"] == "helps"
    assert rows["late"]["verdict"] == NOT_RUN
