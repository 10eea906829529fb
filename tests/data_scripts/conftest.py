"""A web server on this machine that can be told to misbehave, and the scripts as modules."""

from __future__ import annotations

import hashlib
import re
import sys
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "data_scripts")]


class Web:
    """`files[path]` is what lies there; the lists say what the next answers for a path are to be instead."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut = defaultdict(list)  # bytes after which the connection closes
        self.spoil = defaultdict(list)  # place of a byte that arrives as another
        self.status = defaultdict(list)  # (code, headers)
        self.redirect: dict[str, tuple[str, dict]] = {}
        self.kind: dict[str, str] = {}
        self.ranges = True
        self.tags = True
        self.conditions = True  # whether If-Range is heeded
        self.asked: list[tuple[str, str]] = []  # (path, Range)
        self.sent = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.handle_error = lambda *_: None  # a client that hangs up is part of the game
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def put(self, path: str, content: bytes) -> str:
        self.files[path] = content
        return self.root + path

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, request: BaseHTTPRequestHandler, path: str, query: str) -> None:
        wanted = request.headers.get("Range") or ""
        self.asked.append((path, wanted))
        if self.status[path]:
            code, headers = self.status[path].pop(0)
            return _send(request, code, headers, b"")
        if "list-type=2" in query:  # S3: what a bucket holds below a prefix
            return _send(request, 200, {"Content-Type": "application/xml"}, self._bucket(path, query))
        if path in self.redirect:
            to, headers = self.redirect[path]
            return _send(request, 302, {"Location": to, **headers}, b"")
        if path not in self.files:
            return _send(request, 404, {}, b"")
        content = self.files[path]
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        headers = {
            "ETag": tag if self.tags else f"W/{tag}",
            "Content-Type": self.kind.get(path, "application/octet-stream"),
        }
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
        start, code = 0, 200
        if self.ranges and found and (not self.conditions or request.headers.get("If-Range") in (None, tag)):
            start, end = int(found[1]), min(int(found[2] or len(content)) + 1, len(content))
            if start >= len(content):
                return _send(request, 416, {"Content-Range": f"bytes */{len(content)}"}, b"")
            headers["Content-Range"], code = f"bytes {start}-{end - 1}/{len(content)}", 206
            content = content[start:end]
        if self.spoil[path]:
            place = self.spoil[path].pop(0) - start
            content = content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]
        whole = len(content)
        if self.cut[path]:
            content = content[: self.cut[path].pop(0)]
        self.sent += len(content)
        _send(request, code, headers, content, whole)

    def _bucket(self, path: str, query: str) -> bytes:
        start = f"{path.rstrip('/')}/{parse_qs(query)['prefix'][0]}"
        items = "".join(
            f"<Contents><Key>{name.removeprefix(path.rstrip('/') + '/')}</Key><Size>{len(content)}</Size>"
            f"<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;{hashlib.md5(content).hexdigest()}&quot;"
            "</ETag></Contents>"
            for name, content in sorted(self.files.items())
            if name.startswith(start)
        )
        return (
            '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>false</IsTruncated>{items}</ListBucketResult>"
        ).encode()

    def _handler(web):  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path, _, query = self.path.partition("?")
                web.answer(self, path, query)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def _send(request, code: int, headers: dict, content: bytes, length: int | None = None) -> None:
    """`length` is what is promised; where less comes, the connection closes in the middle."""
    request.send_response(code)
    for name, value in headers.items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(content) if length is None else length))
    request.end_headers()
    if request.command == "GET":
        request.wfile.write(content)


@pytest.fixture
def web():
    served = Web()
    yield served
    served.close()


@pytest.fixture(autouse=True)
def waited(monkeypatch) -> list[float]:
    """The seconds that would have been waited between attempts."""
    seconds: list[float] = []
    monkeypatch.setattr("fetch.download.pause", seconds.append)
    return seconds


@pytest.fixture
def commons(web, tmp_path, monkeypatch):
    """commons(uid, {file: content}, modality="CT", …) puts a series there and into the index."""
    import idc_index.index
    import idc_index_data
    import pandas
    from fetch import idc

    bucket, rows = "idc-open-data", []
    index = tmp_path / "index.parquet"

    def add(uid: str, files: dict[str, bytes], **more) -> None:
        unique = f"{len(rows):08d}-0000-4000-8000-000000000000"
        for name, content in files.items():
            web.put(f"/{bucket}/{unique}/{name}", content)
        size = sum(map(len, files.values())) / 1e6
        about = {"Modality": "CT", "PatientID": "p1", "StudyInstanceUID": "1.2.9", "collection_id": "made_here"}
        about |= {"SeriesDescription": None, "analysis_result_id": None, "instanceCount": len(files)}
        about |= {"aws_bucket": bucket, "series_aws_url": f"s3://{bucket}/{unique}/*", "series_size_MB": size}
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
