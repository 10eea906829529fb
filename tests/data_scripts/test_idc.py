"""The Imaging Data Commons, played by a server on this machine that idc-index's own s5cmd talks to."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
from fetch import idc
from fetch.download import DownloadError


def test_the_index_is_read_without_machine_made_annotations(commons):
    commons("1.1", {"a.dcm": b"x" * 3000, "b.dcm": b"y" * 1500}, SeriesDescription="arterial")
    commons("1.2", {"a.dcm": b"x"}, Modality="RTSTRUCT")
    commons("1.3", {"a.dcm": b"x"}, Modality="SEG")
    commons("1.4", {"a.dcm": b"x"}, analysis_result_id="nnunet")
    commons("1.5", {"a.dcm": b"x"}, collection_id="another")
    first, second = idc.listed("made_here", ("CT", "RTSTRUCT"))
    assert (first.uid, first.modality, first.description) == ("1.2", "RTSTRUCT", "")
    assert second == idc.Series("p1", "1.2.9", "1.1", "CT", "arterial", 2, 0.0045)
    assert second.bytes == 4500


def test_series_come_whole_each_in_its_folder(commons, tmp_path):
    files = {f"{k}.dcm": bytes([k]) * 2000 for k in range(4)}
    commons("1.1", files)
    commons("1.2", {"rt.dcm": b"outlines"}, Modality="RTSTRUCT")
    got = idc.fetch(idc.listed("made_here", ("CT", "RTSTRUCT")), tmp_path / "out")
    assert {path.name: path.read_bytes() for path in got["1.1"]} == files
    assert [path.read_bytes() for path in got["1.2"]] == [b"outlines"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1.1", "1.2"]


def test_a_download_that_fails_without_a_word_is_noticed_and_gone_on_with(commons, web, tmp_path, waited):
    """idc-index returns None when a file is missing; the index promises another count than came."""
    commons("1.1", {"0.dcm": b"a" * 100, "1.dcm": b"b" * 100})
    (key,) = (path for path in web.files if path.endswith("1.dcm"))
    lost = web.files.pop(key)
    series = idc.listed("made_here", ("CT",))
    with pytest.raises(DownloadError, match=r"series 1\.1 \(p1\) 1 of 2 files and 100 of 200 bytes came after 3"):
        idc.fetch(series, tmp_path / "out")
    assert not (tmp_path / "out" / "1.1").exists()  # not under its name
    web.files[key] = lost
    web.asked.clear()
    idc.fetch(series, tmp_path / "out")
    assert len(list((tmp_path / "out" / "1.1").iterdir())) == 2
    assert not [path for path, _ in web.asked if path.endswith("0.dcm")]  # that one was there
    assert not (tmp_path / "out" / "part-idc").exists()


def test_a_file_of_another_size_is_noticed(commons, web, tmp_path):
    commons("1.1", {"0.dcm": b"a" * 100})
    (key,) = (path for path in web.files if path.endswith("0.dcm"))
    web.files[key] = b"short"
    with pytest.raises(DownloadError, match="1 of 1 files and 5 of 100 bytes came"):
        idc.fetch(idc.listed("made_here", ("CT",)), tmp_path / "out")


def test_no_room_is_said_before_anything_comes(commons, tmp_path, monkeypatch):
    commons("1.1", {"0.dcm": b"a" * 5000})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(DownloadError, match="1 DICOM series needs 5 kB"):
        idc.fetch(idc.listed("made_here", ("CT",)), tmp_path / "out")
