"""Wrong inputs to the library, each with what is called; every one must be refused with a remedy, before any work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ODD = ("many", None, [], {}, float("nan"), float("inf"), -1, 1j, object())
REMEDIES = ("pass", "choose", "give", "save", "write", "use", "needed", "bring", "build", "make", "look", "correct")
REMEDIES += ("copy", "take", "tell", "put", "name", "set", "delete", "type", "raise", "such as", "fetch", "nearest")
REMEDIES += ("replace", "undo", "try", "convert", "crop", "rename", "remove")
REMEDIES += ("for instance", "threshold", "renumber", "open it")
REFUSALS = (ValueError, TypeError, KeyError, OSError, IndexError, AttributeError)


def refused(attempt: Callable[[], Any]) -> str:
    """ "" where the answer is a refusal with a remedy, else what happened instead."""
    try:
        attempt()
    except REFUSALS as error:
        said = str(error)
        if len(said) > 40 and any(word in said.lower() for word in REMEDIES):
            return ""
        return f"{type(error).__name__}: {said[:100]}"
    return "accepted"


def wrong_inputs(folder: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """(What it is, the call) of each."""
    yield from _cases()
    yield from _settings()
    yield from _preprocessing()
    yield from _trainings(folder)
    yield from _predictions()
    yield from _scores()
    yield from _files(folder)
    yield from _names()
    yield from _phantoms()


def _image(*shape: int) -> np.ndarray:
    return np.zeros(shape or (8, 8), np.float32)


def _cases() -> Iterator:
    from dsnotes.data.case import Case

    label = np.zeros((8, 8), np.uint8)
    for spacing in (*ODD, (1.0,), (1.0, 0.0), (1.0, -1.0), (1.0, float("nan")), (1.0, float("inf")), "ab", (1,) * 4):
        yield f"Case(spacing={spacing!r})", partial(Case, "a", _image(), label, spacing)
    for image in ("a.nii", None, [[1.0]], 3, _image().astype(complex), np.array([["a"]]), _image() + np.nan):
        yield f"Case(image={type(image).__name__})", partial(Case, "a", image, None, (1.0, 1.0))
    for image in (_image() - np.inf, _image(0, 8), _image(8), _image(2, 2, 2, 2), np.array([[object()]])):
        yield f"Case(image={image.shape} {image.dtype})", partial(Case, "a", image, None, (1.0, 1.0))
    for wrong in (label[:4], label.astype(float) + 0.5, label.astype(int) - 1, label.astype(int) + 300, "a", 3):
        yield f"Case(label={str(wrong)[:12]!r})", partial(Case, "a", _image(), wrong, (1.0, 1.0))
    for name in ("alpha", "soft", "readers"):
        yield f"Case(extras {name})", partial(Case, "a", _image(), label, (1.0, 1.0), {name: _image(4, 4)})


def _settings() -> Iterator:
    from dsnotes.training.settings import Settings

    numbers = ("lr", "weight_decay", "momentum", "factor", "power", "threshold", "min_lr", "foreground", "stop_dice")
    for name in numbers:
        for value in ("many", None, [], {}, float("nan"), 1j):
            if (name, value) != ("foreground", None):  # None leaves the share to the images
                yield f"Settings({name}={value!r})", partial(Settings, **{name: value})
    for name in ("batch", "accumulate", "epochs", "iterations", "validation_iterations"):
        for value in ("many", 0, -1, 1.5, [], float("nan")):
            yield f"Settings({name}={value!r})", partial(Settings, **{name: value})
    for name in ("optimiser", "schedule", "stop", "epoch"):
        for value in ("nope", None, 3, ""):
            yield f"Settings({name}={value!r})", partial(Settings, **{name: value})
    for value in (64, "64", (64, "a"), (1.5, 2.0)):
        yield f"Settings(patch={value!r})", partial(Settings, patch=value)
    for value in ("strong", 3, None, 0.5, {}):
        yield f"Settings(augment={value!r})", partial(Settings, augment=value)
    for lr in (0, -1.0, float("inf")):
        yield f"Settings(lr={lr})", partial(Settings, lr=lr)
    for share in (-0.1, 1.1):
        yield f"Settings(foreground={share})", partial(Settings, foreground=share)


def _preprocessing() -> Iterator:
    from dsnotes.data.case import Case
    from dsnotes.data.preprocess import Preprocess, hu_window

    case = Case("a", _image(4, 8, 8), None, (1.0, 1.0, 1.0))
    for clip in ((5, 1), (1, 1), (float("nan"), 1), (0, float("nan"))):
        yield f"Preprocess(clip={clip})", partial(Preprocess, clip=clip)
        yield f"hu_window{clip}", partial(hu_window, *clip)
    for normalise in ("zscore", "", "Image", "window"):
        yield f"Preprocess(normalise={normalise!r})", partial(Preprocess, normalise=normalise)
    for spacing in ((1e-9,) * 3, (1.0, 1.0), (0.0, 1.0, 1.0), (float("nan"),) * 3):
        yield f"Preprocess(spacing={spacing})(case)", lambda s=spacing: Preprocess(spacing=s)(case)
    for order in (2, 7):
        yield f"image_order={order}", lambda o=order: Preprocess(spacing=(2.0,) * 3, image_order=o)(case)
    yield "label_rule='cubic'", lambda: Preprocess(spacing=(2.0,) * 3, label_rule="cubic")(case)
    yield "channels=(3,)", lambda: Preprocess(channels=(3,))(case)


def tiny() -> Any:
    from dsnotes.networks.unet import UNet
    from dsnotes.supervision.base import supervise
    from dsnotes.supervision.plain import Plain
    from dsnotes.training.settings import Settings
    from dsnotes.training.system import System

    objective = Plain()
    settings = Settings(batch=2, epochs=2, lr=1e-2, augment=True)
    return System("tiny", supervise(UNet(width=4, depth=2), objective), objective, settings)


def discs(count: int = 4) -> list:
    from dsnotes.data.case import Case

    chance = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16]
    labels = [((y - a) ** 2 + (x - b) ** 2 < 9).astype(np.uint8) for a, b in chance.uniform(5, 11, (count, 2))]
    images = [label + 0.3 * chance.standard_normal((16, 16)).astype(np.float32) for label in labels]
    return [Case(f"disc-{at}", i.astype(np.float32), m, (1.0, 1.0)) for at, (i, m) in enumerate(zip(images, labels))]  # noqa: B905


def _trainings(folder: Path) -> Iterator:
    from dsnotes.training.fit import fit

    cases, quiet = discs(), {"progress": False, "device": "cpu", "amp": False}
    for name, values in {
        "seed": (None, -1, "a", 1.5, []),
        "workers": (-1, "two", None, 1.5),
        "prefetch": (-1, "two", None, 1.5),
        "on_epoch": (5, "print", [], {}),
        "memory": (-1, 0, "8 GB", float("nan")),
        "epochs": ("many", -1, 0, 1.5),
        "batch": ("two", -1, 0),
        "lr": (-1.0, "fast", float("nan"), 0.0),
        "augment": ("strong", 3),
        "patch": (7, (7, 7), ("a", "b"), (16,), (16, 16, 16)),
        "out": ("", " "),
        "device": ("nope",),
        "amp": ("half",),
    }.items():
        for value in values:
            yield f"fit({name}={value!r})", lambda n=name, v=value: fit(tiny(), cases, **quiet | {n: v})
    for name, wrong in {"a path": "data", "one case": cases[0], "none": [], "numbers": [1, 2], "a dict": {}}.items():
        yield f"fit(train={name})", lambda w=wrong: fit(tiny(), w, **quiet)
        yield f"fit(val={name})", lambda w=wrong: fit(tiny(), cases, w, **quiet)
    for wrong in ("unet-2d", None, 3, object):
        yield f"fit({wrong!r})", lambda w=wrong: fit(w, cases, **quiet)
    (folder / "file").write_text("")
    yield "fit(out=a file)", lambda: fit(tiny(), cases, out=folder / "file", **quiet)
    yield "fit(out=below a file)", lambda: fit(tiny(), cases, out=folder / "file" / "run", **quiet)


def _predictions() -> Iterator:
    import dsnotes
    from dsnotes.inference import to_label

    chance, case = np.random.default_rng(0), discs(1)[0]
    for name, p in {
        "logits": chance.normal(0, 5, (2, 8, 8)),
        "empty": np.zeros((0, 8, 8)),
        "no classes": np.zeros(()),
        "NaN": np.full((2, 8, 8), np.nan),
        "text": "p",
        "a list": [[0.5]],
        "nothing": None,
    }.items():
        yield f"to_label({name})", lambda p=p: to_label(p)
    for name, value in {"overlap": 1.5, "patch": (7, 7), "batch": 0, "device": "nope", "amp": "half"}.items():
        yield f"predict({name}={value!r})", lambda n=name, v=value: dsnotes.predict(tiny(), case, **{n: v})
    for wrong in ("a.nii", None, _image()):
        yield f"predict(case={type(wrong).__name__})", lambda w=wrong: dsnotes.predict(tiny(), w)
    for wrong in ("unet-2d", None):
        yield f"predict({wrong!r})", lambda w=wrong: dsnotes.predict(w, case)


def _scores() -> Iterator:
    import dsnotes
    from dsnotes.metrics import dice, hausdorff

    a, b = np.zeros((8, 8), np.uint8), np.zeros((8, 9), np.uint8)
    for spacing in ((1.0,), (1.0, 0.0), (1.0, float("nan")), "ab", None, (1, 1, 1)):
        yield f"score(spacing={spacing!r})", lambda s=spacing: dsnotes.score(a, a, spacing=s)
        yield f"hausdorff(spacing={spacing!r})", lambda s=spacing: hausdorff(a, a, spacing=s)
    for first, second in ((a, b), ("a", a), (None, a), (a + 0.5, a)):
        yield f"score({type(first).__name__}, …)", lambda f=first, s=second: dsnotes.score(f, s, spacing=(1.0, 1.0))
        yield f"dice({type(first).__name__}, …)", lambda f=first, s=second: dice(f, s)


def _files(folder: Path) -> Iterator:
    import dsnotes

    chance = np.random.default_rng(0)
    for ending in ("nii", "nii.gz", "mha", "mhd", "nrrd", "png", "tif", "jpg", "bmp", "dcm", "gipl", "txt"):
        for kind, content in {"empty": b"", "text": b"{", "binary": chance.bytes(500)}.items():
            path = folder / f"{kind}.{ending}"
            path.write_bytes(content)
            yield f"open_case({path.name})", partial(dsnotes.open_case, path)
    for wrong in (folder / "nowhere.nii.gz", folder / "nowhere" / "a.nii.gz"):
        yield f"open_case({wrong.name})", partial(dsnotes.open_case, wrong)
    for at, text in enumerate(
        ("", "{", "[]", "{}", '{"labels": 3}', '{"labels": {"0": "b"}, "training": 5}', "\ufeff")
    ):
        place = folder / f"set{at}"
        place.mkdir()
        (place / "dataset.json").write_text(text, encoding="utf-8")
        yield f"open_dataset({text!r})", partial(dsnotes.open_dataset, place)
    for at, name in enumerate(("/etc/passwd", "../x.nii.gz", "a\0b", "x" * 300, "nowhere.nii.gz")):
        place = folder / f"listed{at}"
        place.mkdir()
        text = '{"labels": {"0": "background"}, "modality": {"0": "CT"}, "training": [{"image": %s}]}'
        import json

        (place / "dataset.json").write_text(text % json.dumps(name))
        yield f"open_dataset(lists {name[:20]!r})", partial(dsnotes.open_dataset, place)


def _names() -> Iterator:
    import dsnotes

    for name in ("nope", "UNET", "", None, 3, "msds unett", "mu-net-hybrid", "µ", "a" * 500):
        yield f"build({str(name)[:20]!r})", partial(dsnotes.build, name)
    for option in ("dice_", "width_", "objektive", "sides_"):
        yield f"build(msds-unet, {option}=…)", partial(dsnotes.build, "msds-unet", **{option: 1})
    for key, value in {"in_channels": 0, "width": -3, "dims": 4, "classes": "two"}.items():
        yield f"build({key}={value!r})", partial(dsnotes.build, "unet-2d", **{key: value})
    yield "systems(table='mss-22')", partial(dsnotes.systems, table="mss-22")
    yield "show(viewer='nope')", lambda: dsnotes.show(discs(1)[0], viewer="nope")


def _phantoms() -> Iterator:
    from dsnotes.data import phantoms

    for kind in ("lung", "kidneys", "abdomen", "nodules"):
        make = getattr(phantoms, kind)
        for count in (0, -1, "two", 1.5, None):
            yield f"phantoms.{kind}({count!r})", partial(make, count, seed=0)
        for seed in (-1, "a", None):
            yield f"phantoms.{kind}(seed={seed!r})", partial(make, 1, seed=seed)
        for size in ((1, 1, 1), "big", (64,)):
            yield f"phantoms.{kind}(size={size!r})", partial(make, 1, seed=0, size=size)


def settings_fields() -> set[str]:
    from dsnotes.training.settings import Settings

    return {one.name for one in fields(Settings)}
