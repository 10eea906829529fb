"""Names that have fooled unpackers, put together from the pieces that did it, and archives that hold them."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import warnings
import zipfile

PIECES = (
    *("./", "//", "/", "../", "..\\", "\\", "..", ".", "...", ".. ", " ..", ". .", "C:", "c:\\", "\\\\host\\share\\"),
    *("a", "b.txt", "imagesTr", "x" * 300, "y" * 100 + "/", "~", "~root/", "$HOME/", "%2e%2e%2f", "\x00", "\n", "\x7f"),
    *(
        "‥",
        "…",
        "．．",
        "．．／",
        "／",
        "＼",
        "∕",
        "⁄",
        "：",
        "\u202e",
        "\u200b",
        "é",
        "e\u0301",
        "\ud800",
        " ",
        "  /",
        "trail ",
        "dot./",
    ),
    *(
        "link/",
        "loop/",
        "up/",
        "precious",
        "link",
        "NUL",
        "con.txt",
        "-rf",
        "*",
        "?",
        "|",
        ";",
        "'",
        '"',
        "<img src=x>",
    ),
)
KINDS = ("tar", "tar.gz", "zip", "gzip")


def draw(chance: random.Random) -> str:
    return "".join(chance.choice(PIECES) for _ in range(chance.randint(1, 6)))


def archive(kind: str, name: str, content: bytes = b"hostile", link: str | None = None) -> bytes:
    """One member of that name (for gzip: in the header's field for it, round a harmless tar); with `link`, links first.

    Links come twice, so that the second leads through the first.
    """
    out = io.BytesIO()
    if kind == "zip":
        with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(out, "w") as made:  # a name may come twice
            if link is not None:
                info = zipfile.ZipInfo("link")
                info.external_attr = 0o120777 << 16
                made.writestr(info, link)
            info = zipfile.ZipInfo("x")
            info.filename = name
            made.writestr(info, content)
        return out.getvalue()
    inner = "harmless" if kind == "gzip" else name
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, errors="surrogatepass") as made:
        for at, target in enumerate([] if link is None else [link, "link"]):
            info = tarfile.TarInfo("link" if at == 0 else "loop")
            info.type, info.linkname = tarfile.SYMTYPE if at == 0 else tarfile.LNKTYPE, target
            made.addfile(info)
        info = tarfile.TarInfo(inner)
        info.size = len(content)
        made.addfile(info, io.BytesIO(content))
    if kind == "tar":
        return out.getvalue()
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as made:
        made.write(out.getvalue())
    whole = packed.getvalue()
    if kind == "tar.gz":
        return whole
    field = name.encode("utf-8", "surrogatepass").replace(b"\0", b"") + b"\0"
    return whole[:3] + bytes([whole[3] | 8]) + whole[4:10] + field + whole[10:]
