"""A folder with a precious file beside it and links within, and the attempt to unpack a hostile archive there."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from hostile.names import archive

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "data_scripts"))

CONTENT = b"precious"


class Target:
    """`folder` is unpacked into; everything else below `root` must stay as it is."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / "in" / "target"
        self.archives = root / "archives"
        self.archives.mkdir()
        for place in (root / "precious", root / "in" / "precious", root / "in" / "other" / "precious"):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(CONTENT)
        self.renew()
        self.before = self._told()

    def renew(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        (self.folder / "link").symlink_to(self.root / "in" / "other")
        (self.folder / "up").symlink_to("..")
        (self.folder / "loop").symlink_to("loop")
        (self.folder / "precious").symlink_to(self.root / "precious")

    def _told(self) -> dict[str, bytes | None]:
        """Every path outside of the folder, with what it holds."""
        found = {}
        for at, folders, files in os.walk(self.root):
            place = Path(at)
            folders[:] = [name for name in folders if place / name not in (self.folder, self.archives)]
            found |= {str(place / name): (place / name).read_bytes() for name in files}
            found |= {str(place / name): None for name in folders}
        return found

    def untouched(self) -> bool:
        same = self._told() == self.before
        self.renew()
        return same


def unpack(target: Target, kind: str, name: str, link: str | None = None) -> str:
    """What became of it: "refused" or "inside"."""
    from fetch.archive import Archive

    suffix = "zip" if kind == "zip" else "tar"
    try:
        content = archive(kind, name, link=link)
    except (ValueError, UnicodeError):
        return "refused"  # there is no such archive
    place = target.archives / f"hostile.{suffix}"
    place.write_bytes(content)
    try:
        with Archive(place, place.name) as opened:
            for member in opened.names:
                opened.extract(member, target.folder)
    except ValueError:
        return "refused"
    return "inside"
