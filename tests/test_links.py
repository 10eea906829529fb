"""The public address stands in one place, what depends on it agrees with it, and without one nothing is claimed."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType
from urllib.parse import parse_qs, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[1]
KINDS = {".md", ".toml", ".py", ".ipynb"}
PRETENDED = "https://github.com/ada/dsnotes"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "assets" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


links, colab = script("links"), script("colab")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """README, pyproject.toml and the first three notebooks."""
    for name in ("README.md", "pyproject.toml", "notebooks/jupytext.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for source in sorted((ROOT / "notebooks").glob("[0-9]*.py"))[:3]:
        for path in (source, source.with_suffix(".ipynb")):
            shutil.copy(path, tmp_path / "notebooks" / path.name)
    links.write(tmp_path, None)  # begin without an address, even when the project has one
    text = re.sub(r"\[project\.urls\]\n(?:.+\n)*\n", "", (tmp_path / "pyproject.toml").read_text(encoding="utf-8"))
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    return tmp_path


def held(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.rglob("*.*") if path.suffix in KINDS}


def test_the_repository_agrees_with_its_own_address():
    repository = links.stated(ROOT)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert links.BLOCK.search(readme)[0].count("\n") > 0
    assert links.BLOCK.sub(lambda m: m[1] + links.block(repository, links.notebooks(ROOT)) + m[2], readme) == readme
    for name in links.notebooks(ROOT):
        source = (ROOT / "notebooks" / f"{name}.py").read_text(encoding="utf-8")
        assert links.with_cell(source, repository) == source, f"{name} has another set-up cell: `make links` renews it"
        pair = (ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
        assert json.loads(links.with_cell_in_pair(pair, repository)) == json.loads(pair)


def test_without_an_address_nothing_is_linked_to():
    if links.stated(ROOT) is None:
        assert "colab.research" not in (text := (ROOT / "README.md").read_text(encoding="utf-8"))
        assert "mybinder" not in text


def test_every_link_leads_to_a_notebook_that_is_there(copy, capsys):
    links.main(["github.com/ada/dsnotes"], copy)
    names = links.notebooks(copy)
    project = tomllib.loads((copy / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["urls"] == {"Repository": PRETENDED}
    assert project["scripts"], "the section that follows is still there"
    readme = (copy / "README.md").read_text(encoding="utf-8")
    found = [urlsplit(address) for address in re.findall(r"\]\((https://(?:colab|mybinder)[^)\s]+)\)", readme)]
    assert [each.netloc for each in found] == ["mybinder.org", "colab.research.google.com"] * len(names)
    for each in found:
        if each.netloc == "mybinder.org":
            assert each.path == "/v2/gh/ada/dsnotes/main"
            (inside,) = parse_qs(each.query)["urlpath"]
            path = inside.removeprefix("lab/tree/")
        else:
            path = each.path.removeprefix("/github/ada/dsnotes/blob/main/")
        assert (copy / path).is_file(), path
    assert f"git clone {PRETENDED}`" in readme
    assert capsys.readouterr().out.splitlines() == [
        "README.md",
        *(f"notebooks/{name}{suffix}" for name in names for suffix in (".py", ".ipynb")),
    ]


def test_the_pair_stays_a_pair_and_going_back_leaves_no_trace(copy):
    before = held(copy)
    links.main(["https://github.com/ada/dsnotes.git/"], copy)
    once = held(copy)
    links.main(["github.com/ada/dsnotes"], copy)
    assert held(copy) == once, "a second time changes nothing"
    for name in links.notebooks(copy):
        cells = json.loads((copy / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
        assert cells[0]["cell_type"] == "markdown"  # the title stays first
        assert cells[1]["metadata"] == {"tags": ["colab", "remove-cell"]}
        assert f'"{PRETENDED}"' in "".join(cells[1]["source"])
    command = [sys.executable, "-m", "jupytext", "--quiet", "--to", "py:percent", "-o", "-", f"{name}.ipynb"]
    ran = subprocess.run(command, cwd=copy / "notebooks", capture_output=True, text=True, encoding="utf-8", check=True)
    assert ran.stdout == once[f"{name}.py"]
    ours = ["--config", 'lint.isort.known-first-party = ["dsnotes"]']  # the package is not in the copy
    for style in (["check", *ours], ["format", "--check"]):
        subprocess.run([sys.executable, "-m", "ruff", *style, "notebooks"], cwd=copy, check=True)
    project = copy / "pyproject.toml"
    section = '[project.urls]\nIssues = "https://issues.example"\n'
    project.write_text(project.read_text(encoding="utf-8").replace("[project.urls]\n", section), encoding="utf-8")
    links.main(["github.com/grace/notes"], copy)
    urls = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["urls"]
    assert urls == {"Repository": "https://github.com/grace/notes", "Issues": "https://issues.example"}
    assert "ada" not in links.BLOCK.search((copy / "README.md").read_text(encoding="utf-8"))[0]
    (copy / "pyproject.toml").write_text(before["pyproject.toml"], encoding="utf-8")
    links.main([], copy)
    assert held(copy) == before


@pytest.mark.parametrize(
    "given", ["gitlab.com/ada/dsnotes", "ada/dsnotes", "https://github.com/ada", "github.com/a/b/c"]
)
def test_an_address_that_no_link_can_be_made_of_is_answered(copy, given):
    before = held(copy)
    with pytest.raises(SystemExit, match=r"not a GitHub repository.*type: make links REPOSITORY=github.com/OWNER/NAME"):
        links.main([given], copy)
    assert held(copy) == before


def run_cell() -> None:
    exec(compile(links.cell(PRETENDED), "the set-up cell", "exec"), {})


def test_the_cell_does_nothing_but_on_colab(monkeypatch):
    ran = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: ran.append(command))
    run_cell()
    assert ran == []


def test_on_colab_the_cell_fetches_the_clone_and_installs_what_is_missing(monkeypatch, tmp_path):
    """git and pip are pretended; the script is the clone's own, and says what it would have installed."""
    asked = []

    def pretend(command, check):
        asked.append(command)
        if command[0] == "git":
            for room in ("assets", "notebooks"):
                (tmp_path / "dsnotes" / room).mkdir(parents=True)
            for name in ("assets/colab.py", "constraints.txt", "pyproject.toml"):
                shutil.copy(ROOT / name, tmp_path / "dsnotes" / name)

    def lacking(name):
        if name in ("simpleitk", "jaxtyping", "jupyterlab"):
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    monkeypatch.delitem(sys.modules, "dsnotes", raising=False)
    monkeypatch.delenv("DSNOTES_VIEWER", raising=False)
    monkeypatch.setattr(subprocess, "run", pretend)
    monkeypatch.setattr("importlib.metadata.version", lacking)
    run_cell()
    git, lacked, itself = asked
    assert git == ["git", "clone", "--quiet", "--depth=1", PRETENDED, "dsnotes"]
    assert [one.partition("==")[0] for one in lacked[5:]] == ["simpleitk", "jaxtyping"]  # JupyterLab: Colab stands in
    assert all("==" in one for one in lacked[5:])
    assert itself[5:] == ["--no-deps", str(tmp_path / "dsnotes")]
    assert Path.cwd() == tmp_path / "dsnotes" / "notebooks"  # where relative paths of the notebooks lead somewhere
    assert os.environ.pop("DSNOTES_VIEWER") == "still"
    run_cell()
    assert len(asked) == 3, "a second time does nothing"


def test_every_dependency_has_a_pin_for_colab(monkeypatch):
    monkeypatch.setattr(colab, "have", lambda name: False)
    lines = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert len(colab.missing()) == len(lines) - len(colab.STANDS_IN_FOR)


def test_binder_builds_with_a_supported_python_and_installs_what_the_notebooks_need():
    runtime = (ROOT / "binder" / "runtime.txt").read_text(encoding="utf-8").strip()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"Programming Language :: Python :: {runtime.removeprefix('python-')}" in project["classifiers"]
    build = ROOT / "binder" / "postBuild"
    assert build.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")
    installed = re.findall(
        r"^python -m pip install --no-cache-dir -c constraints.txt (.+)$", build.read_text("utf-8"), re.M
    )
    assert installed == ["torch", "-e ."]
    if os.name != "nt":
        assert os.access(build, os.X_OK), "git update-index --chmod=+x binder/postBuild"
        subprocess.run(["bash", "-n", str(build)], check=True)
