"""What the scripts and their page say is true of each other, and of the papers."""

from __future__ import annotations

import re
import shlex
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from fetch import run
from fetch.command import arguments

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "data_scripts" / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"python (data_scripts/\S+\.py[^`\n#]*)", PAGE)
ROWS = [row for row in PAGE.splitlines() if row.startswith("| ") and "`python data_scripts/" in row]
PAPERS = {"msds": "msds_unet", "dsms": "dsms_unet", "mss": "mss_unet", "mu-net": "mu_net", "dsnet": "dsnet"}


@cache
def planned(command: str):
    """What the script would do at a command line of the page."""
    script, *given = shlex.split(command)
    module = import_module(Path(script).stem)
    asked = arguments(module.__doc__, getattr(module, "options", lambda parser: None)).parse_args([*given, "--dry-run"])
    if module.__name__ == "brats2019":
        asked.source = None  # nobody's folder
    return module.plan(asked)


@pytest.mark.parametrize("command", sorted({command for command in COMMANDS if " check " not in command}))
def test_every_command_of_the_page_says_what_it_would_do_and_does_nothing(command, tmp_path, monkeypatch, capsys):
    script, *given = shlex.split(command)
    monkeypatch.chdir(tmp_path)
    Path("MICCAI_BraTS_2019_Data_Training").mkdir()
    (tmp_path / "MICCAI_BraTS_2019_Data_Training" / "a_seg.nii").touch()
    module = import_module(Path(script).stem)
    options = {"options": module.options} if hasattr(module, "options") else {}
    assert run(module.plan, doc=module.__doc__, argv=[*given, "--dry-run"], **options) == 0
    assert (ROOT / script).is_file()
    said = capsys.readouterr().out
    for what in ("cases    ", "licence  ", "cite     ", "account  ", "source   http", "writes   data"):
        assert f"\n  {what}" in said
    if module.__name__ != "brats2019":  # its user has downloaded it already
        for what in ("size     about", "time     about", "begins   with"):
            assert f"\n  {what}" in said
    assert [path.name for path in tmp_path.iterdir()] == ["MICCAI_BraTS_2019_Data_Training"]


def test_every_script_and_task_has_a_row():
    scripts = {path.name for path in (ROOT / "data_scripts").glob("*.py")}
    assert scripts == {Path(command.split()[0]).name for command in COMMANDS}
    tasks = import_module("decathlon").TASKS
    assert set(tasks) == {command.split()[1] for command in COMMANDS if "decathlon.py" in command}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:20])
def test_a_row_says_what_its_script_says(row):
    about = planned(re.search(r"`python ([^`]+)`", row)[1]).about
    _, _, size, licence, account, serves, *_ = (cell.strip() for cell in row.split("|"))
    assert about.licence.startswith(licence.split(",")[0].split(":")[0]) or licence.split(",")[0] in about.licence
    assert (account == "none") == (about.account is None)
    assert set(re.findall(r"[a-z-]+-\d+", serves)) - {"in"} == set(about.tables)
    assert about.source in PAGE


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:20])
def test_a_row_counts_the_cases_that_its_script_counts(row):
    counts = [int(count.replace(" ", "")) for count in re.findall(r", (\d[\d ]*)", row.split("|")[1])]
    assert counts == [round(sum(piece.count for piece in planned(re.search(r"`python ([^`]+)`", row)[1]).pieces))]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:20])
def test_the_tables_a_set_serves_are_in_the_papers(row):
    for table in planned(re.search(r"`python ([^`]+)`", row)[1]).about.tables:
        stem, _, number = table.rpartition("-")
        assert int(number) in import_module(f"dsnotes.papers.{PAPERS[stem]}").TABLES, table


def test_the_scripts_are_not_part_of_the_package():
    wrong = [
        path
        for path in (ROOT / "dsnotes").rglob("*.py")
        if re.search(r"\b(from|import) (fetch|data_scripts)\b", path.read_text(encoding="utf-8"))
    ]
    assert wrong == []
