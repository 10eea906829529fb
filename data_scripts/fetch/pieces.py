"""Pieces that are fetched together, and access to their files, archives and series during conversion."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fetch import idc
from fetch.archive import Archive, remote
from fetch.download import Download, Receipt, download
from fetch.facts import About, Cases
from fetch.idc import Series


@dataclass(frozen=True)
class Piece:
    """What is fetched together: one case's files, or an archive of many. `cases` gets what it needs from `Fetched`.

    It yields names of cases with a function that makes each, so that existing cases are skipped and a rejected case
    does not stop the others.
    """

    name: str
    cases: Callable[[Fetched], Cases]
    downloads: tuple[Download, ...] = ()
    series: tuple[Series, ...] = ()
    count: float = 1  # number of cases; the mean if it is not known in advance


@dataclass(frozen=True)
class Plan:
    """The pieces in the order of fetching, smallest first where cases can be fetched separately."""

    about: About
    pieces: tuple[Piece, ...]


@dataclass
class Fetched:
    """`limit` is the number of cases still wanted, None for all; with a limit, archives are read remotely."""

    piece: Piece
    folder: Path  # for downloads
    limit: int | None
    keep: Callable[[str, Receipt], None]
    say: Callable[[str], None]
    used: set[Path] = field(default_factory=set)
    unpacked: set[Path] = field(default_factory=set)
    open: list[Archive] = field(default_factory=list)

    def file(self, name: str) -> Path:
        receipt = download(self._listed(name), self.folder)
        if receipt is not None:
            self.keep(name, receipt)
        self.used.add(self.folder / name)
        return self.folder / name

    def archive(self, name: str) -> Archive:
        """The whole archive, verified; or, if few cases are wanted, at first only its list of members."""
        listed = self._listed(name)
        if self.limit is not None and not (self.folder / name).is_file():
            self.say(f"{name}: reading its list of members (minutes for a tar of many GB)")
            if (there := remote(listed.url, name)) is not None:
                self.say(f"{name}: only the members needed are fetched, so its checksum cannot be tested")
                self.open.append(there)
                return there
            self.say(f"{name}: the server does not support partial downloads, so it is fetched whole")
        self.open.append(Archive(self.file(name), name))
        return self.open[-1]

    def extract(self, archive: Archive, name: str) -> Path:
        """Extract a member to a temporary file, removed by `forget`."""
        path = archive.extract(name, self.folder / "unpacked" / archive.name)
        self.unpacked.add(path)
        return path

    def series(self, uid: str) -> list[Path]:
        """The files of a series; the first call fetches all series of the piece."""
        files = idc.fetch(self.piece.series, self.folder)
        self.used |= {self.folder / one.uid for one in self.piece.series}
        return files[uid]

    def forget(self) -> None:
        """Remove files unpacked for a case."""
        for path in self.unpacked:
            path.unlink(missing_ok=True)
        self.unpacked.clear()

    def discard(self, *, keep: set[str]) -> None:
        """Remove the downloads too, except those that other pieces need."""
        for path in self.used:
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in keep:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        for archive in self.open:
            archive.close()
        shutil.rmtree(self.folder / "unpacked", ignore_errors=True)  # the empty folders

    def _listed(self, name: str) -> Download:
        return next(one for one in self.piece.downloads if one.name == name)
