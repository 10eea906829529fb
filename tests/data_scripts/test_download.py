"""Downloads from a real server that is cut, full of errors, changed under way, or sends something else."""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fetch.download import PATIENCE, Download, DownloadError, _Fetch, download, in_words
from made_here import tar

CONTENT = np.random.default_rng(0).integers(0, 256, 3_500_000, np.uint8).tobytes()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def thing(web) -> Download:
    return Download(web.put("/thing.bin", CONTENT), "thing.bin", len(CONTENT), f"sha256:{SHA256}")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_comes_whole_and_is_vouched_for(web, thing, tmp_path):
    receipt = download(thing, tmp_path)
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT
    assert (receipt.bytes, receipt.sha256, receipt.checked) == (len(CONTENT), SHA256, f"sha256:{SHA256}")
    assert names(tmp_path) == ["thing.bin"]
    assert download(thing, tmp_path) is None  # there already: nothing is asked
    assert len(web.asked) == 1


def test_a_checksum_is_recorded_where_none_is_published(web, tmp_path):
    receipt = download(Download(web.put("/t.bin", b"abc"), "t.bin"), tmp_path)
    assert (receipt.sha256, receipt.checked) == (hashlib.sha256(b"abc").hexdigest(), None)


def test_cut_in_the_middle_and_resumed(web, thing, tmp_path, waited):
    web.cut["/thing.bin"] = [1_200_000, 900_000]
    download(thing, tmp_path)
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT
    assert [wanted for _, wanted in web.asked] == ["", "bytes=1200000-", "bytes=2100000-"]
    assert web.sent == len(CONTENT)  # no byte twice
    assert len(waited) == 2


def test_another_process_goes_on_from_what_the_first_left(web, thing, tmp_path):
    web.cut["/thing.bin"] = [2_000_000]
    web.status["/thing.bin"] = []
    with pytest.raises(DownloadError, match="run the same command again"):
        _until_it_gives_up(web, thing, tmp_path)
    assert names(tmp_path) == ["thing.bin.part", "thing.bin.part.json"]  # never a half file under the final name
    web.status["/thing.bin"] = []
    download(thing, tmp_path)
    assert web.asked[-1] == ("/thing.bin", "bytes=2000000-")
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT


def _until_it_gives_up(web, thing, folder):
    cut = web.answer

    def once_then_busy(request, path, query):
        web.status[path] = [(503, {})] if web.asked else []
        cut(request, path, query)

    web.answer = once_then_busy
    try:
        download(thing, folder)
    finally:
        web.answer = cut


def test_a_process_that_is_killed_is_gone_on_from(web, thing, tmp_path):
    """kill −9 in the middle of the body; the next process fetches the rest alone."""
    halt = threading.Event()

    def slowly(request, path, query):
        request.send_response(200)
        request.send_header("Content-Length", str(len(CONTENT)))
        request.send_header("ETag", f'"{hashlib.sha256(CONTENT).hexdigest()[:16]}"')
        request.end_headers()
        request.wfile.write(CONTENT[: 2 << 20])
        halt.wait(60)

    answer, web.answer = web.answer, slowly
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from download import Download, download\n"
        "download(Download(sys.argv[2], 'thing.bin'), Path(sys.argv[3]))"
    )
    alone = Path(__file__).resolve().parents[2] / "data_scripts" / "fetch"  # without the engine, which takes seconds
    process = subprocess.Popen([sys.executable, "-c", program, str(alone), thing.url, str(tmp_path)])
    part = tmp_path / "thing.bin.part"
    until = time.monotonic() + 60
    while not (part.is_file() and part.stat().st_size == 2 << 20) and time.monotonic() < until:
        time.sleep(0.02)
    process.kill()
    process.wait()
    halt.set()
    web.answer = answer
    assert names(tmp_path) == ["thing.bin.part", "thing.bin.part.json"]
    download(Download(thing.url, "thing.bin"), tmp_path)
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT
    assert web.asked == [("/thing.bin", f"bytes={2 << 20}-")]


@pytest.mark.parametrize("said", [None, "{", '{"url": "http://elsewhere", "total": 3500000, "validator": "x"}'])
def test_a_part_of_unknown_origin_is_not_built_upon(web, thing, tmp_path, said):
    (tmp_path / "thing.bin.part").write_bytes(b"other" * 1000)
    if said:
        (tmp_path / "thing.bin.part.json").write_text(said)
    download(Download(thing.url, "thing.bin"), tmp_path)
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("conditions", [True, False])
def test_a_file_that_changed_under_way_is_begun_anew(web, thing, tmp_path, conditions):
    """A server that heeds If-Range sends it whole; one that does not sends a part of a file of another length."""
    web.conditions = conditions
    other = CONTENT[::-1] + b"and more"
    web.cut["/thing.bin"] = [1_000_000]
    answer = web.answer

    def changed(*request):
        if web.asked:
            web.files["/thing.bin"] = other
        answer(*request)

    web.answer = changed
    receipt = download(Download(thing.url, "thing.bin"), tmp_path)
    assert (tmp_path / "thing.bin").read_bytes() == other
    assert receipt.sha256 == hashlib.sha256(other).hexdigest()


