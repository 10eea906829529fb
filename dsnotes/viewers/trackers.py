"""Log training to TensorBoard or MLflow: callbacks for `fit(…, on_epoch=…)`; each needs its own package."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any

from dsnotes.training.history import History


def to_tensorboard(folder: str | PathLike) -> Callable[[History], None]:
    """Write all numbers of every epoch for `tensorboard --logdir FOLDER`; a resumed run continues there."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(f"to_tensorboard needs tensorboard ({error}); type pip install 'dsnotes[track]'") from None

    def on_epoch(history: History) -> None:
        with SummaryWriter(str(folder)) as writer:
            for name, value in figures(history):
                writer.add_scalar(name, value, len(history))

    return on_epoch


def to_mlflow(address: str, *, experiment: str = "dsnotes", run: str = "training") -> Callable[[History], None]:
    """Log every number of every epoch to the MLflow server or store at `address`; the same `run` is continued."""
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise ImportError(f"to_mlflow needs mlflow ({error}); type pip install 'dsnotes[track]'") from None
    client = MlflowClient(address)
    known = client.get_experiment_by_name(experiment)
    place = known.experiment_id if known else client.create_experiment(experiment)
    earlier = [found for found in client.search_runs([place]) if found.info.run_name == run]
    own = (earlier[0] if earlier else client.create_run(place, run_name=run)).info.run_id

    def on_epoch(history: History) -> None:
        for name, value in figures(history):
            client.log_metric(own, name, value, step=len(history))

    return on_epoch


def figures(history: History) -> list[tuple[str, float]]:
    """The last epoch's numbers, under their names in the history."""
    last: dict[str, Any] = history.records[-1]
    return [(name, float(value)) for name, value in last.items() if name != "epoch" and isinstance(value, int | float)]
