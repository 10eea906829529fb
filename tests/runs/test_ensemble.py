"""What several runs bring over one: the average of probabilities against each, case by case."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dsnotes.data.case import Case
from dsnotes.data.task import Task
from dsnotes.runs import ensemble
from dsnotes.runs.plan import Plan, Row
from dsnotes.runs.source import Source

TASK = Task({0: "background", 1: "lesion"})


@pytest.fixture
def answers(monkeypatch):
    """Each "system" here is its answer: a number that is added to the image, which is the probability."""

    def predict_scan(models, case, **_):
        ((add, _task),) = models
        return None, np.clip(case.image + add, 0, 1)[None].astype("f4")

    monkeypatch.setattr(ensemble, "predict_scan", predict_scan)


def case(name: str, image, label) -> Case:
    return Case(name, np.asarray(image, "f4"), np.asarray(label, "u1"), (1.0, 1.0))


def test_errors_that_differ_average_out(answers):
    """One answers .2 too high, one .2 too low; the truth is what exceeds .5. By hand: 4/5 and 2/3 alone, 1 together."""
    image = [[0.9, 0.6, 0.4, 0.1, 0.1]]
    one = case("a", image, [[1, 1, 0, 0, 0]])
    found = ensemble.gain([(0.2, TASK), (-0.2, TASK)], ["high", "low"], [one])
    assert found.alone == {"high": pytest.approx((4 / 5,)), "low": pytest.approx((2 / 3,))}
    assert found.together == (1.0,)
    assert found.differences == pytest.approx([1 - (4 / 5 + 2 / 3) / 2])
    assert "together 1.000: +0.267" in str(found)


def test_ignored_voxels_take_no_part(answers):
    one = case("a", [[0.9, 0.9, 0.1]], [[1, 0, 0]])
    one.extras["valid"] = np.array([[1, 0, 1]], "u1")
    assert ensemble.gain([(0.0, TASK), (0.0, TASK)], ["a", "b"], [one]).together == (1.0,)


def test_rows_for_a_table(answers):
    cases = [case(f"c{k}", [[0.9, 0.6, 0.3 + k / 20]], [[1, 1, 0]]) for k in range(4)]
    rows = ensemble.gain([(0.0, TASK), (0.18, TASK)], ["a", "b"], cases).rows()
    assert [row["run"] for row in rows] == ["a", "b", "together", "together − alone"]
    assert 0 <= rows[-1]["p, paired t-test"] <= 1
    assert rows[-1]["Dice"] == pytest.approx(rows[2]["Dice"] - (rows[0]["Dice"] + rows[1]["Dice"]) / 2)


def test_one_run_and_cases_without_a_label_are_refused(answers):
    with pytest.raises(ValueError, match="two runs or more.*got 1"):
        ensemble.gain([(0.0, TASK)], ["a"], [])
    blank = Case("x", np.zeros((2, 2), "f4"), None, (1.0, 1.0))
    with pytest.raises(ValueError, match="case x has no label"):
        ensemble.gain([(0.0, TASK), (0.0, TASK)], ["a", "b"], [blank])


def test_runs_are_not_judged_on_what_they_were_trained_on(monkeypatch):
    done = SimpleNamespace(dataset="lung", lacking="", cases={"a": {"dice": 1.0}})
    monkeypatch.setattr("dsnotes.runs.collect.results", lambda *_: [done, done])
    with pytest.raises(ValueError, match="trained on lung"):
        ensemble.gains("mss-2", "runs", "lung")


def test_the_folds_of_a_sweep_are_one_model(tmp_path, monkeypatch, answers):
    """Two folds that err in opposite directions, filed as the sweep's runs; the trained data are refused."""
    seen = {}

    def load_models(folders):
        seen["folders"] = folders
        return [(0.2, TASK), (-0.2, TASK)], []

    runs = tuple({"data": str(tmp_path / "mine"), "fold": k, "seed": 0} for k in range(2))
    plan = Plan(Path("folds.yml"), Source(Path("80.py"), {}, {}, None), None, runs, None)
    row = Row("", {}, runs)
    monkeypatch.setattr("dsnotes.runs.differences.labelled", lambda _: {"": row})
    monkeypatch.setattr("dsnotes.runs.notebook.folder_of", lambda _, values, out: Path(out) / str(values["fold"]))
    monkeypatch.setattr("dsnotes.runs.notebook.finished", lambda folder: {} if folder != Path("missing/1") else None)
    monkeypatch.setattr("dsnotes.runs.predict_command.load_models", load_models)
    one = case("a", [[0.9, 0.6, 0.4, 0.1, 0.1]], [[1, 1, 0, 0, 0]])
    monkeypatch.setattr("dsnotes.runs.experiment.cases_of", lambda data: ([one], {}))
    found = ensemble.gains_of_sweep(plan, "runs", "held")[""]
    assert seen["folders"] == ["runs/0", "runs/1"]
    assert list(found.alone) == ["fold 0, seed 0", "fold 1, seed 0"]
    assert found.together == (1.0,)
    with pytest.raises(ValueError, match="trained on .*mine"):
        ensemble.gains_of_sweep(plan, "runs", str(tmp_path / "mine"))
    with pytest.raises(ValueError, match="fewer than two finished runs; compute them with: dsnotes sweep folds.yml"):
        ensemble.gains_of_sweep(plan, "missing", "held")


def test_runs_under_two_recipes_are_two_models(result, monkeypatch):
    for recipe in ("mss", "own"):
        for fold in (0, 1):
            runs = result({"a": {"dice_tumour": 0.5}}, system="vb-net", recipe=recipe, fold=fold)
    rows = {}
    monkeypatch.setattr(ensemble, "_gains", lambda found, data: rows.update(found) or {})
    ensemble.gains("mss-5", runs, "held")
    of_table, of_its_own = rows["vb-net"], rows["vb-net recipe=own"]
    assert set(of_table) == set(of_its_own) == {"fold 0, seed 0", "fold 1, seed 0"}
    assert not set(of_table.values()) & set(of_its_own.values())