def test_a_part_of_which_nothing_tells_whether_it_is_still_the_same_is_begun_anew(web, thing, tmp_path):
    """No strong tag, no date and no published checksum: two halves of two files would be taken for one."""
    web.tags = False
    web.cut["/thing.bin"] = [1_000_000]
    download(Download(thing.url, "thing.bin"), tmp_path)
    assert [wanted for _, wanted in web.asked] == ["", ""]
    web.cut["/thing.bin"] = [1_000_000]
    download(replace(thing, name="checked.bin"), tmp_path)  # a checksum tells in the end
    assert [wanted for _, wanted in web.asked[2:]] == ["", "bytes=1000000-"]


def test_a_server_without_ranges_sends_all_again(web, thing, tmp_path):
    web.ranges = False
    web.cut["/thing.bin"] = [1_000_000]
    download(thing, tmp_path)
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT
    assert web.sent == len(CONTENT) + 1_000_000


def test_a_server_that_never_gets_further_is_given_up(web, thing, tmp_path, waited):
    web.ranges = False
    web.cut["/thing.bin"] = [1_000_000] * 50
    with pytest.raises(DownloadError, match=f"closed after 1000000 of 3500000 bytes.*{PATIENCE} times in a row"):
        download(thing, tmp_path)
    assert not (tmp_path / "thing.bin").exists()


def test_a_corrupted_byte_is_caught_and_the_file_fetched_anew(web, thing, tmp_path):
    web.spoil["/thing.bin"] = [123_456]
    download(thing, tmp_path)
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT
    assert [wanted for _, wanted in web.asked] == ["", ""]


def test_a_file_that_stays_corrupted_is_refused(web, thing, tmp_path):
    web.spoil["/thing.bin"] = [0, 7]
    with pytest.raises(DownloadError, match=rf"its sha256 is [0-9a-f]{{64}}, published is {SHA256}, twice"):
        download(thing, tmp_path)
    assert not list(tmp_path.glob("thing.bin*part"))
    assert not (tmp_path / "thing.bin").exists()


def test_md5_is_verified_where_a_source_publishes_that(web, tmp_path):
    url = web.put("/t.bin", b"abc")
    assert download(Download(url, "right", 0, f"md5:{hashlib.md5(b'abc').hexdigest()}"), tmp_path).checked
    with pytest.raises(DownloadError, match="its md5 is 900150983cd24fb0d6963f7d28e17f72, published is 0{32}"):
        download(Download(url, "wrong", 0, "md5:" + "0" * 32), tmp_path)


def test_503_is_waited_for_longer_each_time_and_as_long_as_the_server_asks(web, thing, tmp_path, waited):
    web.status["/thing.bin"] = [(503, {}), (429, {"Retry-After": "77"}), (503, {}), (500, {})]
    download(thing, tmp_path)
    assert waited == [2, 77, 8, 16]
    assert (tmp_path / "thing.bin").is_file()


def test_503_for_ever_is_given_up(web, thing, tmp_path, waited):
    web.status["/thing.bin"] = [(503, {})] * 20
    with pytest.raises(DownloadError, match="answers 503 Service Unavailable, 6 times in a row.*same command again"):
        download(thing, tmp_path)
    assert len(web.asked) == PATIENCE


@pytest.mark.parametrize(("code", "words"), [(404, "has moved: look for it"), (403, "needs an account: download")])
def test_404_and_403_are_answered_at_once_with_what_to_do(web, thing, tmp_path, code, words):
    web.status["/thing.bin"] = [(code, {})]
    with pytest.raises(DownloadError, match=f"thing.bin: the server answers {code} .*{words}"):
        download(thing, tmp_path)
    assert len(web.asked) == 1
    assert names(tmp_path) == []


def test_no_server_at_all(tmp_path, waited):
    with pytest.raises(DownloadError, match="no connection .*Check that you are online"):
        download(Download("http://127.0.0.1:9/x", "x"), tmp_path)
    assert waited == [2, 4, 8, 16, 32]


@pytest.mark.parametrize("name", ["images.zip", "label.nii.gz", "task.tar", "isbi.h5", "table.csv"])
def test_a_web_page_in_place_of_a_file(web, tmp_path, name):
    url = web.put("/" + name, b"<!doctype html><title>Sign in</title>" + b" " * 600)
    web.kind["/" + name] = "text/html"
    with pytest.raises(DownloadError, match=rf"instead of {name} came text/html that begins with b'<!doctype"):
        download(Download(url, name), tmp_path)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["task.tar", "images.zip", "label.nii.gz"])
