"""A sweep's file: what it asks for, and what is wrong in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dsnotes.papers import systems
from dsnotes.runs.paper_tables import published, tables
from dsnotes.runs.plan import open_plan
from dsnotes.runs.source import RefusedError

SWEEPS = Path(__file__).resolve().parents[2] / "sweeps"


@pytest.fixture
def plan(tiny):
    """plan(text) writes a sweep beside tiny.py and opens it."""

    def opened(text: str, **given):
        path = tiny.with_name("some.yml")
        path.write_text(text, encoding="utf-8")
        return open_plan(path, given)

    return opened


def test_every_entry_of_the_list_meets_every_combination_of_the_grid(plan):
    found = plan(
        "notebook: tiny.py\nparameters: {smoke: true}\nlist: [{system: a}, {system: b, scale: 2}]\n"
        "grid: {fold: [0, 1], seed: [5, 6, 7]}\ntimeout: 60\n"
    )
    assert found.timeout == 60
    assert len(found.runs) == 2 * 2 * 3
    asked = [(run["system"], run["scale"], run["fold"], run["seed"]) for run in found.runs]
    assert asked[:4] == [("a", 1.0, 0, 5), ("a", 1.0, 0, 6), ("a", 1.0, 0, 7), ("a", 1.0, 1, 5)]
    assert asked[-1] == ("b", 2.0, 1, 7)
    assert all(run["smoke"] is True for run in found.runs)


def test_equal_runs_are_one(plan):
    assert len(plan("notebook: tiny.py\nlist: [{seed: 0}, {scale: 1}, {}]\n").runs) == 1


def test_what_is_typed_goes_before_what_is_written(plan):
    found = plan("notebook: tiny.ipynb\nparameters: {wait: 3.0}\ngrid: {seed: [0, 1]}\n", wait="0.5")
    assert [run["wait"] for run in found.runs] == [0.5, 0.5]


def test_a_table_is_a_run_for_each_row_that_a_system_fills(plan):
    found = plan("notebook: tiny.py\ntable: msds-3\n")
    assert [run["options"] for run in found.runs][:2] == [{"objective": "none"}, {"objective": "hard"}]
    assert found.runs[-1]["options"] == {}  # 'all' is the default
    assert {run["system"] for run in found.runs} == {"msds-unet"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("notebok: tiny.py", r"there is no key 'notebok'; the nearest is 'notebook'"),
        ("notebook: tiny.py\ngird: {}", r"there is no key 'gird'; the nearest is 'grid'"),
        ("parameters: {}", "names no notebook; add for instance notebook:"),
        ("notebook: tiny.py\nlist: {seed: 1}", r"list: \{'seed': 1\} is dict, but must be a list"),
        ("notebook: tiny.py\nlist: [mss-unet]", r"'mss-unet' in 'list' .*; write - \{system:"),
        ("notebook: tiny.py\ngrid: {seed: 3}", r"grid: seed: 3 .*; write seed: \[3\]"),
        ("notebook: tiny.py\ngrid: {seed: []}", "has no runs; .*'grid'"),
        ("notebook: tiny.py\nlist: [{seed: 1}]\ngrid: {seed: [2]}", "'list' and 'grid' both give seed; keep"),
        ("notebook: tiny.py\nlist: [{seed: 1}]\ntable: mss-22", "mss-22"),
        ("notebook: tiny.py\ntimeout: -5", "timeout: -5 .*; give seconds, such as 3600"),
        ("notebook: tiny.py\ntimeout: .nan", "timeout: nan .*; give"),
        ("notebook: tiny.py\nlist: []", "has no runs; fill 'list'"),
        ("notebook: tiny.py\nparameters: {1: 3}", "has no parameter '1'; its parameters"),
        ("notebook: tiny.py\nparameters: {options: {day: 2026-01-01}}", "cannot be saved .*date"),
        ("notebook: tiny.py\nparameters: {sede: 3}", r"no parameter 'sede'; the nearest is seed: int"),
        ("notebook: tiny.py\nparameters: {smoke: 'false'}", "smoke='false' is str, but smoke is bool"),
        ("notebook: tiny.py\ntable: mss-22", r"no table 'mss-22'; the nearest are mss-2"),
        ("notebook: tinny.py", "there is no notebook .*; did you mean .*tiny.py"),
        ("notebook: [", "YAML"),
        ("", "has no keys"),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_one_line(plan, text, said):
    with pytest.raises(RefusedError, match=said) as caught:
        plan(text)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tiny):
    tiny.with_name("some.yml").write_bytes("# naïve".encode("latin-1"))
    with pytest.raises(RefusedError, match="YAML: 'utf-8' codec can't decode"):
        open_plan(tiny.with_name("some.yml"))


def test_a_file_that_is_not_there_is_refused_with_the_nearest(tiny):
    tiny.with_name("some.yml").touch()
    with pytest.raises(RefusedError, match=r"cannot be read \(No such file or directory\); did you mean .*some.yml\?"):
        open_plan(tiny.with_name("sum.yml"))
    with pytest.raises(RefusedError, match=r"x\.yml cannot be read .*; give the path of a \.yml, .*sweeps/mss-2\.yml$"):
        open_plan("nowhere/x.yml")
    assert (SWEEPS / "mss-2.yml").is_file()


def of_the_repository() -> list[Path]:
    return sorted(SWEEPS.glob("*.yml"))


@pytest.mark.parametrize("path", of_the_repository(), ids=lambda path: path.stem)
def test_every_sweep_of_the_repository_can_be_run(path):
    """Each parses, each parameter is the notebook's, each system and each of its options exists."""
    found = open_plan(path)
    if found.table is None:
        assert found.columns, "a sweep that is no published table's says what to show"
    else:
        assert path.stem.startswith(found.table)
    known = systems()
    for values in found.runs:
        system = known[values["system"]]
        assert set(values["options"]) <= {*system["options"], "dims"}, values["system"]
        dims = values["options"].get("dims", system["dims"])
        assert len(values["patch"][-dims:]) in (0, dims), f"{values['system']} looks at {dims} axes"
    real = not path.stem.endswith("-phantom")
    assert real == any(values["data"].startswith("data/") for values in found.runs)


