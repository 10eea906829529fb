"""What the curves show of a history, and that each can be told from the next in grey."""

from __future__ import annotations

import math

import pytest

from dsnotes.training.history import History
from dsnotes.viewers import curves

RECORDS = [
    {"epoch": n, "loss": 3 / n, "cross-entropy": 2 / n, "dice": 1 / n, "lr": 1e-3, "val_dice": d, "seconds": 0.5}
    for n, d in enumerate((0.1, 0.7, 0.9, 0.8), start=1)
]


def drawn_lines(axes) -> dict[str, list]:
    return {line.get_label(): list(line.get_ydata()) for line in axes.lines if not line.get_label().startswith("_")}


def test_the_loss_its_terms_and_the_score_are_drawn():
    losses, scores = curves.draw(RECORDS).axes
    assert drawn_lines(losses) == {
        "loss": [3, 1.5, 1, 0.75],
        "cross-entropy": [2, 1, 2 / 3, 0.5],
        "dice": [1, 0.5, 1 / 3, 0.25],
    }
    assert drawn_lines(scores) == {"dice": [0.1, 0.7, 0.9, 0.8]}
    assert scores.get_title(loc="right") == "best 0.900 in epoch 3"
    assert scores.get_ylim() == (0, 1)


def test_every_curve_has_a_dash_of_its_own():
    (losses, _) = curves.draw(RECORDS).axes
    dashes = {str(line._unscaled_dash_pattern) for line in losses.lines}
    assert len(dashes) == 3


def test_many_terms_get_a_small_panel_each():
    terms = {f"term {i}": float(i) for i in range(9)}
    figure = curves.draw([{"epoch": 1, "loss": 9.0} | terms, {"epoch": 2, "loss": 9.0} | terms])
    losses, *panels = [axes for axes in figure.axes if axes.get_visible()]
    assert list(drawn_lines(losses)) == ["loss"]
    assert {panel.get_title(loc="left"): drawn_lines(panel) for panel in panels} == {
        name: {name: [value, value]} for name, value in terms.items()
    }


def test_a_single_term_is_the_loss_and_not_drawn_twice():
    (axes,) = curves.draw([{"epoch": 1, "loss": 1.0, "mse": 1.0}, {"epoch": 2, "loss": 0.5, "mse": 0.5}]).axes
    assert list(drawn_lines(axes)) == ["loss"]


def test_of_what_validation_records_its_loss_and_its_dice_are_drawn():
    """`fit` records more, such as val_iou and val_score: they are in the table."""
    more = {
        "grad_norm": 0.4,
        "samples_per_second": 80.0,
        "val_loss": 0.5,
        "val_loss_dice": 0.2,
        "val_iou": 0.3,
        "val_score": 0.4,
        "val_dice_1": 0.2,
        "val_dice_2": 0.4,
    }
    losses, scores = curves.draw([{**record, **more} for record in RECORDS]).axes
    assert list(drawn_lines(losses)) == ["loss", "cross-entropy", "dice", "validation loss"]
    assert list(drawn_lines(scores)) == ["dice", "dice_1", "dice_2"]


def test_epochs_without_validation_and_missing_values_are_left_out():
    records = [{"epoch": 1, "loss": 1.0, "val_dice": None}, {"epoch": 2, "loss": 0.9, "val_dice": 0.4}]
    _, scores = curves.draw(records).axes
    assert drawn_lines(scores) == {"dice": [0.4]}
    (only,) = curves.draw(records[:1]).axes
    assert drawn_lines(only) == {"loss": [1.0]}


def test_a_loss_that_falls_by_two_orders_is_drawn_on_a_log_scale():
    fall = [{"epoch": n, "loss": math.exp(-n)} for n in range(6)]
    figure = curves.draw(fall)
    figure.canvas.draw()
    assert figure.axes[0].get_yscale() == "log"
    assert {"0.01", "0.1", "1"} <= {tick.get_text() for tick in figure.axes[0].get_yticklabels()}
    assert curves.draw(RECORDS).axes[0].get_yscale() == "linear"


def test_dice_keeps_its_scale_from_0_to_1_however_it_rises():
    rise = [{"epoch": n, "loss": 1.0, "val_dice": d} for n, d in enumerate((1e-4, 0.5, 0.9))]
    scores = curves.draw(rise).axes[1]
    assert (scores.get_yscale(), scores.get_ylim()) == ("linear", (0, 1))