@pytest.mark.parametrize("at", [1, 100, 256])
def test_a_cut_within_the_first_bytes_is_a_cut(web, tmp_path, name, at):
    """And no file of another kind: what tells the kind of a tar lies at byte 257."""
    content = tar({"x": b"x" * 100_000}) if name == "task.tar" else (b"PK" if "zip" in name else b"\x1f\x8b") + CONTENT
    web.cut["/" + name] = [at]
    download(Download(web.put("/" + name, content), name), tmp_path)
    assert (tmp_path / name).read_bytes() == content
    assert [wanted for _, wanted in web.asked] == ["", f"bytes={at}-"]


def test_a_download_that_trickles_is_given_up_and_resumed(web, thing, tmp_path, monkeypatch, waited):
    """One byte a moment keeps a connection open for ever; the next connection brings the rest."""
    monkeypatch.setattr("fetch.download.WINDOW", 0.3)
    answer = web.answer
    trickled = []

    def trickle(request, path, query):
        if trickled:
            return answer(request, path, query)
        request.send_response(200)
        request.send_header("Content-Length", str(len(CONTENT)))
        request.send_header("ETag", f'"{hashlib.sha256(CONTENT).hexdigest()[:16]}"')
        request.end_headers()
        try:
            for at in range(2000):
                request.wfile.write(CONTENT[at : at + 1])
                trickled.append(at)
                time.sleep(0.01)
        except OSError:
            return None  # given up, as it should be

    web.answer = trickle
    download(thing, tmp_path)
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT
    assert 10 < len(trickled) < 1000
    assert re.fullmatch(r"bytes=\d+-", web.asked[-1][1])


def test_the_sha256_that_hugging_face_names_on_redirecting_is_verified(web, tmp_path):
    """Its answer carries X-Linked-Etag, the store that it redirects to does not."""
    web.put("/store", b"abc")
    for named, right in ((hashlib.sha256(b"abc").hexdigest(), True), ("0" * 64, False)):
        web.redirect["/resolve"] = ("/store", {"X-Linked-Etag": f'"{named}"'})
        what = Download(web.root + "/resolve", f"x-{right}")
        if right:
            assert download(what, tmp_path).checked == f"sha256:{named}"
        else:
            with pytest.raises(DownloadError, match="published is 0{64}"):
                download(what, tmp_path)


def test_what_cannot_fit_is_refused_before_a_byte_is_written(web, thing, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    with pytest.raises(DownloadError, match=r"thing.bin needs 3\.5 MB, but .* has 1 MB left\. Make room"):
        download(thing, tmp_path)
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full, a disk that is always full")
def test_a_disk_that_fills_while_writing(web, thing, tmp_path):
    (tmp_path / "thing.bin.part").symlink_to("/dev/full")
    with pytest.raises(DownloadError, match="the disk is full .*run the same command again"):
        download(thing, tmp_path)
    assert not (tmp_path / "thing.bin").exists()
    (tmp_path / "thing.bin.part").unlink()
    download(thing, tmp_path)  # after somebody made room


def test_a_quota_that_is_reached_says_so_too(web, thing, tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.EDQUOT if sys.platform != "win32" else errno.ENOSPC, "Disk quota exceeded")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DownloadError, match=r"the disk is full \(Disk quota exceeded\)"):
        download(thing, tmp_path)
    assert (tmp_path / "thing.bin.part").stat().st_size == len(CONTENT)  # kept, and finished next time
    monkeypatch.undo()
    assert download(thing, tmp_path).sha256 == SHA256
    assert len(web.asked) == 1


def test_the_time_that_is_left_is_shown_also_after_going_on(web, thing, tmp_path):
    web.cut["/thing.bin"] = [2_000_000]
    fetch = _Fetch(thing, tmp_path / "thing.bin.part")
    with fetch.progress:
        assert fetch() is False
        assert re.search(r"thing\.bin: +57%.* 2\.00M/3\.50M \[\d\d:\d\d<\d\d:\d\d, ", str(fetch.progress))
        assert fetch() is True
        assert fetch.progress.format_dict["initial"] == 2_000_000  # what came earlier says nothing of the speed
        assert re.search(r"100%.* 3\.50M/3\.50M", str(fetch.progress))


def test_sizes_in_words():
    assert [in_words(n) for n in (12, 999, 34_000, 1_500_000, 225e9, 2e12)] == [
        *("12 B", "999 B", "34 kB", "1.5 MB", "225 GB", "2 TB")
    ]
