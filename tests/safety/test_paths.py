"""Names from outside: 2,000 of them, drawn from what has fooled unpackers, change nothing beside their folder."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hostile.names import KINDS, PIECES
from hostile.unpacking import Target, unpack
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dsnotes.safety import paths

NAMES = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join)


@pytest.fixture(scope="module")
def target(tmp_path_factory) -> Target:
    return Target(tmp_path_factory.mktemp("hostile"))


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES, link=st.sampled_from([None, "../precious", "/etc", ".."]))
@example(name=".//precious", link=None)
@example(name=".//tmp/precious", link=None)
@example(name="link/precious", link="..")
@pytest.mark.parametrize("kind", KINDS)
def test_no_archive_touches_what_lies_beside_its_folder(target, kind, name, link):
    unpack(target, kind, name, link)
    assert target.untouched()


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES)
def test_what_is_written_inside_lies_inside(target, name):
    """With links of an earlier hand in the folder: to a file, to a folder, to itself, upwards."""
    with contextlib.suppress(paths.UnsafePathError):  # refused: then nothing may have changed either
        with paths.write_inside(target.folder, name) as file:
            file.write(b"hostile")
        written = target.folder.joinpath(*paths.relative(name).parts)
        assert written.read_bytes() == b"hostile"
        assert not written.is_symlink()
    assert target.untouched()


def test_dots_and_slashes_before_a_name_are_dropped():
    assert paths.relative(".//imagesTr/./a.nii.gz").as_posix() == "imagesTr/a.nii.gz"


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", ".", "./", "/etc/passwd", "//etc/passwd", "\\etc", "a/../../b", "..\\b", "C:\\b", "c:b", "a/C:/b"),
        *("a\0b", "．．/b", "‥/b", "．．／b", "...", ".. /b", "a\nb", "x" * 256, "/".join(["y" * 200] * 30), "\ud800"),
    ],
)
def test_a_name_that_leads_out_is_refused_with_what_is_needed(name):
    with pytest.raises(paths.UnsafePathError, match=r"must stay in its folder, such as 'imagesTr/case_01\.nii\.gz'"):
        paths.relative(name)


@pytest.mark.parametrize("name", ["case.v1", "größe", "a b", "trailing ", "..hidden", "case 1: the second", "<b>"])
def test_an_odd_but_harmless_name_is_kept(name):
    assert paths.file_name(name) == name


def test_a_case_is_one_file():
    with pytest.raises(paths.UnsafePathError, match="contains a folder"):
        paths.file_name("a/b")


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_links_are_not_followed(tmp_path):
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (folder / "away").symlink_to(outside)
    with pytest.raises(paths.UnsafePathError, match="outside of"):
        paths.inside(folder, "away/x")
    with pytest.raises(paths.UnsafePathError, match="link"), paths.write_inside(folder, "away/x"):
        raise AssertionError("opened")
    (outside / "kept").write_text("kept")
    (folder / "alias").symlink_to(outside / "kept")
    with paths.write_inside(folder, "alias") as file:
        file.write(b"new")
    assert (outside / "kept").read_text() == "kept"
    assert (folder / "alias").read_bytes() == b"new"
    assert os.listdir(outside) == ["kept"]


def test_what_fails_half_way_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), paths.write_inside(tmp_path, "a/b") as file:
        file.write(b"x" * (1 // 0))
    assert [path for path in Path(tmp_path).rglob("*") if path.is_file()] == []
