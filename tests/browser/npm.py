"""The files that itkwidgets' viewer fetches from the network, served from the same packages of the npm registry."""

from __future__ import annotations

import json
import mimetypes
import re
import tarfile
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path
from urllib.parse import quote, urlsplit

from itkwidgets.viewer_config import ITK_VIEWER_SRC

KEPT = Path(__file__).resolve().parents[2] / "build" / "npm"
REGISTRY = "https://registry.npmjs.org"
# Hosts that serve one package each. The viewer's page is on IPFS, under a hash that does not name its version.
HOSTS = {
    urlsplit(ITK_VIEWER_SRC).netloc: ("itk-vtk-viewer", "14.51.0", "dist/"),
    "lib.imjoy.io": ("imjoy-core", "0.14.5", "dist/"),
    "imjoy-team.github.io": ("vue-js-modal", "1.3.35", "dist/"),
}
# Two forks are not in the registry, so the originals replace them: vue-js-modal above, and this one. It installs itself
# on loading; the fork's caller calls `install`, which therefore does nothing here.
VUE_WINDOW = ("@hscmap/vue-window", "2.4.1", "standalone/dist/vue-window-standalone.js")
JSDELIVR = re.compile(r"/npm/(?P<name>(?:@[\w.-]+/)?[\w.-]+)@(?P<version>[\w.-]+)/(?P<file>.+)")


def reachable() -> bool:
    """Whether the registry answers."""
    try:
        urllib.request.urlopen(f"{REGISTRY}/imjoy-rpc/latest", timeout=20).close()
    except OSError:
        return False
    return True


@cache
def package(name: str, version: str) -> Path:
    """The unpacked package; `version` may also be a tag such as latest."""
    with urllib.request.urlopen(f"{REGISTRY}/{quote(name, safe='@')}/{version}", timeout=60) as answer:
        found = json.load(answer)
    folder = KEPT / name.replace("/", "+") / found["version"]
    if not (folder / "package").is_dir():
        archive, _ = urllib.request.urlretrieve(found["dist"]["tarball"])
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
    return folder / "package"


def serve(url: str) -> tuple[bytes, str] | None:
    """The content and type of `url`, or None where no package has it."""
    place = urlsplit(url)
    if place.netloc in HOSTS:
        name, version, folder = HOSTS[place.netloc]
        file = folder + (place.path.removeprefix("/vue-js-modal").lstrip("/") or "index.html")
    elif place.netloc == "cdn.jsdelivr.net" and (found := JSDELIVR.fullmatch(place.path)):
        name, version, file = found["name"], found["version"], found["file"]
        if name == "@oeway/vue-window":
            return (
                package(*VUE_WINDOW[:2]) / VUE_WINDOW[2]
            ).read_bytes() + b"\nwindow.VueWindow = {install() {}}", "text/javascript"
    else:
        return None
    try:
        path = package(name, version) / file
        return path.read_bytes(), mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    except (FileNotFoundError, urllib.error.HTTPError):
        return None
