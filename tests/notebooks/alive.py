"""Execute a notebook, its folded solutions too, and measure how long each cell says nothing.

    python tests/notebooks/alive.py notebooks/50_mu_net.ipynb [executed.ipynb] [-p name value]…

A stretch is counted in seconds of the clock or of the kernel's processor time, whichever is less, so that other
programs on the machine do not count.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import nbformat
import psutil
import yaml
from nbclient import NotebookClient
from papermill.parameterize import parameterize_notebook
from solutions import unfolded

SIGNS = ("stream", "display_data", "update_display_data", "execute_result", "clear_output", "error")


class Listening(NotebookClient):
    """`stretches`: per code cell its number, the longest silence, the whole time, and its first line."""

    def __init__(self, *given, **how) -> None:
        super().__init__(*given, **how)
        self.stretches: list[dict] = []
        self.on_cell_execute = self._begin
        self.on_cell_executed = self._end

    def _now(self) -> tuple[float, float]:
        try:
            used = psutil.Process(self.km.provisioner.pid).cpu_times()
            return time.monotonic(), used.user + used.system
        except psutil.Error:
            return time.monotonic(), float("inf")

    def _since(self, then: tuple[float, float]) -> float:
        return min(b - a for a, b in zip(then, self._now(), strict=True))

    def _begin(self, cell, cell_index) -> None:
        self._sign = self._start = self._now()
        self.stretches.append({"cell": cell_index, "silent": 0.0, "seconds": 0.0, "first": cell.source.split("\n")[0]})

    def _end(self, cell, cell_index, execute_reply) -> None:
        self._note()
        self.stretches[-1]["seconds"] = self._since(self._start)

    def _note(self) -> None:
        here = self.stretches[-1]
        here["silent"] = max(here["silent"], self._since(self._sign))
        self._sign = self._now()

    def process_message(self, message, *rest, **kwargs):
        if message["msg_type"] in SIGNS and self.stretches:
            self._note()
        return super().process_message(message, *rest, **kwargs)


def run(source: Path, executed: Path, parameters: dict, *, cwd: Path, timeout: int | None = None) -> list[dict]:
    """The stretches of every code cell. `executed` is saved even if a cell fails, and then the error is raised."""
    notebook = unfolded(nbformat.read(source, as_version=4))
    for cell in notebook.cells:
        cell.metadata.setdefault("tags", [])  # papermill looks for it
    notebook.metadata["papermill"] = {}
    notebook = parameterize_notebook(notebook, parameters)
    client = Listening(notebook, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": str(cwd)}})
    client.create_kernel_manager()
    if hasattr(client.km, "transport_encryption"):  # otherwise ipykernel warns in every run
        client.km.transport_encryption = "auto"
    try:
        client.execute(env=dict(os.environ))
    finally:
        executed.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, executed)
        executed.with_suffix(".silence.json").write_text(json.dumps(client.stretches, indent=1), encoding="utf-8")
    return client.stretches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("executed", type=Path, nargs="?")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    parser.add_argument("--timeout", type=int, help="seconds per cell")
    parser.add_argument("--cwd", type=Path, help="folder in which it runs, by default the notebook's")
    given = parser.parse_args()
    cwd = given.cwd or given.notebook.absolute().parent
    executed = given.executed or Path("build/notebooks") / given.notebook.name
    values = {name: yaml.safe_load(value) for name, value in given.p}
    stretches = run(given.notebook, executed, values, cwd=cwd, timeout=given.timeout)
    for one in sorted(stretches, key=lambda one: -one["silent"])[:5]:
        print(f"cell {one['cell']:3}: silent for {one['silent']:5.1f} of {one['seconds']:5.1f} s: {one['first'][:70]}")
    print(f"{given.notebook.name}: {sum(one['seconds'] for one in stretches):.0f} s", file=sys.stdout)


if __name__ == "__main__":
    main()
