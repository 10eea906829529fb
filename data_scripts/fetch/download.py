"""Download files over HTTP: resume interrupted downloads, verify before renaming."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from ssl import SSLError
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

CHUNK = 1 << 20
FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))  # Windows has no EDQUOT
PATIENCE = 6  # attempts in a row without any new byte
LONGEST_WAIT = 300.0
TIMEOUT = 60.0
SLOWEST, WINDOW = 1000, 30.0  # give up a connection with fewer bytes per second over this many seconds
HEAD = 512  # bytes that identify the type of file
AGENT = "dsnotes-data-scripts (python-urllib)"
PASSING = {408, 425, 429, 500, 502, 503, 504}  # temporary HTTP errors
REMEDIES = {
    401: "It needs an account: log in at the source, download the file by hand and put it there under that name.",
    403: "It is closed or needs an account: download the file by hand and put it there under that name.",
    404: "The file has moved: look for it at the source, download it by hand and put it there under that name.",
    410: "The file was removed: look for it at the source and put it there under that name.",
}
MAGIC = {
    ".zip": ((0, b"PK"),),
    ".whl": ((0, b"PK"),),
    ".gz": ((0, b"\x1f\x8b"),),
    ".tar": ((257, b"ustar"), (257, b"\0")),  # the oldest tar format has no magic number
    ".h5": ((0, b"\x89HDF"),),
}


class DownloadError(RuntimeError):
    """A download that failed; the part received is kept, and the same command resumes from it."""


class SlowError(ConnectionError):
    """A connection that is open but nearly stalled."""


class MissingError(DownloadError):
    """A file that the source no longer has: its case is left out, unless all are missing."""


@dataclass(frozen=True)
class Download:
    """A file at its source; `bytes` is approximate, `checksum` is "sha256:…" or "md5:…" if the source publishes one."""

    url: str
    name: str
    bytes: int = 0
    checksum: str | None = None


@dataclass(frozen=True)
class Receipt:
    """A finished download; `checked` names the source of the checksum, None if it was only recorded here."""

    url: str
    bytes: int
    sha256: str
    checked: str | None


class _Redirects(HTTPRedirectHandler):
    """Follow redirects and keep the sha256 that Hugging Face sends in its redirect response."""

    sha256: str | None = None

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        named = (headers.get("X-Linked-Etag") or "").strip('"')
        if re.fullmatch("[0-9a-f]{64}", named):
            self.sha256 = named
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def ask(url: str, headers: dict[str, str]):
    """The open response to a GET request; errors are those of urllib."""
    redirects = _Redirects()
    request = Request(url, headers={"User-Agent": AGENT, "Accept-Encoding": "identity", **headers})
    answer = build_opener(redirects).open(request, timeout=TIMEOUT)
    answer.sha256 = redirects.sha256
    return answer


class Pace:
    """Give up a stalled connection, on which a plain read would wait forever."""

    def __init__(self) -> None:
        self.since, self.came = time.monotonic(), 0

    def check(self, count: int) -> None:
        self.came += count
        spent = time.monotonic() - self.since
        if spent >= WINDOW:
            if self.came < SLOWEST * spent:
                raise SlowError(f"{self.came} bytes in {spent:.0f} s")
            self.since, self.came = time.monotonic(), 0


def read_briskly(answer, count: int) -> bytes:
    """Read up to `count` bytes of a response, fewer at its end."""
    got, pace = bytearray(), Pace()
    while len(got) < count and (block := answer.read1(count - len(got))):
        got += block
        pace.check(len(block))
    return bytes(got)


def pause(seconds: float) -> None:
    time.sleep(seconds)


def persistently(attempt: Callable[[], bool], what: str) -> None:
    """Call `attempt` until it returns True; after temporary errors wait, longer each time.

    An attempt that returns False received something, which resets the count of failed attempts.
    """
    fruitless = 0
    while True:
        asked = 0.0
        try:
            if attempt():
                return
            fruitless, why = 0, "the connection closed early"
        except HTTPError as error:
            with error:
                if error.code not in PASSING:
                    remedy = REMEDIES.get(error.code, "Look at the source's page, and try again another day.")
                    kind = MissingError if error.code in (404, 410) else DownloadError
                    raise kind(f"{what}: the server answers {error.code} {error.reason}. {remedy}") from error
                fruitless, why = fruitless + 1, f"the server answers {error.code} {error.reason}"
                after = error.headers.get("Retry-After") or ""
                asked = float(after) if after.isdigit() else 0.0
        except (URLError, HTTPException, TimeoutError, ConnectionError, SSLError) as error:
            fruitless, why = fruitless + 1, f"no connection ({getattr(error, 'reason', None) or error!r})"
        if fruitless >= PATIENCE:
            raise DownloadError(
                f"{what}: {why}, {PATIENCE} times in a row. Check that you are online and the source is up, then "
                f"run the same command again to resume."
            )
        pause(min(max(asked, 2.0**fruitless), LONGEST_WAIT))


def download(what: Download, folder: Path) -> Receipt | None:
    """Fetch into `folder`; returns None if the file exists already.

    Bytes go to <name>.part, which a later call continues by HTTP Range if the server's file is unchanged; the file is
    renamed when length and checksum are right. After a wrong checksum it is fetched once more from the start.
    """
    final = folder / what.name
    if final.is_file():
        return None
    final.parent.mkdir(parents=True, exist_ok=True)
    part = final.with_name(final.name + ".part")
    for spoilt in (False, True):
        fetch = _Fetch(what, part)
        with fetch.progress:
            persistently(fetch, what.url)
        published = what.checksum or (f"sha256:{fetch.linked}" if fetch.linked else None)
        sha256, wrong = _verify(part, published)
        if not wrong:
            break
        part.unlink()
        if spoilt:
            raise DownloadError(f"{what.url}: {wrong}, twice. The source has changed or is damaged; nothing was kept.")
    receipt = Receipt(what.url, part.stat().st_size, sha256, published)
    os.replace(part, final)
    _about(part).unlink(missing_ok=True)
    return receipt


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raise an error before writing if there is too little space."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise DownloadError(
            f"{what} needs {in_words(needed)}, but {there} has {in_words(free)} left. Make room, pass another --out, "
            f"or take fewer --cases."
        )


def no_space(error: OSError, path: Path) -> DownloadError:
    return DownloadError(
        f"{path}: the disk is full ({error.strerror}). Make room, then run the same command again to resume."
    )


def in_words(size: float) -> str:
    units = ["B", "kB", "MB", "GB", "TB"]
    while size >= 999.5 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.3g} {units[0]}"


class _Fetch:
    """One attempt per call; True when the whole file is in `part`."""

    def __init__(self, what: Download, part: Path) -> None:
        from tqdm import tqdm

        self.what, self.part, self.linked, self.furthest = what, part, None, 0
        often = 0.5 if sys.stderr.isatty() else 30.0  # keep logs on a cluster short
        self.progress = tqdm(desc=what.name, unit="B", unit_scale=True, leave=False, mininterval=often)

    def __call__(self) -> bool:
        known = _read(_about(self.part))
        same = known.get("url") == self.what.url and (known.get("validator") or self.what.checksum)
        have = self.part.stat().st_size if same and self.part.is_file() else 0
        if have and have == known.get("total"):
            self.linked = known.get("sha256")
            return True
        asked = {"Range": f"bytes={have}-"} if have else {}
        if have and known.get("validator"):
            asked["If-Range"] = known["validator"]  # if the file has changed, the server sends it whole
        try:
            answer = ask(self.what.url, asked)
        except HTTPError as error:
            if error.code != 416:
                raise
            error.close()
            self.part.unlink()  # the part is longer than the file: it has changed
            return False
        with answer:
            start, total = _extent(answer)
            if answer.status == 206 and (start != have or total != known.get("total")):
                self.part.unlink(missing_ok=True)
                return False
            require_space(self.part.parent, (total or 0) - start, self.what.name)
            if start == 0:  # emptied before its record is written, so that a kill in between cannot mix two files
                _about(self.part).unlink(missing_ok=True)
                self.part.open("wb").close()
            self.linked = answer.sha256 or (known.get("sha256") if start else None)
            _write(_about(self.part), url=self.what.url, total=total, validator=_validator(answer), sha256=self.linked)
            self._keep(answer, start, total)
        return total is None or self.part.stat().st_size == total

    def _keep(self, answer, start: int, total: int | None) -> None:
        self.progress.total, self.progress.n, self.progress.initial = total, start, start
        at, pace = start, Pace()
        kind = answer.headers.get("Content-Type") or ""
        try:
            with self.part.open("r+b" if start else "w+b") as out:
                head = out.read(min(start, HEAD))
                judged = start >= HEAD
                out.seek(start)
                while block := answer.read1(CHUNK):
                    if not judged:
                        head += block[: HEAD - len(head)]
                        if judged := len(head) == HEAD:
                            _require_kind(head, self.what, kind)
                    out.write(block)
                    out.flush()  # a kill loses nothing that has arrived
                    at += len(block)
                    self.progress.update(len(block))
                    pace.check(len(block))
                if not judged and at == (total or at):  # fewer bytes before a lost connection say nothing
                    _require_kind(head, self.what, kind)
                out.flush()
                os.fsync(out.fileno())
        except SlowError:
            raise
        except (OSError, HTTPException) as error:
            if getattr(error, "errno", None) in FULL:
                raise no_space(error, self.part) from error
            if at <= self.furthest:
                raise
        if at <= self.furthest and at != total:  # without Range, a connection lost each time makes no progress
            raise ConnectionError(f"closed after {at} of {total} bytes")
        self.furthest = max(self.furthest, at)


def _extent(answer) -> tuple[int, int | None]:
    """Where in the file the response begins, and the file's length."""
    if answer.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range") or "")
        return (int(found[1]), int(found[2])) if found else (-1, None)
    length = answer.headers.get("Content-Length")
    return 0, int(length) if length else None


