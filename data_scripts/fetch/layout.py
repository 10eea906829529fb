"""The converted folder: cases, dataset.json, and provenance.json, which records where each case came from."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from dsnotes.data import nifti
from dsnotes.safety import paths
from dsnotes.safety.atomic import write_text
from fetch.download import Receipt
from fetch.facts import About, Converted
from fetch.volume import Volume, read, write

PROVENANCE = "provenance.json"


class Folder:
    """A dataset that grows case by case; listed cases are complete, so that a killed command can resume."""

    def __init__(self, path: Path, about: About, *, made_with: dict | None = None) -> None:
        self.path, self.about = path, about
        self.downloads = path / "downloads"
        self.log = {"downloads": {}, "pieces": {}, "cases": {}, "refused": {}} | (_json(path / PROVENANCE) or {})
        self.recists = _json(path / "recistTr.json") or {}
        named = (_json(path / "dataset.json") or {}).get("name", about.name)
        if named != about.name:
            raise ValueError(f"{path} holds {named!r} already, this script makes {about.name!r}: pass another --out.")
        before = self.log.setdefault("made_with", made_with)
        if self.log["cases"] and before != made_with:
            raise ValueError(f"{path} was made with {before}, now it is {made_with}: pass another --out.")
        self.log["made_with"] = made_with
        self.names = {name for name in self.log["cases"] if self._is_there(name)}
        self.absent = 0  # missing files in a row
        self._saved = 0.0

    def has_all_of(self, piece: str) -> bool:
        """Whether the piece was processed completely and its cases still exist."""
        done = self.log["pieces"].get(piece)
        return done is not None and self.names.issuperset(done)

    def add(self, name: str, case: Converted, *, piece: str) -> str:
        """Write a case and list it; returns its size in words."""
        if not re.fullmatch(r"[\w.+-]+", paths.file_name(name)):
            raise ValueError(f"case {name!r}: a name may hold only letters, digits, dots, hyphens and underscores.")
        image = self.path / "imagesTr" / f"{name}.nii.gz"
        if isinstance(case.image, Path):
            volume = read(case.image) if case.readers is not None or isinstance(case.label, np.ndarray) else None
            nifti.require_whole(case.image)
        else:
            volume = case.image
        if case.label is not None:
            label = read(case.label, "uint8") if isinstance(case.label, Path) else Volume(case.label, volume.geometry)
            self._require_named(label.voxels, name)
            write(self.path / "labelsTr" / image.name, label)
        if case.readers is not None:
            write(self.path / "readersTr" / image.name, Volume(case.readers, volume.geometry))
        if case.recist is not None:
            self.recists[name] = case.recist
        if isinstance(case.image, Path):
            image.parent.mkdir(parents=True, exist_ok=True)
            os.replace(case.image, image)
        else:
            write(image, volume)
        self.log["cases"][name] = {
            "piece": piece,
            "label": case.label is not None,
            "readers": case.readers is not None,
            **({"said": list(case.said)} if case.said else {}),
            **({"about": case.about} if case.about else {}),
        }
        self.log["refused"].pop(name, None)
        self.names.add(name)
        self.absent = 0
        self.save(soon=True)
        return f"{image.stat().st_size / 1e6:.3g} MB" + "".join(f"; {what}" for what in case.said)

    def finish(self, piece: str, names: list[str]) -> None:
        self.log["pieces"][piece] = names
        self.log["refused"].pop(piece, None)
        self.save(soon=True)

    def refuse(self, name: str, why: str) -> None:
        self.log["refused"][name] = why
        self.save(soon=True)

    def received(self, name: str, receipt: Receipt) -> None:
        """Record a checksum; report a file whose checksum changed since an earlier download."""
        before = self.log["downloads"].get(name)
        if before and before["sha256"] != receipt.sha256:
            print(f"  {name} differs from the one fetched before: sha256 {receipt.sha256}, was {before['sha256']}")
        self.log["downloads"][name] = asdict(receipt)
        self.save()

    def save(self, *, soon: bool = False) -> None:
        """provenance.json, then dataset.json from it, each whole; `soon`: at most every two seconds."""
        if soon and time.monotonic() - self._saved < 2:
            return
        self._saved = time.monotonic()
        if self.recists:
            _dump(self.path / "recistTr.json", self.recists)
        _dump(self.path / PROVENANCE, self.log)
        about, names = self.about, sorted(self.names)
        files = [{kind: f"./{file}" for kind, file in self._files(name).items()} for name in names]
        _dump(
            self.path / "dataset.json",
            {
                "name": about.name,
                "description": about.description or about.name,
                "reference": about.citation,
                "source": about.source,
                "licence": about.licence,
                "tables": list(about.tables),
                "tensorImageSize": "3D",
                "modality": {str(k): name for k, name in enumerate(about.modality)},
                "labels": {str(value): name for value, name in about.labels.items()},
                "numTraining": len(names),
                "numTest": 0,
                "training": [{kind: each[kind] for kind in ("image", "label") if kind in each} for each in files],
                "test": [],
            },
        )

    def _is_there(self, name: str) -> bool:
        return all((self.path / file).is_file() for file in self._files(name).values())

    def _files(self, name: str) -> dict[str, str]:
        has = self.log["cases"][name]
        kinds = {"image": "imagesTr", "label": "labelsTr", "readers": "readersTr"}
        return {kind: f"{where}/{name}.nii.gz" for kind, where in kinds.items() if kind == "image" or has[kind]}

    def _require_named(self, label: np.ndarray, name: str) -> None:
        if odd := sorted(set(np.unique(label).tolist()) - set(self.about.labels)):
            raise ValueError(f"the label of {name} holds {odd}, the set's values are {self.about.labels}.")


def _json(path: Path) -> dict | None:
    """The file of an earlier run, None if there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"a {type(found).__name__} instead of a dict")
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}). Delete it, or pass another --out.") from error
    return found


def _dump(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
