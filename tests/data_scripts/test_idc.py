"""The Imaging Data Commons, played by a server on this machine that idc-index's own s5cmd talks to."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pandas
import pytest
from bring import idc
from bring.download import DownloadError

BUCKET = "idc-open-data"


@pytest.fixture
def commons(web, tmp_path, monkeypatch):
    """commons(uid, {file: content}, modality="CT", …) puts a series there and into the index."""
    import idc_index.index
    import idc_index_data

    rows: list[dict] = []
    index = tmp_path / "index.parquet"

    def add(uid: str, files: dict[str, bytes], **more) -> None:
        unique = f"{len(rows):08d}-0000-4000-8000-000000000000"
        for name, content in files.items():
            web.put(f"/{BUCKET}/{unique}/{name}", content)
        size = sum(map(len, files.values())) / 1e6
        about = {"Modality": "CT", "PatientID": "p1", "StudyInstanceUID": "1.2.9", "collection_id": "made_here"}
        about |= {"SeriesDescription": None, "analysis_result_id": None, "instanceCount": len(files)}
        about |= {"aws_bucket": BUCKET, "series_aws_url": f"s3://{BUCKET}/{unique}/*", "series_size_MB": size}
        rows.append(about | {"SeriesInstanceUID": uid} | more)
        table = pandas.DataFrame(rows)
        table["SeriesDescription"] = table["SeriesDescription"].astype("string")
        table["analysis_result_id"] = table["analysis_result_id"].astype("string")
        table.to_parquet(index)
        idc._client.cache_clear()

    monkeypatch.setattr(idc_index_data, "IDC_INDEX_PARQUET_FILEPATH", index)
    monkeypatch.setattr(idc_index_data, "PRIOR_VERSIONS_INDEX_PARQUET_FILEPATH", index)
    monkeypatch.setattr(idc_index.index, "aws_endpoint_url", web.root)
    monkeypatch.setattr(
        idc_index.index.IDCClient, "_discover_available_indices", lambda self, refresh=False: {}
    )  # asks GitHub
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    yield add
    idc._client.cache_clear()


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
