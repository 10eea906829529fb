"""A notebook before it is run: its cells, and the one annotated parameters cell.

papermill accepts any name and any value silently; here every name and type is checked against the cell

    epochs: int = 20  # rounds of training

which is read, not executed, so that an error is reported before anything starts.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsnotes.runs.annotations import convert, fits, parse
from dsnotes.runs.results_io import RefusedError
from dsnotes.safety.nearest import nearest
from dsnotes.safety.quick_imports import import_notebook_libraries

EXAMPLES = {int: 1, float: 0.5, list: [1], dict: {"name": 1}}


@dataclass(frozen=True)
class Parameter:
    name: str
    kind: str  # the annotation, as written
    default: Any
    help: str

    def __str__(self) -> str:
        return f"{self.name}: {self.kind} = {self.default!r}" + (f"  # {self.help}" if self.help else "")


@dataclass(frozen=True)
class Source:
    """`notebook` in nbformat; `place` is the index of the parameters cell, or None."""

    path: Path
    notebook: dict
    parameters: dict[str, Parameter]
    place: int | None

    @property
    def name(self) -> str:
        return self.path.stem

    def check(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Every parameter with its value, given or default; a wrong name or type raises `RefusedError`."""
        values = {name: one.default for name, one in self.parameters.items()}
        for name, value in given.items():
            one = self.parameter(name)
            if not fits(value, one.kind):
                raise RefusedError(self._wrong_type(one, repr(value), type(value).__name__))
            try:
                json.dumps(value, sort_keys=True)
            except TypeError as error:
                raise RefusedError(
                    f"{one.name}={value!r} cannot be saved as JSON ({error}); give numbers, text, lists and dicts"
                ) from None
            values[name] = convert(value, one.kind)
        return values

    def read(self, texts: Mapping[str, str]) -> dict[str, Any]:
        """Values typed on a command line as name=value, parsed by their parameter's annotation."""
        values = {}
        for name, text in texts.items():
            one = self.parameter(name)
            try:
                values[name] = parse(text, one.kind)
            except ValueError:
                raise RefusedError(self._wrong_type(one, text, "text")) from None
        return values

    def parameter(self, name: str) -> Parameter:
        if name in self.parameters:
            return self.parameters[name]
        near = nearest(name, self.parameters, 1)
        if near:
            raise RefusedError(f"{self.path.name} has no parameter {name!r}; the nearest is {self.parameters[near[0]]}")
        offered = ", ".join(self.parameters) or "none; tag its parameters cell with 'parameters'"
        raise RefusedError(f"{self.path.name} has no parameter {name!r}; its parameters: {offered}")

    def _wrong_type(self, one: Parameter, came: str, kind: str) -> str:
        example = one.default or EXAMPLES.get(type(one.default), one.default)  # empty often means "the paper's own"
        if one.kind == "bool" and came.strip("'\"").lower() in ("true", "false"):
            example = came.strip("'\"").lower() == "true"
        what = f" ({one.help})" if one.help else ""
        return f"{one.name}={came} is {kind}, but {one.name} is {one.kind}{what}; write {one.name}={example!r}"

    def identity(self, values: Mapping[str, Any]) -> str:
        """A hash of what is computed: the code outside the parameters cell, and every parameter's value.

        Prose, outputs and the file format do not count, so the .py and the .ipynb of a pair have the same identity.
        """
        code = [
            "".join(cell["source"]).strip()
            for place, cell in enumerate(self.notebook["cells"])
            if cell["cell_type"] == "code" and place != self.place
        ]
        text = json.dumps({"code": code, "parameters": dict(values)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def filled(self, values: Mapping[str, Any]) -> dict:
        """The notebook with a cell after the parameters that assigns the values that differ from the defaults."""
        notebook = json.loads(json.dumps(self.notebook))
        changed = {name: value for name, value in values.items() if value != self.parameters[name].default}
        if changed:
            cell = {
                "cell_type": "code",
                "id": "injected-parameters",
                "execution_count": None,
                "metadata": {"tags": ["injected-parameters"]},
                "outputs": [],
                "source": "# Given to this run\n" + "\n".join(f"{name} = {_code(v)}" for name, v in changed.items()),
            }
            notebook["cells"].insert(self.place + 1, cell)
        return notebook


def open_source(path: str | os.PathLike) -> Source:
    """Read a notebook, the `.py` or the `.ipynb` of a pair."""
    path = Path(path)
    if not path.is_file():
        beside = [p.name for p in path.parent.glob("*") if p.suffix in (".py", ".ipynb")]
        near = [f"; did you mean {path.parent / name}?" for name in nearest(path.name, beside, 1)]
        remedy = near or ["; give the path of a notebook's .py or .ipynb, such as notebooks/80_experiment.py"]
        raise RefusedError(f"there is no notebook {path}" + "".join(remedy))
    if path.suffix == ".ipynb":
        try:
            notebook = json.loads(_text(path))
            cells, metadata = notebook["cells"], notebook["metadata"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise RefusedError(
                f"{path} is not a notebook ({error}); open it in JupyterLab, or give the .py beside it"
            ) from None
    elif path.suffix == ".py":
        import_notebook_libraries()
        import jupytext

        notebook = json.loads(jupytext.writes(jupytext.reads(_text(path), fmt="py"), fmt="ipynb"))
        cells, metadata = notebook["cells"], notebook["metadata"]
    else:
        raise RefusedError(f"{path} is neither .ipynb nor .py; give a notebook's .py or .ipynb")
    if not metadata.get("kernelspec", {}).get("name"):
        raise RefusedError(
            f"{path} names no kernel; copy the '# ---' header of another notebook's .py, or save it in Jupyter"
        )
    for cell in cells:
        cell["source"] = "".join(cell["source"])
    tagged = [i for i, cell in enumerate(cells) if "parameters" in cell["metadata"].get("tags", [])]
    if len(tagged) > 1:
        raise RefusedError(f"{path} has {len(tagged)} cells tagged 'parameters'; keep one")
    place = tagged[0] if tagged else None
    found = {} if place is None else _parameters(cells[place]["source"], path)
    return Source(path, notebook, found, place)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedError(f"cannot read {path} ({error}); it must be readable, and text in UTF-8") from None


def _parameters(code: str, path: Path) -> dict[str, Parameter]:
    try:
        body = ast.parse(code).body
    except SyntaxError as error:
        raise RefusedError(
            f"{path}: the parameters cell is not valid Python ({error.msg}: {error.text!r}); correct it"
        ) from None
    comments = {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokenize.generate_tokens(io.StringIO(code).readline)
        if token.type == tokenize.COMMENT
    }
    found = {}
    for node in body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name) or node.value is None:
            raise RefusedError(
                f"{path}: {ast.unparse(node)!r} in the parameters cell has no type; write name: type = default  # help"
            )
        try:
            default = ast.literal_eval(node.value)
        except ValueError:
            raise RefusedError(
                f"{path}: the default of {node.target.id} must be a plain value, got {ast.unparse(node.value)!r}; "
                f"compute in another cell"
            ) from None
        name, kind = node.target.id, ast.unparse(node.annotation)
        try:
            default = convert(default, kind)
        except TypeError as error:
            raise RefusedError(f"{path}: {name}: {error}") from None
        except ValueError:
            raise RefusedError(
                f"{path}: the default of {name} is {default!r}, which its type {kind} does not take; change one of "
                f"them, such as {name}: {kind} | {type(default).__name__.removesuffix('Type')} = {default!r}"
            ) from None
        found[name] = Parameter(name, kind, default, comments.get(node.end_lineno, ""))
    return found


def _code(value: Any) -> str:
    """The value as Python source; the repr of inf or nan is not valid source."""
    return f"float({str(value)!r})" if isinstance(value, float) and not abs(value) < float("inf") else repr(value)
