"""Names and types against the annotated cell, before anything starts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dsnotes.runs.annotations import convert, fits, parse
from dsnotes.runs.source import RefusedError, open_source


@pytest.mark.parametrize(
    ("value", "kind", "right"),
    [
        (3, "int", True),
        (True, "int", False),
        (1, "bool", False),
        ("false", "bool", False),
        (3, "float", True),
        (True, "float", False),
        (1.5, "int", False),
        (None, "int | None", True),
        (None, "int", False),
        ([1, 2], "list[int]", True),
        ([1, "2"], "list[int]", False),
        ([1, 2], "tuple[int, int]", True),
        ([1, 2, 3], "tuple[int, int]", False),
        ((1, 2, 3), "tuple[int, ...]", True),
        ({"a": 1}, "dict[str, float]", True),
        ({"a": "b"}, "dict[str, float]", False),
        ("x", "Literal['x', 'y']", True),
        ("z", "Literal['x', 'y']", False),
        (3, "int | str", True),
        (3.5, "int | str", False),
        (3, "'int | None'", True),
        (10**400, "float", False),
        ({1, 2}, "tuple[int, ...]", False),
        ([[1, 2], [3]], "list[tuple[int, ...]]", True),
        ([[1, 2], [True]], "list[tuple[int, ...]]", False),
        (np.int64(3), "int", False),
        ({1}, "Any", True),
    ],
)
def test_a_value_fits_its_annotation_or_not(value, kind, right):
    assert fits(value, kind) is right


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("20", "int", 20),
        ("False", "bool", False),
        ("1e-3", "float", 1e-3),
        ("20", "str", "20"),
        ("(1234)", "str", "(1234)"),
        ("[64, 64]", "list[int] | None", [64, 64]),
        ("None", "list[int] | None", None),
        ("unet-2d", "str | None", "unet-2d"),
        ("{'sides': '(34)'}", "dict", {"sides": "(34)"}),
        ("'quoted'", "str", "'quoted'"),
        ("paper", "Literal['paper', 'ours']", "paper"),
        ("'paper'", "Literal['paper', 'ours']", "paper"),
        ("(1, 2)", "tuple[int, ...]", (1, 2)),
        ("1", "float | None", 1.0),
    ],
)
def test_what_is_typed_is_read_by_its_annotation(text, kind, value):
    assert parse(text, kind) == value
    assert type(parse(text, kind)) is type(value)


@pytest.mark.parametrize(("text", "kind"), [("false", "bool"), ("2.5", "int"), ("[a]", "list[int]"), ("", "float")])
def test_what_is_typed_wrongly_is_no_value(text, kind):
    with pytest.raises(ValueError, match="^" + text.replace("[", r"\[") + "$"):
        parse(text, kind)


def test_what_means_the_same_becomes_the_same():
    assert isinstance(convert(1, "float"), float)
    assert isinstance(convert(1, "int | float"), int)
    assert convert(True, "bool") is True
    assert convert([1, 2], "tuple[int, ...]") == (1, 2)
    assert isinstance(convert({"a": 1}, "dict[str, float]")["a"], float)
    assert convert([1, 2], "list | tuple") == [1, 2]


def test_the_parameters_are_read_with_type_default_and_help(tiny):
    found = open_source(tiny).parameters
    assert list(found) == ["system", "data", "options", "fold", "seed", "scale", "patch", "wait", "fail", "smoke"]
    assert str(found["seed"]) == "seed: int = 0  # moves every figure a little"
    assert found["patch"].kind == "list[int] | None"


def test_both_members_of_a_pair_are_one(tiny):
    script, notebook = open_source(tiny), open_source(tiny.with_suffix(".ipynb"))
    values = script.check({"seed": 3})
    assert script.identity(values) == notebook.identity(values)


def test_a_run_is_named_by_its_code_and_all_its_parameters(tiny):
    source = open_source(tiny)
    name = source.identity(source.check({}))
    assert len(name) == 12
    assert source.identity(source.check({"seed": 0, "scale": 1})) == name  # the defaults
    assert source.identity(source.check({"seed": 1})) != name
    text = tiny.read_text(encoding="utf-8")
    tiny.write_text(text.replace("# # A notebook of a second", "# # Other words"), encoding="utf-8")
    assert open_source(tiny).identity(source.check({})) == name
    tiny.write_text(text.replace("0.90", "0.91"), encoding="utf-8")
    assert open_source(tiny).identity(source.check({})) != name


def test_what_is_given_is_assigned_behind_the_defaults(tiny):
    source = open_source(tiny)
    filled = source.filled(source.check({"scale": float("inf"), "fail": "it's", "patch": [1]}))
    space = {}
    for cell in filled["cells"][1:3]:
        exec(cell["source"], space)
    assert (space["scale"], space["fail"], space["patch"], space["seed"]) == (float("inf"), "it's", [1], 0)
    assert len(source.filled(source.check({}))["cells"]) == len(source.notebook["cells"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"sede": 1}, r"tiny.py has no parameter 'sede'; the nearest is seed: int = 0  # moves every figure"),
        ({"xyzzy": 1}, r"no parameter 'xyzzy'; its parameters: system, data, options"),
        ({"smoke": "false"}, r"smoke='false' is str, but smoke is bool \(changes nothing\); write smoke=False"),
        ({"seed": 1.5}, r"seed=1.5 is float, but seed is int \(moves every figure a little\); write seed=1"),
        (
            {"options": {"a": {1}}},
            r"options=\{'a': \{1\}\} cannot be saved .*set.*\); give numbers, text, lists and dicts",
        ),
        ({"patch": [1.5]}, r"patch=\[1.5\] is list, but patch is list\[int\] \| None"),
    ],
)
def test_a_wrong_name_or_type_is_refused_in_one_line(tiny, given, said):
    with pytest.raises(RefusedError, match=said) as caught:
        open_source(tiny).check(given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("epochs = 3", r"'epochs = 3' in the parameters cell has no type; write name: type = default  # help"),
        ("epochs: int = 2 + n", r"the default of epochs .*'2 \+ n'; compute in another cell"),
        ("epochs: int = (", "the parameters cell .*; correct it"),
        ("epochs: int = None", r"default of epochs is None, which its type int .*, such as epochs: int \| None = None"),
        ("patch: list[int] = 64", r"default of patch is 64, which its type list\[int\] .*list\[int\] \| int = 64"),
        ("where: Path = 'x'", r"where: the type 'Path' .*; write one of Any, int, .* list\[int\] \| None"),
        ("mode: Literal[a] = 'a'", r"mode: the type 'Literal\[a\]' .*; write one of Any"),
        ("mode: __import__('os').name = 'a'", r"mode: the type \"__import__\('os'\).name\" .*; write one of Any"),
    ],
)
def test_a_cell_that_cannot_be_read_is_refused(tiny, cell, said):
    text = tiny.read_text(encoding="utf-8")
    tiny.write_text(text.replace('system: str = "mss-unet"  # the row of the table', cell), encoding="utf-8")
    with pytest.raises(RefusedError, match=said):
        open_source(tiny)


def test_what_is_no_notebook_is_refused(tiny):
    with pytest.raises(RefusedError, match=r"there is no notebook .*tinny.py; did you mean .*tiny.py\?"):
        open_source(tiny.with_name("tinny.py"))
    with pytest.raises(RefusedError, match=r"no notebook .*nb\.py; give the path of .*notebooks/80_experiment\.py$"):
        open_source(tiny.parent / "nowhere" / "nb.py")
    assert (Path(__file__).parents[2] / "notebooks" / "80_experiment.py").is_file()
    with pytest.raises(RefusedError, match="neither .ipynb nor .py"):
        open_source(__import__("pathlib").Path(__file__).parents[2] / "README.md")
    broken = tiny.with_name("broken.ipynb")
    broken.write_text("[]", encoding="utf-8")
    with pytest.raises(RefusedError, match="give the .py beside it"):
        open_source(broken)
    for kind in (".py", ".ipynb"):
        tiny.with_suffix(kind).write_bytes("# naïve".encode("latin-1"))
        with pytest.raises(RefusedError, match=r"cannot read .*tiny.* \('utf-8' codec .*\); .* text in UTF-8"):
            open_source(tiny.with_suffix(kind))
    broken.write_text('{"cells": [], "metadata": {}}', encoding="utf-8")
    with pytest.raises(RefusedError, match="names no kernel; copy the '# ---' header"):
        open_source(broken)
