"""Archives on disk and behind a URL: only what is wanted, nothing that leads out of the folder."""

from __future__ import annotations

import os
import shutil
from pathlib import PurePosixPath
from types import SimpleNamespace

import pytest
from fetch.archive import Archive, remote
from fetch.download import DownloadError
from made_here import tar, zipped

from dsnotes.safety.paths import UnsafePathError, relative

FILES = {
    "Task/imagesTr/case_10.nii.gz": os.urandom(300_000),
    "Task/imagesTr/case_2.nii.gz": os.urandom(200_000),
    "Task/imagesTr/._case_2.nii.gz": b"macOS",
    "Task/.DS_Store": b"macOS",
    "__MACOSX/Task/x.nii.gz": b"macOS",
    "./Task/labelsTr/case_2.nii.gz": b"label",
}
MADE = {"a.tar": tar, "a.zip": zipped}


@pytest.fixture(params=["a.tar", "a.zip"])
def name(request) -> str:
    return request.param


def test_members_without_junk_in_natural_order(tmp_path, name):
    (tmp_path / name).write_bytes(MADE[name](FILES))
    with Archive(tmp_path / name, name) as archive:
        assert archive.find(r"imagesTr/[^/]+\.nii\.gz") == [
            *("Task/imagesTr/case_2.nii.gz", "Task/imagesTr/case_10.nii.gz")
        ]
        assert len(archive.names) == 3
        path = archive.extract("Task/labelsTr/case_2.nii.gz", tmp_path / "out", "label.nii.gz")
        assert path.read_bytes() == b"label"
        with pytest.raises(ValueError, match=f"{name} holds no Task/x; it holds Task/imagesTr/case_10"):
            archive.extract("Task/x", tmp_path, "x")


def test_a_remote_archive_gives_one_member_for_little_more_than_its_size(web, tmp_path, name):
    content = MADE[name](FILES | {f"Task/more/{k}.bin": os.urandom(400_000) for k in range(5)})
    with remote(web.put(f"/{name}", content), name) as archive:
        found = archive.extract("Task/imagesTr/case_2.nii.gz", tmp_path, "x").read_bytes()
    assert found == FILES["Task/imagesTr/case_2.nii.gz"]
    assert web.sent < len(content) / 2
    assert all(wanted for _, wanted in web.asked)


def test_a_remote_archive_outlives_a_cut_and_a_503(web, tmp_path, name, waited):
    with remote(web.put(f"/{name}", MADE[name](FILES)), name) as archive:
        web.cut[f"/{name}"] = [1000]
        web.status[f"/{name}"] = [(503, {})]
        member = "Task/imagesTr/case_10.nii.gz"
        assert archive.extract(member, tmp_path, "x").read_bytes() == FILES[member]
    assert len(waited) == 2


def test_a_remote_archive_that_changes_is_noticed(web, tmp_path):
    with remote(web.put("/a.tar", tar(FILES)), "a.tar") as archive:
        web.files["/a.tar"] = tar(FILES)[::-1]
        with pytest.raises(DownloadError, match=r"a\.tar changed while it was read"):
            archive.extract("Task/imagesTr/case_10.nii.gz", tmp_path, "x")
    assert not (tmp_path / "x").exists()


def test_a_server_without_ranges_gives_no_remote_archive(web):
    web.ranges = False
    assert remote(web.put("/a.tar", tar(FILES)), "a.tar") is None


@pytest.mark.parametrize("bad", ["../out.txt", "a/../../out.txt", "/etc/passwd", "C:\\out.txt", "..\\out.txt"])
def test_a_path_that_leads_out_is_refused_before_anything_is_taken(tmp_path, name, bad):
    (tmp_path / name).write_bytes(MADE[name](FILES | {bad: b"x"}))
    with pytest.raises(ValueError, match="leads out of the folder.*Nothing was taken"):
        Archive(tmp_path / name, name)
    with pytest.raises(UnsafePathError):
        relative(bad)


@pytest.mark.parametrize("good", ["a/b..c/d.nii", "..a", ".hidden/c.", "a.b/c", ".//a/b"])
def test_dots_in_names_are_names(good):
    assert relative(good) == PurePosixPath(good)


def test_a_link_is_refused(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar({"x": b""}, links={"y": "/etc/passwd"}))
    with pytest.raises(ValueError, match="a link.*'y'"):
        Archive(tmp_path / "a.tar", "a.tar")


def test_damage_is_named(tmp_path, name):
    content = bytearray(MADE[name](FILES))
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="a.(tar|zip).* damaged .*etch"), Archive(tmp_path / name, name) as archive:
        archive.extract("Task/imagesTr/case_2.nii.gz", tmp_path, "x")
    assert not (tmp_path / "x").exists()


def test_a_flipped_byte_in_a_zip_is_caught_by_its_checksum(tmp_path):
    content = bytearray(zipped(FILES))
    content[1000] ^= 1
    (tmp_path / "a.zip").write_bytes(content)
    damaged = pytest.raises(ValueError, match=r"case_10\.nii\.gz in a\.zip is damaged")
    with Archive(tmp_path / "a.zip", "a.zip") as archive, damaged:
        archive.extract("Task/imagesTr/case_10.nii.gz", tmp_path, "x")
    assert not (tmp_path / "x").exists()


def test_no_room_for_a_member(tmp_path, name, monkeypatch):
    (tmp_path / name).write_bytes(MADE[name](FILES))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    no_room = pytest.raises(DownloadError, match=r"case_10\.nii\.gz needs 300 kB, but .* has 1 kB left")
    with Archive(tmp_path / name, name) as archive, no_room:
        archive.extract("Task/imagesTr/case_10.nii.gz", tmp_path, "x")


def test_a_bomb_is_refused_by_what_it_announces(tmp_path):
    """2 GB of zeros in 2 MB: refused before anything is written or held in memory."""
    import zipfile

    with (
        zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made,
        made.open("x", "w", force_zip64=True) as member,
    ):
        for _ in range(2100):
            member.write(bytes(1 << 20))
    with pytest.raises(ValueError, match="announces 2.2 GB, more than 200 times.*Nothing was taken"):
        Archive(tmp_path / "a.zip", "a.zip")


def test_a_member_that_is_read_into_memory_has_a_limit(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped({"x": bytes(3_000_000)}))
    with Archive(tmp_path / "a.zip", "a.zip") as archive:
        assert len(archive.read("x")) == 3_000_000
        with pytest.raises(ValueError, match="announces 3 MB, expected at most 1 MB"):
            archive.read("x", limit=1_000_000)


def test_a_tar_header_that_wants_gigabytes_of_memory_is_refused(tmp_path):
    """tarfile takes the header that names a long path into memory, whatever its size."""
    import gzip
    import tarfile

    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 8 << 30
    for name, content in (("a.tar", info.tobuf()), ("a.tar.gz", gzip.compress(info.tobuf() + bytes(1 << 20)))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.tar.*damaged.*fetch it again"):
            Archive(tmp_path / name, name)


def test_a_member_that_does_not_hold_what_it_announced_is_refused(tmp_path):
    content = zipped({"x": b"abc" * 1000})
    there = content.rindex(b"PK\1\2")  # the list of members: say that x is smaller than it is
    short = content[: there + 24] + (100).to_bytes(4, "little") + content[there + 28 :]
    (tmp_path / "a.zip").write_bytes(short)
    with Archive(tmp_path / "a.zip", "a.zip") as archive, pytest.raises(ValueError, match="x in a.zip is damaged"):
        archive.extract("x", tmp_path)
    assert not (tmp_path / "x").exists()
