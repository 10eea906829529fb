"""What `dsnotes new-paper` refuses, and the number it gives. tests/test_contributing.py tries what it writes."""

from __future__ import annotations

import pytest

from dsnotes.cli import main
from dsnotes.runs.new_paper import skeleton
from dsnotes.runs.new_paper.skeleton import class_name, new_paper, next_number, system_name
from dsnotes.runs.source import RefusedError


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """The rooms that files are written into, with five papers' notebooks in one of them."""
    root = tmp_path / "clone"
    for room in ("dsnotes/networks/baselines", "dsnotes/papers", "tests/papers", "notebooks"):
        (root / room).mkdir(parents=True)
    (root / "pyproject.toml").touch()
    for stem in ("mu_net", "dsnet"):
        (root / "dsnotes" / "papers" / f"{stem}.py").touch()
    for name in ("00_start_here", "50_mu_net", "60_soft_masks", "61_dsnet", "70_side_by_side"):
        (root / "notebooks" / f"{name}.py").touch()
    monkeypatch.setattr(skeleton, "PACKAGE", root / "dsnotes")
    monkeypatch.chdir(root)
    return root


def test_five_files_with_the_stem_in_the_place_of_every_placeholder(clone, capsys):
    assert main(["new-paper", "my_net"]) == 0
    written = capsys.readouterr().out.splitlines()[:5]
    assert written == [
        "dsnotes/networks/my_net.py",
        "dsnotes/papers/my_net.py",
        "tests/papers/test_my_net.py",
        "notebooks/62_my_net.py",
        "notebooks/62_my_net.ipynb",
    ]
    for name in written:
        text = (clone / name).read_text(encoding="utf-8")
        assert "TO FILL" in text
        assert not any(placeholder in text for placeholder in ("__stem__", "__Class__", "__system__", "__short__"))
    assert "class MyNet(" in (clone / written[0]).read_text(encoding="utf-8")


def test_names_follow_from_the_stem():
    assert (class_name("mu_net_2"), system_name("mu_net_2")) == ("MuNet2", "mu-net-2")


def test_the_number_follows_the_last_papers_and_passes_over_what_is_taken(clone):
    rooms = clone / "notebooks"
    assert next_number(rooms) == "62"
    for number in range(62, 70):
        (clone / "dsnotes" / "papers" / f"net{number}.py").touch()
        (rooms / f"{number}_net{number}.py").touch()
    assert next_number(rooms) == "71"  # 70 is no paper's, and taken
    for number in range(71, 100):
        (rooms / f"{number}_other.py").touch()
    with pytest.raises(RefusedError, match="no number from 70 to 99 is free in .*notebooks; renumber"):
        next_number(rooms)


@pytest.mark.parametrize(
    ("stem", "said"),
    [
        ("My-Net", r"'My-Net' cannot name files .* in lower case, such as my_net; try: dsnotes new-paper my_net"),
        ("3d_net", "'3d_net' cannot name files .*; try: dsnotes new-paper d_net"),
        ("lambda", "'lambda' cannot name files and modules; a stem is a Python name in lower case, such as my_net$"),
        ("../net", r"'\.\./net' cannot name files"),
        ("", "'' cannot name files"),
        ("_net", "'_net' cannot name files"),
        ("a" * 25, "has 25 characters; .* of 24 at most: shorten it"),
        ("utils", "'utils' does not describe a paper; use the name of its network"),
        ("mu_net", "the stem 'mu_net' is taken by dsnotes/papers/mu_net.py; nothing was written: choose another"),
        ("soft_masks", "the stem 'soft_masks' is taken by notebooks/60_soft_masks.py"),
        ("unet_2d", "a system is called 'unet-2d' already; nothing was written: choose another stem"),
    ],
)
def test_a_stem_that_cannot_be_is_answered_and_nothing_is_written(clone, stem, said):
    before = sorted(clone.rglob("*"))
    with pytest.raises(RefusedError, match=said):
        new_paper(stem)
    assert sorted(clone.rglob("*")) == before


def test_an_installed_package_is_answered_with_the_way_to_a_clone(clone, monkeypatch):
    (clone / "pyproject.toml").unlink()
    with pytest.raises(RefusedError, match=r"is an installed package \(.*clone\).* in the clone type: make lab, then"):
        new_paper("my_net")


def test_whoever_stands_elsewhere_is_told_where_to_go(clone, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RefusedError, match="is the clone in .*clone, but you are in .*; type: cd .*clone"):
        new_paper("my_net")


def test_a_baseline_of_that_name_is_taken_too(clone):
    (clone / "dsnotes" / "networks" / "baselines" / "my_net.py").touch()
    with pytest.raises(RefusedError, match="is taken by dsnotes/networks/baselines/my_net.py"):
        new_paper("my_net")
