"""Runs: notebooks with parameters, sweeps of them, and the tables that their results fill."""

from dsnotes.runs.locks import BusyError
from dsnotes.runs.notebook import FailedError, Run, run
from dsnotes.runs.results_io import folder, path, record
from dsnotes.runs.source import Parameter, RefusedError, open_source

__all__ = [
    "BusyError",
    "FailedError",
    "Parameter",
    "RefusedError",
    "Run",
    "folder",
    "open_source",
    "path",
    "record",
    "run",
]
