"""The ways of installing the project agree with each other, checked without conda and without the network."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import rattler
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def requirements() -> list[Requirement]:
    """Every direct dependency, of the library and of its extras, without the project itself."""
    lines = [*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in extra)]
    return [each for each in map(Requirement, lines) if each.name != "dsnotes"]


def pins() -> dict[str, list[Requirement]]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found: dict[str, list[Requirement]] = {}
    for pin in (Requirement(line) for line in lines if line and not line.startswith("#")):
        found.setdefault(canonicalize_name(pin.name), []).append(pin)
    return found


def test_conda_supplies_python_and_pip_and_pip_the_rest():
    *conda, last = CONDA["dependencies"]
    assert CONDA["name"] == "dsnotes"
    assert CONDA["channels"] == ["conda-forge"]
    assert [rattler.MatchSpec(spec, strict=True).name.normalized for spec in conda] == ["python", "pip"]
    assert last == {"pip": ["-e .[all]"]}


def test_conda_chooses_a_python_that_the_project_supports():
    (python,) = (spec for spec in CONDA["dependencies"] if str(spec).startswith("python"))
    assert PROJECT["requires-python"] in python


def test_every_line_of_the_conda_environment_gives_its_reason():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if re.match(r" +- (?!pip:)", line) and " # " not in line] == []


def test_all_means_every_extra():
    assert set(Requirement(EXTRAS["all"][0]).extras) == set(EXTRAS) - {"all"}


@pytest.mark.parametrize("wanted", requirements(), ids=str)
def test_every_dependency_has_one_exact_pin_that_its_floor_allows(wanted):
    chosen = pins().get(canonicalize_name(wanted.name), [])
    assert len(chosen) == 1, f"constraints.txt pins {wanted.name} {len(chosen)} times; its header tells how to renew it"
    (exact,) = chosen[0].specifier
    assert exact.operator == "=="
    assert wanted.specifier.contains(exact.version, prereleases=True)


def test_the_pins_are_of_no_machine():
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        assert line.startswith("#") or not re.search(r"\+cpu|\+cu|@|://|^-", line), line


def test_the_makefile_installs_extras_that_exist():
    for named in re.findall(r"EXTRAS := (\S+)", (ROOT / "Makefile").read_text(encoding="utf-8")):
        assert set(named.split(",")) <= set(EXTRAS)


def test_the_oldest_and_newest_python_are_run_by_the_workflow():
    matrix = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))["jobs"]["test"]
    run = {each["python"] for each in matrix["strategy"]["matrix"]["include"]}
    supported = [name.rpartition(" ")[2] for name in PROJECT["classifiers"] if ":: Python :: 3." in name]
    assert {supported[0], supported[-1]} <= run
    assert PROJECT["requires-python"] == f">={supported[0]}"