def test_epochs_are_whole_numbers_even_when_there_is_one():
    figure = curves.draw(RECORDS[:1])
    figure.canvas.draw()
    assert all(tick.get_text().isdigit() for tick in figure.axes[0].get_xticklabels())


def test_a_history_is_drawn_like_its_records():
    assert drawn_lines(curves.plot(History(RECORDS)).figure.axes[0]) == drawn_lines(curves.draw(RECORDS).axes[0])


def test_an_empty_history_is_refused():
    with pytest.raises(ValueError, match=r"the history is empty: pass what dsnotes\.fit returned"):
        curves.plot(History())


def test_a_live_plot_in_a_script_keeps_silent(capsys):
    assert curves.live()(History(RECORDS)) is None
    assert capsys.readouterr().out == ""


def test_lines_compare_runs_by_dash_and_marker():
    shown = curves.lines({"output": {"a": 1e-4, "b": 1e-2}, "every depth": {"a": 1e-2, "b": 2e-2}}, log=True, y="norm")
    axes = shown.figure.axes[0]
    assert drawn_lines(axes) == {"output": [1e-4, 1e-2], "every depth": [1e-2, 2e-2]}
    assert len({line.get_marker() for line in axes.lines}) == 2
    assert axes.get_yscale() == "log"
    with pytest.raises(ValueError, match=r"nothing to draw. Pass \{name: \{x: y, …\}, …\}"):
        curves.lines({"empty": {}})


def test_between_whole_numbers_there_is_no_tick():
    epochs = curves.lines({"a": {n: 0.1 * n for n in range(1, 21)}}).figure.axes[0]
    shares = curves.lines({"a": {n / 4: 0.1 * n for n in range(1, 7)}}).figure.axes[0]
    assert all(at == int(at) for at in epochs.get_xticks())
    assert any(at != int(at) for at in shares.get_xticks())


def test_the_live_table_is_short_and_keeps_the_best_epoch():
    long = [{**RECORDS[0], "epoch": n, "val_dice": 0.9 if n == 3 else 0.1, "val_iou": 0.1} for n in range(1, 31)]
    table = curves._latest(long)
    assert [row["epoch"] for row in table.rows] == [3, 26, 27, 28, 29, 30]
    assert [row[""] for row in table.rows] == ["best", None, None, None, None, None]
    assert table.columns == ["epoch", "loss", "cross-entropy", "dice", "val_dice", "lr", "seconds", ""]
    assert table.caption == "30 epochs in 15 s"


def test_gradnorms_columns_are_no_losses_and_have_their_own_panels():
    columns = {f"{what} stride{s}": s / 10 for what in ("alpha", "pull", "rate") for s in (1, 2)}
    records = [{**record, **columns} for record in RECORDS]
    plain, figure = curves.draw(RECORDS), curves.draw(records)
    assert drawn_lines(figure.axes[0]) == drawn_lines(plain.axes[0])
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]
    assert titles == [axes.get_title(loc="left") for axes in plain.axes] + list(curves.BALANCE.values())
    for panel in figure.axes[len(plain.axes) : len(titles)]:
        assert drawn_lines(panel) == {"stride1": [0.1] * len(RECORDS), "stride2": [0.2] * len(RECORDS)}
    assert not any(column in curves._latest(records).columns for column in columns)


@pytest.mark.parametrize("many", [3, 4, 5])
def test_names_of_many_lines_stand_beside_the_curves(many):
    figure = curves.lines({f"run {i}": {1: i, 2: i + 1} for i in range(many)}).figure
    figure.draw_without_rendering()
    axes = figure.axes[0]
    box = axes.get_legend().get_window_extent()
    assert (box.x0 >= axes.bbox.x1) == (many > curves.FEW)
    assert box.x1 <= figure.bbox.x1


def test_more_than_five_lines_become_panels_on_the_same_axes():
    runs = {f"run {i}": {1: i, 2: i + 1} for i in range(6)}
    panels = [axes for axes in curves.lines(runs, title="Six").figure.axes if axes.get_visible()]
    assert [panel.get_title(loc="left") for panel in panels] == list(runs)
    assert len({panel.get_ylim() for panel in panels}) == 1
    for panel, points in zip(panels, runs.values(), strict=True):
        assert list(panel.lines[-1].get_ydata()) == list(points.values())
        assert len(panel.lines) == len(runs) + 1  # the others in grey behind it
