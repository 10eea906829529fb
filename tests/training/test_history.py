import pytest

from dsnotes.training.history import History

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
