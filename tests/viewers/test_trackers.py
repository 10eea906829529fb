"""Trackers, read back with their own packages."""

from __future__ import annotations

import pytest

import dsnotes
from dsnotes.data import phantoms
from dsnotes.viewers.trackers import to_mlflow, to_tensorboard


@pytest.fixture
def fit(tmp_path):
    """fit(epochs=2, on_epoch=…) -> the history of a small training that resumes in one folder."""
    cases = phantoms.nodules(2, seed=0)

    def run(**options):
        system = dsnotes.build("unet-2d", width=2)
        settings = {"patch": (32, 32), "batch": 1, "iterations": 1, "out": tmp_path / "run", "progress": False}
        return dsnotes.fit(system, cases[:1], cases[1:], **settings, **options)

    return run


def test_tensorboard_reads_every_epoch_of_a_resumed_run(fit, tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    fit(epochs=1, on_epoch=to_tensorboard(tmp_path / "board"))
    history = fit(epochs=3, on_epoch=to_tensorboard(tmp_path / "board"))
    found = event_accumulator.EventAccumulator(str(tmp_path / "board"))
    found.Reload()
    for name in ("loss", "dice", "lr"):
        events = found.Scalars(name)
        assert [event.step for event in events] == [1, 2, 3]
        assert [event.value for event in events] == pytest.approx(list(history.column(name)))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_mlflow_reads_every_epoch_of_a_resumed_run(fit, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    address = (tmp_path / "mlruns").as_uri()
    fit(epochs=1, on_epoch=to_mlflow(address, run="first"))
    history = fit(epochs=3, on_epoch=to_mlflow(address, run="first"))
    client = mlflow.MlflowClient(address)
    runs = client.search_runs([client.get_experiment_by_name("dsnotes").experiment_id])
    assert [run.info.run_name for run in runs] == ["first"]
    logged = client.get_metric_history(runs[0].info.run_id, "dice")
    assert [one.step for one in logged] == [1, 2, 3]
    assert [one.value for one in logged] == pytest.approx(list(history.column("dice")))


@pytest.mark.parametrize(
    ("make", "package", "place"),
    [(to_tensorboard, "torch.utils.tensorboard", "board"), (to_mlflow, "mlflow", "file:mlruns")],
)
def test_a_tracker_that_is_not_installed_says_what_to_type(make, package, place, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(ImportError, match=r"pip install 'dsnotes\[track\]'"):
        make(place)