def test_every_table_that_a_system_fills_has_its_sweep_and_its_phantom_twin():
    wanted = {name for name in tables() if published(name).columns}
    assert {path.stem for path in of_the_repository()} >= wanted | {f"{name}-phantom" for name in wanted}


def test_a_row_of_a_table_names_what_it_changes_and_may_come_twice(plan):
    found = plan(
        "notebook: tiny.py\ntable: mss-2\nparameters: {options: {a: 1}}\n"
        "rows:\n  mss-unet: [{}, {scale: 3, options: {b: 2}}]\nlist: [{system: third}]\n"
    )
    assert [(row.name, row.runs[0]["scale"]) for row in found.rows] == [
        ("mss-unet", 1.0), ("mss-unet", 3.0), ("classic-unet-3d", 1.0), ("third", 1.0),
    ]  # fmt: skip
    assert found.rows[1].runs[0]["options"] == {"a": 1, "b": 2}, "what the row says goes over what all share"
    with pytest.raises(RefusedError, match="rows names 'mss-net', .*; the nearest is 'mss-unet'"):
        plan("notebook: tiny.py\ntable: mss-2\nrows: {mss-net: {}}\n")
    with pytest.raises(RefusedError, match=r"rows: mss-unet: 3 .*; write \{mirror: true\}"):
        plan("notebook: tiny.py\ntable: mss-2\nrows: {mss-unet: [3]}\n")


def test_rows_without_a_table_have_names_of_their_own(plan):
    found = plan("notebook: tiny.py\nrows:\n  none: {}\n  more: {scale: 2}\ngrid: {seed: [0, 1]}\n")
    assert [(row.name, len(row.runs)) for row in found.rows] == [("none", 2), ("more", 2)]


def test_a_folder_that_is_not_there_is_named_with_the_command_that_makes_it(tmp_path, tiny):
    path = SWEEPS / "dsnet-1.yml"
    (line,) = open_plan(path).missing()
    assert "data/lnsm, which does not exist yet; make it with: python data_scripts/deeplesion.py" in line
    assert "dsnotes.softmask.nodule_set --from data/deeplesion --output data/lnsm" in line
    assert open_plan(path, {"data": "nodules"}).missing() == []


@pytest.mark.parametrize(("name", "patients"), [("mss-2", 210), ("msds-10", 422)])
def test_printed_splits_are_those_of_the_tables(name, patients):
    """MSS Table I; MSDS Table 9."""
    split = open_plan(SWEEPS / f"{name}.yml").runs[0]["split"]
    paper, number = {"mss-2": ("mss", 1), "msds-10": ("msds", 9)}[name]
    rows = tables()[f"{paper}-{number}"][1].rows
    printed = [list(rows["KiTS19"][1:4])] if paper == "mss" else [
        [rows[f"fold {fold} {part}"][0] for part in ("train", "validation", "test")] for fold in (1, 2, 3)
    ]  # fmt: skip
    assert split == printed
    assert {sum(one) for one in split} == {patients}