def _validator(answer) -> str | None:
    """What identifies the file's version: a strong ETag, which guarantees equal bytes, or a date."""
    tag = answer.headers.get("ETag") or ""
    return tag if tag.startswith('"') else answer.headers.get("Last-Modified")


def _require_kind(first: bytes, what: Download, kind: str) -> None:
    marks = MAGIC.get(Path(what.name).suffix.lower())
    page = first.lstrip()[:1] == b"<" and not what.name.lower().endswith((".xml", ".html"))
    if page or (marks and not any(first[at : at + len(mark)] == mark for at, mark in marks)):
        raise DownloadError(
            f"{what.url}: instead of {what.name} came {kind or 'something else'} that begins with {first[:40]!r}. The "
            f"source needs a login, has a quota or has moved: open the address in a browser, and put the file there."
        )


def _verify(part: Path, published: str | None) -> tuple[str, str | None]:
    """sha256 of the file, and an error text if the published checksum differs."""
    method, _, wanted = (published or "sha256:").partition(":")
    sums = {name: hashlib.new(name, usedforsecurity=False) for name in {"sha256", method}}
    with part.open("rb") as stream:
        while block := stream.read(CHUNK):
            for each in sums.values():
                each.update(block)
    found = sums[method].hexdigest()
    wrong = f"its {method} is {found}, published is {wanted}" if wanted and found != wanted.lower() else None
    return sums["sha256"].hexdigest(), wrong


def _about(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # ValueError: killed while it was written
        return {}


def _write(path: Path, **about: object) -> None:
    path.write_text(json.dumps(about), encoding="utf-8")
