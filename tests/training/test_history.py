import math

import pytest
import torch

from dsnotes.training.history import History, MetricAccumulator

RECORDS = [
    {"epoch": 1, "loss": 0.9, "val_score": 0.2, "seconds": 2.0},
    {"epoch": 2, "loss": 0.5, "val_score": 0.7, "seconds": 1.0},
    {"epoch": 3, "loss": 0.4, "val_score": 0.6, "seconds": 3.0, "late": 1},
]


def test_columns_and_records():
    history = History(RECORDS)
    assert history.column("loss") == [0.9, 0.5, 0.4] == history["loss"]
    assert history["late"] == [None, None, 1]
    assert history[-1]["epoch"] == 3
    assert len(history) == 3
    with pytest.raises(KeyError, match=r"no column 'los'. Choose one of epoch, loss, val_score"):
        history.column("los")


def test_the_best_epoch_is_that_of_the_highest_score_else_of_the_lowest_loss():
    assert History(RECORDS).best_epoch == 2
    assert History({"epoch": r["epoch"], "loss": r["loss"]} for r in RECORDS).best_epoch == 3
    assert History().best_epoch is None


def test_average_and_total_time_are_those_of_the_papers_tables():
    history = History(RECORDS)
    assert history.total_seconds == 6
    assert history.seconds_per_epoch == 2
    assert history.seconds_per_epoch * len(history) == history.total_seconds


def test_the_table_marks_the_best_epoch_with_a_sign_not_a_colour():
    lines = History(RECORDS).table().splitlines()
    assert lines[0].split() == ["epoch", "loss", "val_score", "seconds", "late"]
    assert lines[2].split() == ["2", "*", "0.5", "0.7", "1"]
    assert lines[-1].startswith("3 epochs, 2 s each, 6 s in all; * best epoch 2")
    assert History().table() == "no epoch has finished yet"


def test_html_is_a_table_of_the_same_cells_and_escapes_names():
    text = History([{"epoch": 1, "loss": 0.5, "a<b": 1.25, "seconds": 1.0}])._repr_html_()
    assert "<th>a&lt;b</th>" in text
    assert "<td>1.25</td>" in text
    assert text.count("<tr>") == 2


def test_json_lines_survive_a_round_trip_and_a_last_line_cut_short(tmp_path):
    path = tmp_path / "history.jsonl"
    History(RECORDS).write(path)
    assert History.read(path).records == RECORDS
    path.write_text(path.read_text()[:-10])
    assert History.read(path).records == RECORDS[:2]


def rows(n: int) -> list[dict]:
    return [{"dice": torch.tensor(float(i)), "loss": torch.tensor(2.0 * i)} for i in range(1, n + 1)]


@pytest.mark.parametrize("look_every", [1, 3, 16])
def test_means_are_those_of_all_steps(look_every):
    metrics = MetricAccumulator(1, look_every=look_every)
    for row in rows(10):
        metrics.add(row)
    assert metrics.means() == {"dice": 5.5, "loss": 11.0}


def test_a_term_that_only_some_steps_have_is_averaged_over_those():
    metrics = MetricAccumulator(1, look_every=4)
    for row in [*rows(3), {"critic": torch.tensor(7.0), "loss": torch.tensor(0.0)}]:
        metrics.add(row)
    assert metrics.means() == {"dice": 2.0, "loss": 3.0, "critic": 7.0}


@pytest.mark.parametrize("look_every", [1, 4, 64])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_first_broken_step_is_named_however_late_one_looks(look_every, value):
    """After a NaN everything is NaN: the epoch, step and term are those where it first appeared."""
    metrics = MetricAccumulator(3, look_every=look_every)

    def train() -> None:
        for step in range(1, 41):
            broken = torch.tensor(value if step >= 7 else 1.0)
            after = torch.tensor(value if step >= 8 else 1.0)
            metrics.add({"loss": broken, "dice": broken, "cross-entropy": after, "grad_norm": broken})
        metrics.means()

    with pytest.raises(
        FloatingPointError, match=rf"epoch 3, step 7: the term 'dice' became {value} \(still finite: cr"
    ):
        train()


def test_a_broken_gradient_under_finite_terms_is_named_as_such():
    metrics = MetricAccumulator(1, look_every=1)
    with pytest.raises(FloatingPointError, match=r"step 1: the norm of the gradient \(grad_norm\) became nan"):
        metrics.add({"loss": torch.tensor(1.0), "dice": torch.tensor(1.0), "grad_norm": torch.tensor(math.nan)})
