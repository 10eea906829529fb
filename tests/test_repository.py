"""What a newcomer reads is true: commands, links and snippets exist, and nothing is tracked that should not be."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from dsnotes.runs.paper_tables import tables

ROOT = Path(__file__).resolve().parents[1]
PROSE = sorted(path for path in ROOT.glob("*.md")) + sorted((ROOT / "benchmarks").glob("*.md"))


@cache
def tracked() -> tuple[Path, ...]:
    """The files git knows; in a copy without git, the files outside of what git would ignore."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
        return tuple(p for name in listed.decode().split("\0") if name and (p := ROOT / name).is_file())
    ignored = {".venv", "build", "runs", "dist", "__pycache__", ".ruff_cache", ".pytest_cache", ".hypothesis"}
    return tuple(p for p in ROOT.rglob("*") if p.is_file() and not ignored & set(p.relative_to(ROOT).parts))


def targets() -> dict[str, str]:
    """Every target of the Makefile a person may type, with what it says of itself."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.+)$", text, flags=re.M)
    said = dict(re.findall(r"^([a-z]+):.*?## (.+)$", text, flags=re.M))
    return {name: said.get(name, "") for name in phony.split()}


def test_make_without_a_target_lists_every_target():
    shown = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=True)
    for name, what in targets().items():
        assert what, f"`make {name}` does not say what it does"
        assert re.search(rf"make {name} +{re.escape(what)}", shown.stdout)


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_in_the_prose_exist(page):
    text = page.read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, flags=re.S))
    assert set(re.findall(r"\bmake ([a-z]+)", code)) <= set(targets())
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert {one for named in re.findall(r"\.\[([\w,]+)\]", code) for one in named.split(",")} <= set(extras)
    assert [run for run in re.findall(r"\bpython ([\w/.-]+\.py)", code) if not (ROOT / run).is_file()] == []


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_within_the_repository_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", text)
    inside = [a or b for a, b in links if not re.match(r"https?:|#|mailto:", a or b)]
    assert [link for link in inside if not (page.parent / link.split("#")[0]).exists()] == []


def test_the_readme_has_a_row_for_each_paper_and_each_link_that_can_be_there():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    stems = {stem for stem, _ in tables().values()}  # a paper counts from its first table on
    assert {"msds_unet", "dsms_unet", "mss_unet", "mu_net", "dsnet"} <= stems
    for stem in stems:
        (row,) = (line for line in readme.splitlines() if line.startswith("|") and f"`{stem}`" in line)
        for notebook in (ROOT / "notebooks").glob(f"*_{stem}.ipynb"):
            assert f"(notebooks/{notebook.name})" in row


def test_contributing_says_where_a_line_of_each_kind_lives():
    """Every room that it names is there with the files it points to, and it names every floor of the package."""
    table = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("| a line that …")[2].partition("\n\n")[0]
    rooms = set()
    for row in table.splitlines()[2:]:
        room, examples = (re.findall(r"`([^`]+)`", cell) for cell in row.split("|")[2:4])
        rooms |= set(room)
        for name in room + [f"{room[0]}{example}" for example in examples if example.endswith((".py", ".yml", "/"))]:
            assert (ROOT / name).exists(), name
    floors = {path.parent.name for path in (ROOT / "dsnotes").glob("*/__init__.py")}
    assert floors <= {room.split("/")[1] for room in rooms if room.startswith("dsnotes/")}


def test_every_benchmark_is_listed():
    room = ROOT / "benchmarks"
    here = [path for path in tracked() if path.parent == room and path.suffix == ".py"]
    scripts = [path.name for path in here if "def main(" in path.read_text(encoding="utf-8")]
    listed = (room / "README.md").read_text(encoding="utf-8")
    assert [name for name in scripts if f"({name})" not in listed] == []


def test_console_commands_can_be_loaded():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"].get("scripts", {})
    for name, where in scripts.items():
        assert callable(EntryPoint(name, where, "console_scripts").load())


def test_no_file_is_large():
    large = {p.relative_to(ROOT).as_posix(): p.stat().st_size for p in tracked() if p.stat().st_size > 1_000_000}
    assert not large, f"{large}: data and outputs stay out of the repository"


def test_no_notebook_holds_outputs():
    for path in (p for p in tracked() if p.suffix == ".ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            held = cell.get("outputs") or cell.get("execution_count")
            assert not held, f"{path.relative_to(ROOT)} holds outputs: `make pairs` strips them"


def test_no_file_names_somebodys_machine():
    personal = re.compile(r"/(?:home|Users|root|work|mnt)/(?!ada\b)[\w.-]+|[A-Z]:\\Users\\")  # Ada is an example
    wrong = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:  # a picture
            continue
        wrong += [f"{path.relative_to(ROOT)}: {found}" for found in personal.findall(text)]
    assert not wrong, f"{wrong}: write a path relative to the repository, or an argument"
